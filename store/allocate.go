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
// Whether a value is free is decided by its keys in etcd alone; the allocator
// knows where free ones are, whatever the size of a pool and however full, and
// makes it unlikely that two writers ask for the same.
type allocator struct {
	// mu guards everything that follows.
	mu sync.Mutex
	// reserved are the claims of commits in flight in this process.
	reserved map[string]bool
	// unfree has, by the prefix of their claims, the values that are claimed
	// or resting. It is a function of the keys below claim/ and rest/.
	unfree map[string]*runs
}

func newAllocator() *allocator {
	return &allocator{reserved: map[string]bool{}, unfree: map[string]*runs{}}
}

// pool is where to allocate from. VNIs are written as IPv4 addresses here,
// since both are numbers that can be counted up.
type pool struct {
	claims string             // prefix of its claims
	ranges []api.AddressRange // ascending and disjoint
	down   bool               // begin with the highest value
	text   func(netip.Addr) string
}

// take returns a free value of the pool and reserves it until released: the
// first, or with random one of the first spread.
func (a *allocator) take(p pool, taken func(claim string) bool, random bool) (netip.Addr, string, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	want := 1
	if random {
		want = spread
	}
	var free []netip.Addr
	for n := range p.ranges {
		r := p.ranges[n]
		if p.down {
			r = p.ranges[len(p.ranges)-1-n]
		}
		if free = a.collect(free, want, p, r, taken); len(free) == want {
			break
		}
	}
	if len(free) == 0 {
		return netip.Addr{}, "", false
	}
	v := free[rand.IntN(len(free))]
	key := p.claims + p.text(v)
	a.reserved[key] = true
	return v, key, true
}

// collect adds free values of a range until there are as many as wanted. It
// passes over whole runs of values that are not free; one by one it passes
// only those that commits in flight and the transaction itself hold.
func (a *allocator) collect(free []netip.Addr, want int, p pool, r api.AddressRange, taken func(string) bool) []netip.Addr {
	unfree := a.unfree[p.claims]
	if unfree == nil {
		unfree = newRuns()
	}
	v := r.First
	if p.down {
		v = r.Last
	}
	for len(free) < want {
		v = unfree.free(v, p.down)
		if !v.IsValid() || !r.Contains(v) {
			break
		}
		if key := p.claims + p.text(v); !a.reserved[key] && !taken(key) {
			free = append(free, v)
		}
		if p.down {
			v = v.Prev()
		} else {
			v = v.Next()
		}
	}
	return free
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

// learn takes the changes of one revision, before its snapshot is published. A value whose claim ends and which
// rests from then on is in both lists: deletions come first.
func (a *allocator) learn(changes []change) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.note(changes)
}

func (a *allocator) note(changes []change) {
	for _, c := range changes {
		if claims, v, ok := parseHeld(c.key); ok && c.deleted && a.unfree[claims] != nil {
			a.unfree[claims].remove(v)
			if a.unfree[claims].empty() {
				delete(a.unfree, claims)
			}
		}
	}
	for _, c := range changes {
		if claims, v, ok := parseHeld(c.key); ok && !c.deleted {
			if a.unfree[claims] == nil {
				a.unfree[claims] = newRuns()
			}
			a.unfree[claims].add(v)
		}
	}
}

// relearn begins anew with all that is held.
func (a *allocator) relearn(all []change) {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.unfree)
	a.note(all)
}

// parseHeld reads which value of which pool a key holds: the claim of an
// address or VNI, or the rest of an address.
func parseHeld(key string) (claims string, v netip.Addr, ok bool) {
	claim, found := strings.CutPrefix(key, prefixClaim)
	if rest, resting := strings.CutPrefix(key, prefixRest); resting {
		claim, found = claimsAddress+rest, true
	}
	text, isVNI := strings.CutPrefix(claim, claimsVNI)
	switch {
	case !found:
	case isVNI:
		if n, err := strconv.ParseUint(text, 10, 32); err == nil {
			return claimsVNI, vniValue(uint32(n)), true
		}
	case strings.HasPrefix(claim, claimsAddress):
		end := strings.LastIndexByte(claim, '/') + 1
		v, err := netip.ParseAddr(claim[end:])
		return claim[:end], v, err == nil
	}
	return "", netip.Addr{}, false
}

// The prefixes of the claims that are allocated.
const (
	claimsVNI     = "vni/"
	claimsAddress = "address/"
)

// vniPool is the VNIs that a network may get: all, or of one whose packets are to
// carry a label those that are labels, too, and when these are used up the larger ones.
func vniPool(labelled bool) pool {
	ranges := []api.AddressRange{{First: vniValue(1), Last: vniValue(api.MaxVNI)}}
	if labelled {
		ranges = []api.AddressRange{{First: vniValue(api.MinLabel), Last: vniValue(api.MaxLabel)}, {First: vniValue(api.MaxLabel + 1), Last: vniValue(api.MaxVNI)}}
	}
	return pool{
		claims: claimsVNI,
		ranges: ranges,
		text:   func(v netip.Addr) string { return strconv.Itoa(int(vniOf(v))) },
	}
}

func vniValue(vni uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(vni >> 24), byte(vni >> 16), byte(vni >> 8), byte(vni)})
}

func vniOf(v netip.Addr) uint32 {
	b := v.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// subnetPool is what may be allocated of a subnet.
func subnetPool(s *api.Subnet) pool {
	return pool{
		claims: api.AddressClaimPrefix(s.AddressSpace()),
		ranges: s.Allocatable(),
		down:   s.Spec.AllocateFrom == api.FromTop,
		text:   netip.Addr.String,
	}
}
