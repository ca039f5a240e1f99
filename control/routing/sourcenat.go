// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
)

// MaxSharedAddresses is how many shared addresses a network goes out with at
// most: what its workloads send may look at each.
const MaxSharedAddresses = 16

// Shared says that a route leads to a shared address, and whose it is. It is
// comparable.
type Shared struct {
	Network api.Ref // whose workloads go out with it
	VRF     uint32  // that network's
	// Blocks are the ports that hosts have of it, by port: FIRST-LAST=UUID of the
	// host, with a minus after it if it is to begin nothing there, and spaces between.
	Blocks string
}

// Is tells whether there is any.
func (s *Shared) Is() bool { return s.VRF != 0 }

// Block is ports of a shared address that a host has.
type Block struct {
	Ref       api.Ref // of the port-block
	Ports     api.PortRange
	Host      api.Ref
	Releasing bool
}

// SourceNAT is what becomes of an address of a source-nat.
type SourceNAT struct {
	Network *Identity // of the address
	Source  api.Ref   // the source-nat
	Address api.Ref
	IP      netip.Addr
	Inside  api.Ref   // network whose workloads go out with it
	Hosts   []api.Ref // with a binding, active or not, of a port there; by name
	Blocks  []Block   // by port
	// Reason and Message say why there is no route; empty: there is one.
	Reason, Message string
}

// SourceNATs are the addresses of the network with which others go out, by source-nat
// and address. The slice is shared.
func (n *Network) SourceNATs() []*SourceNAT { return n.nats }

// addSourceNATs makes the routes of shared addresses. The gateways', reserved,
// virtual and floating addresses must be there. Hosts with a binding of a port
// that goes out with one become members.
func (n *Network) addSourceNATs(from source, addresses []*api.Address) {
	taken := map[netip.Prefix]bool{}
	for i := range n.Own {
		taken[n.Own[i].Prefix] = true
	}
	for _, a := range addresses {
		sources := from.sourceNATsOf(a.Meta.UUID)
		if len(sources) == 0 {
			continue
		}
		s := n.goOut(from, a, sources[0]) // the store admits one
		if s.Reason == "" && taken[hostPrefix(s.IP)] {
			s.fault(FloatingTaken, "address %v of network %s is a gateway's, reserved for a host, a load-balancer's, or given away already: a shared address must be nobody's", s.IP, n.Ref)
		}
		n.nats = append(n.nats, s)
		if s.Reason != "" {
			continue
		}
		taken[hostPrefix(s.IP)] = true
		n.Own = append(n.Own, Route{
			Prefix: hostPrefix(s.IP), Proxied: true, OriginKind: api.KindSourceNAT, Origin: s.Source, OriginNetwork: n.Ref, OriginVRF: n.VRF,
			Shared: Shared{Network: s.Inside, VRF: from.networks[s.Inside.UUID].VRF, Blocks: blockWords(s.Blocks)},
		})
	}
	if len(n.nats) == 0 {
		return
	}
	slices.SortFunc(n.nats, compareSourceNATs)
	slices.SortFunc(n.members, compareRefs)
	n.members = slices.CompactFunc(n.members, func(a, b api.Ref) bool { return a.UUID == b.UUID })
}

func (s *SourceNAT) fault(reason, message string, args ...any) {
	s.Reason, s.Message, s.Hosts = reason, fmt.Sprintf(message, args...), nil
}

// goOut finds who goes out with an address, and who has which of its ports.
func (n *Network) goOut(from source, a *api.Address, o *api.SourceNAT) *SourceNAT {
	s := &SourceNAT{Network: n.Identity, Source: api.RefTo(o), Address: api.RefTo(a), IP: a.Spec.IP.Unmap().WithZone(""), Inside: o.Spec.Network}
	for _, b := range from.portBlocks(a.Meta.UUID) {
		if host := from.hosts[b.Spec.Host.UUID]; host != nil {
			s.Blocks = append(s.Blocks, Block{api.RefTo(b), b.Spec.Ports, host.Ref, b.Spec.Releasing})
		}
	}
	slices.SortStableFunc(s.Blocks, func(a, b Block) int { return cmp.Compare(a.Ports.From, b.Ports.From) })
	inside := from.networks[o.Spec.Network.UUID]
	switch {
	case !Virtual(a):
		s.fault(FloatingTaken, "address %s (%v) is a port's or reserved for a host: a shared address must be nobody's", s.Address, a.Spec.IP)
	case !n.Balances():
		s.fault(FloatingUnfit, "network %s of address %v forwards frames only or is without encapsulation: shared addresses need routes and a tunnel", n.Ref, s.IP)
	case inside == nil:
		s.fault(FloatingNowhere, "network %s has no VRF", o.Spec.Network)
	case inside.Ref.UUID == n.Ref.UUID:
		s.fault(FloatingUnfit, "address %v is of network %s itself", s.IP, n.Ref)
	case inside.Frames() || inside.Fabric:
		s.fault(FloatingUnfit, "network %s forwards frames only or is without encapsulation: what is sent there is not translated", inside.Ref)
	case from.rank(s) >= MaxSharedAddresses:
		s.fault(FloatingTooMany, "network %s goes out with more than %d addresses, of which the first work, by source-nat and as these name them", inside.Ref, MaxSharedAddresses)
	default:
		s.Inside = inside.Ref
		hosts := map[string]bool{}
		for _, p := range from.ports(inside.Ref.UUID) {
			n.placed(from, p, hosts)
		}
		for uuid := range maps.Keys(hosts) {
			s.Hosts = append(s.Hosts, from.hosts[uuid].Ref)
		}
		slices.SortFunc(s.Hosts, compareRefs)
	}
	return s
}

