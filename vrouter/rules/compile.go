// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"net/netip"
	"slices"
)

// Bounds of one ruleset.
const (
	MaxRules    = 1 << 20
	MaxRemotes  = 1 << 20 // identities and ranges
	MaxVerdicts = 1 << 18
	maxClasses  = 1<<16 - 1
	maxWork     = 1 << 27 // steps of one compilation, so that it ends within seconds
)

// Compile makes the table entries of a ruleset. The same ruleset always gives the same; an error names the rule that does not fit.
func Compile(r Ruleset) (*Compiled, error) {
	if len(r.Rules) > MaxRules {
		return nil, fmt.Errorf("compile a ruleset: it has %d rules, at most %d are possible: use fewer", len(r.Rules), MaxRules)
	}
	for _, action := range []Action{r.Outside, r.Identified} {
		if action < Pass || action > Next {
			return nil, fmt.Errorf("compile a ruleset: what holds if no rule matches is %v, which no ruleset says", action)
		}
	}
	var rules, audit []ordered
	for i := range r.Rules {
		if err := r.Rules[i].check(); err != nil {
			return nil, err
		}
		one := ordered{&r.Rules[i], uint32(i + 1)}
		if one.rule.Audit {
			audit = append(audit, one)
			continue
		}
		rules = append(rules, one)
		if one.rule.always() {
			break // nothing after it is ever asked
		}
	}
	c, err := compile(rules, r.unmatched)
	if err != nil {
		return nil, err
	}
	if len(audit) > 0 {
		c.Audit, err = compile(audit, func(Identity) Verdict { return Verdict{Order: Default} })
		if err != nil {
			return nil, err
		}
		c.Audit.ID = c.Audit.id(" audit")
	}
	c.ID = c.id("")
	return c, nil
}

// ordered is a rule with its place.
type ordered struct {
	rule  *Rule
	order uint32
}

func (o ordered) verdict() Verdict {
	return Verdict{Order: o.order, Rule: o.rule.Number, Action: o.rule.Action, Log: o.rule.Log}
}

// always says whether the rule matches every packet.
func (r Rule) always() bool {
	if r.Remote != Anybody {
		return false
	}
	return len(r.Services) == 0 || slices.ContainsFunc(r.Services, func(s Service) bool { return s.anything() && s.Family == 0 })
}

// anything says whether the service is all packets of its family.
func (s Service) anything() bool { return s.AnyProtocol && s.Ports == nil && s.SourcePorts == nil }

func (r Rule) check() error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("compile rule %q: "+format, append([]any{r.Name}, args...)...)
	}
	if r.Action < Pass || r.Action > Next {
		return refuse("its action is %v, which no rule says", r.Action)
	}
	for _, id := range r.Identities {
		if id == None || id == Pending {
			return refuse("it names identity %d, which is no workload's", id)
		}
	}
	for _, p := range slices.Concat(r.Ranges, r.Except) {
		if !p.IsValid() {
			return refuse("%v is no range of addresses", p)
		}
	}
	for _, s := range r.Services {
		ports := s.Ports != nil || s.SourcePorts != nil
		switch {
		case s.Family != 0 && s.Family != 4 && s.Family != 6:
			return refuse("family %d is neither 4 nor 6", s.Family)
		case ports && !s.AnyProtocol && !HasPorts(s.Protocol):
			return refuse("it names ports of protocol %d, which has none: leave them out", s.Protocol)
		case s.Ports != nil && s.Ports.First > s.Ports.Last, s.SourcePorts != nil && s.SourcePorts.First > s.SourcePorts.Last:
			return refuse("a range of ports begins after its end")
		case s.ICMPType != nil && (s.AnyProtocol || s.Protocol != ICMP && s.Protocol != ICMPv6):
			return refuse("it names an ICMP type, but its protocol is not ICMP (1, or 58 in IPv6)")
		case s.ICMPCode != nil && s.ICMPType == nil:
			return refuse("it names an ICMP code without a type")
		}
	}
	return nil
}

// part is a product of units: a rule is one or several of them.
type part struct {
	ordered
	remote          Remote
	remoteUnit      int // of Workloads and Addresses
	service, source int // units, or all
}

const all = -1

// compiler is a ruleset on its way.
type compiler struct {
	identities     *identitySpace
	ranges         *rangeSpace
	ports, sources *portSpace
	parts          []part
	work           int
	pendingClass   uint32
}

