// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"slices"
)

type verdictKey struct {
	remote          uint32
	service, source uint16
}

// verdictTable takes the verdicts of rules in their order: under each key the first stays, and none is entered that another one always goes before.
type verdictTable struct {
	entries map[verdictKey]Verdict
	always  Verdict // of anybody and anything; order 0 if no rule is
}

func newVerdictTable() *verdictTable {
	return &verdictTable{entries: map[verdictKey]Verdict{}}
}

func (t *verdictTable) enter(k verdictKey, v Verdict) {
	if t.always.Order != 0 {
		return
	}
	if k == (verdictKey{}) {
		t.always = v
		return
	}
	for _, wider := range [7]verdictKey{k, {k.remote, k.service, 0}, {k.remote, 0, k.source}, {k.remote, 0, 0}, {0, k.service, k.source}, {0, k.service, 0}, {0, 0, k.source}} {
		if _, before := t.entries[wider]; before {
			return
		}
	}
	t.entries[k] = v
}

// enter enters a part of a rule under every combination of its classes.
func (m *compiler) enter(t *verdictTable, p part) error {
	remotes, services, sources := []uint32{0}, []uint32{0}, []uint32{0}
	pending := p.remote == Workloads && p.rule.Action != Pass
	switch p.remote {
	case Workloads:
		remotes = m.identities.classes[p.remoteUnit]
	case Addresses:
		remotes = m.ranges.classes[p.remoteUnit]
	}
	if p.service != all {
		services = m.ports.classes[p.service]
	}
	if p.source != all {
		sources = m.sources.classes[p.source]
	}
	m.work -= (len(remotes) + 1) * len(services) * len(sources)
	dropped := p.verdict()
	dropped.Action = DropPending
	for _, service := range services {
		for _, source := range sources {
			for _, remote := range remotes {
				t.enter(verdictKey{remote, uint16(service), uint16(source)}, p.verdict())
			}
			if pending {
				t.enter(verdictKey{m.pendingClass, uint16(service), uint16(source)}, dropped)
			}
			if len(t.entries) > MaxVerdicts || m.work < 0 {
				return fmt.Errorf("compile rule %q: with the rules before it there are more than %d combinations of remote ends and services (it has %d kinds of remote ends, %d of services): "+
					"use fewer rules, or ranges and groups that do not contain each other", p.rule.Name, MaxVerdicts, len(remotes), len(services)*len(sources))
			}
		}
	}
	return nil
}

// entries makes the lists of what was entered.
func (m *compiler) entries(t *verdictTable, unmatched func(Identity) Verdict) *Compiled {
	c := &Compiled{Outside: unmatched(None), Identified: unmatched(1 + Pending)}
	pendingAny := unmatched(Pending)
	if pendingAny == c.Identified {
		pendingAny = Verdict{}
	}
	if t.always.Order != 0 {
		c.Outside, c.Identified, pendingAny = t.always, t.always, Verdict{}
	}
	pendingKnown := pendingAny.Order != 0
	for k, v := range t.entries {
		pendingKnown = pendingKnown || k.remote == m.pendingClass
		if k.service != 0 || k.source != 0 {
			c.Verdicts = append(c.Verdicts, VerdictEntry{k.remote, k.service, k.source, v})
		}
	}
	slices.SortFunc(c.Verdicts, compareVerdicts)
	if pendingKnown {
		if v, found := t.entries[verdictKey{remote: m.pendingClass}]; found {
			pendingAny = v
		}
		c.Identities = append(c.Identities, IdentityClass{Pending, m.pendingClass, pendingAny})
	}
	for i, id := range m.identities.atoms {
		if class := m.identities.class[i]; class != 0 {
			c.Identities = append(c.Identities, IdentityClass{id, class, t.entries[verdictKey{remote: class}]})
		}
	}
	for i, prefix := range m.ranges.atoms {
		around := uint32(0)
		if up := m.ranges.parent[i]; up >= 0 {
			around = m.ranges.class[up]
		}
		if class := m.ranges.class[i]; class != around {
			e := RangeClass{Prefix: prefix, Class: class}
			if class != 0 {
				e.Any = t.entries[verdictKey{remote: class}]
			}
			c.Ranges = append(c.Ranges, e)
		}
	}
	tables := &pageTables{}
	c.Services = m.ports.entries(0, tables)
	c.Sources = m.sources.entries(SourcePage, tables)
	c.Pages = tables.pages
	return c
}
