// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/vrouter/maglev"
)

// Online is the condition of a member that its pool's monitor sets. One that does
// not hold for the reason that the member failed takes it out; that nobody knows, since
// its host is away or has not tried it often enough, drains it, so that it is chosen
// where all are so; that nobody can try it changes nothing.
const (
	Online        = "Online"
	reasonFailed  = "failed"
	reasonUnknown = api.CheckUnknown
)

// protocols are what native listeners take, by number; HTTPS is not read.
var protocols = map[string]uint8{"TCP": 6, "HTTPS": 6, "UDP": 17, "SCTP": 132}

// maker computes one load-balancer.
type maker struct {
	*Balancer
	u      *update
	spec   *api.LoadBalancer
	serves []netip.Addr
	used   map[string]bool // pools that a listener has
}

// balancer computes what follows of a load-balancer.
func (u *update) balancer(l *api.LoadBalancer) *Balancer {
	m := &maker{Balancer: &Balancer{Ref: api.RefTo(l)}, u: u, spec: l, used: map[string]bool{}}
	switch {
	case l.Spec.Provider == api.ProviderHAProxy && l.Spec.AdminState == api.AdminDown:
		m.fault(l, SwitchedOff, "adminState is down: nobody has its addresses")
		m.Proxy = &Proxy{}
		return m.Balancer
	case l.Spec.AdminState == api.AdminDown:
		m.fault(l, SwitchedOff, "adminState is down: packets for its addresses are dropped")
		return m.Balancer
	case l.Spec.Provider == api.ProviderHAProxy:
		m.proxied()
		m.settle()
		return m.Balancer
	}
	m.addresses()
	for _, o := range u.objects.children(api.KindListener, l.Meta.UUID) {
		m.listener(o.(*api.Listener))
	}
	for _, o := range u.objects.children(api.KindPool, l.Meta.UUID) {
		m.pool(o.(*api.Pool))
	}
	m.bound()
	if len(m.serves) > 0 && len(m.Listeners) == 0 && m.Fault(api.KindLoadBalancer, l.Meta.UUID) == nil {
		m.partly(l, NoPool, "it has no listener that serves: all its ports are closed")
	}
	m.settle()
	return m.Balancer
}

// settle brings lists into their order.
func (m *maker) settle() {
	slices.SortFunc(m.looked, func(a, b looked) int { return strings.Compare(a.uuid, b.uuid) })
	m.looked = slices.Compact(m.looked)
	slices.SortStableFunc(m.Faults, func(a, b Fault) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.UUID, b.UUID)) })
}

func (m *maker) fault(o api.Object, reason, message string, args ...any) {
	m.Faults = append(m.Faults, Fault{Kind: o.Head().Kind, UUID: o.Head().Meta.UUID, Reason: reason, Message: fmt.Sprintf(message, args...)})
}

// partly notes what keeps an object from serving all that it says.
func (m *maker) partly(o api.Object, reason, message string, args ...any) {
	m.fault(o, reason, message, args...)
	m.Faults[len(m.Faults)-1].Partly = true
}

// addresses finds those that serve. Of what is wrong the first thing is told.
func (m *maker) addresses() {
	reason, message := NoAddress, "it has no address: give it one of a network, which no port has"
	wrong := false
	for _, ref := range m.spec.Spec.Addresses {
		why, text := m.address(ref)
		if why != "" && !wrong {
			wrong, reason, message = true, why, text
		}
	}
	switch {
	case len(m.serves) == 0:
		m.fault(m.spec, reason, "%s", message)
	case wrong:
		m.partly(m.spec, reason, "%s", message)
	}
	slices.SortFunc(m.serves, netip.Addr.Compare)
	m.serves = slices.Compact(m.serves)
}

