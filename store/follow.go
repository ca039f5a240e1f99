// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-network/weft/api"
)

const (
	// loadPage is how many keys one read of a load asks for: at 1.5 MiB an
	// object at the very most, and 1 KiB usually, a reply stays small.
	loadPage = 1000
	// loadTimeout bounds a whole load; a million objects take some ten seconds.
	loadTimeout = 2 * time.Minute
	// reloadPause is how long the follower waits after it failed, doubled up
	// to reloadPauseMax, so that a broken etcd is not hammered.
	reloadPause    = 50 * time.Millisecond
	reloadPauseMax = 5 * time.Second
)

// errCompacted says that etcd no longer has the revision a watch asked for.
var errCompacted = errors.New("revision is compacted")

// load reads the whole key space at one revision (0: the newest) into new tables.
func load(ctx context.Context, client *clientv3.Client, revision int64) (*tables, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	t := newTables()
	// Objects come before their statuses.
	for _, prefix := range []string{prefixObject, prefixStatus, prefixToken, prefixRest, prefixMeta} {
		page, at, err := loadRange(ctx, client, prefix, revision)
		if err != nil {
			return nil, 0, fmt.Errorf("load %s from etcd: %w", prefix, err)
		}
		revision = at
		if _, err := t.absorb(revision, page); err != nil {
			return nil, 0, fmt.Errorf("load the tables: %w", err)
		}
		if prefix == prefixObject { // not all came after what they refer to
			t.shareAll()
		}
	}
	t.rested = revision
	return t, revision, nil
}

// learnAll tells the allocator everything that is held at a revision.
func (s *Store) learnAll(ctx context.Context, revision int64) error {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	var all []change
	for _, prefix := range []string{prefixClaim + claimsAddress, prefixClaim + claimsVNI, prefixRest} {
		page, _, err := loadRange(ctx, s.client, prefix, revision)
		if err != nil {
			return fmt.Errorf("load %s from etcd: %w", prefix, err)
		}
		all = append(all, page...)
	}
	s.allocator.relearn(all)
	return nil
}

func loadRange(ctx context.Context, client *clientv3.Client, prefix string, revision int64) ([]change, int64, error) {
	return loadKeys(ctx, client, prefix, clientv3.GetPrefixRangeEnd(prefix), revision)
}

// loadKeys reads the keys from one up to another, "\x00" being the end of all.
func loadKeys(ctx context.Context, client *clientv3.Client, from, end string, revision int64) ([]change, int64, error) {
	var changes []change
	for {
		r, err := client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithRev(revision), clientv3.WithLimit(loadPage))
		if errors.Is(err, rpctypes.ErrCompacted) {
			return nil, 0, errCompacted
		}
		if err != nil {
			return nil, 0, err
		}
		if revision == 0 {
			revision = r.Header.Revision
		}
		for _, kv := range r.Kvs {
			changes = append(changes, change{key: string(kv.Key), value: kv.Value, mod: kv.ModRevision})
		}
		if !r.More {
			return changes, revision, nil
		}
		from = string(r.Kvs[len(r.Kvs)-1].Key) + "\x00"
	}
}

// revisions calls each with the changes of every revision after the given one,
// in order and never a part of a revision, until it returns false or an error.
func revisions(ctx context.Context, client *clientv3.Client, after int64, each func(revision int64, changes []change) (bool, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// All keys are watched, so that the tables see every revision there is and
	// can wait for any.
	replies := client.Watch(clientv3.WithRequireLeader(ctx), "\x00", clientv3.WithFromKey(), clientv3.WithRev(after+1))
	for reply := range replies {
		if reply.CompactRevision != 0 {
			return errCompacted
		}
		if err := reply.Err(); err != nil {
			return fmt.Errorf("watch etcd from revision %d: %w", after+1, err)
		}
		for events := reply.Events; len(events) > 0; {
			revision, n := events[0].Kv.ModRevision, 0
			var changes []change
			for n < len(events) && events[n].Kv.ModRevision == revision {
				kv := events[n].Kv
				changes = append(changes, change{string(kv.Key), kv.Value, events[n].Type == clientv3.EventTypeDelete, revision})
				n++
			}
			events = events[n:]
			if more, err := each(revision, changes); err != nil || !more {
				return err
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return errors.New("watch etcd: the stream ended")
}

// follow keeps the tables equal to etcd until ctx ends. It is the only writer
// of the tables and runs in one goroutine, which Store.Close waits for.
func (s *Store) follow(ctx context.Context, t *tables, revision int64) {
	pause := reloadPause
	for {
		err := revisions(ctx, s.client, revision, func(rev int64, changes []change) (bool, error) {
			events, err := t.apply(rev, changes)
			if err != nil {
				return false, err
			}
			revision, pause = rev, reloadPause
			s.allocator.learn(changes)
			s.behind.Store(nil)
			s.publish(t.snapshot(rev), events)
			return true, nil
		})
		if ctx.Err() != nil {
			return
		}
		cause := fmt.Sprint(err)
		s.behind.Store(&cause)
		s.log.Warn("store: the watch of etcd broke, reading everything again", "revision", revision, "error", err, "pause", pause)
		if !pauseFor(ctx, pause) {
			return
		}
		pause = min(2*pause, reloadPauseMax)
		t, revision = s.reload(ctx, t, revision)
	}
}

// reload replaces the tables by what etcd has now and publishes the difference
// as events of the new revision. Where it fails, the old ones are kept.
func (s *Store) reload(ctx context.Context, old *tables, revision int64) (*tables, int64) {
	now, at, err := load(ctx, s.client, 0)
	if err != nil {
		cause := fmt.Sprint(err)
		s.behind.Store(&cause)
		s.log.Warn("store: reading everything from etcd failed, serving what is known", "revision", revision, "error", err)
		return old, revision
	}
	if err := s.learnAll(ctx, at); err != nil {
		s.log.Warn("store: reading all claims from etcd failed, serving what is known", "revision", revision, "error", err)
		return old, revision
	}
	events := difference(old.snapshot(revision), now.snapshot(at))
	s.behind.Store(nil)
	s.publish(now.snapshot(at), events)
	return now, at
}

// difference lists the events that lead from one state to another.
func difference(old, now *Snapshot) []api.Event {
	var ids []id
	for _, info := range api.Kinds() {
		now.eachOfKind(info.Kind, func(r *record) bool {
			was := old.record(r.id)
			if was == nil || was.modRevision != r.modRevision || was.statusJSON != r.statusJSON {
				ids = append(ids, r.id)
			}
			return true
		})
		old.eachOfKind(info.Kind, func(r *record) bool {
			if now.record(r.id) == nil {
				ids = append(ids, r.id)
			}
			return true
		})
	}
	return eventsBetween(old.trees, now.trees, ids, now.revision)
}

// pauseFor waits and tells whether ctx is still alive.
func pauseFor(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
