// SPDX-License-Identifier: Apache-2.0

package services

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/weft-network/weft/agent/dhcp4"
	"github.com/weft-network/weft/agent/dhcp6"
	"github.com/weft-network/weft/agent/frame"
)

// Ways in which a workload asks its host for addresses.
const (
	WayDHCP4 = "dhcp"
	WayDHCP6 = "dhcpv6"
	WayRA    = "ra"
)

// Message is a kind of message of workloads with what it was answered by;
// "none" is no answer.
type Message struct{ Way, Asked, Answered string }

// Lease is what a workload asked last in one way, and what it got. It decides
// nothing: who has an address is in the store.
type Lease struct {
	Ifindex          int
	Port             string // UUID
	Way              string
	Client, HostName string // as the client says
	Vendor           string
	Asked, Answered  string // messages
	Addresses        []netip.Addr
	At               time.Time
	Until            time.Time // zero: it has none
	Count            uint64    // of messages since the port is here
}

type leaseKey struct {
	ifindex int
	way     string
}

// leases are the latest of each port. They are what this agent has seen: a
// restarted one knows them from the next renewal on.
type leases struct {
	mu     sync.Mutex // guards what follows
	of     map[leaseKey]Lease
	counts map[Message]uint64
}

// maxKinds bounds the kinds of messages that are counted apart; what a workload
// invents is counted as unknown.
const maxKinds = 200

const (
	nothing = "none"
	unknown = "unknown"
)

// note takes note of a request and its answer, nil for none.
func (l *leases) note(f Facts, request, answer []byte, now time.Time) (noted Lease) {
	asked, ok := read(request)
	if !ok {
		return Lease{}
	}
	answered, _ := read(answer)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of, l.counts = map[leaseKey]Lease{}, map[Message]uint64{}
	}
	key := leaseKey{f.Ifindex, asked.Way}
	before := l.of[key]
	lease := asked
	lease.Ifindex, lease.Port, lease.At, lease.Count = f.Ifindex, f.Port, now, 1
	if lease.Answered = answered.Asked; lease.Answered == "" {
		lease.Answered = nothing
	}
	if before.Port == f.Port {
		lease.Count += before.Count
	}
	switch lease.Addresses = nil; lease.Asked {
	case "release", "decline": // it has none any more, until it asks again
	default:
		lease.Addresses, lease.Until = before.Addresses, before.Until
		if lease.Answered == "ack" && answered.lasts > 0 || lease.Answered == "reply" && asked.Asked != "confirm" && answered.lasts > 0 {
			lease.Addresses, lease.Until = answered.Addresses, now.Add(answered.lasts)
		}
		if lease.Answered == "nak" || before.Port != f.Port && lease.Until.Equal(before.Until) {
			lease.Addresses, lease.Until = nil, time.Time{}
		}
	}
	lease.lasts = 0
	l.of[key] = lease.Lease
	kind := Message{lease.Way, lease.Asked, lease.Answered}
	if _, counted := l.counts[kind]; !counted && len(l.counts) >= maxKinds {
		kind.Asked, kind.Answered = unknown, nothing
	}
	l.counts[kind]++
	return lease.Lease
}

// keep forgets those of ports that are not here.
func (l *leases) keep(table Table) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.of, func(k leaseKey, v Lease) bool { return table[k.ifindex].Port != v.Port })
}

func (l *leases) countsOf() map[Message]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.counts)
}

// Leases returns what workloads asked last, by interface and way.
func (s *Services) Leases() []Lease {
	s.leases.mu.Lock()
	defer s.leases.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.leases.of), func(a, b Lease) int {
		return cmp.Or(cmp.Compare(a.Ifindex, b.Ifindex), cmp.Compare(a.Way, b.Way))
	})
}

// reading is a frame as a lease, in the fields that it has.
type reading struct {
	Lease
	lasts time.Duration
}

func read(raw []byte) (reading, bool) {
	p, err := frame.Parse(raw)
	if err != nil {
		return reading{}, false
	}
	switch {
	case !p.UDP && p.From.Is6() && len(p.Payload) > 0:
		kind := map[byte]string{133: "router-solicitation", 134: "router-advertisement"}[p.Payload[0]]
		return reading{Lease: Lease{Way: WayRA, Asked: cmp.Or(kind, unknown), Client: p.From.String()}}, true
	case p.UDP && p.From.Is4():
		s, err := dhcp4.Summarize(p.Payload)
		r := reading{Lease: Lease{Way: WayDHCP4, Asked: s.Kind, Client: s.Client, HostName: s.HostName, Vendor: s.Vendor}, lasts: s.Time}
		if s.Address.IsValid() {
			r.Addresses = []netip.Addr{s.Address}
		}
		return r, err == nil
	case p.UDP && p.From.Is6():
		s, err := dhcp6.Summarize(p.Payload)
		return reading{Lease: Lease{Way: WayDHCP6, Asked: s.Kind, Client: s.Client, Addresses: s.Addresses}, lasts: s.Time}, err == nil
	}
	return reading{}, false
}
