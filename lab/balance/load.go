// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// load is clients of one namespace that ask one after another, until it is stopped.
type load struct {
	stop chan struct{}
	wait sync.WaitGroup

	mu       sync.Mutex // guards what follows
	served   map[string]int
	failures []failure
}

type failure struct {
	began, at time.Time
	err       error
}

// pace is the pause of a client between two requests.
const pace = 5 * time.Millisecond

// put asks from a namespace by so many clients; keep: each with one conversation for
// all its requests. One fails that has no answer within the patience.
func put(ns string, at netip.AddrPort, clients int, keep bool, patience time.Duration) *load {
	l := &load{stop: make(chan struct{}), served: map[string]int{}}
	for range clients {
		l.wait.Go(func() {
			c := browser(ns, keep, patience)
			defer c.CloseIdleConnections()
			tick := time.NewTicker(pace)
			defer tick.Stop()
			for {
				began := time.Now()
				a, err := get(c, at)
				l.note(began, a, err)
				select {
				case <-l.stop:
					return
				case <-tick.C:
				}
			}
		})
	}
	return l
}

func (l *load) note(began time.Time, a answer, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failures = append(l.failures, failure{began, time.Now(), err})
		return
	}
	l.served[a.who]++
}

// sofar is how often each member has answered, and all failures.
func (l *load) sofar() (served map[string]int, failures []failure) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.served), slices.Clone(l.failures)
}

// end ends it and says how it went.
func (l *load) end() (served map[string]int, failures []failure) {
	close(l.stop)
	l.wait.Wait()
	return l.sofar()
}

// recovered is how long after a moment the last request that failed had begun.
func recovered(failures []failure, since time.Time) (d time.Duration) {
	for _, f := range failures {
		d = max(d, f.began.Sub(since))
	}
	return d
}
