// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/vrouter"
	"github.com/weft-network/weft/vrouter/rules"
)

// heldPolicy is what ports asked when a hold began. It is asked beside what they are to
// ask until the hold is gone, so that a change holds at all hosts at once.
type heldPolicy struct {
	id     string
	former map[int]former       // by interface
	sets   map[uint32]*contents // what these name, with the rulesets of their audit rules
	// moved are routes and places behind virtual addresses that say who a workload is by
	// an identity in between, which former rules know as who it was, and the others as who it is.
	moved moves
	rules map[uint32][]Numbered // that former rulesets are made of; after a start nobody knows
}

// former is what a port asked.
type former struct {
	port, vrf uint32
	rulesets  [rules.Directions][rules.Layers]uint32
	stateless bool
}

// term is how long a hold lasts at most.
type term struct {
	id   string
	ends time.Time
	over bool
}

// holdOf is the hold that rows tell of; there is never more than one.
func holdOf(rows desired.Rows) (h desired.Hold) {
	for _, other := range rows.Holds {
		if h.ID == "" || other.ID < h.ID {
			h = other
		}
	}
	return h
}

// holds tells whether tables are under a hold that has not ended by itself.
func (p *Programmer) holds(t *Tables) bool {
	return t.Hold.ID != "" && (t.Hold.ID != p.term.id || !p.term.over)
}

// followHold ends what is held if its hold is gone, and has routes and members say of
// workloads what they say while it goes on.
func (p *Programmer) followHold(t *Tables) {
	if p.held == nil {
		return
	}
	if !p.holds(t) || p.held.id != t.Hold.ID {
		p.held = nil
		return
	}
	routes := maps.Clone(t.Routes)
	for key, m := range p.held.moved.routes {
		switch route, wanted := routes[key]; {
		case !wanted:
			delete(p.held.moved.routes, key)
		case route.Who == m.is:
			route.Who = m.between
			routes[key] = route
		}
	}
	t.Routes = routes
	t.Balanced.between = map[vrouter.PoolMemberKey]placeMove{}
	for key, m := range p.held.moved.places {
		switch member, wanted := t.Balanced.member(m.of, key); {
		case !wanted:
			delete(p.held.moved.places, key)
		case member.Identity == m.is:
			t.Balanced.between[key] = m
		}
	}
}

// hold takes what ports ask in the kernel as what they are to ask besides, and
// has it know identities in between. After a start the kernel may have what an
// earlier run took.
func (p *Programmer) hold(id string, moved moves) {
	if p.held == nil {
		none := moves{map[vrouter.RouteKey]move{}, map[vrouter.PoolMemberKey]placeMove{}}
		p.held = &heldPolicy{id: id, former: map[int]former{}, sets: map[uint32]*contents{}, moved: none, rules: p.Rules()}
		p.ports.EachHad(func(ifindex int, port vrouter.Port) {
			policy, policed, there := p.formerPolicy(ifindex, port)
			if !there || !policed {
				return
			}
			f := former{port.ID, port.VRF, policy.Rulesets, policy.Stateless}
			if policy.Strict && !p.began {
				f.rulesets, f.stateless = policy.Former, policy.FormerStateless
			}
			p.held.former[ifindex] = f
			p.keep(p.held.sets, idsOf(f.rulesets), p.rulesets.Applied)
		})
	}
	p.held.learn(moved)
	maps.Copy(p.held.moved.routes, moved.routes)
	maps.Copy(p.held.moved.places, moved.places)
}

// addFormer has ports ask what they asked when the hold began besides.
func (p *Programmer) addFormer(t *Tables, sets map[uint32]*contents, ports map[int]vrouter.PortPolicy) {
	p.strict = map[int]vrouter.PortPolicy{}
	if p.held == nil {
		return
	}
	for ifindex, f := range p.held.former {
		port, wanted := t.Ports[ifindex]
		asks := ports[ifindex]
		alike := asks.Rulesets == f.rulesets && asks.Stateless == f.stateless
		if !wanted || port.ID != f.port || port.VRF != f.vrf || p.former[ifindex] != "" || alike {
			continue
		}
		asks.Strict, asks.Former, asks.FormerStateless = true, f.rulesets, f.stateless
		ports[ifindex], p.strict[ifindex] = asks, asks
		p.keep(sets, idsOf(f.rulesets), func(id uint32) (*contents, bool) { c, ok := p.held.sets[id]; return c, ok })
	}
}

// asking are the ports with the flags that follow from what they ask besides.
func (e *enforcement) asking(ports map[int]vrouter.Port) map[int]vrouter.Port {
	if len(e.strict) == 0 {
		return ports
	}
	all := maps.Clone(ports)
	for ifindex, asks := range e.strict {
		port := all[ifindex]
		port.Policed, port.Stateless = true, asks.Stateless || asks.FormerStateless
		all[ifindex] = port
	}
	return all
}

