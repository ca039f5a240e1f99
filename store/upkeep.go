// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-network/weft/api"
)

const (
	// upkeepEvery is how often etcd is looked after; a full one is noticed
	// within that time.
	upkeepEvery = 30 * time.Second
	// retention is how long old revisions are kept for watches to resume from,
	// as with the embedded etcd.
	retention = 30 * time.Minute
	// defragmentTimeout bounds one member's; it takes about a second a gigabyte,
	// during which that member does nothing else.
	defragmentTimeout = 2 * time.Minute
	// wasteMin is what a defragmentation must give back to be worth the pause;
	// the database must also be at least half empty.
	wasteMin = 256 << 20
	// roomAfter is the part of the quota, one tenth, that must be free before a
	// full etcd is opened for writes again: otherwise it is full in no time.
	roomAfter = 10
)

// State tells how etcd is. Members that do not answer have an error.
func (s *Store) State(ctx context.Context) (api.StoreState, error) {
	snapshot, err := s.linearizable(ctx, 0)
	if err != nil {
		return api.StoreState{}, err
	}
	state := api.StoreState{Revision: snapshot.revision, Epoch: snapshot.epoch, MaxTxnOps: s.maxOps}
	for _, endpoint := range s.endpoints() {
		m := s.member(ctx, endpoint)
		state.Members = append(state.Members, m)
		state.Full = state.Full || m.Full
	}
	return state, nil
}

// endpoints are the members by address; the embedded one has none.
func (s *Store) endpoints() []string {
	if all := s.client.Endpoints(); len(all) > 0 {
		return all
	}
	return []string{""}
}

func (s *Store) member(ctx context.Context, endpoint string) api.StoreMember {
	m := api.StoreMember{Endpoint: endpoint}
	ctx, cancel := context.WithTimeout(ctx, memberTimeout)
	defer cancel()
	status, err := s.client.Status(ctx, endpoint)
	if err != nil {
		m.Error = err.Error()
		return m
	}
	m.Version, m.Leader = status.Version, status.Leader == status.Header.MemberId
	m.SizeBytes, m.InUseBytes, m.QuotaBytes = status.DbSize, status.DbSizeInUse, status.DbSizeQuota
	m.Error = strings.Join(status.Errors, "; ")
	m.Full = slices.ContainsFunc(status.Errors, func(e string) bool { return strings.Contains(e, etcdserverpb.AlarmType_NOSPACE.String()) })
	return m
}

// Upkeep looks after etcd until ctx ends: it compacts what an external cluster
// does not by itself, gives unused space back, and when etcd is full makes room
// if there is any to make. One controller does it at a time; two would do no harm.
func (s *Store) Upkeep(ctx context.Context) {
	var seen []mark
	for timer := time.Tick(upkeepEvery); ; {
		if err := s.keepUp(ctx, &seen, time.Now()); err != nil && ctx.Err() == nil {
			s.log.Warn("store: etcd could not be looked after, will try again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-timer:
		}
	}
}

// mark remembers which revision was the newest at a time.
type mark struct {
	at       time.Time // with the monotonic clock: no step of wall time matters
	revision int64
}

// keepUp is one round.
func (s *Store) keepUp(ctx context.Context, seen *[]mark, now time.Time) error {
	state, err := s.State(ctx)
	if err != nil {
		return err
	}
	if state.Full {
		return s.makeRoom(ctx, state)
	}
	*seen = append(*seen, mark{now, state.Revision})
	if n := slices.IndexFunc(*seen, func(m mark) bool { return now.Sub(m.at) < retention }); n > 0 {
		if err := s.compact(ctx, (*seen)[n-1].revision); err != nil {
			return err
		}
		*seen = (*seen)[n:]
	}
	// The leader last: while it stands still, nobody writes.
	slices.SortStableFunc(state.Members, func(a, b api.StoreMember) int {
		switch {
		case a.Leader == b.Leader:
			return 0
		case a.Leader:
			return 1
		}
		return -1
	})
	for _, m := range state.Members {
		if waste := m.SizeBytes - m.InUseBytes; waste >= wasteMin && waste > m.InUseBytes {
			if err := s.defragment(ctx, m.Endpoint); err != nil {
				return err
			}
		}
	}
	return nil
}

// makeRoom compacts a full etcd up to now and defragments all members; if that
// has made enough room, it is opened for writes again.
func (s *Store) makeRoom(ctx context.Context, state api.StoreState) error {
	s.log.Error("store: etcd is full and takes no writes; compacting and defragmenting it", "members", state.Members)
	if err := s.compact(ctx, state.Revision); err != nil {
		return err
	}
	for _, m := range state.Members {
		if m.Version == "" {
			continue // it does not answer; its own alarm is found when it does
		}
		if err := s.defragment(ctx, m.Endpoint); err != nil {
			return err
		}
		if m = s.member(ctx, m.Endpoint); m.SizeBytes > m.QuotaBytes-m.QuotaBytes/roomAfter {
			return fmt.Errorf("make room in etcd: the member %q still has %d of %d bytes after compaction and defragmentation: raise its quota (--quota-backend-bytes), and disarm the alarm", m.Endpoint, m.SizeBytes, m.QuotaBytes)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	alarms, err := s.client.AlarmList(ctx)
	if err != nil {
		return failed(err, "make room in etcd: list alarms")
	}
	for _, a := range alarms.Alarms {
		if a.Alarm != etcdserverpb.AlarmType_NOSPACE {
			continue
		}
		if _, err := s.client.AlarmDisarm(ctx, (*clientv3.AlarmMember)(a)); err != nil {
			return failed(err, "make room in etcd: disarm the alarm")
		}
	}
	s.log.Info("store: there is room in etcd again")
	return nil
}

func (s *Store) compact(ctx context.Context, revision int64) error {
	ctx, cancel := context.WithTimeout(ctx, defragmentTimeout)
	defer cancel()
	// Physical: defragmentation gives back only what is really gone.
	_, err := s.client.Compact(ctx, revision, clientv3.WithCompactPhysical())
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return failed(err, "compact etcd up to revision %d", revision)
	}
	return nil
}

func (s *Store) defragment(ctx context.Context, endpoint string) error {
	ctx, cancel := context.WithTimeout(ctx, defragmentTimeout)
	defer cancel()
	began := time.Now()
	var err error
	if s.local != nil {
		err = s.local.Defragment()
	} else {
		_, err = s.client.Defragment(ctx, endpoint)
	}
	if err != nil {
		return failed(err, "defragment etcd at %q", endpoint)
	}
	s.log.Info("store: defragmented etcd", "member", endpoint, "took", time.Since(began))
	return nil
}
