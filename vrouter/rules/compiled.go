// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"
)

// AllPages is the page of a protocol that stands for all its pages without an entry.
const AllPages = 256

// SourcePage is the bit in the page of a source port.
const SourcePage = 0x8000

// Compiled is a ruleset as the kernel has it: entries of its tables, each list in the order of its keys. It is never changed; other contents have another ID.
//
// To ask: the verdict begins as Outside or Identified. The identity gives a remote class and a verdict for any service, the longest range of the address
// likewise; protocol and port give a service class, protocol and source port a source class. Then each verdict under {0, both remote classes} × {0, service class} × {0, source class} is looked
// up (of which the first remote class 0 without service and source is in Outside and Identified, and that of the others in Any), and the smallest order that is not 0 wins.
type Compiled struct {
	ID                  uint32
	Outside, Identified Verdict // also of a rule that is for anybody and anything
	Identities          []IdentityClass
	Ranges              []RangeClass
	Services, Sources   []ServiceClass
	Pages               [][256]uint16
	Verdicts            []VerdictEntry
	Audit               *Compiled // the twin: only its audit rules, in the same orders; nil if it has none
}

// IdentityClass is the remote class of an identity.
type IdentityClass struct {
	Identity Identity
	Class    uint32
	Any      Verdict // of the class, whatever the service; order 0 if there is none
}

// RangeClass is the remote class of the addresses of which the prefix is the longest.
type RangeClass struct {
	Prefix netip.Prefix
	Class  uint32 // 0 where an exception lets only rules for anybody match
	Any    Verdict
}

// ServiceClass is the class of 256 ports of a protocol, or of all codes of an ICMP type, or of all pages without an entry (AllPages). Protocol 0 with AllPages is
// all protocols without an entry.
type ServiceClass struct {
	Family, Protocol uint8
	Page             uint16 // port >> 8; with the bit SourcePage of source ports
	Class            uint16 // if the whole page is of one class
	Table            uint32 // else a number of Pages from 1, by the lower 8 bits of the port
}

// VerdictEntry is a verdict under its key. Remote 0 is anybody, Service 0 anything, Source 0 any source.
type VerdictEntry struct {
	Remote          uint32
	Service, Source uint16
	Verdict         Verdict
}

// Decide looks a packet up as the kernel does.
func (c *Compiled) Decide(p Packet) (decided, audit Verdict) {
	decided = c.lookUp(p)
	if c.Audit != nil {
		if audit = c.Audit.lookUp(p); audit.Order < decided.Order {
			return decided, audit
		}
	}
	return decided, Verdict{}
}

func (c *Compiled) lookUp(p Packet) Verdict {
	best := c.Identified
	if p.Identity == None {
		best = c.Outside
	}
	better := func(v Verdict) {
		if v.Order != 0 && v.Order < best.Order {
			best = v
		}
	}
	named, namedAny := c.identityClass(p.Identity)
	ranged, rangedAny := c.rangeClass(p.Remote)
	better(namedAny)
	better(rangedAny)
	service := c.serviceClass(c.Services, 0, p, p.Port)
	source := c.serviceClass(c.Sources, SourcePage, p, p.SourcePort)
	for i, remote := range [3]uint32{0, named, ranged} {
		if i > 0 && remote == 0 {
			continue
		}
		if service != 0 {
			better(c.verdict(remote, service, 0))
		}
		if source != 0 {
			better(c.verdict(remote, 0, source))
		}
		if service != 0 && source != 0 {
			better(c.verdict(remote, service, source))
		}
	}
	return best
}

func (c *Compiled) identityClass(id Identity) (uint32, Verdict) {
	i, found := slices.BinarySearchFunc(c.Identities, id, func(e IdentityClass, id Identity) int { return cmp.Compare(e.Identity, id) })
	if !found {
		return 0, Verdict{}
	}
	return c.Identities[i].Class, c.Identities[i].Any
}

func (c *Compiled) rangeClass(a netip.Addr) (uint32, Verdict) {
	for bits := a.BitLen(); bits >= 0; bits-- {
		p, err := a.Prefix(bits)
		if err != nil {
			continue
		}
		if i, found := slices.BinarySearchFunc(c.Ranges, p, func(e RangeClass, p netip.Prefix) int { return comparePrefixes(e.Prefix, p) }); found {
			return c.Ranges[i].Class, c.Ranges[i].Any
		}
	}
	return 0, Verdict{}
}

