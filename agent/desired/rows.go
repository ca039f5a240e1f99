// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/vrouter/rules"
)

// SourceKey names a host that may send into a VNI.
type SourceKey struct {
	VNI  uint32
	Host string // UUID
}

// Endpoint is a host that routes lead to, or this host itself.
type Endpoint struct {
	Host, Name string
	Addresses  []netip.Addr
	MTU        int // largest IP packet its underlay carries; 0: not known
	// Encapsulations are what it can do; none: vxlan.
	Encapsulations []string
	Own            bool // it is this host
	// Physical are the interfaces of the physical networks that this host has.
	Physical map[string]string
}

// Port is a port whose active binding is this host.
type Port struct {
	ID, Name  string
	VRF       uint32
	MAC       [6]byte
	Addresses []Address
	// Sources are prefixes behind the port, which its workload may send from.
	Sources []netip.Prefix
	// Pairs are ranges that it may send from, with a MAC, whatever the routes say.
	Pairs []Pair
	// Announced are addresses that it asked for and has beside Addresses.
	Announced []netip.Addr
	MTU       int // 0: the underlay's less the tunnel's cost
	Binding   string
	HostName  string // what DHCP and DNS call the workload
	Domain    string // of that name
	Options   []Option
	Project   string // UUID
	Machine   string // UUID; may be empty
	Disabled  bool   // its own adminState is down
	Trunk     string // UUID of the port that carries this one; empty for most
	VLAN      uint16 // and the tag there
	MACLimit  int    // most MACs learned behind it; 0: none
	// Unchecked: any source address, and any MAC that is nobody else's.
	Unchecked bool
	// Identity is who its workload is to rules, and Rulesets what is asked at it.
	Identity        rules.Identity
	Tags            []string // as type=value
	Rulesets        []PortRuleset
	ConnectionLimit uint32 // most connections at a time; 0: no limit
	Stateless       bool   // its security-groups are asked for every packet
	// Egress and Ingress are what its workload may send and get.
	Egress, Ingress Limit
}

// Address is an address of a port with the gateway of its subnet.
type Address struct {
	Prefix  netip.Prefix // the address with the subnet's length
	Gateway netip.Addr
	Subnet  string // UUID; empty for none
}

// RouteKey names a route.
type RouteKey struct {
	VRF    uint32
	Prefix netip.Prefix
}

// Route leads to a port of this host, to another host, to the gateway, or
// nowhere on purpose, to a gateway or router outside, or to whoever serves a virtual address:
// exactly one of Port, Host, Gateway, Discard, Outside, External, Balancer, Mapped and Shared is set.
type Route struct {
	Port    string // UUID
	Host    string // UUID
	VNI     uint32 // with Host
	MTU     int    // with Host: of the destination's network; 0: not said
	Gateway bool
	Discard bool
	Outside Outside
	// External is the router outside that it leads to, and by whom.
	External External
	// Balancer is the VRF whose listeners say who serves the prefix, a virtual
	// address; 0: it is none. It stands in place of the others.
	Balancer uint32
	// Mapped is the port of this host that has the prefix, a floating address.
	Mapped Mapped
	Shared Shared // who goes out with the prefix, a shared address
	// Encapsulations, with Host, are the ways to travel, the best first, with
	// spaces between them; empty: vxlan.
	Encapsulations string
	MAC            [6]byte
	Routed         bool
	Origin         string
	Leaked         string
	// Proxied: neighbours are told the gateway's Ethernet address.
	Proxied bool
	// Equal are further next hops, as good as the one above; with them Identity
	// is that of the one above, and Fields are what chooses (none: everything).
	Equal    []Hop
	Identity string
	Fields   []string
	// Announced is the number under which Port spoke for the prefix last; 0: not.
	Announced uint64
	Workload  rules.Identity // who has the prefix; 0: outside, or not said
	// Of a workload elsewhere: its tags, and the name of its port.
	Tags     []string
	PortName string
}

