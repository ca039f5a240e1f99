// SPDX-License-Identifier: Apache-2.0

// Package world turns a few lines of text into objects, so that tests of
// control can state what is given in the words of the API. Only tests use it.
package world

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/weft-network/weft/api"
)

// World is a set of objects; it is an api.Snapshot of itself until changed.
// Names stand for themselves: network blue has the name d:p:blue and a UUID
// made from its kind and name.
type World struct {
	revision int64
	objects  map[api.Kind]map[string]api.Object
	resting  map[string][]netip.Addr // by address space
}

// New reads lines such as
//
//	host h1 192.0.2.1 2001:db8::1 [mtu=9000] [can=vxlan,mplsudp]
//	encapsulation blue mplsudp vxlan
//	table r1 10.8.0.0/16 192.0.2.99/17     (outside, with label 17, by mplsudp)
//	network blue 10 [mtu]
//	subnet blue 10.0.0.0/24 [gateway]
//	port blue a [q]                 (port a of network blue, in project q)
//	address blue 10.0.0.5 [a]       (held by port a, or reserved)
//	reserve blue 10.0.0.6 h1 s      (reserved for a host, the MAC made from a word)
//	bind a h1                       (active binding)
//	standby a h2                    (inactive binding)
//	policy mesh any any             (any, or two network names; repeatable)
//	rule mesh deny any > subnet=blue:10.0.0.0/24 [tcp/80-90] [log] [audit] (a further rule; a side is any, local,
//	                                a range, a network, policy=NAME or subnet=NETWORK:RANGE; <> or >; repeatable)
//	attach mesh blue
//	target t 64512:100
//	import blue t                   (network blue takes what carries route-target t; repeatable)
//	export blue t
//	table r 10.9.0.0/16 10.0.0.5    (next hop, discard, or - for none; repeatable)
//	table-network blue r            (static routes; repeatable)
//	table-port a r                  (interface routes)
//	machine m web [n]               (virtual-machine m, which calls itself web, inside n)
//	runs m a                        (port a is of virtual-machine m)
//	called a www [example.org]      (name of port a, and its domain)
//	domain blue example.org         (of the names of network blue)
//	serve blue time 10.9.9.9 123    (service of the fabric)
//	resolver blue 10.0.0.0/24 10.0.0.2 (DNS server of the subnet)
//	pair a 10.9.0.0/24 MAC          (allowed address pair; without MAC, the port's; repeatable)
//	disable-port a                  (adminState down)
//	qos q [egress=1000] [ingress=1000/800] [packets=5] [dscp=10] [default] (kbit/s and kbit, 1,000 packets/s from the workload)
//	qos-port a q                    (port a has qos-policy q)
//	qos-network blue q
//	disable-network blue
//	trunk t a [down]                (port a is a trunk's)
//	carry t b 5                     (sub-port: trunk t carries port b with VLAN 5)
//	underlay blue                   (routed without encapsulation)
//	visible blue                    (hosts see their workloads)
//	remove KIND NAME
//
// Lines that are empty or begin with # are ignored.
func New(text string) *World {
	w := &World{objects: map[api.Kind]map[string]api.Object{}, resting: map[string][]netip.Addr{}}
	w.Do(text)
	return w
}

// Do applies more lines. Each counts as a write: it raises the revision.
func (w *World) Do(text string) {
	for _, line := range strings.Split(text, "\n") {
		if f := strings.Fields(line); len(f) > 0 && f[0] != "#" {
			w.revision++
			w.apply(f)
		}
	}
}

