// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-network/weft/api"
)

// An address that is freed rests: its claim key goes and its rest key comes in
// the same transaction, under a lease, so that etcd alone ends the rest, by
// its own clock, for all controllers at once. Who claims an address compares
// that it does not rest, or ends the rest in the same transaction if it was
// its own.

// rest is an address in quarantine.
type rest struct {
	Owner   string    `json:"owner"` // of the address that was
	FreedAt time.Time `json:"freedAt"`

	key     string // "<address space>/<ip>"
	mod     int64
	seconds int // how long, for one that begins
}

// restOf returns what follows prefixRest in the key of a claimed address's rest.
func restOf(claimKey string) (string, bool) {
	return strings.CutPrefix(claimKey, prefixClaim+claimsAddress)
}

func (t *tables) applyRest(c change) error {
	key := strings.TrimPrefix(c.key, prefixRest)
	if c.deleted {
		t.rests.Delete(&rest{key: key})
		return nil
	}
	r := &rest{key: key, mod: c.mod}
	if err := json.Unmarshal(c.value, r); err != nil {
		return fmt.Errorf("decode stored rest %s: %w", key, err)
	}
	t.rests.ReplaceOrInsert(r)
	return nil
}

// resting returns the rest of an address by its claim's key, or nil.
func (s *Snapshot) resting(claimKey string) *rest {
	key, ok := restOf(claimKey)
	if !ok {
		return nil
	}
	r, _ := s.rests.Get(&rest{key: key})
	return r
}

// Resting returns the addresses of an address space that are in quarantine.
func (s *Snapshot) Resting(space string) []netip.Addr {
	prefix := space + "/"
	var resting []netip.Addr
	s.rests.AscendGreaterOrEqual(&rest{key: prefix}, func(r *rest) bool {
		text, ok := strings.CutPrefix(r.key, prefix)
		if v, err := netip.ParseAddr(text); ok && err == nil {
			resting = append(resting, v)
		}
		return ok
	})
	return resting
}

// wake lets the former owner of a resting address have it again, and refuses
// it to others.
func (p *plan) wake(r *record, k held, fail failure) error {
	sleeper := p.base.resting(k.key)
	if sleeper == nil {
		return nil
	}
	if owner := r.object.Head().Meta.Owner; owner != sleeper.Owner {
		return fail.conflict(k.field, "%s was freed at %s by %s and rests (quarantineSeconds of its subnet): take another one, or wait",
			k.what, sleeper.FreedAt.Format(time.RFC3339), p.formerOwner(sleeper))
	}
	p.wakes[k.key] = sleeper
	return nil
}

// formerOwner names the orchestrator that freed an address, if it may be seen.
func (p *plan) formerOwner(r *rest) string {
	if o := p.base.byName(api.KindOrchestrator, r.Owner); o != nil && p.sees(o) {
		return "orchestrator " + r.Owner
	}
	return "another orchestrator"
}

// restOver compares, for a claim that is new, that its address does not rest,
// or that it still does as was seen and then ends that.
func (p *plan) restOver(claimKey string, compare map[string]clientv3.Cmp) []clientv3.Op {
	rest, ok := restOf(claimKey)
	if !ok {
		return nil
	}
	key := prefixRest + rest
	if sleeper := p.wakes[claimKey]; sleeper != nil {
		compare[key] = unchanged(key, sleeper.mod)
		return []clientv3.Op{clientv3.OpDelete(key)}
	}
	compare[key] = absent(key)
	return nil
}

// restFreed lays to rest the addresses that the transaction frees. Those whose
// subnet goes with them have nowhere to come back in, unless other networks
// share the address space.
func (p *plan) restFreed() {
	var after map[string]string
	for _, i := range p.order {
		d := p.deltas[i]
		if d.old == nil || d.now != nil || i.kind() != api.KindAddress {
			continue
		}
		a := d.old.object.(*api.Address)
		of := idOf(api.KindSubnet, a.Spec.Subnet.UUID)
		subnet := p.record(of)
		if subnet == nil && a.Spec.SharedSpace != "" {
			subnet = p.base.record(of)
		}
		if subnet == nil || subnet.object.(*api.Subnet).Quarantine() == 0 {
			continue
		}
		if after == nil {
			after = p.heldAfter()
		}
		for _, c := range a.Claims() {
			key := prefixClaim + c.Key
			if _, kept := after[key]; kept { // another object of the transaction takes it over
				continue
			}
			if rk, ok := restOf(key); ok {
				p.rests = append(p.rests, &rest{Owner: a.Meta.Owner, FreedAt: p.now, key: rk, seconds: subnet.object.(*api.Subnet).Quarantine()})
			}
		}
	}
}

// putRests adds the rest keys, each under the lease that ends it.
func (s *Store) putRests(ctx context.Context, rests []*rest, ops []clientv3.Op) ([]clientv3.Op, error) {
	for _, r := range rests {
		lease, err := s.rests.get(ctx, s.client, r.seconds)
		if err != nil {
			return nil, err
		}
		ops = append(ops, clientv3.OpPut(prefixRest+r.key, string(mustJSON(r)), clientv3.WithLease(lease)))
	}
	return ops, nil
}

const (
	// restShare is for which part of a quarantine one lease takes new rests:
	// a rest lasts at least as long as it should and a quarter longer at most.
	restShare = 4
	// restUseMin keeps short quarantines from taking a lease for each address.
	restUseMin = 2 * time.Second
)

// restLeases are the leases that new rests are put under, by their length.
type restLeases struct {
	// mu guards everything that follows. It is held while a lease is granted.
	mu      sync.Mutex
	current map[int]restLease
}

type restLease struct {
	id    clientv3.LeaseID
	until time.Time // it takes new rests
}

func (l *restLeases) get(ctx context.Context, client *clientv3.Client, seconds int) (clientv3.LeaseID, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now() // monotonic: no step of wall time matters
	if lease, ok := l.current[seconds]; ok && now.Before(lease.until) {
		return lease.id, nil
	}
	use := max(time.Duration(seconds)*time.Second/restShare, restUseMin)
	reply, err := client.Grant(ctx, int64(seconds)+int64((use+time.Second-1)/time.Second))
	if err != nil {
		return 0, failed(err, "get a lease of %d s for freed addresses from etcd", seconds)
	}
	if l.current == nil {
		l.current = map[int]restLease{}
	}
	for s, lease := range l.current {
		if !now.Before(lease.until) {
			delete(l.current, s)
		}
	}
	l.current[seconds] = restLease{reply.ID, now.Add(use)}
	return reply.ID, nil
}

// drop forgets the leases, of which etcd says that it does not know one.
func (l *restLeases) drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.current)
}