func (c *Compiled) serviceClass(of []ServiceClass, bit uint16, p Packet, port uint16) uint16 {
	for _, key := range [3]ServiceClass{{Protocol: p.Protocol, Page: port >> 8}, {Protocol: p.Protocol, Page: AllPages}, {Page: AllPages}} {
		key.Family, key.Page = p.Family(), key.Page|bit
		i, found := slices.BinarySearchFunc(of, key, compareServices)
		switch {
		case found && of[i].Table != 0:
			return c.Pages[of[i].Table-1][port&0xff]
		case found:
			return of[i].Class
		}
	}
	return 0
}

func (c *Compiled) verdict(remote uint32, service, source uint16) Verdict {
	key := VerdictEntry{Remote: remote, Service: service, Source: source}
	if i, found := slices.BinarySearchFunc(c.Verdicts, key, compareVerdicts); found {
		return c.Verdicts[i].Verdict
	}
	return Verdict{}
}

// Entries counts all table entries, the twin's too.
func (c *Compiled) Entries() int {
	n := len(c.Identities) + len(c.Ranges) + len(c.Services) + len(c.Sources) + len(c.Pages) + len(c.Verdicts)
	if c.Audit != nil {
		n += c.Audit.Entries()
	}
	return n
}

// comparePrefixes orders a prefix before what is inside it, and IPv4 before IPv6.
func comparePrefixes(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return cmp.Compare(a.Bits(), b.Bits())
}

func compareServices(a, b ServiceClass) int {
	return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Page, b.Page))
}

func compareVerdicts(a, b VerdictEntry) int {
	return cmp.Or(cmp.Compare(a.Remote, b.Remote), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Source, b.Source))
}

// idVersion is part of what is hashed: another meaning of the entries is another version.
const idVersion = "weft ruleset 1"

// id is the first 32 bits that are not 0 of a hash over all entries.
func (c *Compiled) id(twin string) uint32 {
	h := sha256.New()
	h.Write([]byte(idVersion + twin))
	b := c.encode(nil)
	if c.Audit != nil {
		b = binary.LittleEndian.AppendUint32(b, c.Audit.ID)
	}
	h.Write(b)
	sum := h.Sum(nil)
	for len(sum) >= 4 {
		if id := binary.LittleEndian.Uint32(sum); id != 0 {
			return id
		}
		sum = sum[4:]
	}
	return 1
}

func (c *Compiled) encode(b []byte) []byte {
	u32 := func(n uint32) { b = binary.LittleEndian.AppendUint32(b, n) }
	verdict := func(v Verdict) {
		u32(v.Order)
		u32(v.Rule)
		log := byte(0)
		if v.Log {
			log = 1
		}
		b = append(b, byte(v.Action), log)
	}
	verdict(c.Outside)
	verdict(c.Identified)
	for _, n := range []int{len(c.Identities), len(c.Ranges), len(c.Services), len(c.Sources), len(c.Pages), len(c.Verdicts)} {
		u32(uint32(n))
	}
	for _, e := range c.Identities {
		b = binary.LittleEndian.AppendUint64(b, uint64(e.Identity))
		u32(e.Class)
		verdict(e.Any)
	}
	for _, e := range c.Ranges {
		text := e.Prefix.Addr().As16()
		b = append(append(b, text[:]...), family(e.Prefix.Addr()), byte(e.Prefix.Bits()))
		u32(e.Class)
		verdict(e.Any)
	}
	for _, e := range slices.Concat(c.Services, c.Sources) {
		b = append(b, e.Family, e.Protocol)
		u32(uint32(e.Page)<<16 | uint32(e.Class))
		u32(e.Table)
	}
	for _, page := range c.Pages {
		for _, class := range page {
			b = binary.LittleEndian.AppendUint16(b, class)
		}
	}
	for _, e := range c.Verdicts {
		u32(e.Remote)
		u32(uint32(e.Service)<<16 | uint32(e.Source))
		verdict(e.Verdict)
	}
	return b
}
