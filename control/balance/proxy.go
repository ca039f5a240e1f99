// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/routing"
)

// Proxy is what a pair of proxies serves, and where the two are.
type Proxy struct {
	Addresses []netip.Addr // the virtual ones, ascending
	Places    []Place      // at most one of each of PairSize
}

// Place is a proxy on a host.
type Place struct {
	Port, Host api.Ref
	Row        []byte // an encoded hoststream.Row; never modified
	Hash       uint64 // of Row
}

// PairSize is how many proxies a load-balancer has.
const PairSize = 2

// FeatureProxy is what agents say that have a proxy of a load-balancer.
const FeatureProxy = "proxy"

// What a proxied load-balancer may have: a host gets it in one row.
const (
	MaxProxied      = 5_000 // members
	maxProxiedBytes = 3 << 20
)

// MadeFor is the label of a port that is one of a pair's. Its value is the load-balancer's UUID.
const MadeFor = "weft/proxy-of"

// ProxyPort is the UUID of the port of one of a pair. It follows from the load-balancer's, so that
// a port that is there is found, and is not made a second time.
func ProxyPort(balancer string, n int) string {
	root, err := uuid.Parse(balancer)
	if err != nil {
		return ""
	}
	return uuid.NewSHA1(root, fmt.Appendf(nil, "proxy/%d", n)).String()
}

// proxied computes a load-balancer that proxies serve.
func (m *maker) proxied() {
	m.addresses()
	m.Proxy = &Proxy{Addresses: m.serves}
	on := m.Network
	m.Network, m.VRF = api.Ref{}, 0 // no host needs its network for it but by the ports
	if len(m.serves) == 0 {
		return
	}
	row := m.proxyRow()
	var ports []*routing.Port
	for n := range PairSize {
		if p := m.u.Routing.Port(ProxyPort(m.Ref.UUID, n)); p != nil && p.Network.Ref.UUID == on.UUID {
			ports = append(ports, p)
		}
	}
	for i, p := range ports {
		row.Port, row.Priority = p.Ref.UUID, uint32(100+len(ports)-i)
		row.Own, row.Peer = slicesOf(p), nil
		for _, other := range ports {
			if other != p {
				row.Peer = slicesOf(other)
			}
		}
		body, err := proto.MarshalOptions{Deterministic: true}.Marshal(&hoststream.Row{Body: &hoststream.Row_Proxy{Proxy: row}})
		if err != nil {
			panic("balance: encode a proxy: " + err.Error())
		}
		if len(body) > maxProxiedBytes {
			m.fault(m.spec, TooLarge, "what it says is %d bytes with all that is below it, and a proxy is told %d at most: split it", len(body), maxProxiedBytes)
			return
		}
		m.Proxy.Places = append(m.Proxy.Places, Place{Port: p.Ref, Host: p.Host, Row: body, Hash: xxhash.Sum64(body)})
	}
}

func slicesOf(p *routing.Port) (all [][]byte) {
	for _, a := range p.Addresses {
		all = append(all, a.IP.AsSlice())
	}
	return all
}

// proxyRow is what both are told.
func (m *maker) proxyRow() *hoststream.Proxy {
	row := &hoststream.Proxy{LoadBalancer: m.Ref.UUID, LoadBalancerName: m.Ref.Name}
	for _, a := range m.serves {
		row.Addresses = append(row.Addresses, a.AsSlice())
	}
	for _, o := range m.u.objects.children(api.KindListener, m.Ref.UUID) {
		l := o.(*api.Listener)
		if l.Spec.AdminState == api.AdminDown {
			m.fault(l, SwitchedOff, "adminState is down: the port is closed")
			continue
		}
		row.Listeners = append(row.Listeners, proxyObject(l, l.Spec))
		row.Rules = append(row.Rules, m.rules(l.Meta.UUID)...)
	}
	for _, o := range m.u.objects.children(api.KindPool, m.Ref.UUID) {
		m.proxiedPool(row, o.(*api.Pool))
	}
	return row
}

// rules are those of a listener, in the order in which they are asked.
func (m *maker) rules(listener string) (all []*hoststream.ProxyObject) {
	var rules []*api.ListenerRule
	for _, o := range m.u.objects.children(api.KindListenerRule, listener) {
		if r := o.(*api.ListenerRule); r.Spec.AdminState != api.AdminDown {
			rules = append(rules, r)
		}
	}
	slices.SortStableFunc(rules, func(a, b *api.ListenerRule) int { // these are by UUID
		return cmp.Or(cmp.Compare(a.Spec.Position, b.Spec.Position), a.Meta.CreatedAt.Compare(b.Meta.CreatedAt))
	})
	for _, r := range rules {
		all = append(all, proxyObject(r, r.Spec))
	}
	return all
}

