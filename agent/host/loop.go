// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api/hoststream"
	"google.golang.org/protobuf/proto"
)

const (
	// saveDelay gathers changes of the desired rows into one write of the file.
	saveDelay = time.Second
	// roundLimit bounds one round, so that a stop or a plug is not kept waiting
	// by a huge change; what is left is done in the next.
	roundLimit = 2 * time.Second
)

// ErrStopped says that the loop has ended.
var ErrStopped = errors.New("agent is stopping")

// Loop owns a Core. Every other goroutine reaches it through Do.
type Loop struct {
	core  *Core
	calls chan func(*Core)
	done  chan struct{}
	save  func(data []byte) error
	log   *slog.Logger

	waiting   []*waiter
	listeners map[*Listener]bool
	ack       *hoststream.Ack
	report    *hoststream.Report
	saveAt    time.Time // zero: saved
}

type waiter struct {
	ready func(*Core) bool
	done  chan struct{}
}

// Listener hears of new acknowledgements and reports. Only the latest matter:
// a slow listener skips those in between.
type Listener struct {
	// Changed has an element when Latest may return something new.
	Changed chan struct{}
}

// NewLoop returns a loop that saves the desired rows with save.
func NewLoop(core *Core, save func(data []byte) error, log *slog.Logger) *Loop {
	return &Loop{
		core:      core,
		calls:     make(chan func(*Core)),
		done:      make(chan struct{}),
		save:      save,
		log:       log,
		listeners: map[*Listener]bool{},
	}
}

// Run works until the context ends. What is in the kernel stays.
func (l *Loop) Run(ctx context.Context) {
	defer close(l.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			l.end(ctx)
			return
		case call := <-l.calls:
			call(l.core)
		case <-timer.C:
		}
		more := l.round(ctx)
		timer.Reset(l.pause(more, time.Now()))
	}
}

// end saves what is to be known after a restart. What is between one policy and
// another comes to its end before: an agent that starts does not know the first.
func (l *Loop) end(ctx context.Context) {
	if l.core.Between() {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), roundLimit)
		defer cancel()
		l.core.Round(limited, time.Now())
	}
	l.saveNow()
}

func (l *Loop) round(ctx context.Context) (more bool) {
	limited, cancel := context.WithTimeout(ctx, roundLimit)
	defer cancel()
	more = l.core.Round(limited, time.Now())
	if !l.saveAt.IsZero() && !l.saveAt.After(time.Now()) {
		l.saveNow()
	}
	l.publish()
	l.wake()
	return more
}

// idlePause is how long the loop sleeps when nothing is due; it is woken by calls.
const idlePause = time.Hour

// pause returns how long the loop may sleep.
func (l *Loop) pause(more bool, now time.Time) time.Duration {
	if more {
		return 0
	}
	pause := idlePause
	if next, ok := l.core.NextAttempt(); ok {
		pause = min(pause, next.Sub(now))
	}
	if !l.saveAt.IsZero() {
		pause = min(pause, l.saveAt.Sub(now))
	}
	return max(pause, 0)
}

func (l *Loop) saveNow() {
	if l.saveAt.IsZero() {
		return
	}
	l.saveAt = time.Time{}
	data, err := l.core.Encode()
	if err == nil {
		err = l.save(data)
	}
	if err != nil {
		l.log.Error("desired rows are not saved; a restart without a controller would not know the newest", "error", err)
	}
}

// publish tells listeners of a new report or acknowledgement.
func (l *Loop) publish() {
	ack, report := l.core.Ack(), l.core.Report()
	if proto.Equal(ack, l.ack) && proto.Equal(report, l.report) {
		return
	}
	l.ack, l.report = ack, report
	for x := range l.listeners {
		select {
		case x.Changed <- struct{}{}:
		default: // has not heard of the one before yet
		}
	}
}

func (l *Loop) wake() {
	still := l.waiting[:0]
	for _, w := range l.waiting {
		if w.ready(l.core) {
			close(w.done)
		} else {
			still = append(still, w)
		}
	}
	l.waiting = still
}