func (m *maker) address(ref api.Ref) (reason, message string) {
	a, ok := m.u.snapshot.Get(api.KindAddress, ref.UUID).(*api.Address)
	if !ok || !a.Spec.IP.IsValid() {
		return NoAddress, fmt.Sprintf("address %s is not there", ref)
	}
	n := m.u.Routing.Network(a.Meta.Parent.UUID)
	switch {
	case !routing.Virtual(a):
		return AddressTaken, fmt.Sprintf("address %s (%v) is a port's or reserved for a host: a virtual address must be nobody's", ref, a.Spec.IP)
	case n == nil:
		return NetworkUnfit, fmt.Sprintf("network %s of address %v has no VRF", a.Meta.Parent, a.Spec.IP)
	case n.Frames():
		return NetworkUnfit, fmt.Sprintf("network %s of address %v forwards frames only: virtual addresses need routes (forwarding l2-l3 or l3)", n.Ref, a.Spec.IP)
	case !n.Balances():
		return NetworkUnfit, fmt.Sprintf("network %s of address %v is without encapsulation, where virtual addresses do not work yet", n.Ref, a.Spec.IP)
	case m.VRF != 0 && m.VRF != n.VRF:
		return NetworkUnfit, fmt.Sprintf("address %v is not of network %s as the others are", a.Spec.IP, m.Network)
	}
	for _, other := range m.u.objects.naming(ref.UUID) {
		if other.Spec.Provider == api.ProviderHAProxy {
			continue
		}
		if other.Meta.UUID != m.Ref.UUID {
			return AddressTaken, fmt.Sprintf("address %v is load-balancer %s's: each needs addresses of its own", a.Spec.IP, other.Meta.FQName)
		}
		break
	}
	m.Network, m.VRF = n.Ref, n.VRF
	m.serves = append(m.serves, a.Spec.IP.Unmap())
	return "", ""
}

func (m *maker) listener(o *api.Listener) {
	protocol, native := protocols[o.Spec.Protocol]
	pool, _ := m.u.snapshot.Get(api.KindPool, o.Spec.Pool.UUID).(*api.Pool)
	if pool != nil && pool.Meta.Parent.UUID != m.Ref.UUID {
		pool = nil
	}
	switch {
	case o.Spec.AdminState == api.AdminDown:
		m.fault(o, SwitchedOff, "adminState is down: the port is closed")
		return
	case !native:
		m.fault(o, NotBuilt, "protocol %s is read, for which there is no provider yet: TCP, UDP, SCTP and HTTPS (passed on unread) work with provider native", o.Spec.Protocol)
		return
	case len(o.Spec.Sources) > 0:
		m.fault(o, NotBuilt, "sources are not checked yet, so the port stays closed: use security-groups of the members")
		return
	case len(m.serves) == 0:
		return // the load-balancer says why
	}
	l := Listener{Ref: api.RefTo(o), Addresses: m.serves, Protocol: protocol, Port: uint16(o.Spec.Port)}
	switch {
	case pool == nil:
		m.partly(o, NoPool, "no pool of the load-balancer serves it: connections are refused")
	case pool.Spec.AdminState == api.AdminDown:
		m.partly(o, SwitchedOff, "adminState of pool %s is down: connections are refused", api.RefTo(pool))
	case transport(pool.Spec.Protocol) != protocol:
		m.partly(o, PoolUnfit, "pool %s speaks %s and not %s: connections are refused", api.RefTo(pool), pool.Spec.Protocol, o.Spec.Protocol)
	default:
		l.Pool, l.Locality = pool.Meta.UUID, cmp.Or(pool.Spec.Locality, "any")
		l.BySource = pool.Spec.Algorithm == "source-address"
		if a := pool.Spec.Affinity; a != nil && a.By == "source-address" {
			l.BySource, l.Seconds = true, cmp.Or(a.Seconds, 10800)
		}
		m.used[pool.Meta.UUID] = true
	}
	m.Listeners = append(m.Listeners, l)
}

