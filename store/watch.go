// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/weft-network/weft/api"
)

const (
	// bookmarkEvery is how often an idle watch says up to which revision it is.
	bookmarkEvery = 10 * time.Second
	// bookmarkSoon is the same for a watch whose reader waits for revisions.
	// It waits less than it notices, and a busy store costs it 40 lines a second.
	bookmarkSoon = 25 * time.Millisecond
	// replaysMax is how many watches at once may read old revisions from etcd:
	// each loads all objects as they were.
	replaysMax = 4
	// replayEventsMax bounds what one of them may collect; who is further
	// behind is faster by listing again.
	replayEventsMax = 200_000
)

// Watch delivers events of some kinds, in order. It is used by one goroutine.
type Watch struct {
	store    *Store
	options  WatchOptions
	sight    *sight // what the watcher may see
	revision int64  // everything up to here was delivered
	told     int64  // revision of the last bookmark
	pending  []api.Event
	ended    error // told when nothing is pending any more
}

// WatchOptions says what is watched.
type WatchOptions struct {
	Kinds []api.Kind // none means all
	// Selected, if set, picks objects. One that is no longer picked after a
	// change is delivered as deleted, as it was before.
	Selected func(api.Object) bool
	// Soon sends a bookmark soon after every change of the store, also one that
	// is not selected.
	Soon bool
}

// Watch begins a watch of kinds after a revision; see WatchSelected.
func (s *Store) Watch(ctx context.Context, by api.Identity, revision int64, kinds []api.Kind) (*Watch, error) {
	return s.WatchSelected(ctx, by, revision, WatchOptions{Kinds: kinds})
}