func (w *World) apply(f []string) {
	switch f[0] {
	case "host":
		h := &api.Host{}
		for _, a := range f[2:] {
			if can, ok := strings.CutPrefix(a, "can="); ok {
				h.Spec.Encapsulations = strings.Split(can, ",")
				continue
			}
			if mtu, ok := strings.CutPrefix(a, "mtu="); ok {
				h.Spec.UnderlayMTU = int(number(mtu))
				continue
			}
			h.Spec.TunnelAddresses = append(h.Spec.TunnelAddresses, netip.MustParseAddr(a))
		}
		w.Put(h, api.KindHost, f[1])
	case "network":
		n := &api.Network{}
		n.Spec.VNI = uint32(number(f[2]))
		if len(f) > 3 {
			n.Spec.MTU = int(number(f[3]))
		}
		n.Meta.Parent = projectOf(nil)
		w.Put(n, api.KindNetwork, f[1])
	case "subnet":
		s := &api.Subnet{}
		s.Spec.CIDR = netip.MustParsePrefix(f[2])
		if len(f) > 3 {
			s.Spec.Gateway = netip.MustParseAddr(f[3])
		}
		s.Default()
		s.Meta.Parent = Ref(api.KindNetwork, f[1])
		w.Put(s, api.KindSubnet, f[1]+":"+f[2])
	case "port":
		p := &api.Port{}
		p.Meta.Parent = api.Ref{UUID: "project-p", Name: "d:p"}
		if len(f) > 3 {
			p.Meta.Parent = api.Ref{UUID: "project-" + f[3], Name: "d:" + f[3]}
		}
		p.Spec.Network = Ref(api.KindNetwork, f[1])
		p.Spec.MAC = api.MACFromUUID(UUID(api.KindPort, f[2]))
		w.Put(p, api.KindPort, f[2])
	case "address":
		a := &api.Address{}
		a.Meta.Parent = Ref(api.KindNetwork, f[1])
		a.Spec.IP = netip.MustParseAddr(f[2])
		if len(f) > 3 {
			a.Spec.Port = Ref(api.KindPort, f[3])
		}
		for _, s := range api.ListOf[*api.Subnet](w, api.KindSubnet) {
			if s.Meta.Parent == a.Meta.Parent && s.Spec.CIDR.Contains(a.Spec.IP) {
				a.Spec.Subnet = api.RefTo(s)
			}
		}
		w.Put(a, api.KindAddress, f[1]+":"+f[2])
	case "reserve":
		w.reserve(f)
	case "bind", "standby":
		b := &api.Binding{}
		b.Meta.Parent = Ref(api.KindPort, f[1])
		b.Spec.Host = Ref(api.KindHost, f[2])
		b.Spec.Active = f[0] == "bind"
		w.Put(b, api.KindBinding, f[1]+":"+f[2])
	case "remove":
		w.Remove(api.Kind(f[1]), f[2])
	default:
		w.applyPolicy(f)
	}
}

func (w *World) reserve(f []string) {
	w.apply([]string{"address", f[1], f[2]})
	a := w.Get(api.KindAddress, UUID(api.KindAddress, f[1]+":"+f[2])).(*api.Address)
	a.Spec.Reservation = &api.AddressReservation{Host: Ref(api.KindHost, f[3]), MAC: api.MACFromUUID(UUID(api.KindPort, f[4])), Releasing: len(f) > 5}
}

func (w *World) applyPolicy(f []string) {
	switch f[0] {
	case "policy":
		p := &api.NetworkPolicy{}
		for i := 2; i+1 < len(f); i += 2 {
			p.Spec.Rules = append(p.Spec.Rules, api.NetworkPolicyRule{
				Action: api.ActionPass, Direction: api.DirectionBoth, Source: selector(f[i]), Destination: selector(f[i+1]),
			})
		}
		w.Put(p, api.KindNetworkPolicy, f[1])
	case "rule":
		w.addRule(f[1], f[2:])
	case "attach":
		a := &api.NetworkPolicyAttachment{}
		a.Spec.Policy = Ref(api.KindNetworkPolicy, f[1])
		a.Spec.Network = Ref(api.KindNetwork, f[2])
		w.Put(a, api.KindNetworkPolicyAttachment, f[1]+"-"+f[2])
	default:
		w.applyRouting(f)
	}
}

// addRule gives a network-policy a further rule.
func (w *World) addRule(policy string, f []string) {
	p, ok := w.Get(api.KindNetworkPolicy, UUID(api.KindNetworkPolicy, policy)).(*api.NetworkPolicy)
	if !ok {
		p = &api.NetworkPolicy{Header: api.Header{Kind: api.KindNetworkPolicy}}
	}
	p = api.Clone(p)
	rule := api.NetworkPolicyRule{Action: api.Action(f[0]), Source: selector(f[1]), Direction: api.Direction(f[2]), Destination: selector(f[3])}
	for _, word := range f[4:] {
		switch word {
		case "log":
			rule.Log = true
		case "audit":
			rule.Audit = true
		default:
			rule.Services = append(rule.Services, spoken(word))
		}
	}
	p.Spec.Rules = append(p.Spec.Rules, rule)
	w.Put(p, api.KindNetworkPolicy, policy)
}

