// SPDX-License-Identifier: Apache-2.0

// Package expire removes from the kernel what packets have left there and no
// longer use. The packet path itself deletes nothing by time.
package expire

import (
	"context"
	"log/slog"
	"time"
)

// Interval is the pause between two walks. It is as long as the shortest
// timeout of a connection, which so may live twice as long as it says.
const Interval = 10 * time.Second

// Connections is the packet path's tables of what packets leave.
type Connections interface {
	// ExpireConnections removes those that have been idle for too long.
	ExpireConnections() (removed int, err error)
	// ExpireMACs removes learned MACs that have not been heard for too long.
	ExpireMACs() (removed int, err error)
}

// Run walks the connections until the context ends. A walk that fails is
// logged and tried again at the next.
func Run(ctx context.Context, connections Connections, log *slog.Logger) {
	ticker := time.NewTicker(Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if _, err := connections.ExpireConnections(); err != nil {
			log.Warn("idle connections are not removed; trying again", "error", err, "retry", Interval)
		}
		if _, err := connections.ExpireMACs(); err != nil {
			log.Warn("idle learned MACs are not removed; trying again", "error", err, "retry", Interval)
		}
	}
}
