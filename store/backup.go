// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-network/weft/api"
)

// memberTimeout is how long one member may take to say which revision it has.
const memberTimeout = time.Second

// raiseAttempts bounds how often raising the epoch is tried again because
// somebody else raised it.
const raiseAttempts = 8

// Backup writes a backup of everything while the store goes on. It holds every
// write that was acknowledged before the call.
func (s *Store) Backup(ctx context.Context, to io.Writer) error {
	snapshot, err := s.linearizable(ctx, 0)
	if err != nil {
		return err
	}
	authority, err := Authority(ctx, s.client)
	if err != nil {
		return err
	}
	if err := s.membersHave(ctx, snapshot.revision); err != nil {
		return err
	}
	read := s.client.Snapshot
	if s.local != nil {
		read = s.local.Snapshot
	}
	body, err := read(ctx)
	if err != nil {
		return failed(err, "back up: ask etcd for a snapshot")
	}
	defer body.Close()
	h := api.BackupHeader{
		Format: api.BackupFormat, Epoch: snapshot.epoch, Revision: snapshot.revision, Authority: authority, CreatedAt: s.timestamp(),
	}
	return api.WriteBackup(to, h, body)
}

// membersHave waits until every member that answers has a revision: a snapshot
// is what one of them has, and that one may be behind the others.
func (s *Store) membersHave(ctx context.Context, revision int64) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	for _, endpoint := range s.client.Endpoints() { // none when etcd is in this process
		for {
			one, stop := context.WithTimeout(ctx, memberTimeout)
			status, err := s.client.Status(one, endpoint)
			stop()
			if err != nil && ctx.Err() == nil || err == nil && status.Header.Revision >= revision {
				break
			}
			if !pauseFor(ctx, reloadPause) {
				return api.Errorf(api.CodeTimeout, "back up: the member of etcd at %s does not have revision %d yet: try again", endpoint, revision)
			}
		}
	}
	return nil
}

// StoredEpoch returns the epoch of the store in an etcd, or 0 if there is none.
func StoredEpoch(ctx context.Context, client *clientv3.Client) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	reply, err := client.Get(ctx, keyEpoch)
	if err != nil {
		return 0, failed(err, "read the epoch")
	}
	if len(reply.Kvs) == 0 {
		return 0, nil
	}
	epoch, err := strconv.ParseUint(string(reply.Kvs[0].Value), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read the epoch: read %s: %w", keyEpoch, err)
	}
	return epoch, nil
}

// RaiseEpoch makes the epoch of a restored store greater than it was in the
// backup, and than a given one, and returns it.
func RaiseEpoch(ctx context.Context, client *clientv3.Client, above uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	for range raiseAttempts {
		reply, err := client.Get(ctx, keyEpoch)
		if err != nil {
			return 0, failed(err, "raise the epoch")
		}
		if len(reply.Kvs) == 0 {
			return 0, fmt.Errorf("raise the epoch: this etcd holds no store of Weft")
		}
		old, err := strconv.ParseUint(string(reply.Kvs[0].Value), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("raise the epoch: read %s: %w", keyEpoch, err)
		}
		epoch := max(old, above) + 1
		done, err := client.Txn(ctx).
			If(unchanged(keyEpoch, reply.Kvs[0].ModRevision)).
			Then(clientv3.OpPut(keyEpoch, strconv.FormatUint(epoch, 10))).
			Commit()
		if err != nil {
			return 0, failed(err, "raise the epoch")
		}
		if done.Succeeded {
			return epoch, nil
		}
	}
	return 0, fmt.Errorf("raise the epoch: given up after %d attempts, somebody else keeps raising it", raiseAttempts)
}