func selector(word string) api.NetworkSelector {
	if name, ok := strings.CutPrefix(word, "policy="); ok {
		return api.NetworkSelector{Policy: Ref(api.KindNetworkPolicy, name)}
	}
	if name, ok := strings.CutPrefix(word, "subnet="); ok {
		return api.NetworkSelector{Subnet: Ref(api.KindSubnet, name)}
	}
	if r, err := netip.ParsePrefix(word); err == nil {
		return api.NetworkSelector{Range: r}
	}
	switch word {
	case "any":
		return api.NetworkSelector{}
	case "local":
		return api.NetworkSelector{Local: true}
	}
	return api.NetworkSelector{Network: Ref(api.KindNetwork, word)}
}

func number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		panic(fmt.Sprintf("world: %v", err))
	}
	return n
}

// UUID returns the UUID of the object of a kind and name.
func UUID(kind api.Kind, name string) string {
	sum := sha256.Sum256([]byte(string(kind) + "/" + name))
	return uuid.UUID(sum[:16]).String()
}

// Ref returns the reference to the object of a kind and name.
func Ref(kind api.Kind, name string) api.Ref {
	fqName := "d:p:" + name
	if kind == api.KindHost {
		fqName = name
	}
	return api.Ref{UUID: UUID(kind, name), Name: fqName}
}

// Put adds or replaces an object.
func (w *World) Put(o api.Object, kind api.Kind, name string) {
	h, ref := o.Head(), Ref(kind, name)
	h.Kind = kind
	h.Meta.UUID, h.Meta.FQName, h.Meta.Name = ref.UUID, ref.Name, api.BaseName(ref.Name)
	h.Meta.Revision = w.revision
	if w.objects[kind] == nil {
		w.objects[kind] = map[string]api.Object{}
	}
	w.objects[kind][ref.UUID] = o
}

// Remove deletes an object, whoever refers to it.
func (w *World) Remove(kind api.Kind, name string) { delete(w.objects[kind], UUID(kind, name)) }

// Snapshot copies the world as it is.
func (w *World) Snapshot() api.Snapshot {
	c := &World{revision: w.revision, objects: map[api.Kind]map[string]api.Object{}, resting: maps.Clone(w.resting)}
	for kind, objects := range w.objects {
		c.objects[kind] = map[string]api.Object{}
		for id, o := range objects {
			c.objects[kind][id] = api.Clone(o)
		}
	}
	return c
}

// Revision implements api.Snapshot.
func (w *World) Revision() int64 { return w.revision }

// Resting returns the addresses that Rest laid to rest.
func (w *World) Resting(space string) []netip.Addr { return w.resting[space] }

// Rest says that an address of a network rests.
func (w *World) Rest(network, ip string) {
	id := UUID(api.KindNetwork, network)
	w.resting[id] = append(w.resting[id], netip.MustParseAddr(ip))
}

// Get implements api.Snapshot.
func (w *World) Get(kind api.Kind, id string) api.Object {
	if o, ok := w.objects[kind][id]; ok {
		return o
	}
	return nil
}

// Lookup implements api.Snapshot.
func (w *World) Lookup(kind api.Kind, ref api.Ref) api.Object {
	if ref.UUID != "" {
		return w.Get(kind, ref.UUID)
	}
	for _, o := range w.objects[kind] {
		if o.Head().Meta.FQName == ref.Name {
			return o
		}
	}
	return nil
}

// List implements api.Snapshot.
func (w *World) List(kind api.Kind) []api.Object {
	list := make([]api.Object, 0, len(w.objects[kind]))
	for _, o := range w.objects[kind] {
		list = append(list, o)
	}
	slices.SortFunc(list, func(a, b api.Object) int { return cmp.Compare(a.Head().Meta.FQName, b.Head().Meta.FQName) })
	return list
}
