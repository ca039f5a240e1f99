// SPDX-License-Identifier: Apache-2.0

package reach

import (
	"net/netip"
	"slices"

	"github.com/weft-network/weft/api"
)

const (
	// maxPieces is into how many pieces a range may fall for one port: more than a
	// network has routes whose port may send from anywhere.
	maxPieces = 1 << 16
	// maxPrefixes is in how many prefixes a range may be written for one port.
	maxPrefixes = 4096
)

// piecesOf gives an address of each piece of a range that prefixes tell apart: a piece
// is what is in one of them, and in none that is inside this.
func piecesOf(r netip.Prefix, by []netip.Prefix) (all []netip.Addr, err error) {
	inside := []netip.Prefix{r.Masked()}
	for _, p := range by {
		if p.Bits() > r.Bits() && r.Contains(p.Addr()) {
			inside = append(inside, p.Masked())
		}
	}
	slices.SortFunc(inside, func(p, q netip.Prefix) int {
		if c := p.Addr().Compare(q.Addr()); c != 0 {
			return c
		}
		return p.Bits() - q.Bits()
	})
	inside = slices.Compact(inside)
	if len(inside) > maxPieces {
		return nil, tooManyPieces(r, maxPieces)
	}
	for i, p := range inside {
		if a := bare(p, inside[i+1:]); a.IsValid() {
			all = append(all, a)
		}
	}
	return all, nil
}

func tooManyPieces(r netip.Prefix, most int) error {
	return api.Errorf(api.CodeInvalid, "work out what %v may say: rules and routes cut it into more than %d pieces: name a smaller range, or workloads with smaller allowed address pairs", r, most)
}

// bare gives the first address of a prefix that is in none of those that follow it
// in their order, by address and length; none is invalid.
func bare(p netip.Prefix, following []netip.Prefix) netip.Addr {
	a := p.Addr()
	for _, q := range following {
		switch {
		case q.Contains(a):
			if a = last(q).Next(); !a.IsValid() || !p.Contains(a) {
				return netip.Addr{}
			}
		case q.Addr().Compare(a) > 0:
			return a
		}
	}
	return a
}

// last is the last address of a prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := range b {
		switch left := p.Bits() - 8*i; {
		case left <= 0:
			b[i] = 0xff
		case left < 8:
			b[i] |= 0xff >> left
		}
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// joined adds a prefix to prefixes in their order; two halves are their whole.
func joined(all []netip.Prefix, p netip.Prefix) []netip.Prefix {
	for n := len(all); n > 0; n = len(all) {
		last := all[n-1]
		if last.Bits() != p.Bits() || p.Bits() == 0 {
			break
		}
		whole := netip.PrefixFrom(last.Addr(), p.Bits()-1).Masked()
		if !whole.Contains(p.Addr()) {
			break
		}
		p, all = whole, all[:n-1]
	}
	return append(all, p)
}

// cut writes a range as prefixes of which each is in one piece.
func cut(r netip.Prefix, by []netip.Prefix) (all []netip.Prefix, err error) {
	inside := slices.DeleteFunc(by, func(p netip.Prefix) bool { return p.Bits() <= r.Bits() || !r.Contains(p.Addr()) })
	if len(inside) == 0 {
		return []netip.Prefix{r}, nil
	}
	low := netip.PrefixFrom(r.Addr(), r.Bits()+1)
	high := netip.PrefixFrom(upper(r), r.Bits()+1)
	for _, half := range []netip.Prefix{low, high} {
		some, err := cut(half, slices.Clone(inside))
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	if len(all) > maxPrefixes {
		return nil, tooManyPieces(r, maxPrefixes)
	}
	return all, nil
}

// upper is the first address of the upper half of a prefix.
func upper(r netip.Prefix) netip.Addr {
	b := r.Addr().AsSlice()
	b[r.Bits()/8] |= 0x80 >> (r.Bits() % 8)
	a, _ := netip.AddrFromSlice(b)
	return a
}
