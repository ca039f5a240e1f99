// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"strings"

	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/vrouter/rules"
)

// BalancerKey names a load-balancer.
type BalancerKey struct {
	VRF uint32 // of the virtual addresses' network
	ID  string // UUID
}

// Balancer is a load-balancer's listeners and members, by UUID. It never changes:
// with any change of them there is another one.
type Balancer struct {
	Listeners map[string]Listener
	Members   map[string]Member
}

// Listener is a transport port of virtual addresses.
type Listener struct {
	Name      string // fully qualified
	Addresses []netip.Addr
	Protocol  uint8
	Port      uint16
	Pool      string // UUID; empty: connections are refused
	Locality  string // the words of api.PoolSpec; what this agent does not know is any
	BySource  bool   // the client's address alone chooses
	Seconds   uint32 // how long a silent client keeps its member; 0: it is not remembered
}

// Member is one of a pool.
type Member struct {
	Name      string // fully qualified
	Pool      string // UUID
	Port      string // UUID
	PortName  string
	Host      string // UUID
	Addresses []netip.Addr
	Target    uint16
	MAC       [6]byte // that frames to it are sent to
	State     MemberState
	Backup    bool
	Weight    uint32
	MTU       int // as a route's
	Workload  rules.Identity
	Tags      []string
}

// MemberState says whether new conversations go to a member.
type MemberState string

// The states. What this agent does not know is draining: it keeps what it has.
const (
	MemberActive   MemberState = "active"
	MemberDraining MemberState = "draining"
	MemberDown     MemberState = "down"
)

// ListenerRow is the key of a listener's row.
func ListenerRow(of BalancerKey, listener string) string {
	return fmt.Sprintf("listener/%d/%s/%s", of.VRF, of.ID, listener)
}

// MemberRow is the key of a member's row.
func MemberRow(of BalancerKey, member string) string {
	return fmt.Sprintf("member/%d/%s/%s", of.VRF, of.ID, member)
}

// rebalance replaces a load-balancer by one that change makes of a copy. Of many
// changes in one delta the first makes the copy, which nobody has seen yet at the others.
func (r *Rows) rebalance(of BalancerKey, change func(b *Balancer)) {
	now := r.fresh[of]
	if now == nil {
		now = &Balancer{map[string]Listener{}, map[string]Member{}}
		if was := r.Balancers[of]; was != nil {
			maps.Copy(now.Listeners, was.Listeners)
			maps.Copy(now.Members, was.Members)
		}
		if r.fresh == nil {
			r.fresh = map[BalancerKey]*Balancer{}
		}
		r.fresh[of] = now
	}
	change(now)
	if r.Balancers[of] = now; len(now.Listeners)+len(now.Members) == 0 {
		delete(r.Balancers, of)
		delete(r.fresh, of)
	}
}

func (r *Rows) insertBalanced(key string, row *hoststream.Row) (string, error) {
	if l := row.GetListener(); l != nil {
		return r.insertListener(key, l)
	}
	return r.insertMember(key, row.GetMember())
}

func (r *Rows) insertListener(key string, m *hoststream.Listener) (string, error) {
	of := BalancerKey{m.Vrf, m.LoadBalancer}
	l := Listener{Name: m.ListenerName, Protocol: uint8(m.Protocol), Port: uint16(m.Port), Pool: m.Pool, Locality: m.Locality, BySource: m.BySource, Seconds: m.AffinitySeconds}
	switch {
	case len(m.Needs) > 0:
		return "", fmt.Errorf("listener %s needs %q, which this agent does not know: upgrade it", m.ListenerName, m.Needs)
	case m.Protocol == 0 || m.Protocol > math.MaxUint8 || m.Port == 0 || m.Port > math.MaxUint16:
		return "", fmt.Errorf("listener %s: protocol %d port %d is none", m.ListenerName, m.Protocol, m.Port)
	}
	var err error
	if l.Addresses, err = addressList(m.Addresses); err != nil {
		return "", fmt.Errorf("listener %s: %w", m.ListenerName, err)
	}
	k := ListenerRow(of, m.Listener)
	if k == key {
		r.rebalance(of, func(b *Balancer) { b.Listeners[m.Listener] = l })
	}
	return k, nil
}

func (r *Rows) insertMember(key string, m *hoststream.Member) (string, error) {
	of := BalancerKey{m.Vrf, m.LoadBalancer}
	v := Member{
		Name: m.MemberName, Pool: m.Pool, Port: m.Port, PortName: m.PortName, Host: m.Host, Target: uint16(m.TargetPort), State: MemberState(m.State), Backup: m.Backup,
		Weight: m.Weight, MTU: int(m.Mtu), Workload: rules.Identity(m.Workload), Tags: m.Tags,
	}
	if v.State != MemberActive && v.State != MemberDown {
		v.State = MemberDraining
	}
	var err error
	if v.MAC, err = mac(m.Mac); err == nil && v.MAC[0] != memberMAC {
		err = fmt.Errorf("MAC %x names no member", m.Mac)
	}
	if m.TargetPort == 0 || m.TargetPort > math.MaxUint16 {
		err = errors.Join(err, fmt.Errorf("port %d is none", m.TargetPort))
	}
	if err == nil {
		v.Addresses, err = addressList(m.Addresses)
	}
	if err != nil {
		return "", fmt.Errorf("member %s: %w", m.MemberName, err)
	}
	k := MemberRow(of, m.Member)
	if k == key {
		r.rebalance(of, func(b *Balancer) { b.Members[m.Member] = v })
	}
	return k, nil
}

// memberMAC begins the MACs that name members.
const memberMAC = 0x0a

// addressList is addresses of which there is one at least.
func addressList(raw [][]byte) (all []netip.Addr, err error) {
	for _, b := range raw {
		a, ok := netip.AddrFromSlice(b)
		if !ok || a.Is4In6() {
			return nil, fmt.Errorf("address of %d bytes is none", len(b))
		}
		all = append(all, a)
	}
	if len(all) == 0 {
		return nil, errors.New("no address")
	}
	return all, nil
}

// removeBalanced forgets a listener or a member.
func (r *Rows) removeBalanced(key, kind string, vrf uint32, rest string) {
	balancer, id, _ := strings.Cut(rest, "/")
	of := BalancerKey{vrf, balancer}
	b := r.Balancers[of]
	if b == nil {
		return
	}
	switch _, listens := b.Listeners[id]; {
	case kind == "listener" && listens && ListenerRow(of, id) == key:
		r.rebalance(of, func(b *Balancer) { delete(b.Listeners, id) })
	case kind == "member" && MemberRow(of, id) == key:
		if _, serves := b.Members[id]; serves {
			r.rebalance(of, func(b *Balancer) { delete(b.Members, id) })
		}
	}
}
