// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
	"github.com/weft-network/weft/vrouter/maglev"
	"github.com/weft-network/weft/vrouter/rules"
)

// Balanced are the tables of virtual addresses. It never changes.
type Balanced struct {
	Of map[desired.BalancerKey]*BalancerTables

	hops map[vrouter.NextHop]int // how many load-balancers have each
	seen *seen                   // what they were made of besides their rows
	// between are members that have another identity for a while, see transition.
	between map[vrouter.PoolMemberKey]placeMove
}

// told is a member as the kernel is to have it.
func (b *Balanced) told(key vrouter.PoolMemberKey, m PoolMember) PoolMember {
	if move, moves := b.between[key]; moves {
		m.Identity = move.move.between
	}
	return m
}

// member returns one of a load-balancer, if it has it.
func (b *Balanced) member(of desired.BalancerKey, key vrouter.PoolMemberKey) (m PoolMember, there bool) {
	if t := b.Of[of]; t != nil {
		m, there = t.Members[key]
	}
	return m, there
}

// places finds members of any load-balancer.
func (b *Balanced) places() func(vrouter.PoolMemberKey) (of desired.BalancerKey, m PoolMember, there bool) {
	owners := map[vrouter.ListenerKey]desired.BalancerKey{}
	for key, of := range b.Of {
		for at := range of.Listeners {
			owners[at] = key
		}
	}
	return func(key vrouter.PoolMemberKey) (of desired.BalancerKey, m PoolMember, there bool) {
		of = owners[key.ListenerKey]
		m, there = b.member(of, key)
		return of, m, there
	}
}

// BalancerTables are those of one load-balancer. It is another one whenever
// anything of it may be.
type BalancerTables struct {
	Listeners map[vrouter.ListenerKey]Listener
	Choices   map[string]Choice // by the name that listeners have
	Members   map[vrouter.PoolMemberKey]PoolMember
	Mappings  map[uint64]vrouter.Mapping
	Down      map[vrouter.PoolMemberKey]struct{} // members by UDP that are down
	Problems  map[string]string                  // by row, as in Tables

	from *desired.Balancer
	hops []vrouter.NextHop // each once
	need room
}

// taken is who of a pool serves at addresses of a family, and whom these choose. Most
// listeners of a load-balancer have the same.
type taken struct {
	pool, locality string
	v4             bool
	sctp           uint16 // the port that members must have; 0: any, for it is mapped
}

// serving is what is taken.
type serving struct {
	members []poolMember
	choice  Choice
	name    string // of the choice; empty: nobody can be chosen
	problem string
}

// balancerMaker computes the tables of one load-balancer.
type balancerMaker struct {
	*BalancerTables
	key   desired.BalancerKey
	rows  desired.Rows
	pools map[string][]poolMember // by UUID each
	taken map[taken]*serving
}

// seen is all that next hops of members follow from.
type seen struct {
	endpoints map[string]desired.Endpoint
	attached  map[string]Attachment
	ports     map[string]bool
	underlay  Underlay
}

// Listener is as in [vrouter.Listener], but for the name of its choice.
type Listener struct {
	Choice   string // empty: nobody serves
	BySource bool
	Ticks    uint32
}

// Choice is members that new conversations go to, and how many buckets they share.
// It is filled when it is written: most are in the kernel already.
type Choice struct {
	Size    int
	Members []maglev.Member // by key; of those that cannot be chosen now the weight is 0
	MACs    []vrouter.MAC
}

// PoolMember is as in [vrouter.PoolMember], but for its next hop.
type PoolMember struct {
	NextHop  vrouter.NextHop
	MTU      int
	Internal netip.AddrPort
	Identity rules.Identity
	Chosen   bool
	Mapping  uint64
}

// Fill gives each bucket its member.
func (c *Choice) Fill() vrouter.Choice {
	return vrouter.Choice{Buckets: maglev.Fill(c.Size, c.Members), Members: c.MACs}
}

