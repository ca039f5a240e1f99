// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-network/weft/api"
)

// Writers of two owners at two controllers allocate, ask by ip, free, change
// pools and let rests end, all at once in a small subnet. Then every revision
// that etcd has is read again, one by one: at none of them was an address
// allocated outside the pools of that moment, or while it rested; none came to
// another owner while it rested, and every freed one rested.
func TestAddressRaces(t *testing.T) {
	w := newWorld(t)
	w.orchestrators()
	stores := []*Store{w.Store, w.open()}
	net := named("blue-own:p:n")
	w.create(blue, network("n", projectOf(blue)), racingSubnet(net, 0),
		share("s", projectOf(blue), api.KindNetwork, net, api.GranteeAll, api.Ref{}, api.VerbAttach))
	w.create(blue, share("s2", projectOf(blue), api.KindSubnet, named(net.Name+":s"), api.GranteeAll, api.Ref{}, api.VerbAttach))
	start := w.latest().revision
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var wait sync.WaitGroup
	var mu sync.Mutex
	outcomes := map[string]int{}
	for n := range 8 {
		wait.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(n)))
			for i := range 60 {
				if r.IntN(20) == 0 {
					w.revokeOne()
				}
				by, what, op := randomAddressWrite(r, net, fmt.Sprintf("%d-%d", n, i))
				_, err := stores[n%2].Commit(t.Context(), by, []api.Operation{op}, CommitOptions{})
				var e *api.Error
				if errors.As(err, &e) {
					what += " " + string(e.Code)
				} else if err != nil {
					t.Error(err)
				}
				if e != nil && e.Code == api.CodeInternal {
					t.Error(err)
				}
				mu.Lock()
				outcomes[what]++
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	t.Logf("outcomes %v", outcomes)
	if outcomes["allocate"] < 20 || outcomes["by ip"] < 5 || outcomes["free"] < 20 || outcomes["pools"] < 5 {
		t.Error("too few writes of a kind were committed: the test does not race")
	}
	w.replayAddresses(start)
	w.checkAllocator()
}

func racingSubnet(net api.Ref, n int) *api.Subnet {
	s := subnet("s", "10.0.0.0/27", net)
	s.Spec.Pools = [][]api.AddressRange{nil, ranges("10.0.0.4-10.0.0.15"), ranges("10.0.0.12-10.0.0.20", "10.0.0.1-10.0.0.5")}[n%3]
	s.Spec.Reserved = [][]api.AddressRange{nil, ranges("10.0.0.8-10.0.0.10")}[n%2]
	s.Spec.AllocateFrom = []api.AllocateFrom{api.FromBottom, api.FromTop}[n/3%2]
	return s
}

func randomAddressWrite(r *rand.Rand, net api.Ref, unique string) (api.Identity, string, api.Operation) {
	by := []api.Identity{blue, green}[r.IntN(2)]
	slot := fmt.Sprintf("%s-%d", by.Name, r.IntN(10))
	switch n := r.IntN(10); {
	case n < 4:
		return by, "allocate", api.Operation{Op: api.OpCreate, Object: address("auto-"+slot, net, "")}
	case n < 5:
		return by, "by ip", api.Operation{Op: api.OpCreate, Object: address("ip-"+unique, net, fmt.Sprintf("10.0.0.%d", 2+r.IntN(28)))}
	case n < 9:
		return by, "free", api.Operation{Op: api.OpDelete, Object: address("auto-"+slot, net, "")}
	}
	return blue, "pools", api.Operation{Op: api.OpUpdate, Object: racingSubnet(net, r.IntN(6))}
}

// revokeOne lets the rests of one lease end.
func (w *world) revokeOne() {
	reply, err := w.client.Get(w.t.Context(), prefixRest, clientv3.WithPrefix(), clientv3.WithLimit(1))
	if err != nil {
		w.t.Error(err)
		return
	}
	for _, kv := range reply.Kvs {
		_, _ = w.client.Revoke(w.t.Context(), clientv3.LeaseID(kv.Lease)) // another writer may be faster
	}
}

// replayAddresses checks every revision after one.
func (w *world) replayAddresses(start int64) {
	w.t.Helper()
	end, err := w.linearizable(w.t.Context(), 0)
	if err != nil {
		w.t.Fatal(err)
	}
	old, _, err := load(w.t.Context(), w.client, start)
	if err != nil {
		w.t.Fatal(err)
	}
	given := 0
	err = revisions(w.t.Context(), w.client, start, func(revision int64, changes []change) (bool, error) {
		before := old.snapshot(revision - 1)
		if _, err := old.apply(revision, changes); err != nil {
			return false, err
		}
		after := old.snapshot(revision)
		for _, c := range changes {
			if strings.HasPrefix(c.key, prefixClaim+claimsAddress) {
				w.checkClaim(before, after, c)
				given++
			}
		}
		return revision < end.revision, nil
	})
	if err != nil || given == 0 {
		w.t.Fatalf("replayed %d changes of claims: %v", given, err)
	}
}

// checkClaim checks the taking or freeing of one address.
func (w *world) checkClaim(before, after *Snapshot, c change) {
	w.t.Helper()
	rested := before.resting(c.key)
	if c.deleted {
		if after.resting(c.key) == nil {
			w.t.Errorf("revision %d: %s was freed and does not rest", after.revision, c.key)
		}
		return
	}
	r := after.holder(c.key)
	if r == nil || after.resting(c.key) != nil {
		w.t.Fatalf("revision %d: %s is held by %v and rests: %v", after.revision, c.key, r, after.resting(c.key))
	}
	a := r.object.(*api.Address)
	s := before.record(idOf(api.KindSubnet, a.Spec.Subnet.UUID)).object.(*api.Subnet)
	within := false
	for _, p := range s.Allocatable() {
		within = within || p.Contains(a.Spec.IP)
	}
	auto := strings.HasPrefix(a.Meta.Name, "auto-")
	switch {
	case auto && !within:
		w.t.Errorf("revision %d: %v was allocated outside %v", after.revision, a.Spec.IP, s.Allocatable())
	case auto && rested != nil:
		w.t.Errorf("revision %d: %v was allocated while it rested", after.revision, a.Spec.IP)
	case rested != nil && rested.Owner != a.Meta.Owner:
		w.t.Errorf("revision %d: %v rested for %s and came to %s", after.revision, a.Spec.IP, rested.Owner, a.Meta.Owner)
	}
}