// rank is how many addresses the network of a source-nat's workloads goes out with before this one.
func (from source) rank(s *SourceNAT) (before int) {
	for _, o := range from.sourceNATsOn(s.Inside.UUID) {
		for _, a := range o.Spec.Addresses {
			if o.Meta.UUID == s.Source.UUID && a.UUID == s.Address.UUID {
				return before
			}
			before++
		}
	}
	return before
}

func blockWords(blocks []Block) string {
	var words []string
	for _, b := range blocks {
		word := fmt.Sprintf("%d-%d=%s", b.Ports.From, b.Ports.Last(), b.Host.UUID)
		if b.Releasing {
			word += "-"
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// Hosts yields who has which ports of the address, by port; the hosts by UUID alone.
func (s *Shared) Hosts(yield func(Block) bool) {
	for word := range strings.FieldsSeq(s.Blocks) {
		ports, host, _ := strings.Cut(word, "=")
		var b Block
		if _, err := fmt.Sscanf(ports, "%d-%d", &b.Ports.From, &b.Ports.To); err != nil {
			panic("routing: a shared address has the block " + word) // made here
		}
		b.Host.UUID, b.Releasing = strings.CutSuffix(host, "-")
		if !yield(b) {
			return
		}
	}
}

// Equal tells that two read the same.
func (s *SourceNAT) Equal(t *SourceNAT) bool {
	return *s.Network == *t.Network && s.Source == t.Source && s.Address == t.Address && s.IP == t.IP && s.Inside == t.Inside &&
		slices.Equal(s.Hosts, t.Hosts) && slices.Equal(s.Blocks, t.Blocks) && s.Reason == t.Reason && s.Message == t.Message
}

func compareSourceNATs(a, b *SourceNAT) int {
	return cmp.Or(compareRefs(a.Source, b.Source), a.IP.Compare(b.IP), compareRefs(a.Address, b.Address))
}

// touchOut notes the networks with whose addresses one goes out.
func (u *update) touchOut(network string) {
	for _, o := range u.objects.sourceNATsOn(network) {
		for _, ref := range o.Spec.Addresses {
			u.touchAddress(ref)
		}
	}
}

// touchAddress notes that the use of an address has changed.
func (u *update) touchAddress(ref api.Ref) {
	if a, ok := u.snapshot.Get(api.KindAddress, ref.UUID).(*api.Address); ok {
		u.dirty[a.Meta.Parent.UUID] = true
	}
}

// touchSourceNAT notes that a source-nat, as it is or was, leads elsewhere, and so
// may all of its network.
func (u *update) touchSourceNAT(o *api.SourceNAT) {
	for _, ref := range o.Spec.Addresses {
		u.touchAddress(ref)
	}
	u.touchOut(o.Spec.Network.UUID)
}

// share notes the hosts that go out with other addresses of a network now.
func (u *update) share(old, now *Network) {
	if slices.EqualFunc(old.nats, now.nats, (*SourceNAT).Equal) {
		return
	}
	for _, s := range slices.Concat(old.nats, now.nats) {
		for _, host := range s.Hosts {
			u.outs[host.UUID] = true
		}
	}
}

// runSourceNAT gives the hosts the networks with whose addresses their workloads go out.
func (u *update) runSourceNAT() {
	for uuid := range u.outs {
		h := u.hosts[uuid]
		if h == nil {
			continue
		}
		own := *h
		own.Externals = nil
		for _, id := range h.Externals {
			if !u.dirty[id.Ref.UUID] {
				own.Externals = append(own.Externals, id)
			}
		}
		for network := range u.dirty {
			n := u.networks[network]
			if n == nil {
				continue
			}
			if slices.ContainsFunc(n.nats, func(s *SourceNAT) bool {
				return slices.ContainsFunc(s.Hosts, func(r api.Ref) bool { return r.UUID == uuid })
			}) {
				own.Externals = append(own.Externals, n.Identity)
			}
		}
		slices.SortFunc(own.Externals, func(a, b *Identity) int { return compareRefs(a.Ref, b.Ref) })
		u.hosts[uuid] = &own
	}
}
