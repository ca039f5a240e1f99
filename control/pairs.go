// SPDX-License-Identifier: Apache-2.0

package control

import (
	"cmp"
	"context"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/pair"
	"github.com/weft-network/weft/control/stream"
)

const (
	// maxPairs bounds the transactions of one round; the next begins when their
	// outcome is seen.
	maxPairs = 100
	// pairRetry is how long a load-balancer is let be after a refusal, and
	// pairLook how often ports are looked for whose load-balancer is gone.
	pairRetry = 30 * time.Second
	pairLook  = time.Second
)

// keepers write objects of the controller's own, and are of one goroutine.
type keepers struct {
	holder   holder
	reserver reserver
	pairer   pairer
}

func newKeepers(s *Service) *keepers {
	return &keepers{
		holder{service: s, tried: map[string]time.Time{}}, reserver{service: s, refused: map[string]time.Time{}},
		pairer{service: s, refused: map[string]time.Time{}, away: map[string]time.Time{}},
	}
}

// round does what is due, and says when there may be more.
func (k *keepers) round(ctx context.Context, in *input, hosts map[string]stream.HostState, now time.Time) (again time.Duration) {
	again = reserveRetry
	if k.holder.round(ctx, in, hosts, now) {
		again = holdRetry // its time may be over before anything changes
	}
	k.reserver.round(ctx, in, hosts, now)
	return min(again, cmp.Or(k.pairer.round(ctx, in, hosts, now), reserveRetry))
}

// pairer keeps the ports of proxies as load-balancers need them. It belongs to one
// goroutine, of the controller that leads.
type pairer struct {
	service *Service
	seen    int64                // not before a snapshot has this revision
	refused map[string]time.Time // by load-balancer
	away    map[string]time.Time // hosts that are, and since when
	looked  time.Time
	revised int64 // revision at which all ports were looked at
}

// round does what is due, and says when there is more to do, if that is known.
func (r *pairer) round(ctx context.Context, in *input, hosts map[string]stream.HostState, now time.Time) (again time.Duration) {
	commit := r.service.options.Commit
	if commit == nil {
		return 0
	}
	if in.snapshot.Revision() < r.seen {
		return pairLook
	}
	for _, h := range in.plan.Derived.Hosts {
		if hosts[h.Ref.UUID].Connected {
			delete(r.away, h.Ref.UUID)
		} else if _, known := r.away[h.Ref.UUID]; !known {
			r.away[h.Ref.UUID] = now
		}
	}
	ask := pair.Input{Snapshot: in.snapshot, Balance: in.plan.Balance, Hosts: hosts, Away: func(host string) time.Duration {
		since, away := r.away[host]
		if !away {
			return 0
		}
		return now.Sub(since)
	}}
	if in.snapshot.Revision() != r.revised {
		again = pairLook
		if ask.All = now.Sub(r.looked) >= pairLook; ask.All {
			r.looked, r.revised = now, in.snapshot.Revision()
		}
	}
	changes := pair.Changes(ask, maxPairs)
	by := api.Identity{Name: r.service.options.name(), Orchestrator: api.AdministratorsName, Role: api.RoleAdmin}
	for _, c := range changes {
		if now.Sub(r.refused[c.Balancer]) < pairRetry {
			again = pairLook
			continue
		}
		delete(r.refused, c.Balancer)
		revision, err := commit(ctx, by, c.Operations)
		if ctx.Err() != nil {
			return 0
		}
		if err != nil {
			r.service.options.Log.Warn("the ports of a load-balancer's proxies are not as it needs them, will try again", "load-balancer", c.Balancer, "error", err, "retry", pairRetry)
			r.refused[c.Balancer] = now
			continue
		}
		r.seen = max(r.seen, revision)
	}
	if len(r.away) > 0 {
		again = pairLook // one of them may be away for too long without that anything changes
	}
	return again
}
