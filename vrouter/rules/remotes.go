// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"net/netip"
	"slices"
)

// identitySpace has the identities that rules name as atoms.
type identitySpace struct {
	partition
	atoms []Identity
}

func newIdentitySpace(named []Identity) *identitySpace {
	slices.Sort(named)
	return &identitySpace{atoms: slices.Compact(named)}
}

func (s *identitySpace) spans(of []Identity) []span {
	out := make([]span, len(of))
	for i, id := range of {
		at, _ := slices.BinarySearch(s.atoms, id)
		out[i] = span{at, at + 1}
	}
	return out
}

// rangeSpace has as atoms the prefixes that rules name, each without those inside it. A prefix comes before all that are inside it, and these are a run.
type rangeSpace struct {
	partition
	atoms  []netip.Prefix
	ends   []int // where what is inside the prefix ends
	parent []int // the smallest prefix around it, -1 if there is none
}

func newRangeSpace(named []netip.Prefix) *rangeSpace {
	slices.SortFunc(named, comparePrefixes)
	s := &rangeSpace{atoms: slices.Compact(named)}
	s.ends, s.parent = make([]int, len(s.atoms)), make([]int, len(s.atoms))
	var around []int
	leave := func(at int, left func(top netip.Prefix) bool) {
		for len(around) > 0 && left(s.atoms[around[len(around)-1]]) {
			s.ends[around[len(around)-1]] = at
			around = around[:len(around)-1]
		}
	}
	for i, p := range s.atoms {
		leave(i, func(top netip.Prefix) bool { return !top.Contains(p.Addr()) })
		s.parent[i] = -1
		if len(around) > 0 {
			s.parent[i] = around[len(around)-1]
		}
		around = append(around, i)
	}
	leave(len(s.atoms), func(netip.Prefix) bool { return true })
	return s
}

func (s *rangeSpace) spans(of []netip.Prefix) []span {
	out := make([]span, len(of))
	for i, p := range of {
		at, _ := slices.BinarySearchFunc(s.atoms, p, comparePrefixes)
		out[i] = span{at, s.ends[at]}
	}
	return joined(out)
}

// everything gives the families of which the addresses of a rule are all there are, and the ranges and exceptions of the others.
func everything(r Rule) (families []uint8, ranges, except []netip.Prefix) {
	all := map[uint8]bool{}
	for _, p := range r.Ranges {
		all[family(p.Addr())] = all[family(p.Addr())] || p.Bits() == 0
	}
	for _, p := range r.Except {
		all[family(p.Addr())] = false
	}
	for _, f := range []uint8{4, 6} {
		if all[f] {
			families = append(families, f)
		}
	}
	left := func(from []netip.Prefix) (out []netip.Prefix) {
		for _, p := range from {
			if !all[family(p.Addr())] {
				out = append(out, p.Masked())
			}
		}
		return out
	}
	return families, left(r.Ranges), left(r.Except)
}
