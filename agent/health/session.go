// SPDX-License-Identifier: Apache-2.0

package health

import (
	"context"
	"sync"
)

// sessions are the workloads that are watched. They belong to the keeper's
// goroutine.
type sessions struct {
	k       *Keeper
	results chan<- outcome
	open    map[string]session // by id
	work    *sync.WaitGroup
}

type session struct {
	Try
	end context.CancelFunc
}

// follow ends the sessions that are not to be any more, and opens those that are.
func (s *sessions) follow(ctx context.Context) {
	s.k.mu.Lock()
	wanted := s.k.schedule.watches()
	s.k.mu.Unlock()
	for id, o := range s.open {
		if t, still := wanted[id]; !still || t != o.Try {
			o.end()
			delete(s.open, id)
		}
	}
	for id, t := range wanted {
		if _, open := s.open[id]; open {
			continue
		}
		ctx, end := context.WithCancel(ctx)
		s.open[id] = session{t, end}
		s.work.Go(func() {
			defer end()
			s.k.prober.Watch(ctx, t.Wanted, func(o Outcome) {
				select {
				case s.results <- outcome{t, o}:
				case <-ctx.Done():
				}
			})
		})
	}
}
