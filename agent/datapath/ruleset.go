// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/weft-network/weft/vrouter"
	"github.com/weft-network/weft/vrouter/rules"
)

// contents are all entries of one ruleset, by table. They are never changed.
type contents struct {
	head     vrouter.RulesetValue
	named    map[vrouter.RemoteClassKey]vrouter.RemoteClass
	ranges   map[vrouter.RemoteRangeKey]vrouter.RemoteClass
	services map[vrouter.ServiceClassKey]vrouter.ServiceClass
	pages    map[vrouter.ServicePageKey]vrouter.ServicePage
	verdicts map[vrouter.VerdictKey]rules.Verdict
}

func newContents() *contents {
	return &contents{
		named: map[vrouter.RemoteClassKey]vrouter.RemoteClass{}, ranges: map[vrouter.RemoteRangeKey]vrouter.RemoteClass{},
		services: map[vrouter.ServiceClassKey]vrouter.ServiceClass{}, pages: map[vrouter.ServicePageKey]vrouter.ServicePage{},
		verdicts: map[vrouter.VerdictKey]rules.Verdict{},
	}
}

// contentsOf are the entries of a compiled ruleset.
func contentsOf(c *rules.Compiled) *contents {
	all := newContents()
	all.head = vrouter.RulesetValue{
		Identities: len(c.Identities) > 0, Services: len(c.Services) > 0, SourcePorts: len(c.Sources) > 0, NamesAnybody: slices.ContainsFunc(c.Verdicts, func(e rules.VerdictEntry) bool { return e.Remote == 0 }),
		Outside: c.Outside, Identified: c.Identified,
	}
	if c.Audit != nil {
		all.head.Audit = c.Audit.ID
	}
	for _, e := range c.Identities {
		all.named[vrouter.RemoteClassKey{Ruleset: c.ID, Identity: e.Identity}] = vrouter.RemoteClass{Class: e.Class, Any: e.Any}
	}
	for _, e := range c.Ranges {
		all.ranges[vrouter.RemoteRangeKey{Ruleset: c.ID, Prefix: e.Prefix}] = vrouter.RemoteClass{Class: e.Class, Any: e.Any}
		all.head.Ranges4 = all.head.Ranges4 || e.Prefix.Addr().Is4()
		all.head.Ranges6 = all.head.Ranges6 || e.Prefix.Addr().Is6()
	}
	services := func(entries []rules.ServiceClass, bit uint16) {
		for _, e := range entries {
			key := vrouter.ServiceClassKey{Ruleset: c.ID, Family: e.Family, Protocol: e.Protocol, Page: e.Page | bit}
			all.services[key] = vrouter.ServiceClass{Class: uint32(e.Class), Page: e.Table}
		}
	}
	services(c.Services, 0)
	services(c.Sources, vrouter.SourcePages)
	for i, page := range c.Pages {
		all.pages[vrouter.ServicePageKey{Ruleset: c.ID, Page: uint32(i + 1)}] = page
	}
	for _, e := range c.Verdicts {
		all.verdicts[vrouter.VerdictKey{Ruleset: c.ID, Remote: e.Remote, Service: uint32(e.Service), Source: uint32(e.Source)}] = e.Verdict
	}
	return all
}

func (c *contents) equal(o *contents) bool {
	return c == o || c.head == o.head && maps.Equal(c.named, o.named) && maps.Equal(c.ranges, o.ranges) && maps.Equal(c.services, o.services) &&
		maps.Equal(c.pages, o.pages) && maps.Equal(c.verdicts, o.verdicts)
}

// size counts the entries.
func (c *contents) size() int {
	return 1 + len(c.named) + len(c.ranges) + len(c.services) + len(c.pages) + len(c.verdicts)
}

// rulesets writes and removes rulesets whole: the head last and away first, so
// that a ruleset with a head has all its entries.
type rulesets struct {
	heads Table[uint32, vrouter.RulesetValue]
	parts []rulesetPart // in the order in which they are written
	// twins are the audit rules that heads which may be in the kernel refer to.
	twins map[uint32]uint32
}

// rulesetPart is what rulesets have in one table.
type rulesetPart interface {
	load(into map[uint32]*contents) error
	write(id uint32, c *contents) error // adds and changes
	trim(id uint32, c *contents) error  // removes what is not in it
}