// Do runs f with the core and returns after it; f must not keep the core. A
// round follows.
func (l *Loop) Do(ctx context.Context, f func(*Core)) error {
	ran := make(chan struct{})
	select {
	case l.calls <- func(c *Core) { f(c); close(ran) }:
		<-ran
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-l.done:
		return ErrStopped
	}
}

// Wait returns when ready does, which is asked after every round, or with the
// context's error.
func (l *Loop) Wait(ctx context.Context, ready func(*Core) bool) error {
	w := &waiter{ready, make(chan struct{})}
	if err := l.Do(ctx, func(*Core) { l.waiting = append(l.waiting, w) }); err != nil {
		return err
	}
	select {
	case <-w.done:
		return nil
	case <-l.done:
		return ErrStopped
	case <-ctx.Done():
	}
	_ = l.Do(context.WithoutCancel(ctx), func(*Core) { l.forget(w) }) // only fails when all is over
	return context.Cause(ctx)
}

func (l *Loop) forget(w *waiter) {
	for i, x := range l.waiting {
		if x == w {
			l.waiting = append(l.waiting[:i], l.waiting[i+1:]...)
			return
		}
	}
}

// Open begins a stream and returns its Hello.
func (l *Loop) Open(ctx context.Context, agentVersion, kernel string) (hello *hoststream.Hello, err error) {
	err = l.Do(ctx, func(c *Core) { hello = c.Open(agentVersion, kernel) })
	return hello, err
}

// Apply takes a delta, tries all its rows, unless it is kept back until more is
// here, and returns the acknowledgement.
func (l *Loop) Apply(ctx context.Context, d *hoststream.Delta) (ack *hoststream.Ack, err error) {
	var refused error
	kept := false
	err = l.Do(ctx, func(c *Core) {
		var parted string
		if kept, parted, refused = c.Gather(d, time.Now()); parted != "" {
			l.log.Warn("a change is too large to take effect in one step: what old and new policy both allow may be dropped for a moment", "reason", parted)
		}
		if kept || refused != nil {
			return
		}
		l.saveAt = time.Now().Add(saveDelay)
		if d.InSync {
			l.saveAt = time.Now() // a complete picture is worth keeping at once
		}
	})
	if err = errors.Join(err, refused); err != nil {
		return nil, err
	}
	if !kept {
		err = l.Wait(ctx, (*Core).Tried)
	}
	if err == nil {
		err = l.Do(ctx, func(c *Core) { ack = c.Ack() })
	}
	return ack, err
}

// Listen registers for changes; Leave ends it.
func (l *Loop) Listen(ctx context.Context) (*Listener, error) {
	x := &Listener{Changed: make(chan struct{}, 1)}
	x.Changed <- struct{}{}
	return x, l.Do(ctx, func(*Core) { l.listeners[x] = true })
}

// Leave ends a registration.
func (l *Loop) Leave(x *Listener) {
	_ = l.Do(context.Background(), func(*Core) { delete(l.listeners, x) }) // fails only when the loop has ended
}

// Latest returns the newest acknowledgement (nil before the first delta of a
// stream) and report.
func (l *Loop) Latest(ctx context.Context) (ack *hoststream.Ack, report *hoststream.Report, err error) {
	err = l.Do(ctx, func(c *Core) { ack, report = c.Ack(), c.Report() })
	return ack, report, err
}

// Standing is how the streams to controllers are.
type Standing struct {
	Reserve   string // controller to which one is held in reserve; empty: none
	Connected bool   // the one in use has brought everything
}

// Stand takes note of how the streams are, and returns the version of what the
// host has.
func (l *Loop) Stand(ctx context.Context, s Standing) (v desired.Version, err error) {
	err = l.Do(ctx, func(c *Core) {
		v = c.Version()
		c.SetWarm(s.Reserve)
		c.SetConnected(s.Connected)
	})
	return v, err
}
