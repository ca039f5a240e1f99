// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"
	"slices"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// remote is the other end, as a rule means it: anybody, workloads or addresses.
type remote struct {
	anybody        bool
	workloads      bool     // of criteria, also where there are none
	criteria       []chosen // any of them
	ranges, except []netip.Prefix
}

// rule is a rule as it comes to an end.
type rule struct {
	*hoststream.Rule // without remote and services
	to               remote
	spoken           []service
	plain            []*hoststream.RuleService // of spoken those without names
	all              bool                      // spoken: everything
	in               families                  // that are meant
	nameless         bool                      // who is spoken to is an address, which has no names for ports
}

// put adds a rule to what is asked of a direction. A name of a port stands for
// the number that who is spoken to gives it: in ingress the workload itself, in
// egress the remote, which is split by the numbers.
func (a *asking) put(b *builder, d Direction, r *rule) {
	plain := slices.Clip(r.plain)
	var named []service
	for _, s := range r.spoken {
		protocol := uint8(s.GetProtocol())
		switch {
		case s.name == "", r.nameless:
		case d == Egress:
			named = append(named, s)
		default:
			if number := a.number(s.name, protocol); number != 0 {
				plain = append(plain, at(s.RuleService, number))
			}
		}
	}
	if r.all || len(plain) > 0 {
		b.emit(r.Rule, &r.to, plain, r.in)
	}
	for _, s := range named {
		a.putNamed(b, r, s)
	}
}

// at is a service at one port.
func at(s *hoststream.RuleService, number uint16) *hoststream.RuleService {
	return &hoststream.RuleService{
		Family: s.Family, Protocol: s.Protocol, SourcePorts: s.SourcePorts,
		Ports: &hoststream.NumberRange{First: uint32(number), Last: uint32(number)},
	}
}

// putNamed adds a rule for each number that remotes have a name for.
func (a *asking) putNamed(b *builder, r *rule, s service) {
	criteria, protocol := r.to.criteria, uint8(s.GetProtocol())
	if r.to.anybody {
		criteria = []chosen{{criterion: &criterion{}}}
	}
	a.names = append(a.names, namedAtom(s.name, protocol))
	byNumber := map[uint16][]chosen{}
	for _, c := range criteria {
		whoever := *c.criterion
		whoever.named = &Named{Name: s.name, Protocol: protocol}
		numbers := map[uint16]bool{}
		a.members(&whoever, func(w *Workload) {
			for _, one := range append(w.Several, w) {
				numbers[one.number(s.name, protocol)] = true
			}
		})
		delete(numbers, 0)
		for n := range numbers {
			own := *c.criterion
			own.named = &Named{s.name, protocol, n}
			byNumber[n] = append(byNumber[n], choose(&own))
		}
	}
	numbers := make([]uint16, 0, len(byNumber))
	for n := range byNumber {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		b.emit(r.Rule, &remote{workloads: true, criteria: byNumber[n]}, []*hoststream.RuleService{at(s.RuleService, n)}, r.in)
	}
}

// emit adds rules to the message: of addresses of which some are a whole family
// two, for that is anybody of it. What nothing is left of names no selectors.
func (b *builder) emit(says *hoststream.Rule, to *remote, services []*hoststream.RuleService, in families) {
	if _, some := within(services, in); !some {
		return
	}
	defer func() { says.Remote, says.Services = nil, nil }()
	add := func(in families) {
		var some bool
		if says.Services, some = within(services, in); some {
			b.add(says)
		}
	}
	switch {
	case to.anybody:
		says.Remote = anybody
		add(in)
	case to.workloads:
		selected := &hoststream.Selected{}
		for _, c := range to.criteria {
			selected.Selectors = append(selected.Selectors, b.selected(c))
		}
		says.Remote = &hoststream.Rule_Selected{Selected: selected}
		add(in)
	default:
		whole, rest := remoteRanges(to.ranges, to.except)
		if whole&in != 0 {
			says.Remote = anybody
			add(whole & in)
		}
		if rest != nil {
			says.Remote = &hoststream.Rule_Ranges{Ranges: rest}
			add(in)
		}
	}
}

// anybody never changes.
var anybody = &hoststream.Rule_Anybody{Anybody: &hoststream.Anybody{}}

// nobody tells that nothing is meant. Workloads of which there are none may be
// somebody whom nobody knows yet.
func (r *remote) nobody() bool { return !r.anybody && !r.workloads && len(r.ranges) == 0 }

// asRule is what rules of all kinds say of themselves.
func asRule(o api.Object, action api.Action, via ...string) *hoststream.Rule {
	h := o.Head()
	return &hoststream.Rule{Object: h.Meta.UUID, Kind: string(h.Kind), Name: h.Meta.FQName, Owner: h.Meta.Owner, Via: via, Action: string(action)}
}

// by is how a rule came.
func by(o api.Object) string { return string(o.Head().Kind) + "/" + o.Head().Meta.FQName }
