// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"slices"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/balance"
	"github.com/weft-network/weft/control/placement"
)

// Serving is the condition that a load-balancer, a listener, a pool or a member
// does what it says.
const Serving = "Serving"

// The reasons of Serving that are no fault's.
const (
	reasonServing = "serving" // holds
	reasonUnused  = "unused"  // no listener that serves has it
)

// lacks is what an agent does not say that it can, of what control goes by.
func lacks(r *hoststream.Report) []string {
	if slices.Contains(r.Features, balance.Feature) {
		return nil
	}
	return []string{balance.Feature}
}

// serving says of load-balancers and what is below them whether they serve.
type serving struct {
	*collector
	old     []api.Ref         // hosts whose agents do not know virtual addresses
	same    bool              // they are those of the round before
	without map[string]string // of these who are clients of a network, by UUID, in words; empty: none
	left    map[string]string // what hosts left out of their kernels, by UUID of load-balancer and of listener or member, in words
	was     map[string]string // and in the round before
	pair    *pairs            // nil: nobody has asked
}

func (c *collector) balanced() {
	s := serving{collector: c, old: withoutBalance(&c.Input), without: map[string]string{}, left: leftOut(&c.Input)}
	if c.before != nil {
		s.was = leftOut(c.before)
	}
	s.same = c.before != nil && slices.Equal(s.old, withoutBalance(c.before))
	for _, l := range api.ListOf[*api.LoadBalancer](c.Snapshot, api.KindLoadBalancer) {
		s.note(l, &l.Status, c.Plan.Balance.Get(l.Meta.UUID), true)
	}
	listened := map[string]*balance.Balancer{} // by listener
	for _, l := range api.ListOf[*api.Listener](c.Snapshot, api.KindListener) {
		b := c.Plan.Balance.Get(l.Meta.Parent.UUID)
		s.note(l, &l.Status, b, b.Listens(l.Meta.UUID))
		listened[l.Meta.UUID] = b
	}
	for _, r := range api.ListOf[*api.ListenerRule](c.Snapshot, api.KindListenerRule) {
		if b := listened[r.Meta.Parent.UUID]; b != nil && b.Proxy != nil { // others ask none
			s.note(r, &r.Status, b, true)
		}
	}
	balancer := map[string]*balance.Balancer{} // by pool
	for _, p := range api.ListOf[*api.Pool](c.Snapshot, api.KindPool) {
		b := c.Plan.Balance.Get(p.Meta.Parent.UUID)
		balancer[p.Meta.UUID] = b
		s.note(p, &p.Status, b, b.Uses(p.Meta.UUID))
	}
	for _, m := range api.ListOf[*api.Member](c.Snapshot, api.KindMember) {
		b := balancer[m.Meta.Parent.UUID]
		s.note(m, &m.Status, b, b.Member(m.Meta.UUID) != nil)
	}
}

// withoutBalance are the hosts whose agents do not know virtual addresses. Of those
// that are away nobody knows.
func withoutBalance(in *Input) (hosts []api.Ref) {
	for _, h := range in.Plan.Derived.Hosts {
		if state := in.Hosts[h.Ref.UUID]; state.Connected && state.Report != nil && !slices.Contains(state.Report.Features, balance.Feature) {
			hosts = append(hosts, h.Ref)
		}
	}
	return hosts
}

// leftOut says of which load-balancers, listeners and members a host has no rows in its
// kernel, by UUID: the first host by name, and how many more there are. What a host said
// holds while it is away.
func leftOut(in *Input) map[string]string {
	type of struct {
		host, text string
		more       map[string]bool
	}
	found := map[string]*of{}
	for _, host := range in.Hosts {
		name := host.Host.Name
		for key, text := range host.RowErrors {
			for _, uuid := range placement.ServingKey(key) {
				o := found[uuid]
				if o == nil {
					o = &of{more: map[string]bool{}}
					found[uuid] = o
				}
				o.more[name] = true
				if o.host == "" || name < o.host || name == o.host && text < o.text {
					o.host, o.text = name, text
				}
			}
		}
	}
	words := map[string]string{}
	for uuid, o := range found {
		words[uuid] = "not for workloads of host " + o.host
		if n := len(o.more) - 1; n > 0 {
			words[uuid] += fmt.Sprintf(" and of %d more", n)
		}
		words[uuid] += ": " + o.text
	}
	return words
}

// note notes the condition of one object; used: it is at work if nothing is wrong
// with it.
func (s *serving) note(o api.Object, was *api.Reported, b *balance.Balancer, used bool) {
	uuid := o.Head().Meta.UUID
	if b != nil && b.Proxy != nil {
		s.proxied(o, was, b)
		return
	}
	if b != nil && s.same && s.left[uuid] == s.was[uuid] && s.before.Plan.Balance.Get(b.Ref.UUID) == b && (len(s.old) == 0 || s.before.Plan.Derived.Same(s.Plan.Derived)) && slices.ContainsFunc(was.Conditions, func(c api.Condition) bool { return c.Type == Serving }) {
		return // as in the round before
	}
	now := api.Condition{Type: Serving, Status: used, Reason: reasonServing}
	switch f := b.Fault(o.Head().Kind, uuid); {
	case f != nil:
		now.Status, now.Reason, now.Message = f.Partly && used, f.Reason, bounded(f.Message)
		if said := s.left[uuid]; said != "" && now.Status {
			now.Message = bounded(f.Message + "; " + said)
		}
	case !used:
		now.Reason = reasonUnused
	case s.left[uuid] != "":
		now.Reason, now.Message = reasonRowError, bounded(s.left[uuid]) // it serves others
	case len(s.old) > 0 && b != nil && o.Head().Kind == api.KindLoadBalancer:
		if clients := s.clients(b.Network.UUID); clients != "" {
			now.Reason = reasonOldAgent // it serves others
			now.Message = bounded("workloads of " + clients + " have no route to it, for the agent there does not know virtual addresses: upgrade weft-agent")
		}
	}
	s.want(o, &api.Reported{Conditions: s.setOf(s.conditions(o, was.Conditions), now)})
}

// clients names the hosts with workloads of a network, or of one that imports it, whose
// agents do not know virtual addresses.
func (s *serving) clients(network string) string {
	words, known := s.without[network]
	if known {
		return words
	}
	var names []string
	for _, h := range s.old {
		holds := func(network string) bool { return s.Plan.Holds(h.UUID, network) }
		if holds(network) || slices.ContainsFunc(s.Plan.Derived.Importers(network), holds) {
			names = append(names, h.Name)
		}
	}
	if len(names) > 0 {
		words = "host " + names[0]
		if len(names) > 1 {
			words += fmt.Sprintf(" and %d more", len(names)-1)
		}
	}
	s.without[network] = words
	return words
}
