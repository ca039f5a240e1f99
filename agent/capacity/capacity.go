// SPDX-License-Identifier: Apache-2.0

// Package capacity looks now and then at how full the packet path's tables
// are, so that one with little room left is told before it refuses a row.
package capacity

import (
	"context"
	"log/slog"
	"time"

	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/vrouter"
)

const (
	// Interval is the usual pause between two looks.
	Interval = 10 * time.Second
	// share bounds what looking costs: a look that took a second, at a million
	// entries, is followed by a pause of this many.
	share = 50
	// soon is the pause before looking at what a row was refused for.
	soon = 200 * time.Millisecond
)

// Tables tells how full they are.
type Tables interface {
	Capacity() ([]vrouter.Usage, error)
}

// Run looks until the context ends. It looks sooner when rows are refused, and
// when they no longer are. A look that fails is logged and tried again.
func Run(ctx context.Context, tables Tables, loop *host.Loop, log *slog.Logger) {
	listener, err := loop.Listen(ctx)
	if err != nil {
		return // the loop has ended
	}
	defer loop.Leave(listener)
	timer := time.NewTimer(0)
	defer timer.Stop()
	refused, earliest := 0, time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-listener.Changed:
			now := refused
			if loop.Do(ctx, func(c *host.Core) { now = len(c.Problems()) }) != nil {
				return
			}
			if now != refused {
				refused = now
				timer.Reset(max(soon, time.Until(earliest)))
			}
			continue
		case <-timer.C:
		}
		began := time.Now()
		all, err := tables.Capacity()
		if err != nil {
			log.Warn("how full the tables are is not known; trying again", "error", err, "retry", Interval)
		} else if loop.Do(ctx, func(c *host.Core) { c.SetCapacity(all) }) != nil {
			return
		}
		took := time.Since(began)
		earliest = time.Now().Add(share * took)
		timer.Reset(max(Interval, share*took))
	}
}
