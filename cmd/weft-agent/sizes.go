// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/weft-network/weft/vrouter"
)

// sizeFields are the sizes by the names of --table-size.
func sizeFields(s *vrouter.Sizes) map[string][]*uint32 {
	return map[string][]*uint32{
		"ports": {&s.Ports}, "port-addresses": {&s.PortAddresses}, "port-prefixes": {&s.PortPrefixes}, "host-routes": {&s.HostRoutes}, "routes": {&s.Routes4, &s.Routes6},
		"next-hops": {&s.NextHops}, "groups": {&s.Groups}, "vnis": {&s.VNIs}, "tunnel-sources": {&s.TunnelSources},
		"macs": {&s.MACs}, "learned-macs": {&s.LearnedMACs}, "receivers": {&s.Receivers},
		"connections": {&s.Connections}, "half-open": {&s.HalfOpen}, "fragments": {&s.Fragments},
		"listeners": {&s.Listeners}, "choices": {&s.Choices}, "pool-members": {&s.PoolMembers}, "mappings": {&s.Mappings}, "affinities": {&s.Affinities}, "floats": {&s.Floats},
		"rulesets": {&s.Rulesets}, "remote-classes": {&s.RemoteClasses}, "remote-ranges": {&s.RemoteRanges}, "service-classes": {&s.ServiceClasses},
		"verdicts": {&s.Verdicts}, "managed": {&s.Managed}, "rule-hits": {&s.RuleHits},
	}
}

// sizesOf reads --table-size. A table that is not named has its default size.
func sizesOf(given map[string]int64) (vrouter.Sizes, error) {
	var s vrouter.Sizes
	fields := sizeFields(&s)
	for name, size := range given {
		targets, known := fields[name]
		if !known {
			return s, fmt.Errorf("read --table-size: no table is named %q, want one of %s", name, strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
		}
		if size < 1 || size > math.MaxInt32 {
			return s, fmt.Errorf("read --table-size: %s=%d is not from 1 to %d entries", name, size, math.MaxInt32)
		}
		for _, t := range targets {
			*t = uint32(size)
		}
	}
	return s, nil
}

// timeoutFields are the time-outs by the names of --connection-timeout.
func timeoutFields(t *vrouter.Timeouts) map[string]*time.Duration {
	return map[string]*time.Duration{
		"opening": &t.Opening, "closing": &t.Closing, "closed": &t.Closed, "reset": &t.Reset, "sctp-opening": &t.SCTPOpening, "sctp-closing": &t.SCTPClosing,
		"tcp": &t.TCP, "udp": &t.UDP, "sctp": &t.SCTP, "icmp": &t.ICMP, "other": &t.Other,
	}
}

// timeoutsOf reads --connection-timeout. What is not named has its default.
func timeoutsOf(given map[string]string) (vrouter.Timeouts, error) {
	var t vrouter.Timeouts
	fields := timeoutFields(&t)
	for name, text := range given {
		target, known := fields[name]
		if !known {
			return t, fmt.Errorf("read --connection-timeout: nothing is named %q, want one of %s", name, strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
		}
		d, err := time.ParseDuration(text)
		if err != nil {
			return t, fmt.Errorf("read --connection-timeout: %s: %w", name, err)
		}
		if d < time.Second || d > maxTimeout {
			return t, fmt.Errorf("read --connection-timeout: %s=%v is not from 1s to %v", name, d, maxTimeout)
		}
		*target = d
	}
	return t, nil
}

// maxTimeout keeps connections from staying for ever.
const maxTimeout = 30 * 24 * time.Hour