// name follows from the contents.
func (c *Choice) name() string {
	h := sha256.New()
	fmt.Fprintf(h, "%d", c.Size)
	for i := range c.Members {
		fmt.Fprintf(h, "/%s/%d/%x", c.Members[i].Key, c.Members[i].Weight, c.MACs[i])
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// poolMember is one of a pool with its place.
type poolMember struct {
	desired.Member
	id   string // UUID
	next vrouter.NextHop
	here int // interface of its port on this host; 0: it is elsewhere, or not plugged
}

// balancedOf computes the tables of virtual addresses. What is the same as in an
// earlier outcome is that outcome's, which never shows.
func balancedOf(in places, earlier Balanced) Balanced {
	now := Balanced{seen: seenOf(in)}
	if len(in.rows.Balancers) == 0 {
		return Balanced{}
	}
	if now.hops = maps.Clone(earlier.hops); !reflect.DeepEqual(now.seen, earlier.seen) {
		earlier, now.hops = Balanced{}, nil
	}
	if now.hops == nil {
		now.hops = map[vrouter.NextHop]int{}
	}
	now.Of = make(map[desired.BalancerKey]*BalancerTables, len(in.rows.Balancers))
	for key, b := range in.rows.Balancers {
		old := earlier.Of[key]
		if old != nil && old.from == b {
			now.Of[key] = old
			continue
		}
		now.drop(old)
		now.Of[key] = balancerOf(key, b, in)
		for _, hop := range now.Of[key].hops {
			now.hops[hop]++
		}
	}
	for key, old := range earlier.Of {
		if now.Of[key] == nil {
			now.drop(old)
		}
	}
	return now
}

// drop takes away the next hops of a load-balancer that is not there any more, or not so.
func (b *Balanced) drop(old *BalancerTables) {
	if old == nil {
		return
	}
	for _, hop := range old.hops {
		if b.hops[hop]--; b.hops[hop] == 0 {
			delete(b.hops, hop)
		}
	}
}

func seenOf(in places) *seen {
	ports := make(map[string]bool, len(in.rows.Ports))
	for id := range in.rows.Ports {
		ports[id] = true
	}
	return &seen{maps.Clone(in.rows.Endpoints), maps.Clone(in.attached), ports, in.underlay}
}

// addBalanced adds them, with the next hops that they need.
func (t *Tables) addBalanced(b Balanced) {
	t.Balanced = b
	for hop := range b.hops {
		t.NextHops[hop] = struct{}{}
	}
	for _, of := range b.Of {
		maps.Copy(t.Problems, of.Problems)
	}
}

// balancerOf computes the tables of one load-balancer. It costs what they have: a
// row for each member at each address of each listener of its pool.
func balancerOf(key desired.BalancerKey, b *desired.Balancer, in places) *BalancerTables {
	t := &BalancerTables{
		Listeners: map[vrouter.ListenerKey]Listener{}, Choices: map[string]Choice{}, Members: map[vrouter.PoolMemberKey]PoolMember{}, Mappings: map[uint64]vrouter.Mapping{},
		Down: map[vrouter.PoolMemberKey]struct{}{}, Problems: map[string]string{}, from: b,
	}
	m := balancerMaker{t, key, in.rows, map[string][]poolMember{}, map[taken]*serving{}}
	hops := map[vrouter.NextHop]bool{}
	for id, member := range b.Members {
		one := poolMember{Member: member, id: id}
		var problem string
		if one.next, one.here, problem = memberHop(key.VRF, member, in); problem != "" {
			t.Problems[desired.MemberRow(key, id)] = problem
		}
		if !hops[one.next] {
			hops[one.next] = true
			t.hops = append(t.hops, one.next)
		}
		m.pools[member.Pool] = append(m.pools[member.Pool], one)
	}
	for _, members := range m.pools {
		slices.SortFunc(members, func(a, b poolMember) int { return strings.Compare(a.id, b.id) })
	}
	for id, l := range b.Listeners {
		for _, address := range l.Addresses {
			if problem := m.add(id, l, address); problem != "" {
				t.Problems[desired.ListenerRow(key, id)] = problem
			}
		}
	}
	t.need = t.needs()
	return t
}

// memberHop is where frames to a member go: to its port, or by VXLAN to its host.
func memberHop(vrf uint32, m desired.Member, in places) (next vrouter.NextHop, here int, problem string) {
	if _, own := in.rows.Ports[m.Port]; own {
		next, _ = nextHop(desired.Route{Port: m.Port}, in)
		return next, next.Ifindex, ""
	}
	in.key = desired.RouteKey{VRF: vrf, Prefix: netip.PrefixFrom(m.Addresses[0], m.Addresses[0].BitLen())}
	next, problem = nextHop(desired.Route{Host: m.Host, VNI: vrf, Encapsulations: api.EncapsulationVXLAN}, in)
	return next, 0, problem
}

// serve finds who serves a listener at addresses of a family.
func (t *balancerMaker) serve(l desired.Listener, v4 bool) *serving {
	what := taken{pool: l.Pool, locality: l.Locality, v4: v4}
	if l.Protocol == protocolSCTP {
		what.sctp = l.Port
	}
	if s, known := t.taken[what]; known {
		return s
	}
	s, macs := &serving{}, map[[6]byte]bool{}
	members := t.pools[l.Pool]
	for _, m := range members {
		switch {
		case !m.internal(v4).IsValid():
			continue // it has no address of the family, which its status says
		case what.sctp != 0 && m.Target != what.sctp:
			s.problem = fmt.Sprintf("member %s: the port of SCTP cannot be mapped: give it target port %d", m.Name, l.Port)
			continue
		case macs[m.MAC]:
			s.problem = fmt.Sprintf("member %s has the MAC of another one: make it anew", m.Name)
			continue
		}
		macs[m.MAC] = true
		s.members = append(s.members, m)
	}
	s.choice = choiceOf(l, s.members, len(members))
	if slices.ContainsFunc(s.choice.Members, func(m maglev.Member) bool { return m.Weight > 0 }) {
		s.name = s.choice.name()
		t.Choices[s.name] = s.choice
	}
	t.taken[what] = s
	return s
}

// add adds a listener at one of its addresses, and its members there.
func (t *balancerMaker) add(id string, l desired.Listener, address netip.Addr) (problem string) {
	key := vrouter.ListenerKey{VRF: t.key.VRF, Address: address, Protocol: l.Protocol, Port: l.Port}
	s := t.serve(l, address.Is4())
	t.Listeners[key] = Listener{Choice: s.name, BySource: l.BySource, Ticks: ticksOf(l.Seconds)}
	for i, m := range s.members {
		row := PoolMember{NextHop: m.next, MTU: destinationMTU(desired.Route{Host: m.Host, MTU: m.MTU}, t.rows)}
		row.Internal, row.Identity, row.Chosen = netip.AddrPortFrom(m.internal(address.Is4()), m.Target), m.Workload, s.choice.Members[i].Weight > 0
		if m.here != 0 {
			row.MTU = 0 // that of its interface counts
			row.Mapping = mappingNumber(id, m.id, address)
			t.Mappings[row.Mapping] = vrouter.Mapping{
				Ifindex: m.here, VRF: t.key.VRF, Protocol: l.Protocol, External: netip.AddrPortFrom(address, l.Port), Internal: row.Internal,
			}
		}
		place := vrouter.PoolMemberKey{ListenerKey: key, MAC: m.MAC}
		if t.Members[place] = row; l.Protocol == udp && m.State == desired.MemberDown {
			t.Down[place] = struct{}{}
		}
	}
	return s.problem
}

const protocolSCTP = 132

// ticksOf is so many seconds or a little more; a tick is 2^30 ns.
func ticksOf(seconds uint32) uint32 {
	const tick = time.Duration(1 << 30)
	return uint32((time.Duration(seconds)*time.Second + tick - 1) / tick)
}

// internal is the member's address of a family.
func (m *poolMember) internal(v4 bool) netip.Addr {
	for _, a := range m.Addresses {
		if a.Is4() == v4 {
			return a
		}
	}
	return netip.Addr{}
}

// reached tells that frames to it can leave.
func (m *poolMember) reached() bool {
	return m.next.Kind == vrouter.NextHopPort || m.next.Kind == vrouter.NextHopTunnel && m.next.Encapsulation != vrouter.EncapsulationUnavailable
}

// choiceOf are the members that new conversations go to. All that serve are in it,
// so that what a host has only for a while moves no more buckets than it must.
func choiceOf(l desired.Listener, served []poolMember, all int) Choice {
	c := Choice{Size: maglev.Size(all)}
	chosen := chosenOf(l.Locality, served)
	for i, m := range served {
		one := maglev.Member{Key: m.id}
		if chosen[i] {
			one.Weight = m.Weight
		}
		c.Members, c.MACs = append(c.Members, one), append(c.MACs, m.MAC)
	}
	return c
}

// chosenOf says by place who of those that serve can be chosen: of this host only
// or first, if the locality says so; the active, else backups, else those that are drained.
func chosenOf(locality string, served []poolMember) map[int]bool {
	here := func(m *poolMember) bool { return m.here != 0 }
	anywhere := func(*poolMember) bool { return true }
	places := []func(*poolMember) bool{anywhere}
	switch locality {
	case "only-host":
		places = []func(*poolMember) bool{here}
	case "prefer-host":
		places = []func(*poolMember) bool{here, anywhere}
	}
	for _, state := range []struct {
		is      desired.MemberState
		backups bool
	}{{desired.MemberActive, false}, {desired.MemberActive, true}, {desired.MemberDraining, true}} {
		for _, at := range places {
			chosen := map[int]bool{}
			for i := range served {
				m := &served[i]
				if m.State == state.is && (state.backups || !m.Backup) && m.Weight > 0 && m.reached() && at(m) {
					chosen[i] = true
				}
			}
			if len(chosen) > 0 {
				return chosen
			}
		}
	}
	return nil
}

// mappingNumber is never another mapping's, and the same after a restart: entries of
// connections have it.
func mappingNumber(listener, member string, address netip.Addr) uint64 {
	sum := sha256.Sum256([]byte("mapping/" + listener + "/" + member + "/" + address.String()))
	return cmp.Or(binary.BigEndian.Uint64(sum[:]), 1)
}
