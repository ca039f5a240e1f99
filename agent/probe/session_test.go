// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/weft-network/weft/agent/bfd"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/health"
)

// A session that does not come up has failed after 5 s, or after as long as it may be
// silent where that is more, and not before.
func TestSessionsHaveTimeToComeUp(t *testing.T) {
	for interval, want := range map[time.Duration]time.Duration{50 * time.Millisecond: 5 * time.Second, 5 * time.Second: 15 * time.Second} {
		begin := time.Unix(1000, 0)
		var said []health.Outcome
		e := &end{w: health.Wanted{Check: desired.Check{Type: "bfd", Interval: interval, Fall: 3}}, begun: begin, silent: true, tell: func(o health.Outcome) { said = append(said, o) }}
		e.Session = bfd.New(bfd.Options{Discriminator: 1, Interval: interval, Multiplier: 3, Random: rand.N[time.Duration]}, begin)
		if e.say(begin.Add(want - time.Millisecond)); len(said) > 0 {
			t.Errorf("every %v: before %v it is said to be %+v", interval, want, said)
		}
		if e.say(begin.Add(want)); len(said) != 1 || said[0].Good {
			t.Errorf("every %v: after %v it is said to be %+v", interval, want, said)
		}
	}
}
