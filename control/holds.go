// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/status"
	"github.com/weft-network/weft/control/stream"
)

const (
	// holdRetry is how long after a failure a hold is ended again, and how often,
	// at most, it is looked whether its time is over.
	holdRetry = time.Second
	// holdShown is how long the status of a hold that ends without all hosts is
	// there to be read before the hold goes.
	holdShown = 2 * time.Second
)

// holder ends holds: when all hosts have the change besides what they had, or
// when the hold has lasted as long as it may. It belongs to one goroutine, of the
// controller that leads.
type holder struct {
	service *Service
	tried   map[string]time.Time // by draft
}

// round does what is due, and tells whether there are holds.
func (h *holder) round(ctx context.Context, in *input, hosts map[string]stream.HostState, now time.Time) (any bool) {
	commit := h.service.options.Commit
	if commit == nil {
		return false
	}
	for _, d := range in.plan.Policy.Holds {
		any = true
		behind := status.Behind(in.plan, hosts, d)
		over := !now.Before(status.HoldEnds(d).Add(holdShown))
		if len(behind) > 0 && !over || now.Sub(h.tried[d.Meta.UUID]) < holdRetry {
			continue
		}
		h.tried[d.Meta.UUID] = now
		by := api.Identity{Name: h.service.options.name(), Orchestrator: d.Meta.Owner, Role: api.RoleAdmin}
		gone := api.New(api.KindDraft)
		gone.Head().Meta.UUID, gone.Head().Meta.Revision = d.Meta.UUID, d.Meta.Revision
		_, err := commit(ctx, by, []api.Operation{{Op: api.OpDelete, Object: gone}})
		switch {
		case ctx.Err() != nil:
			return any
		case err != nil:
			h.service.options.Log.Warn("a strict change is not ended, will try again", "draft", d.Meta.FQName, "error", err, "retry", holdRetry)
		case len(behind) > 0:
			h.service.options.Log.Warn("a strict change has ended before all hosts had it: on these the former policy may still be asked", "draft", d.Meta.FQName, "hosts", names(behind))
		}
	}
	if !any {
		clear(h.tried)
	}
	return any
}

// names are the hosts of a line of the log, with why each is behind.
func names(behind []api.HeldHost) string {
	var all []string
	for _, h := range behind {
		all = append(all, h.String())
	}
	return strings.Join(all, ", ")
}

// holdMetrics tell of strict changes that are held, whoever leads.
func (s *Service) holdMetrics() []prometheus.Collector {
	holds := func() []*api.Draft {
		if in := s.newest.Load(); in != nil {
			return in.plan.Policy.Holds
		}
		return nil
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	return []prometheus.Collector{
		gauge("weft_control_holds", "Strict changes that are held: not all hosts are known to have them.", func() float64 { return float64(len(holds())) }),
		gauge("weft_control_hold_seconds", "For how long the oldest of these has been held; 0 when there is none.", func() float64 {
			oldest := 0.0
			for _, d := range holds() {
				oldest = max(oldest, time.Since(d.Meta.UpdatedAt).Seconds())
			}
			return oldest
		}),
	}
}
