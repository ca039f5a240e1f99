// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-network/weft/api"
)

// MaxFloating is how many floating addresses a port has at most: what it sends
// may look at each.
const MaxFloating = 16

// Mapped says that a route leads to a floating address: to a port, usually of
// another network, which has another address. It is comparable.
type Mapped struct {
	Port     api.Ref
	Internal netip.Addr // the address that the port has; of an alias the floating one
	Alias    bool       // the workload has the floating address itself
}

// Is tells whether there is any.
func (m *Mapped) Is() bool { return !m.Port.IsZero() }

// Floating is what becomes of a floating-ip-association.
type Floating struct {
	Network     *Identity // of the floating address
	Association api.Ref
	FloatingIP  api.Ref
	IP          netip.Addr
	Mapped
	MAC  api.MAC // of the port
	MTU  int     // of the smaller of both networks; 0: follows from the underlay
	Host api.Ref // of the port's active binding
	// Reason and Message say why there is no route; empty: there is one.
	Reason, Message string
}

// The reasons why a floating-ip-association makes no route.
const (
	FloatingNotBuilt  = "not-built"              // Weft cannot do that yet
	FloatingTaken     = "address-taken"          // another object has it
	FloatingUnfit     = "network-not-routed"     // there are no routes, or no tunnel
	FloatingNowhere   = "no-host"                // the port is nowhere
	FloatingNoFamily  = "no-address-of-family"   // of the port
	FloatingAmbiguous = "several-addresses"      // of the port, and none is named
	FloatingForeign   = "not-the-port's-address" // the one that is named
	FloatingTooMany   = "too-many-floating-ips"  // of the port
	FloatingNobody    = "not-associated"         // of a floating-ip
)

// Floating are the associations of floating addresses of the network, by name.
// The slice is shared.
func (n *Network) Floating() []*Floating { return n.floating }

// Association returns what becomes of one, or nil.
func (n *Network) Association(ref api.Ref) *Floating {
	if n == nil {
		return nil
	}
	i, found := slices.BinarySearchFunc(n.floating, ref, func(f *Floating, ref api.Ref) int { return compareRefs(f.Association, ref) })
	if !found {
		return nil
	}
	return n.floating[i]
}

// addFloating makes the routes of floating addresses that a port has as a whole.
// The gateways', reserved and virtual addresses must be there: they come first.
// Its host becomes a member, for it sends into the network and receives from it;
// so does every host with a binding of the port, where it may move to.
func (n *Network) addFloating(from source, addresses []*api.Address) {
	taken := map[netip.Prefix]bool{}
	for i := range n.Own {
		taken[n.Own[i].Prefix] = true
	}
	for _, a := range addresses {
		for _, ip := range from.floatingIPs(a.Meta.UUID) {
			for _, association := range from.associations(api.KindFloatingIP, ip.Meta.UUID) {
				f := n.associate(from, a, ip, association)
				if f.Reason == "" && taken[hostPrefix(f.IP)] {
					f.fault(FloatingTaken, "address %v of network %s is a gateway's, reserved for a host, a load-balancer's, or given away already: a floating address must be nobody's", f.IP, n.Ref)
				}
				n.floating = append(n.floating, f)
				if f.Reason != "" {
					continue
				}
				taken[hostPrefix(f.IP)] = true
				n.Own = append(n.Own, Route{
					Prefix: hostPrefix(f.IP), Mapped: f.Mapped, Host: f.Host, MAC: f.MAC, MTU: f.MTU, Proxied: true,
					OriginKind: api.KindFloatingIP, Origin: f.FloatingIP, OriginNetwork: n.Ref, OriginVRF: n.VRF,
				})
			}
		}
	}
	if len(n.floating) == 0 {
		return
	}
	slices.SortFunc(n.floating, compareFloating)
	n.orderMembers()
}

