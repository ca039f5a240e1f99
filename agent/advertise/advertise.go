// SPDX-License-Identifier: Apache-2.0

// Package advertise writes router advertisements (RFC 4861, with DNS of RFC
// 8106) for one port: a function from the port's facts to a message.
package advertise

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Router is the link-local address of every gateway on every host, the same
// everywhere so that a workload that moves keeps its router.
var Router = netip.MustParseAddr("fe80::1")

// Lifetime is how long a workload keeps a router that it no longer hears:
// three times the longest pause between advertisements (RFC 4861 section 6.2.1).
const (
	Lifetime = 30 * time.Minute
	MaxPause = 10 * time.Minute
	MinPause = 200 * time.Second
)

const messageType = 134

// Options by their numbers.
const (
	optionSource = 1
	optionPrefix = 3
	optionMTU    = 5
	optionRDNSS  = 25
	optionDNSSL  = 31
)

const (
	managed     = 0x80 // M: addresses by DHCPv6
	otherConfig = 0x40 // O: the rest by DHCPv6
	onLink      = 0x80 // L
	autonomous  = 0x40 // A: addresses from this prefix
)

// Prefix is a subnet as a workload is told of it.
type Prefix struct {
	Range      netip.Prefix
	Autonomous bool
	Time       time.Duration // how long addresses stay valid
}

// Facts are what is known of a port.
type Facts struct {
	MAC      [6]byte // the gateway's
	Router   bool    // whether the workload may send to the gateway what leaves its link
	MTU      int     // bytes, 0: not said
	Managed  bool
	Other    bool
	Prefixes []Prefix
	DNS      []netip.Addr
	Search   []string
	// What the workload was told and is to forget: said with a lifetime of 0.
	GoneDNS    []netip.Addr
	GoneSearch []string
}

// After is what to say to a workload that was told before: what is now, and
// that what is no more has ended. It is nil if there is nothing to say.
func After(before, now *Facts) *Facts {
	if before == nil {
		return now
	}
	var f Facts
	if f.MAC = before.MAC; now != nil {
		f = *now
	}
	f.Prefixes = slices.Clone(f.Prefixes)
	for _, p := range before.Prefixes {
		if !slices.ContainsFunc(f.Prefixes, func(q Prefix) bool { return p.Range == q.Range }) {
			p.Time = 0
			f.Prefixes = append(f.Prefixes, p)
		}
	}
	for _, a := range before.DNS {
		if !slices.Contains(f.DNS, a) {
			f.GoneDNS = append(f.GoneDNS, a)
		}
	}
	for _, d := range before.Search {
		if !slices.Contains(f.Search, d) {
			f.GoneSearch = append(f.GoneSearch, d)
		}
	}
	return &f
}

// Message returns the advertisement, its checksum still to be filled in.
func Message(f Facts) []byte {
	flags := byte(0)
	if f.Managed {
		flags |= managed
	}
	if f.Other || f.Managed {
		flags |= otherConfig
	}
	m := []byte{messageType, 0, 0, 0, 64, flags}
	lifetime := time.Duration(0)
	if f.Router {
		lifetime = Lifetime
	}
	m = binary.BigEndian.AppendUint16(m, uint16(lifetime/time.Second))
	m = append(m, make([]byte, 8)...) // reachable and retransmission time: not said
	m = append(append(m, optionSource, 1), f.MAC[:]...)
	if f.MTU > 0 {
		m = append(m, optionMTU, 1, 0, 0)
		m = binary.BigEndian.AppendUint32(m, uint32(f.MTU))
	}
	for _, p := range f.Prefixes {
		m = p.append(m)
	}
	m = servers(servers(m, f.DNS, Lifetime), f.GoneDNS, 0)
	return search(search(m, f.Search, Lifetime), f.GoneSearch, 0)
}

func (p Prefix) append(m []byte) []byte {
	flags := byte(onLink)
	if p.Autonomous {
		flags |= autonomous
	}
	m = append(m, optionPrefix, 4, byte(p.Range.Bits()), flags)
	m = binary.BigEndian.AppendUint32(m, uint32(p.Time/time.Second)) // valid
	m = binary.BigEndian.AppendUint32(m, uint32(p.Time/time.Second)) // preferred
	m = append(m, 0, 0, 0, 0)
	return append(m, p.Range.Masked().Addr().AsSlice()...)
}

func servers(m []byte, dns []netip.Addr, lifetime time.Duration) []byte {
	var all []byte
	for _, a := range dns {
		if a.Is6() {
			all = append(all, a.AsSlice()...)
		}
	}
	if len(all) == 0 {
		return m
	}
	m = append(m, optionRDNSS, byte(1+len(all)/8), 0, 0)
	m = binary.BigEndian.AppendUint32(m, uint32(lifetime/time.Second))
	return append(m, all...)
}

func search(m []byte, domains []string, lifetime time.Duration) []byte {
	var names []byte
	for _, d := range domains {
		for label := range strings.SplitSeq(d, ".") {
			names = append(append(names, byte(len(label))), label...)
		}
		names = append(names, 0)
	}
	if len(names) == 0 || len(names) > 8*254 {
		return m
	}
	for len(names)%8 != 0 {
		names = append(names, 0)
	}
	m = append(m, optionDNSSL, byte(1+len(names)/8), 0, 0)
	m = binary.BigEndian.AppendUint32(m, uint32(lifetime/time.Second))
	return append(m, names...)
}
