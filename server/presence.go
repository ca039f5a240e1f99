// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/weft-network/weft/api"
)

const (
	// presenceEvery is how often what was seen is written: at most one write an
	// orchestrator in that time, however many requests it makes.
	presenceEvery = time.Minute
	// aheadMax is how much another controller's clock may be ahead of this one's.
	aheadMax = 5 * time.Minute
	// defaultSilentAfter is well above presenceEvery and a restart of an adapter.
	defaultSilentAfter = 10 * time.Minute
)

// presence remembers when each orchestrator was last heard of. Nothing but a
// condition follows from it: nothing is ever deleted for silence.
type presence struct {
	mu   sync.Mutex
	seen map[string]time.Time // by the orchestrator's name
}

// note takes down a request. Who only reads, or is narrowed to a tenant, is not
// the orchestrator itself.
func (p *presence) note(who api.Identity, now time.Time) {
	if who.Orchestrator == "" || who.Orchestrator == api.AdministratorsName || who.Scope != nil || who.Role != api.RoleAdmin && who.Role != api.RoleMember {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen == nil {
		p.seen = map[string]time.Time{}
	}
	p.seen[who.Orchestrator] = now
}

// take returns what was seen since the last time.
func (p *presence) take() map[string]time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := p.seen
	p.seen = nil
	return seen
}

// watchPresence writes what was seen until the server closes.
func (s *Server) watchPresence() {
	ticker := time.NewTicker(presenceEvery)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			s.writePresence(s.closing, now)
		case <-s.closing.Done():
			return
		}
	}
}

// writePresence brings the status of every orchestrator up to date. Several
// controllers do so side by side: the newest sighting that is stored counts.
func (s *Server) writePresence(ctx context.Context, now time.Time) {
	seen := s.presence.take()
	for _, o := range api.ListOf[*api.Orchestrator](s.store.Latest(), api.KindOrchestrator) {
		if o.Meta.Name == api.AdministratorsName {
			continue
		}
		status, changed := presenceOf(o, seen[o.Meta.Name], now, s.silentAfter)
		if !changed {
			continue
		}
		if err := s.store.PutStatus(ctx, api.KindOrchestrator, o.Meta.UUID, status); err != nil && ctx.Err() == nil {
			s.log.Warn("server: write when an orchestrator was seen", "orchestrator", o.Meta.Name, "error", err)
		}
	}
}

// presenceOf is the status of an orchestrator that was seen (zero: not since
// the last time), and whether it differs from the one it has.
func presenceOf(o *api.Orchestrator, seen, now time.Time, silentAfter time.Duration) (api.OrchestratorStatus, bool) {
	status := o.Status
	if seen = seen.UTC().Truncate(time.Second); seen.After(status.LastSeen) {
		status.LastSeen = seen
	}
	if status.LastSeen.After(now.Add(aheadMax)) {
		// A clock was ahead. As it is, a silent one would not be found for as long.
		status.LastSeen = now.UTC().Truncate(time.Second)
	}
	last := status.LastSeen
	if last.IsZero() {
		last = o.Meta.CreatedAt
	}
	c := api.Condition{Type: api.ConditionSilent, Status: now.Sub(last) > silentAfter, Reason: "heard-of", Since: now.UTC().Truncate(time.Second)}
	if c.Status {
		c.Reason = "not-heard-of"
		c.Message = fmt.Sprintf("no request with its own credentials since %s; what it owns stays as it is", last.Format(time.RFC3339))
	}
	for _, was := range o.Status.Conditions {
		if was.Type == c.Type && was.Status == c.Status {
			c.Since = was.Since
			if c.Status {
				c.Message = was.Message
			}
		}
	}
	status.Conditions = []api.Condition{c}
	same := len(o.Status.Conditions) == 1 && o.Status.Conditions[0] == c
	return status, !same || !status.LastSeen.Equal(o.Status.LastSeen)
}