// orderMembers sorts the hosts that came from several places, and names each once.
func (n *Network) orderMembers() {
	slices.SortFunc(n.members, compareRefs)
	n.members = slices.CompactFunc(n.members, func(a, b api.Ref) bool { return a.UUID == b.UUID })
}

// source is where local finds what its network refers to.
type source struct {
	objects
	hosts    map[string]*Host
	networks map[string]*Network // by their identities
}

func (f *Floating) fault(reason, message string, args ...any) {
	f.Reason, f.Message = reason, fmt.Sprintf(message, args...)
	f.Host, f.MAC, f.MTU, f.Mapped = api.Ref{}, "", 0, Mapped{}
}

// associate finds where a floating address leads.
func (n *Network) associate(from source, a *api.Address, ip *api.FloatingIP, association *api.FloatingIPAssociation) *Floating {
	f := &Floating{Network: n.Identity, Association: api.RefTo(association), FloatingIP: api.RefTo(ip), IP: a.Spec.IP.Unmap().WithZone("")}
	switch {
	case !association.Spec.LoadBalancer.IsZero():
		f.fault(FloatingNotBuilt, "floating-ips of load-balancers are kept, and do not work yet: give load-balancer %s an address of network %s instead, as one of its addresses", association.Spec.LoadBalancer, n.Ref)
	case !Virtual(a):
		f.fault(FloatingTaken, "address %s (%v) is a port's or reserved for a host: a floating address must be nobody's", api.RefTo(a), a.Spec.IP)
	case !n.Balances():
		f.fault(FloatingUnfit, "network %s of address %v forwards frames only or is without encapsulation: floating addresses need routes and a tunnel", n.Ref, f.IP)
	default:
		n.lead(f, from, association)
	}
	return f
}

// lead finds port, address and host of an association with a port.
func (n *Network) lead(f *Floating, from source, association *api.FloatingIPAssociation) {
	port := association.Spec.Port
	others := from.associations(api.KindPort, port.UUID)
	p := from.port(port.UUID)
	if p == nil {
		f.fault(FloatingNowhere, "port %s is not there", port)
		return
	}
	network := from.networks[p.Spec.Network.UUID]
	switch {
	case slices.IndexFunc(others, func(o *api.FloatingIPAssociation) bool { return o.Meta.UUID == association.Meta.UUID }) >= MaxFloating:
		f.fault(FloatingTooMany, "port %s has %d floating-ip-associations, of which the %d that are first by name work", port, len(others), MaxFloating)
		return
	case network == nil:
		f.fault(FloatingNowhere, "network %s of port %s has no VRF", p.Spec.Network, port)
		return
	case network.Frames():
		f.fault(FloatingUnfit, "network %s of port %s forwards frames only: what is sent there cannot be mapped", network.Ref, port)
		return
	}
	f.Port = port
	if f.Alias = association.Spec.Mode == "alias"; f.Alias {
		f.Internal = f.IP
	} else if !f.stand(from, p, association.Spec.Address) {
		return
	}
	host := n.placed(from, p, map[string]bool{})
	if _, err := p.Spec.MAC.Bytes(); host == nil || err != nil {
		f.fault(FloatingNowhere, "port %s is bound to no host, or has no MAC", port)
		return
	}
	f.Port, f.Host, f.MAC, f.MTU = api.RefTo(p), host.Ref, p.Spec.MAC, smaller(n.MTU, network.MTU)
}

