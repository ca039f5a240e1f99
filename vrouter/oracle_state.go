// SPDX-License-Identifier: Apache-2.0

package vrouter

import "encoding/binary"

// saying is what a packet says of how far its conversation is: a segment of TCP,
// or a packet of SCTP with what its chunks stand for; of other packets nothing.
type saying struct {
	tcp, sctp          bool
	syn, ack, fin, rst bool
	reflected          bool   // SCTP: the chunk has the T bit
	position           uint16 // upper half of the sequence number, or of the verification tag
	shown              uint16 // upper half of the acknowledgement number, or of the tag in INIT or INIT ACK
}

func (f parsed) saying() saying {
	switch {
	case f.later:
	case f.protocol == 6:
		flags := f.payload[13]
		return saying{
			tcp: true, fin: flags&1 != 0, syn: flags&2 != 0, rst: flags&4 != 0, ack: flags&16 != 0,
			position: binary.BigEndian.Uint16(f.payload[4:]), shown: binary.BigEndian.Uint16(f.payload[8:]),
		}
	case f.protocol == 132:
		s := saying{sctp: true, position: binary.BigEndian.Uint16(f.payload[4:])}
		s.readChunks(f.payload[12:])
		return s
	}
	return saying{}
}

func (s *saying) readChunks(rest []byte) {
	for n := 0; n < 4 && len(rest) >= 4; n++ {
		switch kind := rest[0]; kind {
		case 0, 64: // DATA, I-DATA
			return
		case 1, 2: // INIT, INIT ACK
			if len(rest) >= 8 {
				s.syn, s.ack, s.shown = true, kind == 2, binary.BigEndian.Uint16(rest[4:])
			}
			return
		case 6: // ABORT
			s.rst, s.reflected = true, rest[1]&1 != 0
			return
		case 7, 8: // SHUTDOWN, SHUTDOWN ACK
			s.fin = true
			return
		case 14: // SHUTDOWN COMPLETE
			s.fin, s.reflected = true, rest[1]&1 != 0
			return
		}
		length := max(4, int(binary.BigEndian.Uint16(rest[2:])))
		rest = rest[min(len(rest), (length+3)/4*4):]
	}
}

// opens tells of SYN alone.
func (s saying) opens() bool { return s.syn && !s.ack && !s.fin && !s.rst }

// changes tells whether a packet can change more of a state than who was heard.
func (s saying) changes() bool { return s.syn || s.fin || s.rst }

// beginsAnew tells of what opens a conversation on the ports of one that is over,
// or that its sender has no more.
func (s saying) beginsAnew(state ConnectionState, sends bool) bool {
	over := ConnectionReset | ConnectionFinSent | ConnectionFinHeard
	if sends {
		over |= ConnectionProven
	}
	return s.opens() && state&over != 0
}

// believed tells whether a packet changes what an end knows at all.
func (s saying) believed(c Connection, sends bool) bool {
	proven := c.State&ConnectionProven != 0
	switch {
	case sends, proven && !s.fin && !s.rst, c.Expects == 0, s.opens():
		return true
	case s.tcp:
		d := int16(s.position - c.Expects)
		return d >= -1 && d <= 64
	case s.sctp:
		return s.position == c.Expects && !(s.reflected && proven)
	}
	return true
}

// after is what an end knows after a packet; state has that it sent or heard this one.
func (s saying) after(state ConnectionState, sends bool) ConnectionState {
	const both = ConnectionFinSent | ConnectionFinHeard
	switch {
	case s.rst && sends:
		return state | ConnectionReset | both
	case s.rst:
		return state | ConnectionReset
	case s.fin && sends:
		return state | ConnectionFinSent
	case s.fin:
		state |= ConnectionFinHeard
	case sends && s.tcp && s.ack && !s.syn && state&both != both:
		return state &^ ConnectionReset
	}
	quiet := s.tcp && s.syn && !s.ack || s.sctp && s.syn
	if !sends && state&ConnectionSent != 0 && !quiet {
		state |= ConnectionProven
	}
	return state
}

// shows tells whether a packet that an end sends says what it expects.
func (s saying) shows(state ConnectionState) bool {
	return s.tcp && s.ack || s.sctp && s.syn && state&ConnectionProven == 0
}

// returnPlace gives a conversation its place back, for its reset was none.
func (o *Oracle) returnPlace(p Place, state ConnectionState) {
	limited := o.Ports[p.Ifindex].Policed && o.PortPolicies[p.Ifindex].ConnectionLimit != 0
	if limited && state&ConnectionUnasked == 0 && o.Places != nil {
		o.Places[p] = struct{}{}
	}
}

// meetsState counts what packets of TCP and SCTP do to what ends know.
func (o *Oracle) meetsState(f parsed, what string) {
	if name := map[byte]string{6: "TCP ", 132: "SCTP "}[f.protocol]; name != "" && o.Met != nil {
		o.Met[name+what]++
	}
}
