// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"
	"slices"
)

// span is a run of atoms: those from first up to end, which is not in it.
type span struct{ first, end int }

// partition puts atoms into classes: two are of one class if the same units have them. Class 0 is in no unit.
type partition struct {
	class   []uint32   // by atom
	units   [][]span   // as they were added
	classes [][]uint32 // by unit
	known   map[string]int
}

// add gives the number of the unit of these atoms, the old one if they were added before.
func (p *partition) add(spans []span) int {
	spans = joined(spans)
	key := make([]byte, 0, 8*len(spans))
	for _, s := range spans {
		key = binary.LittleEndian.AppendUint32(key, uint32(s.first))
		key = binary.LittleEndian.AppendUint32(key, uint32(s.end))
	}
	if p.known == nil {
		p.known = map[string]int{}
	}
	if u, ok := p.known[string(key)]; ok {
		return u
	}
	p.known[string(key)] = len(p.units)
	p.units = append(p.units, spans)
	return len(p.units) - 1
}

// joined sorts spans and makes one of those that touch; empty ones go.
func joined(spans []span) []span {
	spans = slices.DeleteFunc(slices.Clone(spans), func(s span) bool { return s.first >= s.end })
	slices.SortFunc(spans, func(a, b span) int { return a.first - b.first })
	var out []span
	for _, s := range spans {
		if last := len(out) - 1; last >= 0 && out[last].end >= s.first {
			out[last].end = max(out[last].end, s.end)
		} else {
			out = append(out, s)
		}
	}
	return out
}

// without takes the atoms of others away; both are joined.
func without(spans, others []span) []span {
	var out []span
	for _, s := range spans {
		for _, o := range others {
			if o.end <= s.first || o.first >= s.end {
				continue
			}
			if s.first < o.first {
				out = append(out, span{s.first, o.first})
			}
			s.first = min(o.end, s.end)
		}
		if s.first < s.end {
			out = append(out, s)
		}
	}
	return out
}

// refine splits the atoms by each unit in turn, and numbers the classes in the order of their first atoms, from first on. It gives the next number, and false when it would take too long.
func (p *partition) refine(atoms int, first uint32, work *int) (next uint32, ok bool) {
	p.class = make([]uint32, atoms)
	fresh := uint32(1)
	for _, unit := range p.units {
		split := map[uint32]uint32{}
		for _, s := range unit {
			if *work -= s.end - s.first; *work < 0 {
				return 0, false
			}
			for a := s.first; a < s.end; a++ {
				to, seen := split[p.class[a]]
				if !seen {
					to = fresh
					fresh++
					split[p.class[a]] = to
				}
				p.class[a] = to
			}
		}
	}
	return p.number(first), true
}

func (p *partition) number(next uint32) uint32 {
	numbers := map[uint32]uint32{0: 0}
	for a, c := range p.class {
		n, seen := numbers[c]
		if !seen {
			n = next
			next++
			numbers[c] = n
		}
		p.class[a] = n
	}
	for _, unit := range p.units {
		seen := map[uint32]bool{}
		var classes []uint32
		for _, s := range unit {
			for _, c := range p.class[s.first:s.end] {
				if !seen[c] {
					seen[c] = true
					classes = append(classes, c)
				}
			}
		}
		slices.Sort(classes)
		p.classes = append(p.classes, classes)
	}
	return next
}
