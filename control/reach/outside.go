// SPDX-License-Identifier: Apache-2.0

package reach

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/vrouter/rules"
)

// addressWord begins an end of reach that is addresses.
const addressWord = "cidr/"

// Range reads an end that is addresses, as cidr/203.0.113.0/24; is tells whether
// it is one at all.
func Range(text string) (r netip.Prefix, is bool, err error) {
	text, is = strings.CutPrefix(text, addressWord)
	if !is {
		return r, false, nil
	}
	if r, err = netip.ParsePrefix(text); err != nil {
		a, broken := netip.ParseAddr(text)
		if broken != nil {
			return r, true, api.Errorf(api.CodeInvalid, "find the addresses %q: want cidr/ADDRESS/LENGTH or cidr/ADDRESS", text)
		}
		r = netip.PrefixFrom(a, a.BitLen())
	}
	return r.Masked(), true, nil
}

// OutsideOf reads two ends of which one is addresses, if it is: which workloads the
// other one is, and who begins.
func OutsideOf(from, to string) (workloads string, r netip.Prefix, direction policy.Direction, is bool, err error) {
	source, isSource, err := Range(from)
	if err != nil {
		return "", r, direction, true, err
	}
	target, isTarget, err := Range(to)
	switch {
	case err != nil:
		return "", r, direction, true, err
	case isSource && isTarget:
		return "", r, direction, true, api.Errorf(api.CodeInvalid, "work out what %s may say to %s: one of the two is to be workloads", from, to)
	case isSource:
		return to, source, policy.Ingress, true, nil
	}
	return from, target, policy.Egress, isTarget, nil
}

// Outside says what each of some ports may say to the addresses of a range, or
// hear from them: whoever has them to the routes of the port's network. Addresses
// that rules and routes do not tell apart are one row.
func (m *Model) Outside(ctx context.Context, ports []*routing.Port, direction policy.Direction, r netip.Prefix) ([]api.ReachRow, error) {
	if err := m.bounded(len(ports), 1); err != nil {
		return nil, err
	}
	rows := []api.ReachRow{}
	at := map[string]int{}
	for _, p := range ports {
		found, err := m.outside(ctx, p, direction, r)
		if err != nil {
			return nil, err
		}
		for _, row := range found { // ports with the same answer are one row
			key := fmt.Sprint(row.FromRanges, row.ToRanges, row.Allowed, row.Reason)
			if i, known := at[key]; known {
				rows[i].From, rows[i].To = append(rows[i].From, row.From...), append(rows[i].To, row.To...)
				continue
			}
			at[key] = len(rows)
			rows = append(rows, row)
		}
	}
	return rows, nil
}

func (m *Model) outside(ctx context.Context, p *routing.Port, direction policy.Direction, r netip.Prefix) ([]api.ReachRow, error) {
	e, err := m.endOf(p.Ref.UUID, direction)
	if err != nil {
		return nil, err
	}
	t := m.table(p.Network.Ref.UUID)
	prefixes, err := cut(r, append(e.ranges(), t.prefixes()...))
	if err != nil {
		return nil, err
	}
	var rows []api.ReachRow
	at := map[string]int{}
	for _, prefix := range prefixes {
		if err := late(ctx); err != nil {
			return nil, err
		}
		row := api.ReachRow{Allowed: []api.ReachFlow{}, From: []api.Ref{}, To: []api.Ref{}}
		if row.Reason = m.unasked(p, prefix.Addr(), false); row.Reason == "" {
			row.Allowed = flowsInFamily(m.ask(e, m.peer(p.Network.Ref.UUID, prefix.Addr())))
		}
		key := fmt.Sprint(row.Allowed, row.Reason)
		i, known := at[key]
		if !known {
			i = len(rows)
			at[key] = i
			if direction == policy.Egress {
				row.From = []api.Ref{p.Ref}
			} else {
				row.To = []api.Ref{p.Ref}
			}
			rows = append(rows, row)
		}
		if direction == policy.Egress {
			rows[i].ToRanges = joined(rows[i].ToRanges, prefix)
		} else {
			rows[i].FromRanges = joined(rows[i].FromRanges, prefix)
		}
	}
	return rows, nil
}

// unasked says why nothing passes between a port and an address before policy is
// asked; it is empty if policy is. What needs no answer comes also from where no
// route leads.
func (m *Model) unasked(p *routing.Port, a netip.Addr, unanswered bool) string {
	switch route := m.table(p.Network.Ref.UUID).find(a); {
	case down(p):
		return "port " + p.Ref.String() + " or its network is disabled"
	case !addressOf(p, a).IsValid():
		return "port " + p.Ref.String() + " has no address of the family"
	case (route == nil || route.Discard) && !unanswered:
		return fmt.Sprintf("network %s has no route to it", p.Network.Ref)
	case route != nil && route.Gateway:
		return "it is a gateway's, whom policy is not asked about"
	}
	return ""
}

// addressOf is an address of a port in the family of another one, of its own if it
// has one; none is invalid.
func addressOf(p *routing.Port, other netip.Addr) netip.Addr {
	all := addresses(p)
	for _, pair := range p.Pairs {
		all = append(all, pair.Range.Addr())
	}
	for _, source := range p.Sources {
		all = append(all, source.Addr())
	}
	if i := slices.IndexFunc(all, func(a netip.Addr) bool { return a.Is4() == other.Is4() }); i >= 0 {
		return all[i]
	}
	return netip.Addr{}
}

// flowsInFamily is what a set of one family holds.
func flowsInFamily(s *rules.Set) []api.ReachFlow {
	if s.Family == 4 {
		return flows(s, nil)
	}
	return flows(nil, s)
}

// ranges are all that the rules of an end name.
func (e *end) ranges() (all []netip.Prefix) {
	for _, r := range e.Rulesets {
		if r == nil {
			continue
		}
		for i := range r.Rules {
			all = append(append(all, r.Rules[i].Ranges...), r.Rules[i].Except...)
		}
	}
	return all
}

// prefixes are those by which a table tells addresses apart.
func (t *table) prefixes() (all []netip.Prefix) {
	for p := range t.routes {
		all = append(all, p)
	}
	return append(all, t.managed...)
}