// stand finds the address of the port that a floating one stands for; named may
// be zero.
func (f *Floating) stand(from source, p *api.Port, named api.Ref) bool {
	var fit []netip.Addr
	for _, a := range from.addressesOn(p.Meta.UUID) {
		ip := a.Spec.IP.Unmap().WithZone("")
		switch {
		case !ip.IsValid() || a.Meta.Parent.UUID != p.Spec.Network.UUID || !named.IsZero() && a.Meta.UUID != named.UUID:
		case ip.Is4() == f.IP.Is4():
			fit = append(fit, ip)
		}
	}
	port := f.Port
	switch {
	case len(fit) == 0 && !named.IsZero():
		f.fault(FloatingForeign, "address %s is not one of port %s of the family of %v", named, port, f.IP)
	case len(fit) == 0:
		f.fault(FloatingNoFamily, "port %s has no address of the family of %v", port, f.IP)
	case len(fit) > 1:
		f.fault(FloatingAmbiguous, "port %s has %d addresses of the family of %v: say in spec.address which of them it stands for", port, len(fit), f.IP)
	default:
		f.Internal = fit[0]
	}
	return f.Reason == ""
}

// placed finds the host of a port's active binding, and notes all with one, in
// hosts those that are not there yet.
func (n *Network) placed(from source, p *api.Port, hosts map[string]bool) *Host {
	active := n.place(from.bindings(p.Meta.UUID), from.hosts, hosts)
	if c, carried := from.carrier(p.Meta.UUID); carried {
		active, _ = n.carry(c, active, from.bindings(c.port.UUID), from.hosts, hosts)
	}
	if active == nil {
		return nil
	}
	return from.hosts[active.Spec.Host.UUID]
}

// smaller of two sizes, where 0 is none.
func smaller(a, b int) int {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// Equal tells that two read the same.
func (f *Floating) Equal(g *Floating) bool {
	if *f.Network != *g.Network {
		return false
	}
	a, b := *f, *g
	a.Network, b.Network = nil, nil
	return a == b
}

func compareFloating(a, b *Floating) int { return compareRefs(a.Association, b.Association) }

// touchAssociated notes that the floating addresses of a port may lead elsewhere.
func (u *update) touchAssociated(port string) {
	for _, a := range u.objects.associations(api.KindPort, port) {
		u.touchFloating(a)
	}
}

// touchFloating notes that an association may lead elsewhere.
func (u *update) touchFloating(a *api.FloatingIPAssociation) {
	if ip, ok := u.snapshot.Get(api.KindFloatingIP, a.Spec.FloatingIP.UUID).(*api.FloatingIP); ok {
		u.touchFloatingIP(ip)
	}
}

func (u *update) touchFloatingIP(ip *api.FloatingIP) {
	if a, ok := u.snapshot.Get(api.KindAddress, ip.Spec.Address.UUID).(*api.Address); ok {
		u.dirty[a.Meta.Parent.UUID] = true
	}
}

// touchBeyond notes the networks with floating addresses of a network's ports, or
// with whose addresses it goes out.
func (u *update) touchBeyond(network string) {
	for _, p := range u.objects.ports(network) {
		u.touchAssociated(p.Meta.UUID)
	}
	u.touchOut(network)
}

// float notes the hosts that have other floating addresses of a network now.
func (u *update) float(old, now *Network) {
	if slices.EqualFunc(old.floating, now.floating, (*Floating).Equal) {
		return
	}
	for _, f := range slices.Concat(old.floating, now.floating) {
		if !f.Host.IsZero() {
			u.floats[f.Host.UUID] = true
		}
	}
}

// runFloating gives the hosts the floating addresses that lead to their ports.
func (u *update) runFloating() {
	for uuid := range u.floats {
		h := u.hosts[uuid]
		if h == nil {
			continue
		}
		own := *h
		own.Floating = nil
		for _, f := range h.Floating {
			if !u.dirty[f.Network.Ref.UUID] {
				own.Floating = append(own.Floating, f)
			}
		}
		for network := range u.dirty {
			n := u.networks[network]
			if n == nil {
				continue
			}
			for _, f := range n.floating {
				if f.Host.UUID == uuid {
					own.Floating = append(own.Floating, f)
				}
			}
		}
		slices.SortFunc(own.Floating, func(a, b *Floating) int {
			return cmp.Or(compareFloating(a, b), compareRefs(a.Network.Ref, b.Network.Ref))
		})
		u.hosts[uuid] = &own
	}
}
