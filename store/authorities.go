// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Keys about certificate authorities and what they have certified. They are
// outside of what snapshots of objects are made of.
const (
	prefixAuthority            = "authority/"
	keyAuthorityState          = prefixAuthority + "state"
	prefixAuthorityController  = prefixAuthority + "controller/"
	prefixAuthorityCertificate = prefixAuthority + "certificate/"
)

// controllerLease is how long a controller that says nothing counts as one that
// must know of a new authority.
const controllerLease = 45 * time.Second

// Authorities is where controllers agree on certificate authorities.
type Authorities struct {
	client *clientv3.Client
	name   string
	lease  clientv3.LeaseID
	told   string // what was last written under the lease
}

// NewAuthorities prepares the part of a controller, which has a name of its own.
// Its methods but Register may be called at the same time.
func NewAuthorities(client *clientv3.Client, name string) *Authorities {
	return &Authorities{client: client, name: name}
}

// State reads the state into a value and returns the revision to change it at:
// 0, and nothing read, before the first rotation.
func (a *Authorities) State(ctx context.Context, into any) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	reply, err := a.client.Get(ctx, keyAuthorityState)
	if err != nil {
		return 0, failed(err, "read the state of the certificate authorities")
	}
	if len(reply.Kvs) == 0 {
		return 0, nil
	}
	if err := json.Unmarshal(reply.Kvs[0].Value, into); err != nil {
		return 0, failed(err, "read the state of the certificate authorities")
	}
	return reply.Kvs[0].ModRevision, nil
}

// SetState replaces the state that was read at a revision, and says which
// authority controllers must have to start. It reports false if somebody else
// was first.
func (a *Authorities) SetState(ctx context.Context, state any, serving string, revision int64) (bool, error) {
	text, err := json.Marshal(state)
	if err != nil {
		return false, failed(err, "write the state of the certificate authorities")
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	reply, err := a.client.Txn(ctx).
		If(unchanged(keyAuthorityState, revision)).
		Then(clientv3.OpPut(keyAuthorityState, string(text)), clientv3.OpPut(keyAuthority, serving)).
		Commit()
	if err != nil {
		return false, failed(err, "write the state of the certificate authorities")
	}
	return reply.Succeeded, nil
}

// Changes delivers a token after the state, or what controllers have of it,
// changed, until ctx ends. It may deliver some for nothing.
func (a *Authorities) Changes(ctx context.Context) <-chan struct{} {
	changed := make(chan struct{}, 1)
	go func() {
		defer close(changed)
		for ctx.Err() == nil {
			one, stop := context.WithCancel(clientv3.WithRequireLeader(ctx))
			for reply := range a.client.Watch(one, prefixAuthority, clientv3.WithPrefix()) {
				if reply.Err() != nil {
					break
				}
				select {
				case changed <- struct{}{}:
				default:
				}
			}
			stop()
			pauseFor(ctx, reloadPause)
		}
	}()
	return changed
}

// Register tells the others up to which generation this controller is; it is
// repeated, by one goroutine, well within the lease of 45 s.
func (a *Authorities) Register(ctx context.Context, generation int64) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if a.lease != 0 {
		_, err := a.client.KeepAliveOnce(ctx, a.lease)
		if errors.Is(err, rpctypes.ErrLeaseNotFound) {
			a.lease, err = 0, nil
		}
		if err != nil {
			return failed(err, "tell the other controllers of the certificate authorities")
		}
	}
	if a.lease == 0 {
		grant, err := a.client.Grant(ctx, int64(controllerLease/time.Second))
		if err != nil {
			return failed(err, "tell the other controllers of the certificate authorities")
		}
		a.lease, a.told = grant.ID, ""
	}
	text := string(mustJSON(generation))
	if a.told == text {
		return nil
	}
	if _, err := a.client.Put(ctx, prefixAuthorityController+a.name, text, clientv3.WithLease(a.lease)); err != nil {
		return failed(err, "tell the other controllers of the certificate authorities")
	}
	a.told = text
	return nil
}

// Leave says that this controller is no more.
func (a *Authorities) Leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err := a.client.Delete(ctx, prefixAuthorityController+a.name)
	return orFailed(err, "leave the other controllers")
}

// Controllers returns up to which generation each is, by name.
func (a *Authorities) Controllers(ctx context.Context) (map[string]int64, error) {
	all := map[string]int64{}
	err := a.list(ctx, prefixAuthorityController, func(name string, value []byte) error {
		var generation int64
		err := json.Unmarshal(value, &generation)
		all[name] = generation
		return err
	})
	return all, err
}

// SetCertificate notes who has which certificate, by a key of the caller's.
func (a *Authorities) SetCertificate(ctx context.Context, key string, value any) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	_, err := a.client.Put(ctx, prefixAuthorityCertificate+key, string(mustJSON(value)))
	return orFailed(err, "note certificate %s", key)
}

// DropCertificate forgets it.
func (a *Authorities) DropCertificate(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	_, err := a.client.Delete(ctx, prefixAuthorityCertificate+key)
	return orFailed(err, "forget certificate %s", key)
}

// Certificates visits all that were noted.
func (a *Authorities) Certificates(ctx context.Context, visit func(key string, value []byte) error) error {
	return a.list(ctx, prefixAuthorityCertificate, visit)
}

// listPage is how many keys are read at once.
const listPage = 1000

func (a *Authorities) list(ctx context.Context, prefix string, visit func(name string, value []byte) error) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	from, end := prefix, clientv3.GetPrefixRangeEnd(prefix)
	for {
		reply, err := a.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(listPage))
		if err != nil {
			return failed(err, "list %s", prefix)
		}
		for _, kv := range reply.Kvs {
			if err := visit(strings.TrimPrefix(string(kv.Key), prefix), kv.Value); err != nil {
				return failed(err, "read %s", kv.Key)
			}
			from = string(kv.Key) + "\x00"
		}
		if !reply.More {
			return nil
		}
	}
}

// orFailed is failed for what may have succeeded.
func orFailed(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return failed(err, format, args...)
}
