// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/weft-network/weft/api"
)

// Bounds of a watch.
const (
	// maxEvent is above the largest object etcd takes (1.5 MiB), twice.
	maxEvent = 4 << 20
	// Waits before connecting again. The longest still follows a restarted
	// controller within seconds; each is random so that clients do not come at once.
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// WatchOptions selects what is watched from when.
type WatchOptions struct {
	Kinds []api.Kind // all when empty
	// Select picks objects. One that it no longer picks after a change comes as
	// a delete, as it was before.
	Select Selection
	// Soon asks for a bookmark soon after every change of the store: for
	// readers that wait until they have seen a revision.
	Soon bool
	// Revision is the last one the caller has seen. Zero begins with a put for
	// everything that exists, then a bookmark, then changes.
	Revision int64
	// Interrupted, if set, is told why the connection was lost, each time
	// before the watch connects again.
	Interrupted func(error)
}

// Watch yields changes in the order of their revisions until the context ends
// (then quietly) or the watch cannot go on (then with an error, last).
//
// After a lost connection it resumes by itself; the events of the revision at
// which it was cut may then come twice, none is left out. It cannot resume
// before the first bookmark, and not after the revision was compacted
// (api.CodeGone): then the caller begins anew with Revision 0 and forgets what
// is not put again.
func (c *Client) Watch(ctx context.Context, options WatchOptions) iter.Seq2[api.Event, error] {
	return func(yield func(api.Event, error) bool) {
		w := watch{client: c, options: options, complete: options.Revision, latest: options.Revision}
		wait := firstRetry
		for {
			before := w.latest
			err := w.stream(ctx, yield)
			if w.stopped || ctx.Err() != nil {
				return
			}
			if w.latest == 0 || w.complete == 0 || final(err) {
				yield(api.Event{}, err)
				return
			}
			if w.latest > before {
				wait = firstRetry
			}
			if options.Interrupted != nil {
				options.Interrupted(err)
			}
			if !pause(ctx, wait/2+rand.N(wait/2)) {
				return
			}
			wait = min(2*wait, lastRetry)
		}
	}
}

// watch is one Watch over all its connections.
type watch struct {
	client   *Client
	options  WatchOptions
	complete int64 // all events up to this revision were yielded
	latest   int64 // revision of the last event
	stopped  bool  // the consumer wants no more
}

// stream yields the events of one connection until it ends.
func (w *watch) stream(ctx context.Context, yield func(api.Event, error) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	query := url.Values{}
	for _, k := range w.options.Kinds {
		query.Add("kind", string(k))
	}
	w.options.Select.query(query)
	if w.options.Soon {
		query.Set("bookmarks", "soon")
	}
	if w.complete != 0 {
		query.Set("revision", strconv.FormatInt(w.complete, 10))
	}
	q := call{what: "watch", method: http.MethodGet, path: []string{"watch"}, query: query}
	response, err := w.client.send(ctx, q)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, maxEvent)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue // a heartbeat
		}
		var e api.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return api.Errorf(api.CodeInternal, "watch: read event: %v", err)
		}
		if e.Type != api.EventPut && e.Type != api.EventDelete && e.Type != api.EventBookmark {
			var failure api.Error
			if json.Unmarshal(lines.Bytes(), &failure) == nil && failure.Code != "" {
				return &failure
			}
			continue // a type of event that is newer than this client
		}
		w.passed(e)
		if !yield(e, nil) {
			w.stopped = true
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return w.client.transportError(ctx, q, err)
	}
	return api.Errorf(api.CodeUnavailable, "watch: %s closed the connection", w.client.base.Host)
}

// passed notes how far the watch has come. One transaction makes several
// events of one revision, so a revision is complete only when a later one or a
// bookmark is seen. Before the first bookmark of a watch from nothing, nothing is.
func (w *watch) passed(e api.Event) {
	switch {
	case e.Type == api.EventBookmark:
		w.complete = max(w.complete, e.Revision)
	case e.Revision > w.latest && w.complete != 0:
		w.complete = max(w.complete, w.latest)
	}
	w.latest = max(w.latest, e.Revision)
}

// final tells whether connecting again cannot help.
func final(err error) bool {
	var e *api.Error
	if !errors.As(err, &e) {
		return true
	}
	switch e.Code {
	case api.CodeUnavailable, api.CodeTimeout:
		return false
	}
	return true
}

// pause waits, and tells whether the context is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
