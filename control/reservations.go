// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/reserve"
	"github.com/weft-network/weft/control/status"
	"github.com/weft-network/weft/control/stream"
)

const (
	// maxReservations bounds the transactions of one round; the next begins
	// when their outcome is seen.
	maxReservations = 100
	// reserveRetry is how long a network is let be after a refusal: usually its
	// addresses are used up.
	reserveRetry = 30 * time.Second
)

// Commit writes objects in the name of an owner and returns the revision.
type Commit func(ctx context.Context, by api.Identity, operations []api.Operation) (revision int64, err error)

// reserver keeps addresses claimed for hosts as the networks say. It belongs to
// one goroutine, of the controller that leads.
type reserver struct {
	service *Service
	seen    int64                // not before a snapshot has this revision
	refused map[string]time.Time // by network, and by host
}

// followHosts writes into hosts' objects what their agents announce, where
// that was not set by hand.
func (r *reserver) followHosts(ctx context.Context, snapshot api.Snapshot, hosts map[string]stream.HostState, now time.Time) {
	by := api.Identity{Name: r.service.options.name(), Orchestrator: api.AdministratorsName, Role: api.RoleAdmin}
	for _, h := range api.ListOf[*api.Host](snapshot, api.KindHost) {
		state := hosts[h.Meta.UUID]
		if !state.Connected || now.Sub(r.refused[h.Meta.UUID]) < reserveRetry {
			continue
		}
		f := status.Followed(h, state.Report)
		if f == nil {
			continue
		}
		revision, err := r.service.options.Commit(ctx, by, []api.Operation{{Op: api.OpUpdate, Object: f}})
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			r.refused[h.Meta.UUID] = now
			r.service.options.Log.Warn("a host's new tunnel addresses are not written, will try again", "host", h.Meta.Name, "error", err, "retry", reserveRetry)
			continue
		}
		r.seen = max(r.seen, revision)
	}
}

// round does what is due.
func (r *reserver) round(ctx context.Context, newest *input, hosts map[string]stream.HostState, now time.Time) {
	snapshot := newest.snapshot
	commit := r.service.options.Commit
	if commit == nil || snapshot.Revision() < r.seen {
		return
	}
	r.followHosts(ctx, snapshot, hosts, now)
	in := reserve.Input{Snapshot: snapshot, Routes: newest.plan.Derived, Epoch: r.service.options.Epoch, Hosts: hosts}
	for _, c := range append(reserve.Changes(in, maxReservations), reserve.Blocks(in, maxReservations)...) {
		if now.Sub(r.refused[c.Network.UUID]) < reserveRetry {
			continue
		}
		delete(r.refused, c.Network.UUID)
		by := api.Identity{Name: r.service.options.name(), Orchestrator: c.Owner, Role: api.RoleAdmin}
		revision, err := commit(ctx, by, c.Operations)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			r.service.options.Log.Warn("addresses or ports are not reserved for hosts as the network says, will try again", "network", c.Network, "error", err, "retry", reserveRetry)
			r.refused[c.Network.UUID] = now
			continue
		}
		r.seen = max(r.seen, revision)
	}
}
