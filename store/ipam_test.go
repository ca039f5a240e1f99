// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-network/weft/api"
)

var netN = named("default-domain:default-project:n")

// quarantine sets how long freed addresses of a subnet rest.
func quarantine(s *api.Subnet, seconds int) *api.Subnet {
	s.Spec.QuarantineSeconds = &seconds
	return s
}

func ranges(texts ...string) []api.AddressRange {
	var all []api.AddressRange
	for _, t := range texts {
		r, err := api.ParseAddressRange(t)
		if err != nil {
			panic(err)
		}
		all = append(all, r)
	}
	return all
}

// gives allocates addresses, as many as are wanted, and compares them.
func (w *world) gives(by api.Identity, network api.Ref, want ...string) {
	w.t.Helper()
	for _, ip := range want {
		name := "given-" + strings.ReplaceAll(ip, ":", "-")
		if got := w.create(by, address(name, network, "")).(*api.Address).Spec.IP.String(); got != ip {
			w.t.Errorf("allocated %s, want %s", got, ip)
		}
	}
}

// Default pods of two clusters: addresses from the top of the same large
// range, the same in both at once, and a user's network from the bottom.
func TestAllocateFromEitherEnd(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"k8s1", "k8s2"} {
		net := named("default-domain:default-project:" + name)
		s := subnet("pods", "10.32.0.0/12", net)
		s.Spec.AllocateFrom = api.FromTop
		w.create(admin, network(name, project), s)
		w.gives(admin, net, "10.47.255.254", "10.47.255.253", "10.47.255.252")
	}
	w.create(admin, network("n", project), subnet("v4", "10.0.1.0/24", netN))
	w.gives(admin, netN, "10.0.1.2", "10.0.1.3")
	six := named("default-domain:default-project:six")
	s := subnet("v6", "2001:db8::/64", six)
	s.Spec.AllocateFrom = api.FromTop
	w.create(admin, network("six", project), s)
	w.gives(admin, six, "2001:db8::ffff:ffff:ffff:ffff", "2001:db8::ffff:ffff:ffff:fffe")
}

// Allocation stays within the pools and out of what is reserved; who asks by
// ip gets any address of the subnet. Both may change, and what was given stays.
func TestPoolsAndReservedRanges(t *testing.T) {
	w := newWorld(t)
	s := subnet("s", "10.0.0.0/24", netN)
	s.Spec.Pools = ranges("10.0.0.20-10.0.0.22", "10.0.0.1-10.0.0.4")
	s.Spec.Reserved = ranges("10.0.0.3", "10.0.0.21-10.0.0.99")
	w.create(admin, network("n", project), s)
	w.gives(admin, netN, "10.0.0.2", "10.0.0.4", "10.0.0.20")
	w.refused(api.CodeExhausted, "no address is free in the 2 pools of subnet default-domain:default-project:n:s", admin, api.OpCreate, address("more", netN, ""))
	w.create(admin, address("reserved", netN, "10.0.0.3"), address("outside", netN, "10.0.0.200"))
	w.refused(api.CodeConflict, "is held by subnet", admin, api.OpCreate, address("gateway", netN, "10.0.0.1"))

	s.Spec.Pools, s.Spec.Reserved = ranges("10.0.0.198-10.0.0.201"), ranges("10.0.0.199")
	w.update(admin, s)
	if got := w.Latest().Lookup(api.KindSubnet, named(netN.Name+":s")).(*api.Subnet).Spec.Gateway.String(); got != "10.0.0.1" {
		t.Errorf("the update made the gateway %s", got)
	}
	w.gives(admin, netN, "10.0.0.198", "10.0.0.201")
	w.refused(api.CodeExhausted, "in the pool 10.0.0.198-10.0.0.201", admin, api.OpCreate, address("more", netN, ""))
	w.update(admin, address("outside", netN, "10.0.0.200")) // as it is
	if n := len(w.Latest().List(api.KindAddress)); n != 7 {
		t.Errorf("%d addresses, want 7", n)
	}
}