// Rows are the desired tables.
type Rows struct {
	VRFs      map[uint32]VRF
	Endpoints map[string]Endpoint
	Sources   map[SourceKey]struct{}
	Subnets   map[SubnetKey]Subnet
	Names     map[NameKey]Name
	MACs      map[MACKey]MAC // that no route tells of
	Ports     map[string]Port
	Routes    map[RouteKey]Route
	// Reservations are by the address's UUID.
	Reservations map[string]Reservation
	Rulesets     map[string]Ruleset
	Selectors    map[string]Selector
	Checks       map[string]Check // by id
	Holds        map[string]Hold  // by the hold's UUID
	Balancers    map[BalancerKey]*Balancer
	Proxies      map[string]*Proxy // by load-balancer
	// Bad are the keys of rows this build cannot read, with the reason.
	Bad map[string]string
	// Unknown are the keys of rows of kinds that this build does not know, of a
	// newer controller. They are kept, and are no error of a row: they say that
	// the agent is to be upgraded, once.
	Unknown map[string]struct{}

	// fresh are the load-balancers that the delta in hand has changed already.
	fresh map[BalancerKey]*Balancer
	// own is the host that says it is this one.
	own string
	// named are the names that changed since somebody took note; nil while
	// nobody does.
	named map[NameKey]struct{}
}

func newRows() Rows {
	return Rows{
		VRFs:         map[uint32]VRF{},
		Endpoints:    map[string]Endpoint{},
		Sources:      map[SourceKey]struct{}{},
		Subnets:      map[SubnetKey]Subnet{},
		Names:        map[NameKey]Name{},
		MACs:         map[MACKey]MAC{},
		Ports:        map[string]Port{},
		Routes:       map[RouteKey]Route{},
		Reservations: map[string]Reservation{},
		Rulesets:     map[string]Ruleset{},
		Selectors:    map[string]Selector{},
		Checks:       map[string]Check{},
		Holds:        map[string]Hold{},
		Balancers:    map[BalancerKey]*Balancer{},
		Proxies:      map[string]*Proxy{},
		Bad:          map[string]string{},
		Unknown:      map[string]struct{}{},
	}
}

// The keys of rows, as in hoststream.proto.

// EndpointRow is the key of a tunnel endpoint's row.
func EndpointRow(host string) string { return "tunnel-endpoint/" + host }

// SourceRow is the key of a tunnel source's row.
func SourceRow(k SourceKey) string { return fmt.Sprintf("tunnel-source/%d/%s", k.VNI, k.Host) }

// PortRow is the key of a port's row.
func PortRow(port string) string { return "port/" + port }

// RouteRow is the key of a route's row.
func RouteRow(k RouteKey) string { return fmt.Sprintf("route/%d/%s", k.VRF, k.Prefix) }

// put decodes a row. One that does not say what its key says is bad.
func (r *Rows) put(key string, body []byte) {
	r.remove(key)
	var row hoststream.Row
	if err := proto.Unmarshal(body, &row); err != nil {
		r.Bad[key] = fmt.Sprintf("decode row: %v", err)
		return
	}
	if row.Body == nil {
		r.Unknown[key] = struct{}{}
		return
	}
	actual, err := r.insert(key, &row)
	if err != nil {
		r.Bad[key] = err.Error()
	} else if actual != key {
		r.Bad[key] = fmt.Sprintf("row says %s", actual)
	}
}

