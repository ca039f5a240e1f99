// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/weft-network/weft/lab/probe"
)

// flowing starts numbered datagrams from workload 10 to the others, in both families.
func flowing(t *testing.T, w map[int]string) []*probe.Flowing {
	t.Helper()
	var flows []*probe.Flowing
	for _, n := range []int{11, 12} {
		for _, ip := range ips(n) {
			f, err := probe.Flow{Name: ip.String(), From: w[10], To: w[n], Address: ip, Rate: 1000}.Start()
			if err != nil {
				t.Fatal(err)
			}
			flows = append(flows, f)
		}
	}
	return flows
}

// more waits until some more of every flow has come.
func more(t *testing.T, flows []*probe.Flowing) {
	t.Helper()
	for _, f := range flows {
		have := f.Received()
		eventually(t, func() error {
			if f.Received() < have+200 {
				return fmt.Errorf("%d datagrams came, want 200 more than %d", f.Received(), have)
			}
			return nil
		})
	}
}

// behind makes the controller one of an older revision that has nothing for
// the host, and returns the revision it had.
func (c *controller) behind() (good int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	good = c.revision
	c.revision, c.rows = 1, map[string][]byte{}
	return good
}

// asked is how many streams the controller has served.
func (c *controller) asked() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.streams
}

// A controller that is behind what the host has seen, and would take all its
// ports away, is refused; traffic goes on, also while the agent starts anew
// with nobody else to ask.
func TestStaleStreamLosesNothing(t *testing.T) {
	m := twoHosts(t, tunnels4)
	for i := range m {
		m[i].start(tunnels4[i])
		m[i].agent.waitReady(t)
	}
	together(m, tunnels4, 100)
	together(m, tunnels4, 100) // a revision later
	w := map[int]string{}
	for n, at := range placed {
		w[n] = namespace(t, fmt.Sprintf("w%d", n))
		m[at].mustPlug(portID(100, n), w[n])
	}
	flows := flowing(t, w)
	more(t, flows)
	c := m[0].controller
	good := c.behind()
	for range 2 { // the agent that runs, and one that starts
		asked := c.asked()
		m[0].agent.stop(t, syscall.SIGKILL)
		m[0].start(tunnels4[0])
		eventually(t, func() error {
			if c.asked() < asked+2 { // it came, was refused, and came again
				return fmt.Errorf("the agent asked %d times", c.asked()-asked)
			}
			return nil
		})
		more(t, flows)
	}
	c.mu.Lock()
	c.revision = good
	c.mu.Unlock()
	c.set(network(100, tunnels4)[0])
	c.settled()
	more(t, flows)
	for _, f := range flows {
		count, err := f.Stop()
		if err != nil {
			t.Fatal(err)
		}
		if count.LostOnTheWay() > 0 || count.Duplicated > 0 {
			t.Errorf("beside a stale controller: %+v: %d lost on the way", count, count.LostOnTheWay())
		}
	}
	for i := range m {
		m[i].agent.stop(t, syscall.SIGTERM)
		m[i].uninstall([]string{"lo", "u0"})
	}
}
