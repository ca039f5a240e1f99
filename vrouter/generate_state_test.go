// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// position is the upper half of a number of TCP, or of a tag: one of few, and of
// what is just near enough to one of these, and just too far.
func (g *generator) position() uint16 {
	return pick(g, uint16(0), 1, 1, 1, 2, 0x4000, 0xffff) + pick(g, uint16(0), 0, 0, 0, 0xffff, 0xfffe, 64, 65)
}

// flags gives a packet of TCP or SCTP those of one step in the life of a connection.
func (g *generator) flags(s sent) sent {
	f := parse(s.frame)
	if f.refused != "" || f.later || f.protocol != 6 && f.protocol != 132 {
		return s
	}
	s.frame = slices.Clone(s.frame)
	l4 := s.frame[f.l4 : f.l4+len(f.payload)]
	binary.BigEndian.PutUint16(l4[4:], g.position())
	if f.protocol == 132 {
		g.chunks(l4[12:])
		return s
	}
	binary.BigEndian.PutUint16(l4[8:], g.position())
	l4[13] = pick(g, byte(0x02), 0x02, 0x02, 0x12, 0x12, 0x10, 0x10, 0x10, 0x18, 0x18, 0x18, 0x11, 0x11, 0x01, pick(g, byte(0x14), 0x04), byte(g.Uint32()))
	return s
}

// chunks writes those of an SCTP packet, as far as it has room.
func (g *generator) chunks(room []byte) {
	for len(room) >= 4 {
		size := 4 + g.IntN(12)
		room[0] = pick(g, byte(0), 1, 1, 1, 2, 2, 3, 6, 6, 7, 8, 10, 11, 14, 64, byte(g.Uint32()))
		room[1] = pick(g, byte(0), 0, 0, 1, 0xfe)
		binary.BigEndian.PutUint16(room[2:], uint16(pick(g, size, size, size, size, g.IntN(6))))
		if len(room) >= 8 {
			binary.BigEndian.PutUint16(room[4:], g.position())
		}
		size = (size + 3) / 4 * 4
		room = room[min(size, len(room)):]
	}
}

// wantedSteps are what packets do to what ends know, for TCP and SCTP; the words
// are those before and after.
var wantedSteps = []string{
	"new to opening", "new to closing", "new to reset", "opening to established", "opening to closing", "opening to reset",
	"established to established", "established to closing", "established to reset", "established to opening",
	"closing to closing", "closing to closed", "closing to reset", "closing to opening", "closed to closed", "closed to reset", "closed to opening",
	"reset to reset", "reset to opening", "disbelieved",
}

// revivals are steps of TCP alone: who goes on did not believe a reset.
var revivals = []string{"reset to established", "reset to closing"}

// lackingSteps are those that were met less often.
func lackingSteps(met map[string]int, wanted int) (all []string) {
	for _, protocol := range []string{"TCP ", "SCTP "} {
		steps := wantedSteps
		if protocol == "TCP " {
			steps = append(slices.Clone(steps), revivals...)
		}
		for _, step := range steps {
			if n := met[protocol+step]; n < wanted {
				all = append(all, fmt.Sprintf("%s%s: %d times, want %d", protocol, step, n, wanted))
			}
		}
	}
	return all
}
