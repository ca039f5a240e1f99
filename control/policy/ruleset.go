// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// The fields of hoststream.Row and of the rows' own ids.
const (
	rowRuleset  = 110
	rowSelector = 111
	fieldID     = 1
	fieldRules  = 2
)

// row encodes a row whose body has its id in front.
func row(field protowire.Number, id string, rest []byte) []byte {
	inner := protowire.SizeTag(fieldID) + protowire.SizeBytes(len(id)) + len(rest)
	body := make([]byte, 0, protowire.SizeTag(field)+protowire.SizeBytes(inner))
	body = protowire.AppendVarint(protowire.AppendTag(body, field, protowire.BytesType), uint64(inner))
	body = protowire.AppendString(protowire.AppendTag(body, fieldID, protowire.BytesType), id)
	return append(body, rest...)
}

func newSelector(id string, c *criterion, identities []uint64) *Selector {
	var rest []byte
	if len(identities) > 0 {
		rest = protowire.AppendTag(make([]byte, 0, 8*len(identities)+16), 2, protowire.BytesType)
		rest = protowire.AppendVarint(rest, uint64(8*len(identities)))
		for _, i := range identities {
			rest = protowire.AppendFixed64(rest, i)
		}
	}
	s := &Selector{ID: id, Identities: identities, Body: row(rowSelector, id, rest), criterion: c}
	s.Hash = xxhash.Sum64(s.Body)
	return s
}

// chosen is a selector that a rule names, as it is when nobody had it before.
type chosen struct {
	id string
	*criterion
}

func choose(c *criterion) chosen { return chosen{idOf([]byte("selector" + c.key())), c} }

// builder puts the rules of one ruleset together. There is one of them, for all
// rulesets in turn.
type builder struct {
	message hoststream.Ruleset // without its rules
	rules   []byte             // as the message has them, encoded
	last    int                // where in them the last one begins
	chosen  []chosen
	of      []string // Ruleset.Of
	mirror  bool     // what comes is a rule the other way round, which may be the same
}

// build begins a ruleset: what it says where no rule matches.
func (u *update) build(outside, identified api.Action) *builder {
	b := &u.builder
	b.message.Outside, b.message.Identified, b.message.Name, b.message.Rest = string(outside), string(identified), "", nil
	b.rules, b.last, b.chosen, b.of, b.mirror = b.rules[:0], 0, b.chosen[:0], b.of[:0], false
	return b
}

// add adds a rule, unless it is its own mirror.
func (b *builder) add(r *hoststream.Rule) {
	start := len(b.rules)
	b.rules = protowire.AppendTag(b.rules, fieldRules, protowire.BytesType)
	b.rules = protowire.AppendVarint(b.rules, uint64(proto.Size(r)))
	var err error
	if b.rules, err = (proto.MarshalOptions{Deterministic: true, UseCachedSize: true}).MarshalAppend(b.rules, r); err != nil {
		panic(fmt.Sprintf("policy: encode rule %s: %v", r.Name, err))
	}
	if b.mirror && bytes.Equal(b.rules[b.last:start], b.rules[start:]) {
		b.rules = b.rules[:start]
		return
	}
	b.last = start
}

// selected notes a selector, and returns its id.
func (b *builder) selected(c chosen) string {
	if !slices.ContainsFunc(b.chosen, func(had chosen) bool { return had.id == c.id }) {
		b.chosen = append(b.chosen, c)
	}
	return c.id
}