func newRulesets(k Kernel) *rulesets {
	return &rulesets{heads: k.Rulesets, twins: map[uint32]uint32{}, parts: []rulesetPart{
		&part[vrouter.VerdictKey, rules.Verdict]{table: k.Verdicts, of: func(key vrouter.VerdictKey) uint32 { return key.Ruleset },
			in: func(c *contents) map[vrouter.VerdictKey]rules.Verdict { return c.verdicts }},
		&part[vrouter.ServicePageKey, vrouter.ServicePage]{table: k.ServicePages, of: func(key vrouter.ServicePageKey) uint32 { return key.Ruleset },
			in: func(c *contents) map[vrouter.ServicePageKey]vrouter.ServicePage { return c.pages }},
		&part[vrouter.ServiceClassKey, vrouter.ServiceClass]{table: k.ServiceClasses, of: func(key vrouter.ServiceClassKey) uint32 { return key.Ruleset },
			in: func(c *contents) map[vrouter.ServiceClassKey]vrouter.ServiceClass { return c.services }},
		&part[vrouter.RemoteClassKey, vrouter.RemoteClass]{table: k.RemoteClasses, of: func(key vrouter.RemoteClassKey) uint32 { return key.Ruleset },
			in: func(c *contents) map[vrouter.RemoteClassKey]vrouter.RemoteClass { return c.named }},
		&part[vrouter.RemoteRangeKey, vrouter.RemoteClass]{table: k.RemoteRanges, of: func(key vrouter.RemoteRangeKey) uint32 { return key.Ruleset },
			in: func(c *contents) map[vrouter.RemoteRangeKey]vrouter.RemoteClass { return c.ranges }},
	}}
}

// audits tells whether a ruleset that may be in the kernel has this one for its audit rules.
func (r *rulesets) audits(id uint32) bool {
	for _, twin := range r.twins {
		if twin == id {
			return true
		}
	}
	return false
}

// Owned gives a ruleset without head, of which the making or removal was
// interrupted, a head that no wanted one has.
func (r *rulesets) Owned(context.Context) (map[uint32]*contents, error) {
	all := map[uint32]*contents{}
	for _, p := range r.parts {
		if err := p.load(all); err != nil {
			return nil, err
		}
	}
	heads, err := r.heads.All()
	clear(r.twins)
	for id, head := range heads {
		if all[id] == nil {
			all[id] = newContents()
		}
		all[id].head = head
		if head.Audit != 0 {
			r.twins[id] = head.Audit
		}
	}
	return all, err
}

func (r *rulesets) Update(_ context.Context, id uint32, c *contents) error {
	for _, p := range r.parts {
		if err := p.write(id, c); err != nil {
			return errors.Join(err, r.withdraw(id, err))
		}
	}
	var failed error
	for _, p := range r.parts {
		failed = errors.Join(failed, p.trim(id, c))
	}
	if failed != nil {
		return failed
	}
	if c.head.Audit != 0 {
		r.twins[id] = c.head.Audit
	}
	return r.heads.Put(id, c.head)
}

// withdraw takes a ruleset that does not fit out of the tables, where it would
// keep others from fitting.
func (r *rulesets) withdraw(id uint32, why error) error {
	if !errors.Is(why, vrouter.ErrFull) {
		return nil
	}
	return r.remove(id)
}

func (r *rulesets) remove(id uint32) error {
	if err := r.heads.Delete(id); err != nil {
		return err
	}
	delete(r.twins, id)
	var failed error
	none := newContents()
	for _, p := range r.parts {
		failed = errors.Join(failed, p.trim(id, none))
	}
	return failed
}

func (r *rulesets) Delete(_ context.Context, id uint32) error { return r.remove(id) }

// part is the entries of rulesets in one table.
type part[K comparable, V comparable] struct {
	table Table[K, V]
	of    func(K) uint32 // ruleset
	in    func(*contents) map[K]V
	there map[uint32]map[K]sure[V] // what may be in the kernel
}

// sure is a value in the kernel; not known after a failed change.
type sure[V comparable] struct {
	value V
	known bool
}

func (p *part[K, V]) load(into map[uint32]*contents) error {
	all, err := p.table.All()
	if err != nil {
		return err
	}
	p.there = map[uint32]map[K]sure[V]{}
	for k, v := range all {
		id := p.of(k)
		if into[id] == nil {
			into[id] = newContents()
		}
		p.in(into[id])[k] = v
		p.note(id, k, sure[V]{v, true})
	}
	return nil
}

func (p *part[K, V]) note(id uint32, k K, s sure[V]) {
	if p.there == nil {
		p.there = map[uint32]map[K]sure[V]{}
	}
	if p.there[id] == nil {
		p.there[id] = map[K]sure[V]{}
	}
	p.there[id][k] = s
}

func (p *part[K, V]) write(id uint32, c *contents) error {
	for k, v := range p.in(c) {
		if p.there[id][k] == (sure[V]{v, true}) {
			continue
		}
		p.note(id, k, sure[V]{})
		if err := p.table.Put(k, v); err != nil {
			return err
		}
		p.note(id, k, sure[V]{v, true})
	}
	return nil
}

func (p *part[K, V]) trim(id uint32, c *contents) error {
	want := p.in(c)
	for k := range p.there[id] {
		if _, wanted := want[k]; wanted {
			continue
		}
		p.note(id, k, sure[V]{})
		if err := p.table.Delete(k); err != nil {
			return err
		}
		delete(p.there[id], k)
	}
	if len(p.there[id]) == 0 {
		delete(p.there, id)
	}
	return nil
}