// timeHold ends a hold that has lasted as long as it may, and notes when that will be.
func (p *Programmer) timeHold(now time.Time) {
	if hold := p.given.Hold; hold.ID != p.term.id {
		p.term = term{id: hold.ID, ends: now.Add(hold.Lasts)}
	}
	if p.term.id != "" && !p.term.over && !now.Before(p.term.ends) {
		p.term.over = true
		p.Want(p.given)
	}
}

// nextTerm is when a hold ends by itself; false if there is none.
func (p *Programmer) nextTerm() (time.Time, bool) {
	return p.term.ends, p.term.id != "" && !p.term.over
}

// holdProblem says why not all ports ask both what they asked and what they are
// to ask; empty if they do.
func (p *Programmer) holdProblem() string {
	switch hold := p.given.Hold; {
	case p.term.over:
		return fmt.Sprintf("it was not withdrawn within %v and has ended by itself: ports ask the new policy alone", hold.Lasts)
	case p.held == nil || p.transition != nil || !p.policies.Settled() || !p.rulesets.Settled() || !p.between():
		return "not all ports ask both policies yet"
	case len(p.former) > 0:
		first := slices.Min(slices.Collect(maps.Keys(p.former)))
		return fmt.Sprintf("%d ports ask their former policy alone, the one on interface %d because: %s", len(p.former), first, p.former[first])
	}
	return ""
}

// between tells whether routes and members say the identities in between.
func (p *Programmer) between() bool {
	for key, m := range p.held.moved.routes {
		if has, known := p.routes.Applied(key); !known || has.Who != m.between {
			return false
		}
	}
	for key, m := range p.held.moved.places {
		if has, known := p.service.members.Applied(key); !known || has.Identity != m.between {
			return false
		}
	}
	return true
}

// learn has former rulesets know identities in between as who the workloads were.
// A ruleset never changes: those that know more are others.
func (h *heldPolicy) learn(moved moves) {
	moves := moved.all()
	other := map[uint32]uint32{0: 0}
	var of func(id uint32) uint32
	of = func(id uint32) uint32 {
		if to, known := other[id]; known {
			return to
		}
		other[id] = id
		c := h.sets[id]
		if c == nil {
			return id
		}
		audit, more := of(c.head.Audit), c.knowing(id, moves)
		if audit == c.head.Audit && len(more) == 0 {
			return id
		}
		to := numberOf(id, audit, more)
		h.sets[to] = c.as(to, audit, more)
		other[id] = to
		return to
	}
	for ifindex, f := range h.former {
		for direction := range f.rulesets {
			for layer, id := range f.rulesets[direction] {
				f.rulesets[direction][layer] = of(id)
			}
		}
		h.former[ifindex] = f
	}
	for id, to := range other {
		if id != to {
			delete(h.sets, id)
		}
	}
}

func idsOf(sets [rules.Directions][rules.Layers]uint32) (ids []uint32) {
	for _, layers := range sets {
		for _, id := range layers {
			if id != 0 {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// knows is what a ruleset makes of an identity.
type knows struct {
	identity rules.Identity
	class    vrouter.RemoteClass
}

// knowing is what a ruleset is to make of identities in between that it does not
// know: what it makes of who the workloads were. It is in order.
func (c *contents) knowing(id uint32, moves map[move]bool) (more []knows) {
	for m := range moves {
		class, named := c.named[vrouter.RemoteClassKey{Ruleset: id, Identity: m.was}]
		if _, known := c.named[vrouter.RemoteClassKey{Ruleset: id, Identity: m.between}]; named && !known {
			more = append(more, knows{m.between, class})
		}
	}
	slices.SortFunc(more, func(a, b knows) int { return cmp.Compare(a.identity, b.identity) })
	return more
}

// numberOf is the number of a ruleset that knows more than another one.
func numberOf(id, audit uint32, more []knows) uint32 {
	words := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32([]byte("knows"), id), audit)
	for _, k := range more {
		words = binary.BigEndian.AppendUint64(words, uint64(k.identity))
	}
	return max(1, uint32(xxhash.Sum64(words)))
}

// as are the contents under another number, with other audit rules and more identities.
func (c *contents) as(id, audit uint32, more []knows) *contents {
	all := newContents()
	all.head = c.head
	all.head.Audit = audit
	for k, v := range c.named {
		all.named[vrouter.RemoteClassKey{Ruleset: id, Identity: k.Identity}] = v
	}
	for _, k := range more {
		all.named[vrouter.RemoteClassKey{Ruleset: id, Identity: k.identity}] = k.class
	}
	for k, v := range c.ranges {
		k.Ruleset = id
		all.ranges[k] = v
	}
	for k, v := range c.services {
		k.Ruleset = id
		all.services[k] = v
	}
	for k, v := range c.pages {
		k.Ruleset = id
		all.pages[k] = v
	}
	for k, v := range c.verdicts {
		k.Ruleset = id
		all.verdicts[k] = v
	}
	return all
}
