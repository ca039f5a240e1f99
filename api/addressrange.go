// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strings"
)

// MaxCount is the largest number of addresses that is counted; more is
// reported as that. JSON numbers are exact up to here (RFC 8259, section 6),
// and an IPv6 subnet has more.
const MaxCount = 1<<53 - 1

// AddressRange is all addresses from First to Last, both included. Its text
// is "first-last", or the address where there is one only.
type AddressRange struct {
	First, Last netip.Addr
}

// ParseAddressRange reads "10.0.0.10-10.0.0.20", one address, or a prefix.
func ParseAddressRange(s string) (AddressRange, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return AddressRange{p.Masked().Addr(), LastAddr(p)}, nil
	}
	from, to, two := strings.Cut(s, "-")
	if !two {
		to = from
	}
	first, err := netip.ParseAddr(strings.TrimSpace(from))
	if err == nil {
		var last netip.Addr
		if last, err = netip.ParseAddr(strings.TrimSpace(to)); err == nil {
			return AddressRange{first, last}, nil
		}
	}
	return AddressRange{}, fmt.Errorf("read range %q: want FIRST-LAST, one address or a prefix, e.g. 10.0.1.10-10.0.1.99", s)
}

func (r AddressRange) String() string {
	switch {
	case r == AddressRange{}:
		return ""
	case r.First == r.Last:
		return r.First.String()
	}
	return r.First.String() + "-" + r.Last.String()
}

// MarshalText writes the range as String does.
func (r AddressRange) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what ParseAddressRange does, and no text as no range.
func (r *AddressRange) UnmarshalText(text []byte) (err error) {
	*r = AddressRange{}
	if len(text) > 0 {
		*r, err = ParseAddressRange(string(text))
	}
	return err
}

// Contains tells whether an address is in the range.
func (r AddressRange) Contains(a netip.Addr) bool {
	return r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0
}

// Overlaps tells whether two ranges have an address in common.
func (r AddressRange) Overlaps(o AddressRange) bool {
	return r.First.Compare(o.Last) <= 0 && o.First.Compare(r.Last) <= 0
}

// Count is how many addresses the range has, at most MaxCount.
func (r AddressRange) Count() uint64 {
	a, b := r.First.As16(), r.Last.As16()
	low, borrow := bits.Sub64(half(b[8:]), half(a[8:]), 0)
	high, _ := bits.Sub64(half(b[:8]), half(a[:8]), borrow)
	if high > 0 || low >= MaxCount {
		return MaxCount
	}
	return low + 1
}

func half(b []byte) uint64 {
	var n uint64
	for _, x := range b {
		n = n<<8 | uint64(x)
	}
	return n
}

// CountAll is how many addresses disjoint ranges have, at most MaxCount.
func CountAll(ranges []AddressRange) uint64 {
	var n uint64
	for _, r := range ranges {
		n = min(n+r.Count(), MaxCount)
	}
	return n
}

// withoutRange returns what is left of ranges when an other one is taken away.
func withoutRange(ranges []AddressRange, cut AddressRange) []AddressRange {
	var left []AddressRange
	for _, r := range ranges {
		if !r.Overlaps(cut) {
			left = append(left, r)
			continue
		}
		if r.First.Less(cut.First) {
			left = append(left, AddressRange{r.First, cut.First.Prev()})
		}
		if cut.Last.Less(r.Last) {
			left = append(left, AddressRange{cut.Last.Next(), r.Last})
		}
	}
	return left
}

// validateRanges checks a list of ranges of a subnet.
func validateRanges(p *Problems, field string, c netip.Prefix, ranges []AddressRange) {
	if len(ranges) > MaxRanges {
		p.Addf(field, "has %d ranges, at most %d", len(ranges), MaxRanges)
		return
	}
	for i, r := range ranges {
		at := fmt.Sprintf("%s[%d]", field, i)
		switch {
		case !r.First.IsValid() || !r.Last.IsValid():
			p.Addf(at, "is no range: want FIRST-LAST")
		case r.First.Zone() != "" || r.Last.Zone() != "" || r.First.Is4In6() || r.Last.Is4In6():
			p.Addf(at, "%v: write addresses without zone, and IPv4 as IPv4", r)
		case !c.Contains(r.First) || !c.Contains(r.Last):
			p.Addf(at, "%v is not within %v", r, c)
		case r.Last.Less(r.First):
			p.Addf(at, "%v ends before it begins", r)
		default:
			if n := slices.IndexFunc(ranges[:i], r.Overlaps); n >= 0 {
				p.Addf(at, "%v overlaps with %v", r, ranges[n])
			}
		}
	}
}