// insert adds the row if it is good and has the expected key, which it returns.
func (r *Rows) insert(key string, row *hoststream.Row) (string, error) {
	switch b := row.Body.(type) {
	case *hoststream.Row_Vrf:
		return r.insertVRF(key, b.Vrf)
	case *hoststream.Row_TunnelEndpoint:
		return r.insertEndpoint(key, b.TunnelEndpoint)
	case *hoststream.Row_TunnelSource:
		s := SourceKey{VNI: b.TunnelSource.Vni, Host: b.TunnelSource.Host}
		k := SourceRow(s)
		if k == key {
			r.Sources[s] = struct{}{}
		}
		return k, nil
	case *hoststream.Row_Subnet:
		return r.insertSubnet(key, b.Subnet)
	case *hoststream.Row_Mac:
		return r.insertMAC(key, b.Mac)
	case *hoststream.Row_Name:
		return r.insertName(key, b.Name), nil
	case *hoststream.Row_Listener, *hoststream.Row_Member:
		return r.insertBalanced(key, row)
	case *hoststream.Row_Ruleset:
		return r.insertRuleset(key, b.Ruleset)
	case *hoststream.Row_Selector:
		return r.insertSelector(key, b.Selector)
	case *hoststream.Row_Check:
		return r.insertCheck(key, b.Check)
	case *hoststream.Row_Hold:
		return r.insertHold(key, b.Hold)
	case *hoststream.Row_Proxy:
		return r.insertProxy(key, b.Proxy)
	case *hoststream.Row_Port:
		p, err := port(b.Port)
		if err != nil {
			return "", err
		}
		k := PortRow(p.ID)
		if k == key {
			r.Ports[p.ID] = p
		}
		return k, nil
	case *hoststream.Row_Reservation:
		v, err := reservation(b.Reservation)
		if err != nil {
			return "", err
		}
		k := ReservationRow(v.ID)
		if k == key {
			r.Reservations[v.ID] = v
		}
		return k, nil
	case *hoststream.Row_Route:
		rk, v, err := route(b.Route)
		if err != nil {
			return "", err
		}
		k := RouteRow(rk)
		if k == key {
			r.Routes[rk] = v
		}
		return k, nil
	}
	return "", fmt.Errorf("row is of a kind this agent does not know: upgrade it")
}

// remove forgets a row by its key.
func (r *Rows) remove(key string) {
	delete(r.Bad, key)
	delete(r.Unknown, key)
	if r.removeReservation(key) || r.removeCheck(key) || r.removeProxy(key) {
		return
	}
	kind, rest, found := strings.Cut(key, "/")
	if !found {
		return
	}
	switch kind {
	case "port":
		delete(r.Ports, rest)
		return
	case "tunnel-endpoint":
		r.removeEndpoint(rest)
		return
	case "ruleset":
		delete(r.Rulesets, rest)
		return
	case "selector":
		delete(r.Selectors, rest)
		return
	case "hold":
		delete(r.Holds, rest)
		return
	case "name":
		project, port, _ := strings.Cut(rest, "/")
		delete(r.Names, NameKey{project, port})
		r.noteName(NameKey{project, port})
		return
	}
	number, rest, _ := strings.Cut(rest, "/")
	parsed, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return
	}
	// The key must be the one that such a row has, and not only read like it.
	switch id := uint32(parsed); kind {
	case "vrf":
		if VRFRow(id) == key {
			delete(r.VRFs, id)
		}
	case "subnet":
		if k := (SubnetKey{id, rest}); SubnetRow(k) == key {
			delete(r.Subnets, k)
		}
	case "mac":
		r.removeMAC(id, rest)
	case "listener", "member":
		r.removeBalanced(key, kind, id, rest)
	case "tunnel-source":
		if k := (SourceKey{id, rest}); SourceRow(k) == key {
			delete(r.Sources, k)
		}
	case "route":
		if p, err := netip.ParsePrefix(rest); err == nil && RouteRow(RouteKey{id, p}) == key {
			delete(r.Routes, RouteKey{id, p})
		}
	}
}

func mac(raw []byte) ([6]byte, error) {
	if len(raw) != 6 {
		return [6]byte{}, fmt.Errorf("MAC of %d bytes", len(raw))
	}
	return [6]byte(raw), nil
}