func (m *maker) proxiedPool(row *hoststream.Proxy, p *api.Pool) {
	if p.Spec.AdminState == api.AdminDown {
		m.fault(p, SwitchedOff, "adminState is down: no member is chosen")
	}
	row.Pools = append(row.Pools, proxyObject(p, p.Spec))
	for _, o := range m.u.objects.children(api.KindHealthMonitor, p.Meta.UUID) {
		if h := o.(*api.HealthMonitor); h.Spec.AdminState != api.AdminDown {
			row.Monitors = append(row.Monitors, proxyObject(h, h.Spec))
		}
	}
	for _, o := range m.u.objects.children(api.KindMember, p.Meta.UUID) {
		e := o.(*api.Member)
		switch {
		case p.Spec.AdminState == api.AdminDown:
		case e.Spec.AdminState == api.AdminDown:
			m.fault(e, SwitchedOff, "adminState is down: it is not chosen, and its connections end")
		case len(row.Members) == MaxProxied:
			m.fault(e, TooMany, "the load-balancer has %d members that come first: more are not used", MaxProxied)
		default:
			one := proxyObject(e, e.Spec)
			one.Addresses = m.target(e)
			row.Members = append(row.Members, one)
		}
	}
}

// target are the addresses of a member, or none, and then it is said why. Whoever may name the
// port of another project, and so attach to it, is checked when it is written.
func (m *maker) target(e *api.Member) (all [][]byte) {
	ip := e.Spec.IP.Unmap()
	if e.Spec.Port.IsZero() {
		return [][]byte{ip.AsSlice()}
	}
	port := m.u.Routing.Port(e.Spec.Port.UUID)
	if port == nil {
		m.fault(e, NoPlace, "port %s is on no host", e.Spec.Port)
		return nil
	}
	for _, a := range port.Addresses { // by address, IPv4 first
		if !ip.IsValid() || a.IP == ip {
			all = append(all, a.IP.AsSlice())
		}
	}
	switch {
	case len(all) == 0 && ip.IsValid():
		m.fault(e, NotTheirs, "port %s has not the address %v", port.Ref, ip)
	case len(all) == 0:
		m.fault(e, NoAddress, "port %s has no address", port.Ref)
	}
	return all
}

func proxyObject(o api.Object, spec any) *hoststream.ProxyObject {
	text, err := json.Marshal(spec)
	if err != nil {
		panic("balance: encode the spec of " + o.Head().Meta.FQName + ": " + err.Error()) // it was read from the same
	}
	m := o.Head().Meta
	return &hoststream.ProxyObject{Uuid: m.UUID, Name: m.FQName, Parent: m.Parent.UUID, Spec: text}
}

// equal tells that two read the same.
func (p *Proxy) equal(q *Proxy) bool {
	if p == nil || q == nil {
		return p == q
	}
	return slices.Equal(p.Addresses, q.Addresses) && slices.EqualFunc(p.Places, q.Places, func(a, b Place) bool {
		return a.Port == b.Port && a.Host == b.Host && a.Hash == b.Hash && bytes.Equal(a.Row, b.Row)
	})
}

// Proxied yields the load-balancers that proxies serve, in no order.
func (d *Derived) Proxied(yield func(*Balancer) bool) {
	for _, b := range d.proxied.All {
		if !yield(b) {
			return
		}
	}
}

// ProxiesOf are the proxies that a host has, by load-balancer, and nil for none. It is another one
// whenever anything of them is.
func (d *Derived) ProxiesOf(host string) *Proxies { return d.proxies[host] }

// Proxies are those of a host.
type Proxies struct{ Rows []ProxyRow }

// ProxyRow is one of them.
type ProxyRow struct {
	Balancer string // UUID
	Place
}

// runProxies gives hosts what they have of the load-balancers that were computed.
func (u *update) runProxies(changed []*Balancer, hosts map[string]bool) {
	if len(hosts) == 0 {
		return
	}
	u.proxies = cloneOf(u.proxies)
	for host := range hosts {
		var rows []ProxyRow
		if old := u.proxies[host]; old != nil {
			rows = slices.DeleteFunc(slices.Clone(old.Rows), func(r ProxyRow) bool {
				b := u.Get(r.Balancer)
				return b == nil || b.Proxy == nil || slices.ContainsFunc(changed, func(c *Balancer) bool { return c.Ref.UUID == r.Balancer })
			})
		}
		for _, b := range changed {
			for _, at := range b.Proxy.places() {
				if at.Host.UUID == host {
					rows = append(rows, ProxyRow{b.Ref.UUID, at})
				}
			}
		}
		slices.SortFunc(rows, func(a, b ProxyRow) int { return strings.Compare(a.Balancer, b.Balancer) })
		if len(rows) == 0 {
			delete(u.proxies, host)
		} else {
			u.proxies[host] = &Proxies{rows}
		}
	}
}

func (p *Proxy) places() []Place {
	if p == nil {
		return nil
	}
	return p.Places
}

// ofProxy notes the load-balancer that a port was made for.
func (u *update) ofProxy(s api.Snapshot, port string) {
	p, ok := s.Get(api.KindPort, port).(*api.Port)
	if !ok {
		return
	}
	if of := p.Meta.Labels[MadeFor]; of != "" {
		u.stale[of] = true
	}
}
