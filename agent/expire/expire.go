// SPDX-License-Identifier: Apache-2.0

// Package expire removes from the kernel what packets have left there and no
// longer use. The packet path itself deletes nothing by time.
package expire

import (
	"context"
	"log/slog"
	"maps"
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
	// ForgetGone removes the counts of interfaces that are gone.
	ForgetGone() error
	// RuleHits returns how many conversations each rule decided, by its number.
	RuleHits() (map[uint32]uint64, error)
	// ForgetRuleHits removes the count of one.
	ForgetRuleHits(rule uint32) error
}

// Asked tells which rules ports of this host ask, by their numbers.
type Asked func(context.Context) (map[uint32]bool, error)

// keepHits is how many rules that nobody asks any more keep their counts: a port
// that is plugged again soon finds them, and the table never fills with them.
const keepHits = 4096

// Run walks the connections until the context ends. A walk that fails is
// logged and tried again at the next.
func Run(ctx context.Context, connections Connections, asked Asked, log *slog.Logger) {
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
		if err := connections.ForgetGone(); err != nil {
			log.Warn("counts of interfaces that are gone are not removed; trying again", "error", err, "retry", Interval)
		}
		if err := forgetHits(ctx, connections, asked); err != nil && ctx.Err() == nil {
			log.Warn("counts of rules that are gone are not removed; trying again", "error", err, "retry", Interval)
		}
	}
}

// forgetHits removes the counts of rules that nobody asks any more, if they are many.
func forgetHits(ctx context.Context, connections Connections, asked Asked) error {
	hits, err := connections.RuleHits()
	if err != nil || len(hits) <= keepHits {
		return err
	}
	known, err := asked(ctx)
	if err != nil {
		return err
	}
	maps.DeleteFunc(hits, func(rule uint32, _ uint64) bool { return known[rule] })
	if len(hits) <= keepHits {
		return nil
	}
	for rule := range hits {
		if err := connections.ForgetRuleHits(rule); err != nil {
			return err
		}
	}
	return nil
}
