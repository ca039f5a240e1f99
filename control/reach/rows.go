// SPDX-License-Identifier: Apache-2.0

package reach

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/vrouter/rules"
)

// MaxPairs is how many pairs of ports one question may be about.
const MaxPairs = 1 << 20

// pairs calls visit for each pair of different ports, until it says no more.
func (m *Model) pairs(ctx context.Context, from, to []*routing.Port, visit func(a, b *routing.Port) (bool, error)) error {
	if err := m.bounded(len(from), len(to)); err != nil {
		return err
	}
	for _, a := range from {
		for _, b := range to {
			if a == b {
				continue
			}
			if err := late(ctx); err != nil {
				return err
			}
			if more, err := visit(a, b); err != nil || !more {
				return err
			}
		}
	}
	return nil
}

// bounded refuses what is about too many ports.
func (m *Model) bounded(from, to int) error {
	if from*to <= m.maxPairs {
		return nil
	}
	return api.Errorf(api.CodeInvalid, "work out what %d ports may say to %d others: at most %d pairs are looked at: name fewer, for instance one network or group at a time", from, to, m.maxPairs)
}

// late ends what takes longer than whoever asked waits for.
func late(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return api.Errorf(api.CodeTimeout, "work out who may talk to whom: it takes too long: name fewer workloads, or a smaller range")
}

// Rows says what each of some ports may say to each of others: pairs with the
// same outcome are put together.
func (m *Model) Rows(ctx context.Context, from, to []*routing.Port) ([]api.ReachRow, error) {
	found := outcomes{known: map[string]int{}, bySets: map[[2]*rules.Set]int{}}
	columns := map[*routing.Port]map[int][]api.Ref{} // whom each reaches, by outcome
	err := m.pairs(ctx, from, to, func(a, b *routing.Port) (bool, error) {
		ways, why, err := m.Between(a, b)
		if err != nil {
			return false, err
		}
		more, err := m.Beside(ctx, a, b)
		if err != nil {
			return false, err
		}
		if ways = append(ways, more...); len(more) > 0 {
			why = ""
		}
		key := found.of(ways, why)
		if columns[a] == nil {
			columns[a] = map[int][]api.Ref{}
		}
		columns[a][key] = append(columns[a][key], b.Ref)
		return true, nil
	})
	rows := []api.ReachRow{}
	at := map[string]int{}
	for _, a := range from {
		keys := make([]int, 0, len(columns[a]))
		for key := range columns[a] {
			keys = append(keys, key)
		}
		slices.SortFunc(keys, func(x, y int) int { return strings.Compare(columns[a][x][0].String(), columns[a][y][0].String()) })
		for _, key := range keys {
			whole := fmt.Sprint(key, columns[a][key])
			if i, known := at[whole]; known {
				rows[i].From = append(rows[i].From, a.Ref)
				continue
			}
			at[whole] = len(rows)
			rows = append(rows, api.ReachRow{From: []api.Ref{a.Ref}, To: columns[a][key], Allowed: found.all[key].allowed, Reason: found.all[key].reason})
		}
	}
	return amongThemselves(rows), err
}

// outcome is what a pair may say.
type outcome struct {
	allowed []api.ReachFlow
	reason  string
}

// outcomes are those of a question, each once.
type outcomes struct {
	all    []outcome
	known  map[string]int        // by what they say
	bySets map[[2]*rules.Set]int // of pairs with one way in a family
}

// of gives the number of an outcome.
func (o *outcomes) of(ways []Way, why string) int {
	var sets [2]*rules.Set
	single := len(ways) > 0
	for i := range ways {
		at := familyIndex(ways[i].From.Address)
		single = single && sets[at] == nil
		sets[at] = ways[i].Allowed
	}
	if n, known := o.bySets[sets]; single && known {
		return n
	}
	it := outcome{union(ways), why}
	said := fmt.Sprint(it)
	n, known := o.known[said]
	if !known {
		n = len(o.all)
		o.all = append(o.all, it)
		o.known[said] = n
	}
	if single {
		o.bySets[sets] = n
	}
	return n
}

// amongThemselves makes one row of those with one port each that reach each
// other alike: none has an outcome with itself.
func amongThemselves(rows []api.ReachRow) []api.ReachRow {
	var out []api.ReachRow
	at := map[string]int{}
	for _, r := range rows {
		all := ordered(append(slices.Clone(r.To), r.From[0]))
		key := fmt.Sprint(all, r.Allowed, r.Reason)
		i, known := at[key]
		switch {
		case len(r.From) > 1:
		case known:
			out[i].From, out[i].To = append(out[i].From, r.From[0]), all
			continue
		default:
			at[key] = len(out)
		}
		out = append(out, r)
	}
	return out
}

func ordered(refs []api.Ref) []api.Ref {
	slices.SortFunc(refs, func(a, b api.Ref) int { return strings.Compare(a.String()+a.UUID, b.String()+b.UUID) })
	return refs
}

// union is what one of the ways allows.
func union(ways []Way) []api.ReachFlow {
	var of [2]*rules.Set
	for i := range ways {
		at := familyIndex(ways[i].From.Address)
		if of[at] == nil {
			of[at] = ways[i].Allowed
			continue
		}
		sum := of[at].Union(*ways[i].Allowed)
		of[at] = &sum
	}
	return flows(of[0], of[1])
}