// intern returns the ruleset that says what was put together: one that is there
// already where there is one.
func (u *update) intern(b *builder) *Ruleset {
	rest, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(b.rules, &b.message)
	if err != nil {
		panic(fmt.Sprintf("policy: encode ruleset %s: %v", b.message.Name, err))
	}
	// Two that say the same may be made of different objects, as when one of them
	// was deleted and made again.
	b.rules = rest // to be written over
	u.hasher.buffer = append(u.hasher.buffer[:0], rest...)
	u.hasher.word(b.of...)
	id := idOf(u.hasher.buffer)
	if had, ok := u.rulesets.Get(id); ok {
		return had.is
	}
	r := &Ruleset{ID: id, Body: row(rowRuleset, id, rest), Of: slices.Clone(b.of), Selectors: make([]string, 0, len(b.chosen))}
	r.Hash = xxhash.Sum64(r.Body)
	for _, c := range b.chosen {
		r.Selectors = append(r.Selectors, c.id)
		s, ok := u.selectors.Get(c.id)
		if !ok {
			s.is = newSelector(c.id, c.criterion, u.identities(c.criterion))
			for _, a := range c.atoms() {
				add(&u.writeSelecting, u.turn, a, c.id)
			}
		}
		s.refs++
		u.writeSelectors.Put(c.id, s)
	}
	slices.Sort(r.Selectors)
	u.writeRulesets.Put(id, held[*Ruleset]{is: r})
	u.released = append(u.released, r) // unless a port takes it
	return r
}

// identities are those of the workloads that are meant, ascending.
func (u *update) identities(c *criterion) (ids []uint64) {
	u.members(c, func(w *Workload) { ids = append(ids, w.Identity) })
	slices.Sort(ids)
	return slices.Compact(ids)
}

// members calls visit for the workloads that are meant, some more than once.
func (u *update) members(c *criterion, visit func(*Workload)) {
	for _, a := range c.atoms() {
		if a.kind == anyWorkload {
			for _, class := range u.classes.All {
				if c.matches(class.Workload) {
					visit(class.Workload)
				}
			}
			continue
		}
		workloads, _ := u.workloads.Get(a)
		for _, w := range workloads.items() {
			if c.matches(w) {
				visit(w)
			}
		}
	}
}

// runRulesets compiles what is asked at the ports of the classes for which it
// may be another, and completes the ports.
func (u *update) runRulesets() {
	defer u.findAhead()()
	for _, id := range u.stale.order {
		c, ok := u.classes.Get(id)
		if !ok || c.ports == nil {
			continue
		}
		c = u.class(c.Workload)
		compiled := u.compile(c.Workload, nil)
		names := compiled.names
		c.rulesets, c.byAddress, c.stateless = compiled.rulesets, compiled.byAddress, u.stateless(c.Groups)
		for _, port := range c.ports.items() {
			rulesets := c.rulesets
			if c.byAddress {
				own := u.compile(c.Workload, u.routed(port))
				rulesets, names = own.rulesets, append(names, own.names...)
			}
			u.complete(port, rulesets, c.stateless)
		}
		slices.SortFunc(names, compareAtoms)
		u.rename(c, slices.Compact(names))
	}
	for _, uuid := range u.ports.order {
		if now := u.became[uuid]; now == nil {
			u.complete(uuid, Rulesets{}, false)
		} else if !u.stale.has(now.Workload.Identity) {
			u.completeAlone(uuid, now.Workload)
		}
	}
}

// completeAlone puts a port whose class asks what it did.
func (u *update) completeAlone(uuid string, w *Workload) {
	c, _ := u.classes.Get(w.Identity)
	rulesets := c.rulesets
	if c.byAddress {
		own := u.compile(w, u.routed(uuid))
		rulesets = own.rulesets
		if missing := slices.DeleteFunc(own.names, func(n atom) bool { return slices.Contains(c.names, n) }); len(missing) > 0 {
			c = u.class(c.Workload)
			names := slices.Concat(c.names, missing)
			slices.SortFunc(names, compareAtoms)
			u.rename(c, names)
		}
	}
	u.complete(uuid, rulesets, c.stateless)
}

// rename notes which names of ports the rulesets of a class follow from.
func (u *update) rename(c *class, names []atom) {
	if slices.Equal(c.names, names) {
		return
	}
	for _, n := range c.names {
		drop(&u.writeNamers, u.turn, n, c.Identity)
	}
	for _, n := range names {
		add(&u.writeNamers, u.turn, n, c.Identity)
	}
	c.names = names
}