// endRests ends all quarantines, as their leases do in time.
func (w *world) endRests() {
	w.t.Helper()
	reply, err := w.client.Get(w.t.Context(), prefixRest, clientv3.WithPrefix())
	if err != nil {
		w.t.Fatal(err)
	}
	leases := map[clientv3.LeaseID]bool{}
	for _, kv := range reply.Kvs {
		if kv.Lease == 0 {
			w.t.Errorf("%s has no lease and rests for ever", kv.Key)
			continue
		}
		leases[clientv3.LeaseID(kv.Lease)] = true
	}
	for lease := range leases {
		if _, err := w.client.Revoke(w.t.Context(), lease); err != nil {
			w.t.Fatal(err)
		}
	}
	w.rests.drop()
	if _, err := w.linearizable(w.t.Context(), 0); err != nil {
		w.t.Fatal(err)
	}
}

// A freed address is not allocated, at no controller and after no restart,
// until its rest ends; its owner gets it back by ip, others do not.
func TestFreedAddressesRest(t *testing.T) {
	w := newWorld(t)
	w.orchestrators()
	net := named("blue-own:p:n")
	w.create(blue, network("n", projectOf(blue)), subnet("s", "10.0.0.0/29", net),
		share("s", projectOf(blue), api.KindNetwork, net, api.GranteeAll, api.Ref{}, api.VerbAttach))
	w.create(blue, share("s2", projectOf(blue), api.KindSubnet, named(net.Name+":s"), api.GranteeAll, api.Ref{}, api.VerbAttach))
	first := address("a", net, "")
	w.create(blue, first)
	w.remove(blue, first)
	for _, s := range []*Store{w.Store, w.open()} {
		for _, by := range []api.Identity{blue, green} {
			made, err := s.Commit(t.Context(), by, []api.Operation{{Op: api.OpCreate, Object: address("b", net, "")}}, CommitOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if got := made.Objects[0].(*api.Address).Spec.IP.String(); got == "10.0.0.2" {
				t.Errorf("%s got the resting address %s", by.Name, got)
			}
			remove := []api.Operation{{Op: api.OpDelete, Object: address("b", net, "")}}
			if _, err := s.Commit(t.Context(), by, remove, CommitOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	now, err := w.Snapshot(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(now.(*Snapshot).Resting(now.Lookup(api.KindNetwork, net).Head().Meta.UUID)); n != 5 {
		t.Errorf("%d addresses rest, want 5", n)
	}
	w.checkAllocator()
	w.refused(api.CodeExhausted, "no address is free", blue, api.OpCreate, address("c", net, ""))
	w.refused(api.CodeConflict, "rests", green, api.OpCreate, address("c", net, "10.0.0.2"))
	e := w.refused(api.CodeConflict, "freed at", green, api.OpCreate, address("c", net, "10.0.0.2"))
	if strings.Contains(e.Message, "blue ") || !strings.Contains(e.Message, "another orchestrator") {
		t.Errorf("an orchestrator that may not be seen is named: %s", e.Message)
	}
	w.create(blue, address("c", net, "10.0.0.2"))
	w.endRests()
	w.gives(green, net, "10.0.0.3")
}

// Nothing rests that moves within a transaction, or whose subnet wants no
// quarantine or goes too; and a gateway may wake what rests.
func TestWhatDoesNotRest(t *testing.T) {
	w := newWorld(t)
	resting := func(want int) {
		t.Helper()
		n := 0
		for k := range allKeys(t, w.client) {
			if strings.HasPrefix(k, prefixRest) {
				n++
			}
		}
		if n != want {
			t.Errorf("%d addresses rest, want %d", n, want)
		}
	}
	w.create(admin, network("n", project), subnet("s", "10.0.0.0/24", netN), quarantine(subnet("z", "10.1.0.0/24", netN), 0))
	w.create(admin, address("a", netN, "10.0.0.9"), address("z", netN, "10.1.0.9"))
	w.remove(admin, address("z", netN, ""))
	resting(0)
	_, err := w.Commit(t.Context(), admin, []api.Operation{
		{Op: api.OpDelete, Object: address("a", netN, "")},
		{Op: api.OpCreate, Object: address("b", netN, "10.0.0.9")},
	}, CommitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	resting(0)
	w.remove(admin, address("b", netN, ""), subnet("s", "10.0.0.0/24", netN))
	resting(0)
	w.create(admin, subnet("s", "10.0.0.0/24", netN), address("a", netN, "10.0.0.9"))
	w.remove(admin, address("a", netN, ""))
	resting(1)
	w.remove(admin, subnet("s", "10.0.0.0/24", netN))
	s := subnet("t", "10.0.0.0/24", netN)
	s.Spec.Gateway = ranges("10.0.0.9")[0].First
	w.create(admin, s)
	resting(0)
}

// What is worked out while an address is free does not commit once it was
// taken and freed again meanwhile: it rests now.
func TestAllocationSeesARestThatCameMeanwhile(t *testing.T) {
	w := newWorld(t)
	w.create(admin, network("n", project), subnet("s", "10.0.0.0/24", netN))
	for n, o := range []*api.Address{address("x", netN, ""), address("y", netN, "10.0.0.2")} {
		base, err := w.linearizable(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		p, err := w.evaluate(base, admin, []api.Operation{{Op: api.OpCreate, Object: o}}, false)
		w.allocator.release(p.reserved)
		if err != nil {
			t.Fatal(err)
		}
		w.create(admin, address("between", netN, "10.0.0.2"))
		w.remove(admin, address("between", netN, ""))
		if _, committed, err := w.write(context.WithoutCancel(t.Context()), p); err != nil || committed {
			t.Errorf("case %d: committed %v, %v", n, committed, err)
		}
		w.endRests()
	}
}

// An allocation worked out on pools that are no more does not commit.
func TestAllocationSeesPoolsThatChangeMeanwhile(t *testing.T) {
	w := newWorld(t)
	w.orchestrators()
	net := named("blue-own:p:n")
	s := subnet("s", "10.0.0.0/24", net)
	w.create(blue, network("n", projectOf(blue)), s)
	s.Spec.Pools = ranges("10.0.0.100-10.0.0.200")
	x := address("x", net, "")
	x.Spec.Subnet = named(net.Name + ":s") // and not the only one, which has a guard
	w.exclude("a change of pools and an allocation from the old ones", 0, [2]write{{blue, api.OpUpdate, s}, {blue, api.OpCreate, x}})
}

// Who wants back an address that rested, and then was another's, does not get it.
func TestWakingSeesAnotherRest(t *testing.T) {
	w := newWorld(t)
	w.orchestrators()
	net := named("blue-own:p:n")
	w.create(blue, network("n", projectOf(blue)), subnet("s", "10.0.0.0/29", net),
		share("s", projectOf(blue), api.KindNetwork, net, api.GranteeAll, api.Ref{}, api.VerbAttach))
	w.create(blue, share("s2", projectOf(blue), api.KindSubnet, named(net.Name+":s"), api.GranteeAll, api.Ref{}, api.VerbAttach))
	mine := address("mine", net, "10.0.0.2")
	w.create(blue, mine)
	w.remove(blue, mine)
	base, err := w.linearizable(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	p, err := w.evaluate(base, blue, []api.Operation{{Op: api.OpCreate, Object: mine}}, false)
	if err != nil {
		t.Fatal(err)
	}
	w.endRests()
	w.create(green, address("theirs", net, "10.0.0.2"))
	w.remove(green, address("theirs", net, "10.0.0.2"))
	if _, committed, err := w.write(t.Context(), p); err != nil || committed {
		t.Errorf("committed %v, %v", committed, err)
	}
}

// checkAllocator compares what the allocator knows with the raw keys.
func (w *world) checkAllocator() {
	w.t.Helper()
	if _, err := w.linearizable(w.t.Context(), 0); err != nil {
		w.t.Fatal(err)
	}
	var want, got []string
	for key := range allKeys(w.t, w.client) {
		key = strings.Replace(key, "claim/address/", "rest/", 1)
		if strings.HasPrefix(key, "rest/") {
			want = append(want, key)
		}
	}
	w.allocator.mu.Lock()
	defer w.allocator.mu.Unlock()
	for claims, r := range w.allocator.unfree {
		r.tree.Ascend(func(x run) bool {
			for v := x.first; strings.HasPrefix(claims, "address/") && v.Compare(x.last) <= 0; v = v.Next() {
				got = append(got, strings.Replace(claims, "address/", "rest/", 1)+v.String())
			}
			return true
		})
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		w.t.Errorf("the allocator takes as not free %v, etcd has %v", got, want)
	}
}

// Two networks share an ipam and the range in it: no address comes twice, the
// gateway is the same in both and nobody's, and freed ones rest for both. A
// third network of its own has the same addresses again.
func TestNetworksThatShareAnAddressSpace(t *testing.T) {
	w := newWorld(t)
	ipam := named("default-domain:default-project:pods")
	in := func(name string) (*api.Network, api.Ref) {
		n := network(name, project)
		n.Spec.IPAM = ipam
		return n, named("default-domain:default-project:" + name)
	}
	a, refA := in("a")
	b, refB := in("b")
	w.create(admin, &api.IPAM{Header: head(api.KindIPAM, "pods", project)},
		a, b, subnet("s", "10.32.0.0/12", refA), subnet("s", "10.32.0.0/12", refB))
	alone := named("default-domain:default-project:alone")
	w.create(admin, network("alone", project), subnet("s", "10.32.0.0/12", alone))
	w.gives(admin, refA, "10.32.0.2", "10.32.0.3")
	w.gives(admin, refB, "10.32.0.4")
	w.gives(admin, alone, "10.32.0.2")
	w.refused(api.CodeConflict, "is held by address", admin, api.OpCreate, address("x", refB, "10.32.0.2"))
	w.refused(api.CodeConflict, "is the gateway of subnet", admin, api.OpCreate, address("x", refB, "10.32.0.1"))
	w.remove(admin, address("given-10.32.0.3", refA, ""))
	w.gives(admin, refB, "10.32.0.5")
	w.checkAllocator()

	other := subnet("t", "10.40.0.0/16", refB)
	w.refused(api.CodeConflict, "overlaps", admin, api.OpCreate, other)
	c, refC := in("c")
	gateway := subnet("s", "10.32.0.0/12", refC)
	gateway.Spec.Gateway = ranges("10.32.0.9")[0].First
	w.refused(api.CodeConflict, "same ipam", admin, api.OpCreate, c, gateway)
	w.refused(api.CodeConflict, "same ipam", admin, api.OpCreate, c, subnet("s", "10.33.0.0/16", refC))
	w.create(admin, c, subnet("s", "10.32.0.0/12", refC), subnet("t", "10.60.0.0/16", refC))
	moved := network("alone", project)
	moved.Spec.IPAM = ipam
	w.refused(api.CodeInvalid, "spec.ipam", admin, api.OpUpdate, moved)
	w.refused(api.CodeConflict, "others still refer", admin, api.OpDelete, &api.IPAM{Header: head(api.KindIPAM, "pods", project)})
}

func TestPairsThatExcludeEachOtherInAnIPAM(t *testing.T) {
	w := newWorld(t)
	w.orchestrators()
	ipam := named("blue-own:p:ipam")
	w.create(blue, &api.IPAM{Header: head(api.KindIPAM, "ipam", projectOf(blue))})
	for _, name := range []string{"a", "b"} {
		n := network(name, projectOf(blue))
		n.Spec.IPAM = ipam
		w.create(blue, n, subnet("s", "10.99.0.0/16", named("blue-own:p:"+name)))
	}
	a, b := named("blue-own:p:a"), named("blue-own:p:b")
	pool := &api.SubnetPool{Header: head(api.KindSubnetPool, "pool", projectOf(blue))}
	pool.Spec.Prefixes = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	alone := named("blue-own:p:alone")
	w.create(blue, pool, network("alone", projectOf(blue)))
	pooled := func(cidr string, net api.Ref) api.Object {
		s := subnet("x", cidr, net)
		s.Spec.SubnetPool = named("blue-own:p:pool")
		return s
	}
	for _, c := range []struct {
		name string
		a, b write
	}{
		{"two ranges that overlap", write{blue, api.OpCreate, subnet("x", "10.8.0.0/16", a)}, write{blue, api.OpCreate, subnet("x", "10.8.1.0/24", b)}},
		{"two ranges of a pool that overlap", write{blue, api.OpCreate, pooled("10.8.0.0/16", a)}, write{blue, api.OpCreate, pooled("10.8.1.0/24", alone)}},
		{"one address twice", write{blue, api.OpCreate, address("x", a, "10.99.0.9")}, write{blue, api.OpCreate, address("x", b, "10.99.0.9")}},
	} {
		for order, pair := range [][2]write{{c.a, c.b}, {c.b, c.a}} {
			w.exclude(c.name, order, pair)
		}
	}
}

// A port has addresses of several subnets and families, and several of one.
func TestPortWithManyAddresses(t *testing.T) {
	w := newWorld(t)
	w.create(admin, network("n", project), port("p", project, netN),
		subnet("a", "10.0.0.0/24", netN), subnet("b", "10.1.0.0/24", netN), subnet("c", "2001:db8::/64", netN))
	var objects []api.Object
	for n, of := range []string{"a", "b", "c", "a", "c"} {
		o := address(fmt.Sprintf("p-%d", n), netN, "")
		o.Spec.Subnet, o.Spec.Port = named(netN.Name+":"+of), named("default-domain:default-project:p")
		objects = append(objects, o)
	}
	objects[3].(*api.Address).Spec.IP = ranges("10.0.0.77")[0].First
	made, err := w.commit(admin, api.OpCreate, objects...)
	if err != nil {
		t.Fatal(err)
	}
	var ips []string
	for _, o := range made {
		ips = append(ips, o.(*api.Address).Spec.IP.String())
	}
	if want := []string{"10.0.0.2", "10.1.0.2", "2001:db8::2", "10.0.0.77", "2001:db8::3"}; !slices.Equal(ips, want) {
		t.Errorf("addresses %v, want %v", ips, want)
	}
}

func subnetFrom(name, pool string, bits int, parent api.Ref) *api.Subnet {
	return &api.Subnet{Header: head(api.KindSubnet, name, parent), Spec: api.SubnetSpec{SubnetPool: named("default-domain:default-project:" + pool), PrefixLength: bits}}
}

// Subnets of a pool get ranges of the length they ask for, also of several
// networks; none overlap, and what is freed is used again.
func TestSubnetsFromAPool(t *testing.T) {
	w := newWorld(t)
	pool := &api.SubnetPool{Header: head(api.KindSubnetPool, "pool", project)}
	pool.Spec.Prefixes = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/23"), netip.MustParsePrefix("10.9.0.0/24")}
	other := named("default-domain:default-project:m")
	w.create(admin, pool, network("n", project), network("m", project))
	gives := func(name string, net api.Ref, bits int, want string) {
		t.Helper()
		s := w.create(admin, subnetFrom(name, "pool", bits, net)).(*api.Subnet)
		if s.Spec.CIDR.String() != want || s.Spec.Gateway != s.Spec.CIDR.Addr().Next() {
			t.Errorf("got %v, gateway %v, want %s", s.Spec.CIDR, s.Spec.Gateway, want)
		}
	}
	gives("a", netN, 26, "10.0.0.0/26")
	gives("b", other, 0, "10.0.1.0/24")
	gives("c", other, 25, "10.0.0.128/25")
	gives("d", netN, 27, "10.0.0.64/27")
	gives("e", other, 25, "10.9.0.0/25")
	w.refused(api.CodeExhausted, "no free range of prefix length 24", admin, api.OpCreate, subnetFrom("x", "pool", 0, other))
	asked := subnetFrom("f", "pool", 0, netN)
	asked.Spec.CIDR = netip.MustParsePrefix("10.9.0.64/26")
	w.refused(api.CodeConflict, "overlaps with 10.9.0.0/25 of subnet default-domain:default-project:m:e", admin, api.OpCreate, asked)
	asked.Spec.CIDR = netip.MustParsePrefix("10.77.0.0/26")
	w.refused(api.CodeInvalid, "is not in subnet-pool", admin, api.OpCreate, asked)
	asked.Spec.CIDR = netip.MustParsePrefix("10.9.0.128/26")
	w.create(admin, asked)
	w.remove(admin, subnetFrom("b", "pool", 0, other))
	gives("g", netN, 25, "10.0.1.0/25")
	w.update(admin, subnetFrom("a", "pool", 0, netN)) // as it is
	w.refused(api.CodeConflict, "others still refer", admin, api.OpDelete, pool)
	pool.Spec.Prefixes = pool.Spec.Prefixes[:1]
	w.refused(api.CodeInvalid, "may not be taken", admin, api.OpUpdate, pool)
	pool.Spec.Prefixes = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/12")}
	w.update(admin, pool)
	gives("h", other, 0, "10.0.2.0/24")
}

func TestSubnetsFromAPoolAtOnce(t *testing.T) {
	w := newWorld(t)
	pool := &api.SubnetPool{Header: head(api.KindSubnetPool, "pool", project)}
	pool.Spec.Prefixes = []netip.Prefix{netip.MustParsePrefix("2001:db8::/48")}
	w.create(admin, pool)
	stores := []*Store{w.Store, w.open()}
	var wait sync.WaitGroup
	for n := range 8 {
		net := fmt.Sprintf("n%d", n)
		w.create(admin, network(net, project))
		wait.Go(func() {
			for i := range 4 {
				o := subnetFrom(fmt.Sprint(i), "pool", 0, named("default-domain:default-project:"+net))
				if _, err := stores[n%2].Commit(t.Context(), admin, []api.Operation{{Op: api.OpCreate, Object: o}}, CommitOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	now, err := w.Snapshot(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[netip.Prefix]bool{}
	for _, s := range api.ListOf[*api.Subnet](now, api.KindSubnet) {
		seen[s.Spec.CIDR] = true
	}
	if len(seen) != 32 {
		t.Errorf("%d different ranges, want 32", len(seen))
	}
}

// In a slaac subnet a port gets the address that its workload gives itself, and
// a second one from the pools.
func TestAllocateBySLAAC(t *testing.T) {
	w := newWorld(t)
	s := subnet("six", "2001:db8:5::/64", netN)
	s.Spec.AddressMode = api.ModeSLAAC
	p := port("p", project, netN)
	p.Spec.MAC = "02:00:00:00:00:0a"
	w.create(admin, network("n", project), s, p)
	for _, want := range []string{"2001:db8:5::ff:fe00:a", "2001:db8:5::2"} {
		a := address(strings.ReplaceAll(want, ":", "-"), netN, "")
		a.Spec.Port = named("default-domain:default-project:p")
		if got := w.create(admin, a).(*api.Address).Spec.IP.String(); got != want {
			t.Errorf("allocated %s, want %s", got, want)
		}
	}
}
