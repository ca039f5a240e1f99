// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"errors"
	"slices"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/vrouter/rules"
)

// A selector becomes what a change makes of it, and its row is what it would be if
// it had been sent whole. A change of another row, or into another one, changes
// nothing, nor does the rest of its delta.
func TestSelectorChanges(t *testing.T) {
	body := func(ids ...uint64) []byte {
		return encoded(t, &hoststream.Row{Body: &hoststream.Row_Selector{Selector: &hoststream.Selector{Selector: "s", Identities: ids}}})
	}
	before, after := xxhash.Sum64(body(5, 7, 9)), xxhash.Sum64(body(4, 7, 12))
	for _, c := range []struct {
		name    string
		key     string
		was, is uint64
		unlike  bool
	}{
		{"right", "selector/s", before, after, false},
		{"of another row", "selector/s", before + 1, after, true},
		{"into another row", "selector/s", before, after + 1, true},
		{"of none", "selector/t", before, after, true},
		{"of another kind", "ruleset/r", xxhash.Sum64(encoded(t, someRows()["ruleset/r"])), after, true},
	} {
		table := New()
		err := table.Apply(&hoststream.Delta{Version: &hoststream.Version{Revision: 1}, Put: []*hoststream.EncodedRow{
			{Key: "selector/s", Body: body(5, 7, 9)}, {Key: "ruleset/r", Body: encoded(t, someRows()["ruleset/r"])},
		}})
		if err != nil {
			t.Fatal(err)
		}
		want := table.Hashes()
		err = table.Apply(&hoststream.Delta{Version: &hoststream.Version{Revision: 2},
			Put:    []*hoststream.EncodedRow{{Key: "vrf/5", Body: encoded(t, someRows()["vrf/5"])}},
			Change: []*hoststream.SelectorChange{{Key: c.key, Was: c.was, Is: c.is, Came: []uint64{12, 4}, Went: []uint64{9, 5, 6}}},
		})
		has, meant := table.Hashes(), table.Selectors["s"].Identities
		if errors.Is(err, ErrUnlike) != c.unlike || c.unlike != (table.Version().Revision == 1) || c.unlike && len(has) != len(want) {
			t.Errorf("a change %s: %v, the table has %v at %v", c.name, err, has, table.Version())
		}
		identities := []rules.Identity{4, 7, 12}
		if c.unlike {
			identities = []rules.Identity{5, 7, 9}
		}
		if !slices.Equal(meant, identities) || !c.unlike && has[1].Hash != after {
			t.Errorf("a change %s: selected are %v, rows %v", c.name, meant, has)
		}
	}
}
