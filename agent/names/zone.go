// SPDX-License-Identifier: Apache-2.0

package names

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// Zone is the names of a project. Workloads may ask while it changes.
type Zone struct {
	mu      sync.RWMutex // guards what follows
	of      map[string]entry
	forward map[string]map[netip.Addr]int // by name, with a dot at the end
	reverse map[string]map[string]int     // names by reverse name
	below   map[string]int                // how many names and reverse names are below this one
}

// entry is what one workload is called.
type entry struct {
	name      string
	addresses []netip.Addr
}

// NewZone returns a zone without names.
func NewZone() *Zone {
	return &Zone{of: map[string]entry{}, forward: map[string]map[netip.Addr]int{}, reverse: map[string]map[string]int{}, below: map[string]int{}}
}

// Set says what a workload is called and where it is, instead of what was said
// before. Several workloads may share a name, or an address. What cannot be a
// name, or has no address, is none.
func (z *Zone) Set(workload, name string, addresses []netip.Addr) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.remove(workload)
	name = dns.CanonicalName(name)
	if _, ok := dns.IsDomainName(name); !ok || len(addresses) == 0 {
		return
	}
	e := entry{name: name, addresses: slices.Clone(addresses)}
	z.of[workload] = e
	z.count(e, 1)
}

// Remove forgets a workload.
func (z *Zone) Remove(workload string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.remove(workload)
}

// Len is the number of workloads that have a name.
func (z *Zone) Len() int {
	z.mu.RLock()
	defer z.mu.RUnlock()
	return len(z.of)
}

// Equal tells whether both answer the same.
func (z *Zone) Equal(o *Zone) bool {
	z.mu.RLock()
	defer z.mu.RUnlock()
	o.mu.RLock()
	defer o.mu.RUnlock()
	addresses := func(a, b map[netip.Addr]int) bool { return maps.Equal(a, b) }
	pointers := func(a, b map[string]int) bool { return maps.Equal(a, b) }
	return maps.EqualFunc(z.forward, o.forward, addresses) && maps.EqualFunc(z.reverse, o.reverse, pointers) && maps.Equal(z.below, o.below)
}

func (z *Zone) remove(workload string) {
	if e, is := z.of[workload]; is {
		delete(z.of, workload)
		z.count(e, -1)
	}
}

// count adds an entry (1), or takes it away (-1).
func (z *Zone) count(e entry, n int) {
	z.parents(e.name, n)
	for _, a := range e.addresses {
		reverse, err := dns.ReverseAddr(a.String())
		if err != nil { // has a zone: means nothing to others
			continue
		}
		add(z.forward, e.name, a, n)
		add(z.reverse, reverse, e.name, n)
		z.parents(reverse, n)
	}
}

func (z *Zone) parents(name string, n int) {
	for _, at := range dns.Split(name)[1:] {
		if z.below[name[at:]] += n; z.below[name[at:]] == 0 {
			delete(z.below, name[at:])
		}
	}
}

func add[V comparable](to map[string]map[V]int, key string, value V, n int) {
	if to[key] == nil {
		to[key] = map[V]int{}
	}
	if to[key][value] += n; to[key][value] == 0 {
		delete(to[key], value)
	}
	if len(to[key]) == 0 {
		delete(to, key)
	}
}

// found is what a zone has of a name, in an order that does not depend on how
// it came to be.
type found struct {
	addresses []netip.Addr
	pointers  []string
	below     bool
}

func (z *Zone) find(name string) found {
	z.mu.RLock()
	defer z.mu.RUnlock()
	return found{
		addresses: slices.SortedFunc(maps.Keys(z.forward[name]), netip.Addr.Compare),
		pointers:  slices.Sorted(maps.Keys(z.reverse[name])),
		below:     z.below[name] > 0,
	}
}

// private are ranges whose reverse names nobody else knows better: asked of
// the world they only tell it of ours (RFC 6303, RFC 7793).
var private = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("::/128"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("fe80::/10"),
}

const (
	arpa4 = ".in-addr.arpa."
	arpa6 = ".ip6.arpa."
)

// rangeOf is the range of addresses that a reverse name stands for: its own
// address, or those of all names below it.
func rangeOf(name string) (netip.Prefix, bool) {
	if digits, is := strings.CutSuffix(name, arpa6); is {
		labels := strings.Split(digits, ".")
		if len(labels) > 32 {
			return netip.Prefix{}, false
		}
		slices.Reverse(labels)
		var raw [16]byte
		for i, l := range labels {
			n := strings.Index("0123456789abcdef", l)
			if len(l) != 1 || n < 0 {
				return netip.Prefix{}, false
			}
			raw[i/2] |= byte(n) << (4 * (1 - i%2))
		}
		return netip.PrefixFrom(netip.AddrFrom16(raw), 4*len(labels)), true
	}
	digits, is := strings.CutSuffix(name, arpa4)
	labels := strings.Split(digits, ".")
	if !is || len(labels) > 4 {
		return netip.Prefix{}, false
	}
	slices.Reverse(labels)
	bits := 8 * len(labels)
	for len(labels) < 4 {
		labels = append(labels, "0")
	}
	a, err := netip.ParseAddr(strings.Join(labels, "."))
	return netip.PrefixFrom(a, bits), err == nil && a.Is4()
}

// within tells whether a range is a part of one of these.
func within(p netip.Prefix, ranges []netip.Prefix) bool {
	return slices.ContainsFunc(ranges, func(r netip.Prefix) bool { return r.Bits() <= p.Bits() && r.Contains(p.Addr()) })
}