// complete puts a port, with what is asked at it, in the place of what it was.
func (u *update) complete(uuid string, rulesets Rulesets, stateless bool) {
	old := u.earlier.Port(uuid)
	now, changed := u.became[uuid]
	if !changed {
		copied := *old
		now = &copied
	}
	if now != nil {
		now.Rulesets, now.Stateless = rulesets, stateless
		if old != nil && *old == *now {
			return
		}
		u.writePorts.Put(uuid, now)
		u.onHosts[now.Host] = true
		for r := range rulesets.all {
			held, _ := u.rulesets.Get(r.ID)
			held.refs++
			u.writeRulesets.Put(r.ID, held)
		}
	} else {
		u.writePorts.Remove(uuid)
	}
	if old == nil {
		return
	}
	for r := range old.Rulesets.all {
		held, _ := u.rulesets.Get(r.ID)
		held.refs--
		u.writeRulesets.Put(r.ID, held)
		u.released = append(u.released, r)
	}
}

// all yields the rulesets that there are; one that is asked twice, twice.
func (r *Rulesets) all(yield func(*Ruleset) bool) {
	for _, layers := range r {
		for _, ruleset := range layers {
			if ruleset != nil && !yield(ruleset) {
				return
			}
		}
	}
}

// runReleased takes away the rulesets that no port asks, and selectors that no
// ruleset names.
func (u *update) runReleased() {
	for _, r := range u.released {
		if held, ok := u.rulesets.Get(r.ID); !ok || held.refs > 0 {
			continue
		}
		u.writeRulesets.Remove(r.ID)
		for _, id := range r.Selectors {
			s, _ := u.selectors.Get(id)
			if s.refs--; s.refs > 0 {
				u.writeSelectors.Put(id, s)
				continue
			}
			u.writeSelectors.Remove(id)
			for _, a := range s.is.criterion.atoms() {
				drop(&u.writeSelecting, u.turn, a, id)
			}
		}
	}
}

// runHosts finds what the hosts need whose ports are others, or that need a
// selector whose workloads are others.
func (u *update) runHosts() {
	if len(u.grew) > 0 {
		for uuid, h := range u.hosts.All {
			if slices.ContainsFunc(h.Selectors, func(s *Selector) bool { return u.grew[s.ID] }) {
				u.onHosts[uuid] = true
			}
		}
	}
	for uuid := range u.onHosts {
		now, old := u.hostOf(uuid), u.Host(uuid)
		switch {
		case now == nil && old != nil:
			u.writeHosts.Remove(uuid)
		case now != nil && (old == nil || !slices.Equal(old.Ports, now.Ports) || !slices.Equal(old.Reserved, now.Reserved) || !slices.Equal(old.Rulesets, now.Rulesets) || !slices.Equal(old.Selectors, now.Selectors)):
			u.writeHosts.Put(uuid, now)
		}
	}
}

// hostOf is what a host needs; nil if no port is there, and none is to be.
func (u *update) hostOf(uuid string) *Host {
	at := u.Routing.Host(uuid)
	if at == nil || len(at.Ports)+len(at.Reserved) == 0 {
		return nil
	}
	h, rulesets := &Host{Ports: make([]*Port, len(at.Ports)), Reserved: make([]*Port, len(at.Reserved))}, u.hostRulesets[:0]
	for i, routed := range at.Ports {
		h.Ports[i] = u.Port(routed.Ref.UUID)
	}
	for i, r := range at.Reserved {
		h.Reserved[i] = u.Derived.Reserved(r)
	}
	for _, ports := range [][]*Port{h.Ports, h.Reserved} {
		for _, p := range ports {
			for r := range p.Rulesets.all {
				rulesets = append(rulesets, r)
			}
		}
	}
	slices.SortFunc(rulesets, func(a, b *Ruleset) int { return cmp.Compare(a.ID, b.ID) })
	h.Rulesets = slices.Clone(slices.Compact(rulesets))
	selectors := u.hostSelectors[:0]
	for _, r := range h.Rulesets {
		selectors = append(selectors, r.Selectors...)
	}
	u.hostRulesets, u.hostSelectors = rulesets, selectors
	slices.Sort(selectors)
	for _, id := range slices.Compact(selectors) {
		h.Selectors = append(h.Selectors, u.Selector(id))
	}
	return h
}
