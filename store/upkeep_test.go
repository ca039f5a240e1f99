// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/store/embedded"
)

// newSmallWorld is a store on an etcd with a small quota.
func newSmallWorld(t *testing.T, quota int64) *world {
	t.Helper()
	etcd, err := embedded.StartWithQuota(t.Context(), t.TempDir(), quota)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
	w := &world{t: t, etcd: etcd, client: etcd.Client()}
	w.Store = w.open()
	return w
}

// fill writes until etcd is full: garbage, which the next write of the same key
// makes of the one before, or data that stays.
func (w *world) fill(stays bool) {
	w.t.Helper()
	lease, err := w.client.Grant(w.t.Context(), 3600)
	if err != nil {
		w.t.Fatal(err)
	}
	for n := 0; ; n++ {
		key := prefixWrite + "fill"
		if stays {
			key += uuid.NewString()
		}
		_, err := w.client.Put(w.t.Context(), key, strings.Repeat("x", 1<<20), clientv3.WithLease(lease.ID))
		if errors.Is(err, rpctypes.ErrNoSpace) {
			return
		}
		if err != nil || n > 200 {
			w.t.Fatalf("write %d: %v", n, err)
		}
	}
}

// A full etcd refuses writes with words that help, serves reads, and is made to
// take writes again when there is garbage in it.
func TestFullEtcdRecovers(t *testing.T) {
	w := newSmallWorld(t, 24<<20)
	w.create(admin, network("before", project))
	w.fill(false)
	_, err := w.commit(admin, api.OpCreate, network("full", project))
	var e *api.Error
	if !errors.As(err, &e) || e.Code != api.CodeUnavailable || !strings.Contains(e.Message, "is full") {
		t.Errorf("a write to a full etcd: %v", err)
	}
	if err := w.PutStatus(t.Context(), api.KindNetwork, w.Latest().List(api.KindNetwork)[0].Head().Meta.UUID, map[string]int{"x": 1}); err == nil || !strings.Contains(err.Error(), "is full") {
		t.Errorf("a status to a full etcd: %v", err)
	}
	state, err := w.State(t.Context())
	if err != nil || !state.Full || state.Members[0].QuotaBytes != 24<<20 {
		t.Errorf("state %+v, %v", state, err)
	}
	if err := w.keepUp(t.Context(), &[]mark{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if state, err = w.State(t.Context()); err != nil || state.Full {
		t.Errorf("after making room: %+v, %v", state, err)
	}
	w.create(admin, network("after", project))
	checkKeys(t, w.client)
}

// Without garbage no room is made, and the alarm stays: etcd would be full
// again at once.
func TestFullEtcdStaysFull(t *testing.T) {
	w := newSmallWorld(t, 16<<20)
	var err error
	for n := 0; n < 20 && err == nil; n++ { // the first times the database has pages that are free
		w.fill(true)
		err = w.keepUp(t.Context(), &[]mark{}, time.Now())
	}
	if err == nil || !strings.Contains(err.Error(), "raise its quota") {
		t.Errorf("making room where none is: %v", err)
	}
	if state, err := w.State(t.Context()); err != nil || !state.Full {
		t.Errorf("state %+v, %v", state, err)
	}
}

// What is older than the retention is compacted, and nothing else.
func TestUpkeepCompacts(t *testing.T) {
	w := newWorld(t)
	var seen []mark
	now := time.Now()
	round := func(name string, at time.Duration) int64 {
		t.Helper()
		r := w.create(admin, network(name, project)).Head().Meta.Revision
		if err := w.keepUp(t.Context(), &seen, now.Add(at)); err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := round("a", 0)
	second := round("b", retention/2)
	round("c", retention+time.Minute)
	if _, err := w.client.Get(t.Context(), keyEpoch, clientv3.WithRev(first-1)); !errors.Is(err, rpctypes.ErrCompacted) {
		t.Errorf("before the retention: %v", err)
	}
	if _, err := w.client.Get(t.Context(), keyEpoch, clientv3.WithRev(second)); err != nil {
		t.Errorf("within the retention: %v", err)
	}
}