func compile(rules []ordered, unmatched func(Identity) Verdict) (*Compiled, error) {
	m := &compiler{work: maxWork}
	m.collect(rules)
	if n := len(m.identities.atoms) + len(m.ranges.atoms); n > MaxRemotes {
		return nil, fmt.Errorf("compile a ruleset: its rules name %d identities and ranges, at most %d are possible: use fewer or larger ones", n, MaxRemotes)
	}
	for _, one := range rules {
		m.split(one)
	}
	if err := m.refine(); err != nil {
		return nil, err
	}
	t := newVerdictTable()
	for _, p := range m.parts {
		if err := m.enter(t, p); err != nil {
			return nil, err
		}
	}
	return m.entries(t, unmatched), nil
}

// collect finds all that tells packets apart.
func (m *compiler) collect(rules []ordered) {
	var named []Identity
	var prefixes []netip.Prefix
	ports, sources := cuts{}, cuts{}
	for _, one := range rules {
		switch one.rule.Remote {
		case Workloads:
			named = append(named, one.rule.Identities...)
		case Addresses:
			_, ranges, except := everything(*one.rule)
			prefixes = append(append(prefixes, ranges...), except...)
		}
		for _, s := range one.rule.Services {
			for _, f := range s.ofFamilies([]uint8{4, 6}) {
				for _, protocol := range s.protocols() {
					if s.SourcePorts != nil {
						sources.add(f, protocol, s.SourcePorts.First, s.SourcePorts.Last)
					}
					if s.SourcePorts == nil || s.Ports != nil {
						first, last := s.span16()
						ports.add(f, protocol, first, last)
					}
				}
			}
		}
	}
	m.identities, m.ranges = newIdentitySpace(named), newRangeSpace(prefixes)
	m.ports, m.sources = newPortSpace(ports), newPortSpace(sources)
}

// split makes the parts of a rule.
func (m *compiler) split(one ordered) {
	r := *one.rule
	both := []uint8{4, 6}
	switch r.Remote {
	case Anybody:
		m.splitServices(part{ordered: one}, both)
	case Workloads:
		m.splitServices(part{ordered: one, remote: Workloads, remoteUnit: m.identities.add(m.identities.spans(r.Identities))}, both)
	case Addresses:
		families, ranges, except := everything(r)
		if len(families) > 0 {
			m.splitServices(part{ordered: one}, families)
		}
		if spans := without(m.ranges.spans(ranges), m.ranges.spans(except)); len(spans) > 0 {
			m.splitServices(part{ordered: one, remote: Addresses, remoteUnit: m.ranges.add(spans)}, both)
		}
	}
}

func (m *compiler) splitServices(p part, families []uint8) {
	p.service, p.source = all, all
	services := p.rule.Services
	if len(services) == 0 {
		services = []Service{{AnyProtocol: true}}
	}
	var spans []span
	for _, s := range services {
		of := s.ofFamilies(families)
		switch {
		case len(of) == 0:
		case s.anything() && len(of) == 2:
			m.parts = append(m.parts, p)
			return
		case s.anything():
			spans = append(spans, m.ports.family(of[0])...)
		case s.SourcePorts != nil:
			m.parts = append(m.parts, m.withSource(p, s, of))
		default:
			first, last := s.span16()
			for _, f := range of {
				for _, protocol := range s.protocols() {
					spans = append(spans, m.ports.spans(f, protocol, first, last))
				}
			}
		}
	}
	if len(spans) > 0 {
		p.service = m.ports.add(spans)
		m.parts = append(m.parts, p)
	}
}

// withSource is the part of a service that names source ports; families and protocols are then in the source's unit.
func (m *compiler) withSource(p part, s Service, families []uint8) part {
	var sources, spans []span
	for _, f := range families {
		for _, protocol := range s.protocols() {
			sources = append(sources, m.sources.spans(f, protocol, s.SourcePorts.First, s.SourcePorts.Last))
			if s.Ports != nil {
				spans = append(spans, m.ports.spans(f, protocol, s.Ports.First, s.Ports.Last))
			}
		}
	}
	p.source = m.sources.add(sources)
	if s.Ports != nil {
		p.service = m.ports.add(spans)
	}
	return p
}

// refine numbers the classes.
func (m *compiler) refine() error {
	next, enough := m.identities.refine(len(m.identities.atoms), 1, &m.work)
	if enough {
		m.pendingClass, enough = m.ranges.refine(len(m.ranges.atoms), next, &m.work)
	}
	for _, space := range []*portSpace{m.ports, m.sources} {
		if !enough {
			break
		}
		if next, enough = space.partition.refine(len(space.atoms), 1, &m.work); next > maxClasses+1 {
			return fmt.Errorf("compile a ruleset: its rules tell %d services apart, at most %d are possible: use fewer ranges of ports", next-1, maxClasses)
		}
	}
	if !enough {
		return fmt.Errorf("compile a ruleset: its rules overlap so much that it would take too long: use fewer rules, or ranges that do not contain each other")
	}
	return nil
}
