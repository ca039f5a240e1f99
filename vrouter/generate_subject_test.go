// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"slices"
)

// complaint is an ICMP error about a frame that went through: from who got it,
// or from somebody on the way, and now and then not quite about it.
func (g *generator) complaint(before sent, went Outcome) (sent, bool) {
	back, can := g.reply(before, went)
	f := parse(went.Frame)
	if !can || f.fragment {
		return back, false
	}
	s := ipSpec{source: f.destination, destination: f.source, hops: 64, protocol: 1}
	if back.key != nil && g.chance(50) {
		s.source = poolAddress(f.source.Is6(), g.IntN(poolSize))
	}
	ends := min(len(went.Frame), f.l4+pick(g, 8, 8, 8, 7, 20, 60, -1))
	quote := slices.Clone(went.Frame[14:ends])
	if !f.source.Is6() && g.chance(10) { // about a fragment, first or later
		binary.BigEndian.PutUint16(quote[6:], pick(g, uint16(0x2000), 0x4000, 0x0001, 0x1000, 0x1fff))
	}
	if g.chance(10) {
		quote[g.IntN(len(quote))] ^= byte(1 << g.IntN(8))
	}
	body := append(make([]byte, 4), quote...)
	if f.source.Is6() {
		s.protocol, s.payload = 58, icmp6(s.source, s.destination, pick(g, byte(1), 2, 3, 4, 5), 0, body)
	} else {
		s.payload = icmp4(pick(g, byte(3), 3, 4, 5, 11, 12, 6), pick(g, byte(0), 3, 4, 13), body)
	}
	back.frame = ethernetFrame(MAC(back.frame), MAC(back.frame[6:]), s.ethertype(), s.build())
	if g.chance(20) { // what would go on with the quote, behind the end of the packet
		back.frame = append(back.frame, went.Frame[ends:min(len(went.Frame), f.l4+60)]...)
	}
	return back, true
}
