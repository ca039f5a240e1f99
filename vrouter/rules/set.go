// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"maps"
	"slices"
)

// Set is a set of conversations of one family between two ends, by protocol and ports; exact, and equal sets are written alike.
type Set struct {
	Family uint8
	planes map[uint16]plane // by protocol; otherProtocols is of those without an entry
}

const otherProtocols = 256

// plane is the conversations of a protocol: slabs in the order of their source ports, which do not overlap.
type plane []slab

// slab has the same ports for all its source ports; in order, with a gap between each two.
type slab struct {
	sources Range
	ports   []Range
}

var everyPort = Range{0, 65535}

func fullPlane() plane { return plane{{everyPort, []Range{everyPort}}} }

// All is the set of all conversations of a family.
func All(family uint8) Set { return Set{family, map[uint16]plane{otherProtocols: fullPlane()}} }

// Nothing is the empty set of a family.
func Nothing(family uint8) Set { return Set{family, map[uint16]plane{}} }

func (s Set) plane(protocol uint16) plane {
	if p, named := s.planes[protocol]; named {
		return p
	}
	return s.planes[otherProtocols]
}

// Empty says whether nothing is in the set.
func (s Set) Empty() bool { return len(s.planes) == 0 }

// Equal says whether two sets are the same.
func (s Set) Equal(o Set) bool {
	return s.Family == o.Family && maps.EqualFunc(s.planes, o.planes, equalPlanes)
}

func equalPlanes(a, b plane) bool {
	return slices.EqualFunc(a, b, func(a, b slab) bool { return a.sources == b.sources && slices.Equal(a.ports, b.ports) })
}

// Contains says whether the conversation that a packet begins is in the set.
func (s Set) Contains(p Packet) bool {
	if p.Family() != s.Family {
		return false
	}
	return slices.ContainsFunc(s.plane(uint16(p.Protocol)), func(of slab) bool {
		return of.sources.Contains(p.SourcePort) && slices.ContainsFunc(of.ports, func(r Range) bool { return r.Contains(p.Port) })
	})
}

// Contained says whether all of the set is in another one.
func (s Set) Contained(in Set) bool { return s.Minus(in).Empty() }

// Example is one packet of a set that is not empty, of which the ends are not said: a usual one if there is one.
func (s Set) Example() (p Packet, found bool) {
	for _, protocol := range append([]uint16{TCP, UDP, ICMP, ICMPv6, SCTP}, slices.Sorted(maps.Keys(s.planes))...) {
		if of := s.plane(protocol); len(of) > 0 {
			if protocol == otherProtocols {
				protocol = s.unnamed()
			}
			p.Protocol, p.Port, p.SourcePort = uint8(protocol), of[0].ports[0].First, of[0].sources.First
			if HasPorts(p.Protocol) {
				p.Port, p.SourcePort = max(p.Port, min(1, of[0].ports[0].Last)), max(p.SourcePort, min(49152, of[0].sources.Last))
			}
			return p, true
		}
	}
	return p, false
}

// unnamed is the first protocol without an entry.
func (s Set) unnamed() (protocol uint16) {
	for {
		if _, named := s.planes[protocol]; !named {
			return protocol
		}
		protocol++
	}
}

// Union is what is in one of two sets.
func (s Set) Union(o Set) Set { return s.combine(o, func(a, b bool) bool { return a || b }) }

// Intersect is what is in both.
func (s Set) Intersect(o Set) Set { return s.combine(o, func(a, b bool) bool { return a && b }) }

// Minus is what is in this set and not in the other.
func (s Set) Minus(o Set) Set { return s.combine(o, func(a, b bool) bool { return a && !b }) }

// keep says of what is in a, in b, whether it is in the result; what is in neither is not.
type keep func(a, b bool) bool

func (s Set) combine(o Set, k keep) Set {
	out := Nothing(s.Family)
	out.planes[otherProtocols] = combinePlanes(s.planes[otherProtocols], o.planes[otherProtocols], k)
	for _, named := range []Set{s, o} {
		for protocol := range named.planes {
			if _, done := out.planes[protocol]; !done {
				out.planes[protocol] = combinePlanes(s.plane(protocol), o.plane(protocol), k)
			}
		}
	}
	others := out.planes[otherProtocols]
	maps.DeleteFunc(out.planes, func(protocol uint16, p plane) bool {
		return protocol == otherProtocols && len(p) == 0 || protocol != otherProtocols && equalPlanes(p, others)
	})
	return out
}

func combinePlanes(a, b plane, k keep) plane {
	var out plane
	eachRun(a, b, func(s slab) Range { return s.sources }, func(sources Range, inA, inB *slab) {
		var pa, pb []Range
		if inA != nil {
			pa = inA.ports
		}
		if inB != nil {
			pb = inB.ports
		}
		ports := combinePorts(pa, pb, k)
		last := len(out) - 1
		switch {
		case len(ports) == 0:
		case last >= 0 && int(out[last].sources.Last)+1 == int(sources.First) && slices.Equal(out[last].ports, ports):
			out[last].sources.Last = sources.Last
		default:
			out = append(out, slab{sources, ports})
		}
	})
	return out
}

func combinePorts(a, b []Range, k keep) []Range {
	var out []Range
	eachRun(a, b, func(r Range) Range { return r }, func(run Range, inA, inB *Range) {
		last := len(out) - 1
		switch {
		case !k(inA != nil, inB != nil):
		case last >= 0 && int(out[last].Last)+1 == int(run.First):
			out[last].Last = run.Last
		default:
			out = append(out, run)
		}
	})
	return out
}

// eachRun calls visit with each run of numbers that lies in the same elements of both lists, or in one of them; the lists are in order.
func eachRun[T any](a, b []T, of func(T) Range, visit func(run Range, inA, inB *T)) {
	at := 0 // the next number
	for at <= 65535 {
		for len(a) > 0 && int(of(a[0]).Last) < at {
			a = a[1:]
		}
		for len(b) > 0 && int(of(b[0]).Last) < at {
			b = b[1:]
		}
		if len(a) == 0 && len(b) == 0 {
			return
		}
		end := 65535
		within := func(list []T) *T {
			if len(list) == 0 {
				return nil
			}
			if r := of(list[0]); int(r.First) > at {
				end = min(end, int(r.First)-1)
				return nil
			}
			end = min(end, int(of(list[0]).Last))
			return &list[0]
		}
		inA, inB := within(a), within(b)
		if inA != nil || inB != nil {
			visit(Range{uint16(at), uint16(end)}, inA, inB)
		}
		at = end + 1
	}
}

// Flow is one rectangle of a set: all of its ports with all of its source ports.
type Flow struct {
	Family   uint8
	Protocol uint8
	// OtherProtocols: all protocols of which the set has nothing of their own.
	OtherProtocols bool
	Except         []uint8 // of the other protocols: those that have flows of their own, or none
	Ports          []Range // of ICMP: type << 8 | code
	SourcePorts    Range
}

// Flows lists a set: first the protocols by number, then all others.
func (s Set) Flows() []Flow {
	var out []Flow
	protocols := slices.Sorted(maps.Keys(s.planes))
	for _, protocol := range protocols {
		for _, of := range s.planes[protocol] {
			f := Flow{Family: s.Family, Protocol: uint8(protocol), Ports: of.ports, SourcePorts: of.sources}
			if protocol == otherProtocols {
				f.Protocol, f.OtherProtocols = 0, true
				for _, p := range protocols[:len(protocols)-1] {
					f.Except = append(f.Except, uint8(p))
				}
			}
			out = append(out, f)
		}
	}
	return out
}
