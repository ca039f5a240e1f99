// SPDX-License-Identifier: Apache-2.0

package services

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// KeepPause is the wait before listening anew after a failure. A service that
// fails at once again costs two lines of the log a minute.
const KeepPause = 30 * time.Second

var errEnded = errors.New("it ended by itself")

// Keeper serves one service for as long as the host's agent runs: what fails is
// logged, tried again, and never the end of anything else.
type Keeper struct {
	Name    string // in logs
	Packets bool   // UDP besides TCP
	// Serve serves until the context ends or it fails.
	Serve func(context.Context, *Listeners) error
	Log   *slog.Logger
	Pause time.Duration
	// Listen opens the sockets, at the port if it is not 0.
	Listen func(ctx context.Context, packets bool, port uint16) (*Listeners, error)

	mu        sync.Mutex
	listeners *Listeners
	port      uint16
	failure   error
}

// Open listens, or notes why not; [Keeper.Run] tries again.
func (k *Keeper) Open(ctx context.Context) {
	l, err := k.Listen(ctx, k.Packets, k.Port())
	if err != nil && k.Port() != 0 { // somebody has it now
		l, err = k.Listen(ctx, k.Packets, 0)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.listeners, k.failure = l, err; err == nil {
		k.port = l.Port
	}
}

// Port is where the service listens or did last, 0 if it never did.
func (k *Keeper) Port() uint16 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.port
}

// Failure says why the service is not served now; nil if it is.
func (k *Keeper) Failure() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failure == nil {
		return nil
	}
	return fmt.Errorf("%s is not served to workloads, will try again: %w", k.Name, k.failure)
}

// Run serves until the context ends. It calls moved when it listens at another
// port than before.
func (k *Keeper) Run(ctx context.Context, moved func(context.Context) error) error {
	for ctx.Err() == nil {
		k.mu.Lock()
		l, err := k.listeners, k.failure
		k.listeners = nil
		k.mu.Unlock()
		if l != nil {
			if err = k.Serve(ctx, l); err == nil {
				err = errEnded
			}
			l.Close()
		}
		if ctx.Err() != nil {
			return nil
		}
		k.mu.Lock()
		k.failure = err
		k.mu.Unlock()
		k.Log.Error("a service of the host is not served, will try again", "service", k.Name, "error", err, "retry", k.Pause)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(k.Pause):
		}
		was := k.Port()
		k.Open(ctx)
		if k.Port() != was {
			if err := moved(ctx); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
	return nil
}

// Close closes what is open and not yet served.
func (k *Keeper) Close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.listeners != nil {
		k.listeners.Close()
		k.listeners = nil
	}
}