// bound takes away the listeners that are beyond what a load-balancer may have, and members
// that only these had.
func (m *maker) bound() {
	serve := map[string]int{} // members by pool
	for i := range m.Members {
		serve[m.Members[i].Pool]++
	}
	listeners, places := 0, 0
	var within []Listener
	for _, l := range m.Listeners {
		more, needs := len(l.Addresses), len(l.Addresses)*serve[l.Pool]
		if listeners+more <= MaxListeners && places+needs <= MaxPlaces {
			listeners, places, within = listeners+more, places+needs, append(within, l)
			continue
		}
		m.Faults = slices.DeleteFunc(m.Faults, func(f Fault) bool { return f.Kind == api.KindListener && f.UUID == l.Ref.UUID })
		m.Faults = append(m.Faults, Fault{Kind: api.KindListener, UUID: l.Ref.UUID, Reason: TooLarge, Message: fmt.Sprintf(
			"its load-balancer has more than it may, so the port is closed: at most %d listeners, and %d members of them, each counted at each address; make another load-balancer", MaxListeners, MaxPlaces)})
	}
	if len(within) == len(m.Listeners) {
		return
	}
	if m.Fault(api.KindLoadBalancer, m.Ref.UUID) == nil {
		m.partly(m.spec, TooLarge, "%d of its %d listeners do not serve: at most %d may, with %d members, each counted at each address; make another load-balancer",
			len(m.Listeners)-len(within), len(m.Listeners), MaxListeners, MaxPlaces)
	}
	m.Listeners = within
	m.Members = slices.DeleteFunc(m.Members, func(one Member) bool { return !m.Uses(one.Pool) })
}

// transport is what is spoken below the protocol of a pool; 0: it needs a proxy.
func transport(pool string) uint8 {
	switch pool {
	case "UDP":
		return 17
	case "SCTP":
		return 132
	case "PROXY", "PROXYV2":
		return 0
	}
	return 6
}

func (m *maker) pool(o *api.Pool) {
	switch {
	case o.Spec.AdminState == api.AdminDown:
		m.fault(o, SwitchedOff, "adminState is down: no member is chosen")
		return
	case transport(o.Spec.Protocol) == 0:
		m.fault(o, NotBuilt, "protocol %s needs a provider that there is not yet", o.Spec.Protocol)
		return
	case o.Spec.Affinity != nil && o.Spec.Affinity.By != "source-address":
		m.partly(o, NotBuilt, "affinity by %s needs a provider that there is not yet: clients are not remembered", o.Spec.Affinity.By)
	case o.Spec.Algorithm == "round-robin" || o.Spec.Algorithm == "least-connections":
		m.partly(o, AnotherWay, "algorithm %s is for load-balancers of provider haproxy: here the hash of a connection chooses its member (maglev), which is as even with many connections and not with few", o.Spec.Algorithm)
	case o.Spec.Locality == "prefer-zone":
		m.partly(o, NotBuilt, "hosts have no zones yet: members of all zones are alike")
	}
	if !m.used[o.Meta.UUID] {
		return
	}
	monitored := m.monitored(o.Meta.UUID)
	var members []Member
	for _, child := range m.u.objects.children(api.KindMember, o.Meta.UUID) {
		spec := child.(*api.Member)
		switch one, serves := m.member(spec, monitored); {
		case !serves:
		case len(members) == maglev.MaxMembers:
			m.fault(spec, TooMany, "the pool has %d members that come first by UUID: more are not used", maglev.MaxMembers)
		default:
			members = append(members, one)
			m.unmapped(spec)
		}
	}
	if len(Choice(members)) == 0 {
		m.Faults = slices.DeleteFunc(m.Faults, func(f Fault) bool { return f.Kind == api.KindPool && f.UUID == o.Meta.UUID }) // this weighs more
		m.fault(o, NoMember, "it has no member that can be chosen: connections are refused")
	}
	m.Members = append(m.Members, members...)
	slices.SortFunc(m.Members, func(a, b Member) int { return strings.Compare(a.Ref.UUID, b.Ref.UUID) })
}

// monitored tells whether the pool's members are tried.
func (m *maker) monitored(pool string) bool {
	return slices.ContainsFunc(m.u.objects.children(api.KindHealthMonitor, pool), func(o api.Object) bool {
		return o.(*api.HealthMonitor).Spec.AdminState != api.AdminDown
	})
}
