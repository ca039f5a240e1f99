// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-network/weft/api"
)

// Sixteen writers at two controllers allocate addresses of one subnet: each
// gets its own, and together they get all of it.
func TestAllocateAtOnce(t *testing.T) {
	w := newWorld(t)
	stores := []*Store{w.Store, w.open()}
	net := named("default-domain:default-project:n")
	w.create(admin, network("n", project), subnet("s", "10.0.0.0/24", net))
	const writers, each = 16, 15 // 240 of 253
	var wait sync.WaitGroup
	failures := make(chan error, writers*each)
	for n := range writers {
		wait.Go(func() {
			for i := range each {
				o := address(fmt.Sprintf("a-%d-%d", n, i), net, "")
				_, err := stores[n%2].Commit(t.Context(), admin, []api.Operation{{Op: api.OpCreate, Object: o}}, CommitOptions{})
				if err != nil {
					failures <- err
				}
			}
		})
	}
	wait.Wait()
	close(failures)
	for err := range failures {
		t.Error(err)
	}
	for n, s := range stores {
		snapshot, err := s.Snapshot(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, a := range api.ListOf[*api.Address](snapshot, api.KindAddress) {
			seen[a.Spec.IP.String()] = true
		}
		if len(seen) != writers*each {
			t.Errorf("store %d: %d different addresses, want %d", n, len(seen), writers*each)
		}
	}
	// The rest, then none, then the one that is given back.
	for i := range 253 - writers*each {
		w.create(admin, address(fmt.Sprintf("rest-%d", i), net, ""))
	}
	w.refused(api.CodeExhausted, "no address is free", admin, api.OpCreate, address("more", net, ""))
	back := address("rest-3", net, "")
	ip := w.Latest().Lookup(api.KindAddress, named(net.Name+":rest-3")).(*api.Address).Spec.IP
	w.remove(admin, back)
	if got := w.create(admin, address("more", net, "")).(*api.Address).Spec.IP; got != ip {
		t.Errorf("got %v, want %v which was given back", got, ip)
	}
}

// What is worked out and not committed takes no address away: a dry run, and
// a transaction that is refused after it allocated.
func TestAllocateAfterWhatWasNotCommitted(t *testing.T) {
	w := newWorld(t)
	net := named("default-domain:default-project:n")
	w.create(admin, network("n", project), subnet("s", "10.0.0.0/29", net))
	three := []api.Operation{
		{Op: api.OpCreate, Object: address("a", net, "")},
		{Op: api.OpCreate, Object: address("b", net, "")},
		{Op: api.OpCreate, Object: address("c", net, "")},
	}
	if _, err := w.Commit(t.Context(), admin, three, CommitOptions{DryRun: true}); err != nil {
		t.Fatal(err)
	}
	w.refused(api.CodeInvalid, "in none of", admin, api.OpCreate, address("a", net, ""), address("b", net, ""), address("c", net, "11.0.0.1"))
	for i := range 5 { // .1 is the gateway's
		ip := w.create(admin, address(fmt.Sprintf("a-%d", i), net, "")).(*api.Address).Spec.IP
		if want := fmt.Sprintf("10.0.0.%d", i+2); ip.String() != want {
			t.Errorf("address %d is %v, want %v", i, ip, want)
		}
	}
}

// A writer that still looks at a state in which an address was taken does not
// hide from others that it was given back.
func TestAllocateFromOldState(t *testing.T) {
	w := newWorld(t)
	net := named("default-domain:default-project:n")
	w.create(admin, network("n", project), subnet("s", "10.0.0.0/29", net))
	w.create(admin, address("a", net, ""), address("b", net, ""))
	old := w.latest()
	w.remove(admin, address("a", net, ""))
	late, err := w.evaluate(old, admin, []api.Operation{{Op: api.OpCreate, Object: address("c", net, "")}}, false)
	if err != nil {
		t.Fatal(err)
	}
	w.allocator.release(late.reserved)
	if ip := w.create(admin, address("d", net, "")).(*api.Address).Spec.IP; ip.String() != "10.0.0.2" {
		t.Errorf("got %v, want 10.0.0.2 which was given back", ip)
	}
}

// Random writers at two controllers create, refer to, share, move and delete
// the same few objects. Whatever commits, checkKeys must find all keys right.
func TestRaces(t *testing.T) {
	w := newWorld(t)
	w.orchestrators()
	stores := []*Store{w.Store, w.open()}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w.create(admin, host("h1", "192.0.2.1"), host("h2", "192.0.2.2"))
	var wait sync.WaitGroup
	var mu sync.Mutex
	outcomes := map[api.Code]int{}
	for n := range 8 {
		wait.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(n)))
			for range 80 {
				by, ops := randomWrite(r)
				_, err := stores[n%2].Commit(t.Context(), by, ops, CommitOptions{})
				var e *api.Error
				code := api.Code("ok")
				if errors.As(err, &e) {
					code = e.Code
				} else if err != nil {
					t.Error(err)
				}
				switch code {
				case "ok", api.CodeInvalid, api.CodeForbidden, api.CodeNotFound, api.CodeConflict:
				default:
					t.Errorf("%s: %v", code, err)
				}
				mu.Lock()
				outcomes[code]++
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	t.Logf("outcomes %v", outcomes)
	if outcomes["ok"] < 50 {
		t.Errorf("only %d writes of 640 committed: the test does not race", outcomes["ok"])
	}
	a, err := stores[0].Snapshot(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	b, err := stores[1].Snapshot(t.Context(), a.Revision())
	if err != nil {
		t.Fatal(err)
	}
	sameObjects(t, a, b)
}

func randomWrite(r *rand.Rand) (api.Identity, []api.Operation) {
	one := func(op string, objects ...api.Object) []api.Operation {
		var ops []api.Operation
		for _, o := range objects {
			ops = append(ops, api.Operation{Op: op, Object: o})
		}
		return ops
	}
	op := []string{api.OpCreate, api.OpCreate, api.OpDelete}[r.IntN(3)]
	net := network(fmt.Sprintf("n%d", r.IntN(2)), projectOf(blue))
	ref := named("blue-own:p:" + net.Meta.Name)
	p := port(fmt.Sprintf("p%d", r.IntN(3)), projectOf(green), ref)
	portRef := named("green-own:p:" + p.Meta.Name)
	hosts := []api.Ref{named("h1"), named("h2")}
	switch r.IntN(7) {
	case 0:
		return blue, one(op, net)
	case 1:
		return blue, one(op, subnet(fmt.Sprintf("s%d", r.IntN(2)), []string{"10.0.0.0/24", "10.0.0.0/16", "10.1.0.0/24"}[r.IntN(3)], ref))
	case 2:
		return blue, one(op, share("s"+net.Meta.Name, projectOf(blue), api.KindNetwork, ref, api.GranteeAll, api.Ref{}, api.VerbAttach))
	case 3:
		return green, one(op, p)
	case 4:
		verb := []api.Verb{api.VerbAttach, api.VerbJoin}[r.IntN(2)]
		return blue, one(api.OpUpdate, share("s"+net.Meta.Name, projectOf(blue), api.KindNetwork, ref, api.GranteeAll, api.Ref{}, verb))
	case 5:
		i := r.IntN(2)
		return green, one(op, binding("b"+hosts[i].Name, portRef, hosts[i], r.IntN(2) == 0))
	default:
		return green, one(api.OpUpdate, binding("bh1", portRef, hosts[0], r.IntN(2) == 0), binding("bh2", portRef, hosts[1], r.IntN(2) == 0))
	}
}

func sameObjects(t *testing.T, a, b api.Snapshot) {
	t.Helper()
	for _, info := range api.Kinds() {
		as, bs := a.List(info.Kind), b.List(info.Kind)
		if len(as) != len(bs) {
			t.Errorf("%d and %d objects of kind %s", len(as), len(bs), info.Kind)
			continue
		}
		for i := range as {
			if string(mustJSON(as[i])) != string(mustJSON(bs[i])) {
				t.Errorf("%s and %s differ", mustJSON(as[i]), mustJSON(bs[i]))
			}
		}
	}
}

// A reference and the deletion of its target, at two controllers at the same
// moment: one of them commits, never both.
func TestDeleteAgainstReference(t *testing.T) {
	w := newWorld(t)
	stores := []*Store{w.Store, w.open()}
	for round := range 30 {
		name := fmt.Sprintf("n%d", round)
		net := named("default-domain:default-project:" + name)
		w.create(admin, network(name, project))
		var errs [2]error
		var wait sync.WaitGroup
		for i, op := range []api.Operation{
			{Op: api.OpDelete, Object: network(name, project)},
			{Op: api.OpCreate, Object: port(name, project, net)},
		} {
			wait.Go(func() {
				_, errs[i] = stores[(i+round)%2].Commit(t.Context(), admin, []api.Operation{op}, CommitOptions{})
			})
		}
		wait.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Fatalf("round %d: deletion %v, reference %v", round, errs[0], errs[1])
		}
	}
}

// A commit whose reply is lost is resolved by its write id: it is reported as
// what it was, and never done twice.
func TestLostReply(t *testing.T) {
	w := newWorld(t)
	real := w.client.KV
	for _, c := range []struct {
		name      string
		committed bool
	}{{"lost after the commit", true}, {"lost before the commit", false}} {
		lossy := &lossyKV{KV: real, commitFirst: c.committed, armed: true}
		w.client.KV = lossy
		name := map[bool]string{true: "yes", false: "no"}[c.committed]
		_, err := w.commit(admin, api.OpCreate, network(name, project))
		w.client.KV = real
		if (err == nil) != c.committed {
			t.Errorf("%s: error %v", c.name, err)
		}
		if found := w.Latest().Lookup(api.KindNetwork, named("default-domain:default-project:"+name)) != nil; found != c.committed {
			t.Errorf("%s: the network exists: %v", c.name, found)
		}
		if lossy.late != nil { // the request arrives after all, much later
			if reply, err := lossy.late(); err != nil || reply.Succeeded {
				t.Errorf("%s: a fenced write was committed (%v, %v)", c.name, reply, err)
			}
		}
	}
}

// lossyKV loses the reply to the first transaction that puts more than one key.
type lossyKV struct {
	clientv3.KV
	commitFirst bool
	armed       bool
	late        func() (*clientv3.TxnResponse, error)
}

func (k *lossyKV) Txn(ctx context.Context) clientv3.Txn {
	txn := k.KV.Txn(context.WithoutCancel(ctx))
	if !k.armed {
		return txn
	}
	k.armed = false
	return &lossyTxn{txn, k}
}

type lossyTxn struct {
	clientv3.Txn
	kv *lossyKV
}

func (l *lossyTxn) If(c ...clientv3.Cmp) clientv3.Txn  { l.Txn = l.Txn.If(c...); return l }
func (l *lossyTxn) Then(o ...clientv3.Op) clientv3.Txn { l.Txn = l.Txn.Then(o...); return l }

func (l *lossyTxn) Commit() (*clientv3.TxnResponse, error) {
	if !l.kv.commitFirst {
		l.kv.late = l.Txn.Commit
		return nil, context.DeadlineExceeded
	}
	if _, err := l.Txn.Commit(); err != nil {
		return nil, err
	}
	return nil, context.DeadlineExceeded
}
