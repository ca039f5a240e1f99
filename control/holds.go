// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/stream"
)

const (
	// featureStrict is what agents say that keep former policies during a hold.
	featureStrict = "strict"
	// holdRetry is how long after a failure a hold is ended again, and how often,
	// at most, it is looked whether its time is over.
	holdRetry = time.Second
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
		behind := behindHold(in, d, hosts, h.service.options.Epoch)
		over := !now.Before(d.Meta.UpdatedAt.Add(time.Duration(d.Spec.Hold.Seconds) * time.Second))
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
			h.service.options.Log.Warn("a strict change has ended before all hosts had it: on these the former policy may still be asked", "draft", d.Meta.FQName, "hosts", strings.Join(behind, ", "))
		}
	}
	if !any {
		clear(h.tried)
	}
	return any
}

// behindHold names the hosts that are not known to ask both policies.
func behindHold(in *input, d *api.Draft, hosts map[string]stream.HostState, epoch uint64) (behind []string) {
	written := placement.Version{Epoch: epoch, Revision: d.Meta.Revision}
	for _, host := range in.plan.Derived.Hosts {
		uuid := host.Ref.UUID
		if in.plan.Policy.Host(uuid) == nil || slices.Contains(d.Spec.Hold.Without, uuid) {
			continue
		}
		state := hosts[uuid]
		holds := state.Report != nil && slices.Contains(state.Report.Features, featureStrict)
		if !state.Connected || !holds || state.Settled.Before(written) || state.RowErrors[placement.HoldKey(d.Meta.UUID)] != "" {
			behind = append(behind, host.Ref.Name)
		}
	}
	return behind
}
