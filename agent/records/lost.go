// SPDX-License-Identifier: Apache-2.0

package records

import (
	"context"
	"fmt"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

// losses are how many records there are not.
type losses struct {
	frames, logged uint64
	ports          map[int]uint64 // of what is logged, by interface
}

func (r *Recorder) countLost() (lost losses, err error) {
	counts, err := r.path.EventCounts()
	if err != nil {
		return lost, err
	}
	for kind, c := range counts {
		if kind == vrouter.EventLogged {
			lost.logged += c.Limited + c.Unheard
		} else {
			lost.frames += c.Limited + c.Unheard
		}
	}
	if lost.ports = r.lost.ports; lost.ports != nil && lost.logged == r.lost.logged {
		return lost, nil // no port has lost any, either
	}
	counters, err := r.path.Counters()
	lost.ports = map[int]uint64{}
	for _, c := range counters {
		lost.ports[c.Ifindex] = c.Unlogged
	}
	return lost, err
}

// noteLost tells how many frames were not recorded, and at which ports of how many
// it was not recorded what rules log.
func (r *Recorder) noteLost(ctx context.Context) error {
	lost, err := r.countLost()
	if err != nil {
		return err
	}
	if count := lost.frames - r.lost.frames; count > 0 {
		r.take([]api.Record{{Time: time.Now(), Record: api.RecordLost, Host: r.options.Host, Lost: count}})
	}
	if lost.logged != r.lost.logged {
		all, err := r.unlogged(ctx, lost.ports)
		if err != nil {
			return err
		}
		r.keepLogged(all)
	}
	r.lost = lost
	return nil
}

// unlogged are records of what was not logged at ports since the last time.
func (r *Recorder) unlogged(ctx context.Context, ports map[int]uint64) (all []api.Record, err error) {
	devices, err := r.options.Interfaces()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	err = look(ctx, r.loop, func(d directory) {
		for ifindex, count := range ports {
			before := r.lost.ports[ifindex]
			if count < before {
				before = 0 // of another port on the interface
			}
			if count == before {
				continue
			}
			one := api.Record{Time: now, Record: api.RecordLost, Host: r.options.Host, Interface: devices[ifindex], Lost: count - before}
			if row, bound := d.ports[ifindex]; bound {
				d.name(&one.Source, row)
			}
			all = append(all, one)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("name ports whose rules log too much: %w", err)
	}
	return all, nil
}
