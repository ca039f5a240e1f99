// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/reconcile"
	"github.com/weft-network/weft/vrouter"
	"github.com/weft-network/weft/vrouter/rules"
)

// enforcement brings policy into the kernel: rulesets first, whole, then the
// ports that ask them, and away in the other order.
type enforcement struct {
	rulesets *reconcile.Sync[uint32, *contents]
	target   *rulesets
	policies *reconcile.Sync[int, vrouter.PortPolicy]
	uses     *portPolicies
	managed  *reconcile.Sync[vrouter.RouteKey, struct{}]
	asked    Asked
	compiled map[desired.Digest]compiled // of all that is wanted
	byID     map[uint32]*contents        // the same
	members
	numbers ruleNumbers
	former  map[int]string             // why a port has a policy that is not the wanted one
	closed  map[int]string             // why a port has none and passes nothing
	strict  map[int]vrouter.PortPolicy // what ports ask that ask besides what they asked before a hold

	wait   func() error
	waited uint64    // changes of uses, when no packet was on its way any more that came before
	busy   error     // why it is not known whether packets are still on their way
	retry  time.Time // when that is asked again
}

// compiled is a ruleset as it goes into the kernel, with the twin of its audit rules.
type compiled struct {
	id   uint32
	as   desired.Digest // of the ruleset with those that are still meant
	sets map[uint32]*contents
	err  error
}

// Numbered is a rule of this host under its number.
type Numbered struct {
	desired.Cause
	Layer  rules.Layer
	Action rules.Action
	Audit  bool
}

func (p *Programmer) addEnforcement(k Kernel) {
	e := &p.enforcement
	e.numbers = ruleNumbers{owners: map[uint32]uint64{}, moved: map[uint64]uint32{}}
	e.target = newRulesets(k)
	e.rulesets = reconcile.New(e.target, reconcile.Options[uint32, *contents]{
		Name: "ruleset", Compare: cmp.Compare[uint32], Equal: (*contents).equal, Ready: e.rulesetReady, Free: e.rulesetFree,
	})
	e.uses = &portPolicies{table: k.PortPolicies, may: map[int]map[uint32]bool{}, changes: 1}
	e.wait = k.WaitForPackets
	e.policies = reconcile.New(e.uses, reconcile.Options[int, vrouter.PortPolicy]{
		Name: "policy of interface", Compare: cmp.Compare[int], Equal: same[vrouter.PortPolicy],
		Ready: func(_ int, v vrouter.PortPolicy) error {
			for _, id := range rulesetsOf(v) {
				if st, wanted := e.rulesets.Status(id); !wanted || st.State != reconcile.Done {
					return fmt.Errorf("ruleset %d is not programmed: %s", id, explain(st, true))
				}
			}
			return nil
		},
		Free: func(ifindex int) error {
			port, known := p.ports.Applied(ifindex)
			return when(p.ports.MayHave(ifindex) && (!known || port.Policed), "port on interface %d still asks for its policy", ifindex)
		},
	})
	e.managed = reconcile.New(plain[vrouter.RouteKey, struct{}]{k.Managed}, reconcile.Options[vrouter.RouteKey, struct{}]{
		Name: "subnet", Compare: CompareRoutes, Equal: same[struct{}],
	})
}

// policyReady says that what a port asks is not in the kernel yet, if so. A port
// that is there does not wait for subnets, as its other changes must go on.
func (p *Programmer) policyReady(ifindex int, port vrouter.Port) error {
	if !port.Policed {
		return nil
	}
	st, wanted := p.enforcement.policies.Status(ifindex)
	if !wanted || st.State != reconcile.Done {
		return fmt.Errorf("policy of interface %d is not programmed yet: %s", ifindex, explain(st, wanted))
	}
	var why string
	if !p.ports.MayHave(ifindex) {
		p.managed.EachWaiting(func(key vrouter.RouteKey, st reconcile.Status) {
			if text := fmt.Sprintf("subnet %v, whose workloads it must know, is not programmed yet: %s", key.Prefix, explain(st, true)); key.VRF == port.VRF && (why == "" || text < why) {
				why = text
			}
		})
	}
	return when(why != "", "%s", why)
}

