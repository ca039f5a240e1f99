// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"cmp"
	"slices"
)

// portAtom is a run of ports of a protocol that no service of the ruleset cuts. Protocol 0 with others is all protocols that no service needs apart.
type portAtom struct {
	family, protocol uint8
	others           bool
	first, last      uint16
}

// portSpace is the atoms of ports, either of who is spoken to or of who began.
type portSpace struct {
	partition
	atoms []portAtom
	keys  [][2]uint8        // family and protocol
	start map[[2]uint8]span // the atoms of a family and protocol
	other map[uint8]span    // the atom of a family's others
}

// cuts are the ports at which an atom of a protocol begins, by family and protocol.
type cuts map[[2]uint8]map[int]bool

// ofFamilies gives the families of a service within those of the rule.
func (s Service) ofFamilies(within []uint8) []uint8 {
	return slices.DeleteFunc(slices.Clone(within), func(f uint8) bool {
		other := !s.AnyProtocol && (s.Protocol == ICMP && f != 4 || s.Protocol == ICMPv6 && f != 6)
		return other || s.Family != 0 && s.Family != f
	})
}

// protocols gives the protocols that a service with ports needs apart; without ports only the one that it names.
func (s Service) protocols() []uint8 {
	switch {
	case !s.AnyProtocol:
		return []uint8{s.Protocol}
	case s.Ports != nil || s.SourcePorts != nil:
		return PortProtocols
	}
	return nil
}

// span16 is the ports, or type and code, that a service is for.
func (s Service) span16() (first, last uint16) {
	switch {
	case s.Ports != nil:
		return s.Ports.First, s.Ports.Last
	case s.ICMPType != nil && s.ICMPCode != nil:
		return ICMPPort(*s.ICMPType, *s.ICMPCode), ICMPPort(*s.ICMPType, *s.ICMPCode)
	case s.ICMPType != nil:
		return ICMPPort(*s.ICMPType, 0), ICMPPort(*s.ICMPType, 255)
	}
	return 0, 65535
}

func (c cuts) add(family, protocol uint8, first, last uint16) {
	key := [2]uint8{family, protocol}
	if c[key] == nil {
		c[key] = map[int]bool{0: true}
	}
	c[key][int(first)] = true
	c[key][int(last)+1] = true
}

// newPortSpace makes the atoms between the cuts.
func newPortSpace(c cuts) *portSpace {
	p := &portSpace{start: map[[2]uint8]span{}, other: map[uint8]span{}}
	for key := range c {
		p.keys = append(p.keys, key)
	}
	slices.SortFunc(p.keys, func(a, b [2]uint8) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) })
	for _, key := range p.keys {
		at := make([]int, 0, len(c[key]))
		for port := range c[key] {
			if port < 65536 {
				at = append(at, port)
			}
		}
		slices.Sort(at)
		s := span{first: len(p.atoms)}
		for i, port := range at {
			last := 65535
			if i+1 < len(at) {
				last = at[i+1] - 1
			}
			p.atoms = append(p.atoms, portAtom{key[0], key[1], false, uint16(port), uint16(last)})
		}
		s.end = len(p.atoms)
		p.start[key] = s
	}
	for _, f := range []uint8{4, 6} {
		p.other[f] = span{len(p.atoms), len(p.atoms) + 1}
		p.atoms = append(p.atoms, portAtom{family: f, others: true, last: 65535})
	}
	return p
}

// spans gives the atoms of a family, protocol and range of ports.
func (p *portSpace) spans(family, protocol uint8, first, last uint16) span {
	s := p.start[[2]uint8{family, protocol}]
	of := p.atoms[s.first:s.end]
	from, _ := slices.BinarySearchFunc(of, first, func(a portAtom, port uint16) int { return cmp.Compare(a.first, port) })
	to, found := slices.BinarySearchFunc(of, last, func(a portAtom, port uint16) int { return cmp.Compare(a.last, port) })
	if found {
		to++
	}
	return span{s.first + from, s.first + to}
}

// family gives all atoms of a family.
func (p *portSpace) family(f uint8) []span {
	all := []span{p.other[f]}
	for key, s := range p.start {
		if key[0] == f {
			all = append(all, s)
		}
	}
	return all
}

// entries gives the table entries of the classes, in the order of their keys. The bit is set in their pages; tables are shared.
func (p *portSpace) entries(bit uint16, tables *pageTables) []ServiceClass {
	var out []ServiceClass
	others := map[uint8]uint16{}
	for _, f := range []uint8{4, 6} {
		if others[f] = uint16(p.class[p.other[f].first]); others[f] != 0 {
			out = append(out, ServiceClass{Family: f, Page: AllPages | bit, Class: others[f]})
		}
	}
	for _, key := range p.keys {
		s := p.start[key]
		entry := ServiceClass{Family: key[0], Protocol: key[1], Page: bit}
		if key[1] == 0 { // AllPages of protocol 0 is the other protocols; its packets have port 0
			entry.Class = uint16(p.class[s.first])
			out = append(out, entry)
			continue
		}
		out = append(out, p.pages(entry, s, others[key[0]], tables)...)
	}
	slices.SortFunc(out, compareServices)
	return out
}

// pages gives the entries of a protocol: the commonest class of whole pages stands for all pages without an entry.
func (p *portSpace) pages(key ServiceClass, of span, others uint16, tables *pageTables) []ServiceClass {
	common := p.commonest(of, others)
	var out []ServiceClass
	bit := key.Page
	if common != others {
		key.Page, key.Class = AllPages|bit, common
		out = append(out, key)
	}
	atom := of.first
	for page := range 256 {
		e := ServiceClass{Family: key.Family, Protocol: key.Protocol, Page: uint16(page) | bit}
		for int(p.atoms[atom].last) < page<<8 {
			atom++
		}
		if int(p.atoms[atom].last) >= page<<8|0xff {
			if e.Class = uint16(p.class[atom]); e.Class != common {
				out = append(out, e)
			}
			continue
		}
		e.Table = tables.number(p.table(page, atom))
		out = append(out, e)
	}
	return out
}

// commonest gives the class of the most whole pages; the smallest of equals.
func (p *portSpace) commonest(of span, common uint16) uint16 {
	whole := map[uint16]int{}
	for a := of.first; a < of.end; a++ {
		first, end := (int(p.atoms[a].first)+255)>>8, (int(p.atoms[a].last)+1)>>8
		whole[uint16(p.class[a])] += max(end-first, 0)
	}
	for class, n := range whole {
		if n > whole[common] || n == whole[common] && class < common {
			common = class
		}
	}
	return common
}

// table is a page that several atoms share, from this one on.
func (p *portSpace) table(page, atom int) (classes [256]uint16) {
	for low := range classes {
		for int(p.atoms[atom].last) < page<<8|low {
			atom++
		}
		classes[low] = uint16(p.class[atom])
	}
	return classes
}

// pageTables are the distinct pages of a ruleset, numbered from 1.
type pageTables struct {
	pages   [][256]uint16
	numbers map[[256]uint16]uint32
}

func (t *pageTables) number(page [256]uint16) uint32 {
	if t.numbers == nil {
		t.numbers = map[[256]uint16]uint32{}
	}
	if t.numbers[page] == 0 {
		t.pages = append(t.pages, page)
		t.numbers[page] = uint32(len(t.pages))
	}
	return t.numbers[page]
}