// WatchSelected begins a watch after a revision: Next returns everything later. With
// revision 0 it first returns a put for everything that exists and a bookmark.
// A revision that etcd has compacted is refused with CodeGone: list, and watch
// from the list's revision. Whose credentials are by sees what they may see: an
// object that enters or leaves that is a put or a deletion.
func (s *Store) WatchSelected(ctx context.Context, by api.Identity, revision int64, options WatchOptions) (*Watch, error) {
	for _, k := range options.Kinds {
		if _, ok := api.KindInfo(k); !ok {
			return nil, api.Errorf(api.CodeInvalid, "watch: %q is not a kind of object", k)
		}
	}
	w := &Watch{store: s, options: options, revision: revision, told: revision}
	snapshot, err := s.linearizable(ctx, 0)
	if err != nil {
		return nil, err
	}
	w.sight = snapshot.sightOf(by)
	switch {
	case revision == 0:
		w.list(snapshot)
	case revision > snapshot.revision:
		return nil, api.Errorf(api.CodeInvalid, "watch: revision %d is in the future, the newest is %d", revision, snapshot.revision)
	case revision < s.history.oldest():
		if err := w.replay(ctx); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// list makes everything that exists pending.
func (w *Watch) list(snapshot *Snapshot) {
	visible := seen{snapshot, w.sight}
	for _, info := range api.Kinds() {
		if !w.wants(info.Kind) {
			continue
		}
		for _, o := range visible.List(info.Kind) {
			if w.options.Selected != nil && !w.options.Selected(o) {
				continue
			}
			w.pending = append(w.pending, api.Event{Type: api.EventPut, Revision: snapshot.revision, Kind: info.Kind, Object: o})
		}
	}
	w.revision = snapshot.revision
	w.pending = append(w.pending, w.bookmark())
}

// replay makes pending what happened between the watch's revision and what is
// remembered, by repeating it on tables as they were.
func (w *Watch) replay(ctx context.Context) error {
	select {
	case w.store.replays <- struct{}{}:
		defer func() { <-w.store.replays }()
	case <-ctx.Done():
		return failed(ctx.Err(), "watch from revision %d: wait for other replays", w.revision)
	}
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	from, until := w.revision, w.store.history.oldest()
	t, _, err := load(ctx, w.store.client, from)
	if err == nil {
		err = revisions(ctx, w.store.client, from, func(revision int64, changes []change) (bool, error) {
			before := t.snapshot(revision - 1)
			events, err := t.apply(revision, changes)
			w.revision = revision
			w.add(batch{revision, events, sightings(before, t.snapshot(revision), events)})
			if len(w.pending) > replayEventsMax {
				err = errCompacted
			}
			return revision < until, err
		})
	}
	if errors.Is(err, errCompacted) {
		return api.Errorf(api.CodeGone, "watch: revision %d was compacted: list again and watch from there", from)
	}
	if err != nil {
		return failed(err, "watch from revision %d", from)
	}
	return nil
}

// Next returns the next events, waiting for them. While nothing happens it
// returns a bookmark every 10 s. After several events of one revision comes a
// bookmark too, so that whoever resumes at the last bookmark misses nothing.
func (w *Watch) Next(ctx context.Context) ([]api.Event, error) {
	timer := time.NewTimer(bookmarkEvery)
	defer timer.Stop()
	hurried := false
	for {
		if len(w.pending) > 0 {
			events := w.pending
			w.pending = nil
			return events, nil
		}
		if w.ended != nil {
			return nil, w.ended
		}
		b, remembered, changed := w.store.history.after(w.revision)
		switch {
		case !remembered:
			return nil, api.Errorf(api.CodeUnavailable, "watch: the reader is too slow, what came after revision %d is no longer in memory: watch again from there", w.revision)
		case b.revision > w.revision:
			w.revision = b.revision
			w.add(b)
			continue
		}
		if w.options.Soon && w.revision > w.told && !hurried {
			hurried = true
			timer.Reset(bookmarkSoon)
		}
		select {
		case <-changed:
		case <-timer.C:
			return []api.Event{w.bookmark()}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-w.store.ctx.Done():
			return nil, api.Errorf(api.CodeUnavailable, "watch: this controller is ending: watch again, at another")
		}
	}
}

// add makes the events that may be seen, and are asked for, pending.
func (w *Watch) add(b batch) {
	n := 0
	for _, e := range w.visible(b) {
		if e, ok := w.selected(e); ok {
			w.pending = append(w.pending, e)
			n++
		}
	}
	if n > 1 && w.ended == nil {
		w.pending = append(w.pending, w.bookmark())
	}
}

// visible returns the events of a batch for what the watcher may see,
// deletions last. After a change of what the rights rest on it ends the watch.
func (w *Watch) visible(b batch) []api.Event {
	if w.sight.everything {
		return b.events
	}
	if w.ended != nil {
		return nil
	}
	var puts, deletes []api.Event
	for i := range b.sights {
		g := &b.sights[i]
		if g.ends(w.sight) {
			w.ended = api.Errorf(api.CodeGone, "watch: at revision %d the rights of these credentials changed: list again and watch from there", b.revision)
			return nil
		}
		e, ok := g.event(w.sight, b.revision)
		switch {
		case ok && e.Type == api.EventDelete:
			deletes = append(deletes, e)
		case ok:
			puts = append(puts, e)
		}
	}
	return append(puts, deletes...)
}

// selected returns the event as it is for this watch, if it is for it at all.
func (w *Watch) selected(e api.Event) (api.Event, bool) {
	pick := w.options.Selected
	switch {
	case !w.wants(e.Kind):
		return e, false
	case pick == nil:
		return e, true
	case e.Type == api.EventPut && pick(e.Object):
		return e, true
	case e.Was != nil && pick(e.Was):
		e.Type, e.Object = api.EventDelete, e.Was
		return e, true
	}
	return e, false
}

func (w *Watch) wants(k api.Kind) bool {
	return len(w.options.Kinds) == 0 || slices.Contains(w.options.Kinds, k)
}

// bookmark says that everything up to the watch's revision has been delivered.
func (w *Watch) bookmark() api.Event {
	w.told = w.revision
	return api.Event{Type: api.EventBookmark, Revision: w.revision}
}
