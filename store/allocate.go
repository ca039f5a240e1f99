// SPDX-License-Identifier: Apache-2.0

package store

import (
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"github.com/weft-network/weft/api"
)

// spread is among how many of the next free values a writer chooses at random
// once another controller was faster. With 32 writers each choosing among 64,
// about one in four meets another; always taking the lowest, all but one do.
const spread = 64

// allocator hands out values that are claimed exclusively (addresses, VNIs).
// Whether a value is free is decided by its claim key in etcd alone; the
// allocator only makes it unlikely that two writers ask for the same.
type allocator struct {
	// mu guards everything that follows.
	mu sync.Mutex
	// reserved are the claims of commits in flight in this process.
	reserved map[string]bool
	// hints are, by pool, a value below which nothing is free.
	hints map[string]hint
	// changed is the newest revision that gave a claim back. What an older
	// snapshot holds may be free by now, so it says nothing about hints.
	changed int64
}

// hint says that all values of a pool below next were taken when last seen.
// claims is the prefix of the pool's claims.
type hint struct {
	claims string
	next   netip.Addr
}

func newAllocator() *allocator {
	return &allocator{reserved: map[string]bool{}, hints: map[string]hint{}}
}

// pool is a range of values to allocate from. VNIs are written as IPv4
// addresses here, since both are numbers that can be counted up.
type pool struct {
	name   string // identifies the pool
	claims string // prefix of its claims
	first  netip.Addr
	// usable tells whether a value may be given out; within reports the end.
	usable func(netip.Addr) bool
	within func(netip.Addr) bool
	key    func(netip.Addr) string // the claim's key, without prefixClaim
}

// take returns a value of the pool that is free in a transaction's view, and
// reserves it until released: the lowest, or with random one of the lowest
// spread.
func (a *allocator) take(p pool, in *view, random bool) (netip.Addr, string, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	start := p.first
	if h, ok := a.hints[p.name]; ok && p.within(h.next) {
		start = h.next
	}
	want := 1
	if random {
		want = spread
	}
	var free []netip.Addr
	// Nothing but what etcd holds was skipped so far. What this transaction or
	// another one in flight takes is free again if they do not commit.
	lowest := in.base.revision >= a.changed
	for v := start; v.IsValid() && p.within(v) && len(free) < want; v = v.Next() {
		key := p.key(v)
		switch {
		case !p.usable(v) || in.held(key):
		case in.claimed(key) || a.reserved[key]:
			lowest = false
		default:
			if lowest {
				a.hints[p.name] = hint{p.claims, v}
				lowest = false
			}
			free = append(free, v)
		}
	}
	if len(free) == 0 {
		return netip.Addr{}, "", false
	}
	v := free[rand.IntN(len(free))]
	a.reserved[p.key(v)] = true
	return v, p.key(v), true
}

// release gives up reservations: the claim is committed and in the tables, or
// will not be.
func (a *allocator) release(keys []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, k := range keys {
		delete(a.reserved, k)
	}
}

// freed lowers the hints of all pools a claim may belong to, which a revision
// gave back.
func (a *allocator) freed(claim string, revision int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.changed = max(a.changed, revision)
	for name, h := range a.hints {
		text, ok := strings.CutPrefix(claim, h.claims)
		if !ok {
			continue
		}
		if v, ok := parseValue(text); ok && v.Less(h.next) && v.Is4() == h.next.Is4() {
			h.next = v
			a.hints[name] = h
		}
	}
}

// forget drops all hints, after changes up to a revision were missed.
func (a *allocator) forget(revision int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.changed = max(a.changed, revision)
	clear(a.hints)
}

// released tells the allocator which claims a revision has deleted, and which
// subnets are gone and need no hint any more.
func (s *Store) released(changes []change, events []api.Event) {
	for _, c := range changes {
		if claim, ok := strings.CutPrefix(c.key, prefixClaim); ok && c.deleted {
			s.allocator.freed(claim, c.mod)
		}
	}
	for _, e := range events {
		if e.Type == api.EventDelete && e.Kind == api.KindSubnet {
			s.allocator.drop(e.Object.Head().Meta.UUID)
		}
	}
}

func (a *allocator) drop(pool string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.hints, pool)
}

// vniPool is all VNIs.
func vniPool() pool {
	end := vniValue(api.MaxVNI)
	return pool{
		name: "vni", claims: "vni/", first: vniValue(1),
		usable: func(netip.Addr) bool { return true },
		within: func(v netip.Addr) bool { return v.Compare(end) <= 0 },
		key:    func(v netip.Addr) string { return "vni/" + strconv.Itoa(int(vniOf(v))) },
	}
}

func vniValue(vni uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(vni >> 24), byte(vni >> 16), byte(vni >> 8), byte(vni)})
}

func vniOf(v netip.Addr) uint32 {
	b := v.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// subnetPool is the assignable addresses of a subnet.
func subnetPool(s *api.Subnet) pool {
	claims := api.AddressClaimPrefix(s.Meta.Parent.UUID)
	return pool{
		name: s.Meta.UUID, claims: claims, first: s.Spec.CIDR.Masked().Addr(),
		usable: func(v netip.Addr) bool { return api.Assignable(s.Spec.CIDR, v) },
		within: s.Spec.CIDR.Contains,
		key:    func(v netip.Addr) string { return claims + v.String() },
	}
}

// parseValue reads a claim's value: an address, or a VNI.
func parseValue(text string) (netip.Addr, bool) {
	if n, err := strconv.ParseUint(text, 10, 32); err == nil {
		return vniValue(uint32(n)), true
	}
	v, err := netip.ParseAddr(text)
	return v, err == nil
}