// applyPolicies compiles what is new and says what the tables are to have. A port whose
// policy cannot be had keeps the one that it has in the kernel; a port that is
// not there yet stays away.
func (p *Programmer) applyPolicies(t *Tables) {
	e := &p.enforcement
	e.compile(&t.Asked)
	e.former, e.closed = map[int]string{}, map[int]string{}
	sets, ports := map[uint32]*contents{}, map[int]vrouter.PortPolicy{}
	for ifindex, policy := range t.Policies {
		raw, why := e.resolve(policy)
		if why != "" {
			t.Waiting[ifindex] = why
			continue
		}
		ports[ifindex] = raw
		e.keep(sets, rulesetsOf(raw), e.wanted)
	}
	for ifindex, why := range t.Waiting {
		former, policed, there := p.formerPolicy(ifindex, t.Ports[ifindex])
		if !there {
			e.closed[ifindex] = why
			delete(t.Ports, ifindex)
			continue
		}
		e.former[ifindex] = why
		port := t.Ports[ifindex]
		port.Policed, port.Stateless = policed, policed && (former.Stateless || former.FormerStateless)
		t.Ports[ifindex] = port
		if policed {
			ports[ifindex] = former
			e.keep(sets, rulesetsOf(former), e.rulesets.Applied)
		}
	}
	p.addFormer(t, sets, ports)
	e.rulesets.Want(sets)
	e.policies.Want(ports)
	e.managed.Want(t.Managed)
}

// keep adds rulesets, and the twins that they refer to.
func (e *enforcement) keep(sets map[uint32]*contents, ids []uint32, of func(uint32) (*contents, bool)) {
	for _, id := range ids {
		c, ok := of(id)
		if _, already := sets[id]; !ok || already {
			continue
		}
		sets[id] = c
		if c.head.Audit != 0 {
			e.keep(sets, []uint32{c.head.Audit}, of)
		}
	}
}

// wanted finds the contents of a ruleset among those that are compiled.
func (e *enforcement) wanted(id uint32) (*contents, bool) {
	c, ok := e.byID[id]
	return c, ok
}

// compile forgets what nobody wants and compiles what is new. Of two rulesets
// that would have the same id the one with the lower name has it.
func (e *enforcement) compile(t *Asked) {
	old := e.compiled
	e.asked, e.compiled, e.byID = *t, make(map[desired.Digest]compiled, len(t.Rulesets)), map[uint32]*contents{}
	names := slices.SortedFunc(maps.Keys(t.Rulesets), func(a, b desired.Digest) int { return bytes.Compare(a[:], b[:]) })
	e.number(names, old)
	for _, name := range names {
		c, known := old[name]
		if as := e.members.name(name, t.Rulesets[name]); !known || c.err != nil || c.as != as {
			c = compileOne(source(t.Rulesets[name], e.members.meant, &e.numbers))
			c.as = as
		}
		for id, set := range c.sets {
			if other, taken := e.byID[id]; taken && !other.equal(set) {
				c = compiled{err: fmt.Errorf("ruleset %s has the number %d of another one here: add or remove a rule", t.Rulesets[name].Name, id)}
				break
			}
		}
		maps.Copy(e.byID, c.sets)
		e.compiled[name] = c
	}
}

// number gives the rules of those rulesets that are new their numbers.
func (e *enforcement) number(names []desired.Digest, old map[desired.Digest]compiled) {
	var fresh []desired.Ruleset
	for _, name := range names {
		if _, known := old[name]; !known {
			fresh = append(fresh, e.asked.Rulesets[name])
		}
	}
	if len(fresh) > 0 {
		e.numbers.forget(e.asked.Rulesets)
		e.numbers.add(fresh)
	}
}

func compileOne(r rules.Ruleset) compiled {
	c, err := rules.Compile(r)
	if err != nil {
		return compiled{err: err}
	}
	sets := map[uint32]*contents{c.ID: contentsOf(c)}
	if c.Audit != nil {
		sets[c.Audit.ID] = contentsOf(c.Audit)
	}
	return compiled{id: c.ID, sets: sets}
}

// resolve translates the names of rulesets to ids.
func (e *enforcement) resolve(policy Policy) (raw vrouter.PortPolicy, why string) {
	raw = vrouter.PortPolicy{Identity: policy.Identity, ConnectionLimit: int(policy.ConnectionLimit), Stateless: policy.Stateless}
	for d, layers := range policy.Rulesets {
		for l, name := range layers {
			if name == (desired.Digest{}) {
				continue
			}
			c := e.compiled[name]
			if c.err != nil {
				return raw, c.err.Error()
			}
			raw.Rulesets[d][l] = c.id
		}
	}
	return raw, ""
}

// formerPolicy is what the very port has in the kernel: whether it asks
// anything, and what.
func (p *Programmer) formerPolicy(ifindex int, port vrouter.Port) (former vrouter.PortPolicy, policed, there bool) {
	was, there := p.ports.Applied(ifindex)
	if !there || was.ID != port.ID || was.VRF != port.VRF || !was.Policed {
		return former, false, there && was.ID == port.ID && was.VRF == port.VRF
	}
	former, there = p.enforcement.policies.Applied(ifindex)
	for _, id := range rulesetsOf(former) {
		_, whole := p.enforcement.rulesets.Applied(id)
		there = there && whole
	}
	return former, true, there
}

// rulesetsOf are all rulesets that a port asks, also those from before a hold.
func rulesetsOf(v vrouter.PortPolicy) []uint32 { return append(idsOf(v.Rulesets), idsOf(v.Former)...) }