func port(m *hoststream.Port) (Port, error) {
	p := Port{ID: m.Port, Name: m.PortName, VRF: m.Vrf, MTU: int(m.Mtu), Binding: m.Binding, HostName: m.HostName, Domain: m.Domain, Options: dhcpOptions(m.ConditionalOptions, m.Options), Project: m.Project, Machine: m.Machine, Disabled: m.Disabled, MACLimit: int(m.MacLimit), Unchecked: m.Unchecked}
	var err error
	if p.MAC, err = mac(m.Mac); err != nil {
		return p, fmt.Errorf("port %s: %w", m.PortName, err)
	}
	for _, a := range m.Addresses {
		ip, ok := netip.AddrFromSlice(a.Ip)
		if !ok || int(a.PrefixLength) > ip.BitLen() {
			return p, fmt.Errorf("port %s: address of %d bytes with prefix length %d", m.PortName, len(a.Ip), a.PrefixLength)
		}
		gateway, _ := netip.AddrFromSlice(a.Gateway) // none is allowed
		p.Addresses = append(p.Addresses, Address{netip.PrefixFrom(ip, int(a.PrefixLength)), gateway, a.Subnet})
	}
	for _, c := range m.Sources {
		source, ok := prefix(c.Address, c.Length)
		if !ok {
			return p, fmt.Errorf("port %s: source of %d bytes with prefix length %d is not a prefix", m.PortName, len(c.Address), c.Length)
		}
		p.Sources = append(p.Sources, source)
	}
	if m.Trunk != "" && (m.Vlan == 0 || m.Vlan > maxVLAN) {
		return p, fmt.Errorf("port %s: VLAN %d of its trunk is not from 1 to %d", m.PortName, m.Vlan, maxVLAN)
	}
	p.Trunk, p.VLAN = m.Trunk, uint16(m.Vlan)
	p.policyOf(m)
	p.Egress, p.Ingress = limit(m.EgressLimit), limit(m.IngressLimit)
	if p.Announced, err = announced(m); err == nil {
		p.Pairs, err = pairs(m)
	}
	return p, err
}

const maxVLAN = 4094

func route(m *hoststream.Route) (RouteKey, Route, error) {
	to, ok := prefix(m.PrefixAddress, m.PrefixLength)
	if !ok {
		return RouteKey{}, Route{}, fmt.Errorf("route of VRF %d: %d bytes with prefix length %d are not a prefix", m.Vrf, len(m.PrefixAddress), m.PrefixLength)
	}
	key := RouteKey{m.Vrf, to}
	r := Route{Routed: m.Routed, Origin: m.Origin, Leaked: m.LeakedBy, Proxied: m.Proxied, Identity: m.Identity, Fields: m.EcmpFields, Announced: m.Announced, Workload: rules.Identity(m.Workload), Tags: m.Tags, PortName: m.PortName}
	var err error
	switch n := m.NextHop.(type) {
	case *hoststream.Route_Port:
		r.Port = n.Port
	case *hoststream.Route_Remote:
		r.Host, r.VNI, r.MTU = n.Remote.Host, n.Remote.Vni, int(m.Mtu)
		r.Encapsulations = strings.Join(n.Remote.Encapsulations, " ")
	case *hoststream.Route_Outside:
		address, ok := netip.AddrFromSlice(n.Outside.Address)
		if !ok {
			return key, r, fmt.Errorf("route %v of VRF %d: gateway outside of %d bytes", to, m.Vrf, len(n.Outside.Address))
		}
		r.Outside = Outside{address.Unmap(), n.Outside.Encapsulation, n.Outside.Label}
		return key, r, nil
	case *hoststream.Route_External:
		var err error
		r.External, err = external(n.External)
		return key, r, err
	case *hoststream.Route_Mapped:
		var err error
		if r.Mapped, err = mappedOf(n.Mapped, to, m.Vrf); err != nil {
			return key, r, err
		}
	case *hoststream.Route_Shared:
		r.Shared, err = shared(to, n.Shared)
		return key, r, err
	case *hoststream.Route_Balancer:
		r.Balancer = n.Balancer.Vrf
		if r.Balancer == 0 {
			return key, r, fmt.Errorf("route %v of VRF %d: load-balancer without VRF", to, m.Vrf)
		}
		return key, r, nil
	case *hoststream.Route_Gateway:
		r.Gateway = true
		return key, r, nil
	case *hoststream.Route_Discard:
		r.Discard = true
		return key, r, nil
	default:
		return key, r, fmt.Errorf("route %v of VRF %d: next hop is of a kind this agent does not know: upgrade it", to, m.Vrf)
	}
	if r.MAC, err = mac(m.Mac); err == nil {
		r.Equal, err = hops(m.Equal)
	}
	if err != nil {
		return key, r, fmt.Errorf("route %v of VRF %d: %w", to, m.Vrf, err)
	}
	return key, r, nil
}
