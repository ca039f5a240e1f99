// SPDX-License-Identifier: Apache-2.0

package shards_test

import (
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/weft-network/weft/control/shards"
)

// A map and those that are made of it stay what they were, whatever is put into and
// taken from the later ones.
func TestMapsThatAreMadeOfOthers(t *testing.T) {
	var now shards.Map[int, int]
	want := map[int]int{}
	type kept struct {
		is   shards.Map[int, int]
		want map[int]int
	}
	var all []kept
	for range 50 {
		all = append(all, kept{now, maps.Clone(want)})
		next := now
		w := shards.Writer[int, int]{Map: &next}
		for range 40 {
			key, value := rand.IntN(300), rand.Int()
			if rand.IntN(3) == 0 {
				w.Remove(key)
				delete(want, key)
			} else {
				w.Put(key, value)
				want[key] = value
			}
		}
		now = next
	}
	for i, k := range append(all, kept{now, want}) {
		got := maps.Collect(k.is.All)
		if !maps.Equal(got, k.want) || k.is.Len() != len(k.want) {
			t.Fatalf("the map of step %d has %d entries (%d by count), want %d", i, len(got), k.is.Len(), len(k.want))
		}
		for key, v := range k.want {
			if got, ok := k.is.Get(key); !ok || got != v {
				t.Fatalf("under %d of step %d is %d (%t), want %d", key, i, got, ok, v)
			}
		}
	}
}