// Waits says what of its policy a port that passes nothing waits for; empty if
// it does not.
func (p *Programmer) Waits(ifindex int) string { return p.enforcement.closed[ifindex] }

// FormerPolicy says why a port that is in the kernel does not have the policy
// that is wanted, but the one that it had; empty if it has.
func (p *Programmer) FormerPolicy(ifindex int) string {
	if why, kept := p.enforcement.former[ifindex]; kept {
		return why
	}
	st, wanted := p.enforcement.policies.Status(ifindex)
	if !p.ports.MayHave(ifindex) {
		return ""
	}
	return explain(st, wanted)
}

// policyProblems adds the ports that do not have the policy that is wanted.
func (p *Programmer) policyProblems(rows desired.Rows, attached map[string]Attachment, problems map[string]string) {
	if p.busy != nil {
		problems[desired.RulesetRow("former")] = fmt.Sprintf("former rulesets stay in the tables: %v", p.busy)
	}
	if id := p.given.Hold.ID; id != "" {
		if why := p.holdProblem(); why != "" {
			problems[desired.HoldRow(id)] = why
		}
	}
	if len(p.enforcement.closed)+len(p.enforcement.former) > 0 || !p.policies.Settled() {
		for id := range rows.Ports {
			a, here := attached[id]
			if why := cmp.Or(p.Waits(a.Ifindex), p.FormerPolicy(a.Ifindex)); here && why != "" {
				problems[desired.PortRow(id)] = why
			}
		}
	}
	if p.managed.Settled() {
		return
	}
	for _, v := range rows.VRFs {
		for _, prefix := range v.Managed {
			st, ok := p.managed.Status(vrouter.RouteKey{VRF: v.ID, Prefix: prefix})
			if why := explain(st, ok); why != "" && problems[desired.VRFRow(v.ID)] == "" {
				problems[desired.VRFRow(v.ID)] = why
			}
		}
	}
}

// Rules are the rules that ports of this host ask, by their numbers, also those
// from before a change that is held.
func (p *Programmer) Rules() map[uint32][]Numbered {
	type place struct {
		name  desired.Digest
		layer rules.Layer
	}
	numbers, seen := map[uint32][]Numbered{}, map[place]bool{}
	for _, policy := range p.asked.Policies {
		for _, direction := range policy.Rulesets {
			for layer, name := range direction {
				if at := (place{name, rules.Layer(layer)}); !seen[at] {
					seen[at] = true
					p.list(numbers, p.asked.Rulesets[name], at.layer)
				}
			}
		}
	}
	if p.held != nil {
		for n, all := range p.held.rules {
			if _, asked := numbers[n]; !asked {
				numbers[n] = all
			}
		}
	}
	return numbers
}

// list adds the rules of a ruleset, each once.
func (p *Programmer) list(numbers map[uint32][]Numbered, set desired.Ruleset, layer rules.Layer) {
	add := func(one Numbered) {
		n := p.RuleNumber(one.Cause)
		if !slices.ContainsFunc(numbers[n], func(other Numbered) bool { return other.Layer == layer && other.Cause.Equal(one.Cause) }) {
			numbers[n] = append(numbers[n], one)
		}
	}
	for _, rule := range set.Rules {
		add(Numbered{rule.Cause, layer, rule.Body.Action, rule.Body.Audit})
	}
	if set.Rest != nil {
		add(Numbered{*set.Rest, layer, set.Identified, false})
	}
}

// portPolicies is the table of what ports ask, and knows which rulesets may be asked.
type portPolicies struct {
	table   Table[int, vrouter.PortPolicy]
	may     map[int]map[uint32]bool
	changes uint64 // how often it was changed; from 1, for an earlier run may just have done so
}

func (t *portPolicies) used(id uint32) bool {
	for _, asked := range t.may {
		if asked[id] {
			return true
		}
	}
	return false
}

func (t *portPolicies) note(ifindex int, v vrouter.PortPolicy) {
	if t.may[ifindex] == nil {
		t.may[ifindex] = map[uint32]bool{}
	}
	for _, id := range rulesetsOf(v) {
		t.may[ifindex][id] = true
	}
}

func (t *portPolicies) Owned(context.Context) (map[int]vrouter.PortPolicy, error) {
	all, err := t.table.All()
	t.may = map[int]map[uint32]bool{}
	for ifindex, v := range all {
		t.note(ifindex, v)
	}
	return all, err
}

func (t *portPolicies) Update(_ context.Context, ifindex int, v vrouter.PortPolicy) error {
	t.note(ifindex, v)
	t.changes++
	err := t.table.Put(ifindex, v)
	if err == nil {
		delete(t.may, ifindex)
		t.note(ifindex, v)
	}
	return err
}

func (t *portPolicies) Delete(_ context.Context, ifindex int) error {
	t.changes++
	err := t.table.Delete(ifindex)
	if err == nil {
		delete(t.may, ifindex)
	}
	return err
}
