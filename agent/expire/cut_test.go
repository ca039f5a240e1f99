// SPDX-License-Identifier: Apache-2.0

package expire_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/expire"
	"github.com/weft-network/weft/vrouter"
)

// cuts are the walks that cut, each with what is to become of the first member's.
type cuts struct {
	left []bool
	fail bool
}

var firstMember = vrouter.PoolMemberKey{MAC: vrouter.MAC{10, 1}}

func (c *cuts) CutServed(protocol uint8, left func(vrouter.ConnectionKey, vrouter.MAC) bool) (int, error) {
	if protocol != 17 {
		panic("only what has no first packet is cut")
	}
	c.left = append(c.left, left(vrouter.ConnectionKey{}, firstMember.MAC))
	if c.fail {
		return 0, errors.New("table is busy")
	}
	return 1, nil
}

// Conversations are looked at when somebody goes down, and each Interval while somebody
// is; not for other news, and not while nobody is down.
func TestCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var log bytes.Buffer
		c, changed, down := &cuts{}, make(chan struct{}, 1), datapath.Down{}
		done := make(chan struct{})
		go func() {
			defer close(done)
			expire.Cut(ctx, c, changed, func(context.Context) (datapath.Down, error) { return down, nil }, slog.New(slog.NewTextHandler(&log, nil)))
		}()
		pass := func(d time.Duration) { <-time.NewTimer(d).C } // by the clock of the bubble
		expect := func(what string, walks int) {
			t.Helper()
			synctest.Wait()
			if len(c.left) != walks {
				t.Errorf("%s: %d walks, want %d", what, len(c.left), walks)
			}
		}
		who := func(members ...vrouter.PoolMemberKey) {
			down = datapath.Down{Members: map[vrouter.PoolMemberKey]bool{}}
			for _, m := range members {
				down.Members[m] = true
			}
			changed <- struct{}{}
		}
		pass(3 * expire.Interval)
		expect("nobody is down", 0)
		c.fail = true
		who(firstMember)
		expect("one goes down", 1)
		c.fail = false
		who(firstMember)
		expect("the first walk failed", 2)
		who(firstMember)
		expect("other news", 2)
		who(firstMember, vrouter.PoolMemberKey{MAC: vrouter.MAC{10, 2}})
		expect("another one goes down", 3)
		pass(expire.Interval)
		expect("an interval later", 4)
		who()
		pass(2 * expire.Interval)
		expect("all are back", 4)
		who(firstMember)
		expect("it goes down again", 5)
		cancel()
		<-done
		if text := log.String(); strings.Count(text, "go to others") != 4 || strings.Count(text, "table is busy") != 1 {
			t.Errorf("log is\n%s", text)
		}
	})
}
