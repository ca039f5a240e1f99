// SPDX-License-Identifier: Apache-2.0

package records

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
)

// TestPortsShareWhatIsKept: of what rules log at a port that logs little nothing goes
// for ports that log much, which share the rest; each keeps what came last, and who
// follows is told how many are missing, once.
func TestPortsShareWhatIsKept(t *testing.T) {
	w := newWaiting(true)
	now := time.Now()
	logs := func(number int, one api.Record) {
		for begun := 0; begun < number; begun += 100 {
			var batch []api.Record
			for i := begun; i < min(begun+100, number); i++ {
				one.Time, one.Length = now, i
				batch = append(batch, one)
			}
			w.add(batch)
		}
	}
	const few = 150
	logs(few, api.Record{Interface: "a"})
	logs(few, api.Record{Direction: ingress, Source: api.Party{ID: "b"}, Destination: api.Party{ID: "sub-port"}})
	logs(3*kept, api.Record{Interface: "b"})
	logs(kept, api.Record{Interface: "c"})
	lengths := map[string][]int{}
	for i := range w.all {
		of := whose(&w.all[i])
		lengths[of] = append(lengths[of], w.all[i].Length)
	}
	each := (kept - 2*few) / 2
	for _, c := range []struct {
		of           string
		number, last int
	}{{"a", few, few}, {"sub-port", few, few}, {"b", each, 3 * kept}, {"c", each, kept}} {
		if got := lengths[c.of]; len(got) != c.number || got[0] != c.last-c.number || !slices.IsSorted(got) {
			t.Errorf("of %s %d records are kept, want the last %d of %d", c.of, len(got), c.number, c.last)
		}
	}
	follow := func(w *waiting) (got, lost uint64) {
		for q := (api.RecordQuestion{After: w.began}); ; {
			all := w.after(q, "h1", now)
			got, lost = got+uint64(len(all)-1), lost+all[0].Lost
			if len(all) == 1 {
				return got, lost
			}
			q.After = all[0].Sequence
		}
	}
	if got, lost := follow(&w); got != 2*few+2*uint64(each) || got+lost != w.sequence-w.began {
		t.Errorf("who follows gets %d records and is told that %d are missing, of %d", got, lost, w.sequence-w.began)
	}
	plain := newWaiting(false)
	for i := range kept + 10 {
		plain.add([]api.Record{{Interface: fmt.Sprint(i % 3)}})
	}
	if got, lost := follow(&plain); got != kept || lost != 10 {
		t.Errorf("of frames who follows gets %d records and is told that %d are missing, want %d and 10", got, lost, kept)
	}
}
