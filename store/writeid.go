// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-network/weft/api"
)

const (
	// writeLeaseTTL is how long the key of a write stays: much longer than any
	// commit may be in doubt.
	writeLeaseTTL = 10 * time.Minute
	// writeLeaseUse is how long one lease takes new writes, so that each of
	// them has at least TTL less this before it.
	writeLeaseUse = time.Minute
	// resolveTimeout bounds the question what became of a write.
	resolveTimeout = 10 * time.Second

	valueCommitted = "committed"
	valueFenced    = "fenced"
)

// writeLease is the lease the keys of current writes are put under.
type writeLease struct {
	// mu guards everything that follows. It is held while a lease is granted,
	// since without one nobody can write.
	mu      sync.Mutex
	id      clientv3.LeaseID
	granted time.Time
}

func (w *writeLease) get(ctx context.Context, client *clientv3.Client) (clientv3.LeaseID, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.id != 0 && time.Since(w.granted) < writeLeaseUse { // the monotonic clock: no step of wall time matters
		return w.id, nil
	}
	reply, err := client.Grant(ctx, int64(writeLeaseTTL/time.Second))
	if err != nil {
		return 0, failed(err, "get a lease for writes from etcd")
	}
	w.id, w.granted = reply.ID, time.Now()
	return w.id, nil
}

// drop forgets the lease, which etcd says it does not know.
func (w *writeLease) drop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.id = 0
}

// resolve finds out whether a write whose reply was lost has been committed,
// and at which revision. If it has not, its key is taken, so that it never will:
// every commit compares that its key is absent.
func (s *Store) resolve(writeKey string, lease clientv3.LeaseID) (committed bool, revision int64, err error) {
	// The caller's context may be what ended; the question must be asked all the same.
	ctx, cancel := context.WithTimeout(s.ctx, resolveTimeout)
	defer cancel()
	for {
		reply, err := s.client.Txn(ctx).
			If(absent(writeKey)).
			Then(clientv3.OpPut(writeKey, valueFenced, clientv3.WithLease(lease))).
			Else(clientv3.OpGet(writeKey)).
			Commit()
		switch {
		case err != nil:
			if !pauseFor(ctx, reloadPause) {
				// Not 503, which invites to try again.
				return false, 0, api.Errorf(api.CodeTimeout, "write: etcd does not answer (%v), and whether the write was made is not known: read before repeating it", err)
			}
		case reply.Succeeded:
			return false, 0, nil
		default:
			kv := reply.Responses[0].GetResponseRange().Kvs[0]
			return string(kv.Value) == valueCommitted, kv.CreateRevision, nil
		}
	}
}
