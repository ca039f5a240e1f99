// SPDX-License-Identifier: Apache-2.0

package reach

import (
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

// maxPieces is into how many pieces a range is cut for one port.
const maxPieces = 4096

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
func (m *Model) Outside(ports []*routing.Port, direction policy.Direction, r netip.Prefix) ([]api.ReachRow, error) {
	rows := []api.ReachRow{}
	at := map[string]int{}
	for _, p := range ports {
		found, err := m.outside(p, direction, r)
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

func (m *Model) outside(p *routing.Port, direction policy.Direction, r netip.Prefix) ([]api.ReachRow, error) {
	e, err := m.endOf(p.Ref.UUID, direction)
	if err != nil {
		return nil, err
	}
	t := m.table(p.Network.Ref.UUID)
	pieces, err := cut(r, append(e.ranges(), t.prefixes()...))
	if err != nil {
		return nil, err
	}
	var rows []api.ReachRow
	at := map[string]int{}
	for _, piece := range pieces {
		row := api.ReachRow{Allowed: []api.ReachFlow{}, From: []api.Ref{}, To: []api.Ref{}}
		if row.Reason = m.unasked(p, piece.Addr(), false); row.Reason == "" {
			row.Allowed = flowsInFamily(m.ask(e, rules.Peer{Identity: m.seen(p.Network.Ref.UUID, piece.Addr()), Address: piece.Addr()}))
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
			rows[i].ToRanges = joined(rows[i].ToRanges, piece)
		} else {
			rows[i].FromRanges = joined(rows[i].FromRanges, piece)
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

// joined adds a piece to pieces in their order; two halves are their whole.
func joined(pieces []netip.Prefix, p netip.Prefix) []netip.Prefix {
	for n := len(pieces); n > 0; n = len(pieces) {
		last := pieces[n-1]
		if last.Bits() != p.Bits() || p.Bits() == 0 {
			break
		}
		whole := netip.PrefixFrom(last.Addr(), p.Bits()-1).Masked()
		if !whole.Contains(p.Addr()) {
			break
		}
		p, pieces = whole, pieces[:n-1]
	}
	return append(pieces, p)
}

// cut cuts a range into pieces that no prefix divides.
func cut(r netip.Prefix, by []netip.Prefix) (pieces []netip.Prefix, err error) {
	inside := slices.DeleteFunc(by, func(p netip.Prefix) bool { return p.Bits() <= r.Bits() || !r.Contains(p.Addr()) })
	if len(inside) == 0 {
		return []netip.Prefix{r}, nil
	}
	low := netip.PrefixFrom(r.Addr(), r.Bits()+1)
	high := netip.PrefixFrom(upper(r), r.Bits()+1)
	for _, half := range []netip.Prefix{low, high} {
		some, err := cut(half, slices.Clone(inside))
		if err != nil {
			return nil, err
		}
		pieces = append(pieces, some...)
	}
	if len(pieces) > maxPieces {
		return nil, api.Errorf(api.CodeInvalid, "work out what %v may say: rules and routes cut it into more than %d pieces: name a smaller range", r, maxPieces)
	}
	return pieces, nil
}

// upper is the first address of the upper half of a prefix.
func upper(r netip.Prefix) netip.Addr {
	b := r.Addr().AsSlice()
	b[r.Bits()/8] |= 0x80 >> (r.Bits() % 8)
	a, _ := netip.AddrFromSlice(b)
	return a
}
