// SPDX-License-Identifier: Apache-2.0

package status

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/weft-network/weft/api"
)

const (
	// rewriteAfter is how long a written status may take to appear in a
	// snapshot. If it has not by then, it was lost or overwritten: write again.
	rewriteAfter = 5 * time.Second
	// putTimeout bounds one write.
	putTimeout = 5 * time.Second
	// writesAtOnce are on their way together: etcd makes them durable together.
	writesAtOnce = 16
	// maxFailures ends a round of writes: the store is not well, and the
	// next round begins with everything that is still to be written.
	maxFailures = 3
)

// Store is where statuses are kept.
type Store interface {
	// PutStatus replaces the status of an object; it is not found when the
	// object was deleted meanwhile.
	PutStatus(ctx context.Context, kind api.Kind, uuid string, status any) error
}

// Writer writes changes and remembers, until snapshots show them, which it
// wrote. It belongs to one goroutine.
type Writer struct {
	store  Store
	recent map[target]written
}

type target struct {
	kind api.Kind
	uuid string
}

type written struct {
	fact string
	at   time.Time
}

// NewWriter makes a writer.
func NewWriter(s Store) *Writer { return &Writer{store: s, recent: map[target]written{}} }

// Write writes what was not written just now. What failed is returned; it is
// tried again when Changes still says so.
func (w *Writer) Write(ctx context.Context, changes []Change, now time.Time) error {
	for t, r := range w.recent {
		if now.Sub(r.at) >= rewriteAfter {
			delete(w.recent, t)
		}
	}
	var mu sync.Mutex // guards failures and recent
	var failures []error
	var wait sync.WaitGroup
	slots := make(chan struct{}, writesAtOnce)
	for _, c := range changes {
		t, fact := target{c.Kind, c.UUID}, factOf(c.Status)
		slots <- struct{}{}
		mu.Lock()
		r, ok := w.recent[t]
		over := len(failures) >= maxFailures || ctx.Err() != nil
		mu.Unlock()
		if over {
			break
		}
		if ok && r.fact == fact {
			<-slots
			continue
		}
		wait.Go(func() {
			defer func() { <-slots }()
			err := w.put(ctx, c)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failures = append(failures, fmt.Errorf("write status of %s %s: %w", c.Kind, c.UUID, err))
				return
			}
			w.recent[t] = written{fact, now}
		})
	}
	wait.Wait()
	return errors.Join(failures...)
}

func (w *Writer) put(ctx context.Context, c Change) error {
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	err := w.store.PutStatus(ctx, c.Kind, c.UUID, c.Status)
	var known *api.Error
	if errors.As(err, &known) && known.Code == api.CodeNotFound {
		return nil // deleted meanwhile: nothing is left to describe
	}
	return err
}

// factOf is what a status says, without the time since when: that differs each
// time it is computed until a snapshot shows it.
func factOf(status any) string {
	timeless := func(conditions []api.Condition) []api.Condition {
		conditions = slices.Clone(conditions)
		for i := range conditions {
			conditions[i].Since = time.Time{}
		}
		return conditions
	}
	switch s := status.(type) {
	case *api.BindingStatus:
		return fmt.Sprintf("%+v", timeless(s.Conditions))
	case *api.Reported:
		return fmt.Sprintf("%+v", timeless(s.Conditions))
	case *api.NetworkPolicyAttachmentStatus:
		return fmt.Sprintf("%+v", timeless(s.Conditions))
	}
	if p, ok := status.(*api.PortStatus); ok {
		now := *p
		now.HealthChecks = slices.Clone(p.HealthChecks)
		for i := range now.HealthChecks {
			now.HealthChecks[i].Since = time.Time{}
		}
		status = &now
	}
	return fmt.Sprintf("%+v", status)
}
