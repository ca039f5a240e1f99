// SPDX-License-Identifier: Apache-2.0

// Package bfd is Bidirectional Forwarding Detection (RFC 5880) in asynchronous
// mode, without authentication, echo and demand mode of its own, as one hop asks
// for it (RFC 5881). It has no I/O, clock or locks: who has these hands packets
// and times in and sends what comes out.
package bfd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Port is where control packets of one hop go, from a port of 49152 or above;
// TTL is what they have, on arrival too: nobody further away can send such.
const (
	Port       = 3784
	SourcePort = 49152
	TTL        = 255
)

// State of a session.
type State uint8

// The states, as on the wire.
const (
	AdminDown State = iota
	Down
	Init
	Up
)

func (s State) String() string {
	return [...]string{"AdminDown", "Down", "Init", "Up"}[s&3]
}

// Diagnostic says why a session last left Up.
type Diagnostic uint8

// The diagnostics that are made here.
const (
	NoDiagnostic     Diagnostic = 0
	Expired          Diagnostic = 1
	NeighborSaysDown Diagnostic = 3
	Administratively Diagnostic = 7
)

// Control is a control packet.
type Control struct {
	Diagnostic  Diagnostic
	State       State
	Poll, Final bool
	Demand      bool
	Multiplier  uint8
	// My is the sender's discriminator of the session, Your the receiver's; 0: not known yet.
	My, Your uint32
	// MinTransmit is how often the sender would like to send, MinReceive how often
	// it can take them; 0: it wants none.
	MinTransmit, MinReceive time.Duration
}

const (
	version = 1
	size    = 24
)

// The flags of the second byte.
const (
	multipoint = 1 << iota
	demand
	authentication
	controlPlane
	final
	poll
)

// Encode writes the packet. Echo packets are never asked for.
func (c Control) Encode() []byte {
	flags := byte(c.State) << 6
	for bit, set := range map[byte]bool{poll: c.Poll, final: c.Final, demand: c.Demand} {
		if set {
			flags |= bit
		}
	}
	b := []byte{version<<5 | byte(c.Diagnostic)&31, flags, c.Multiplier, size}
	for _, n := range []uint32{c.My, c.Your, microseconds(c.MinTransmit), microseconds(c.MinReceive), 0} {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return b
}

func microseconds(d time.Duration) uint32 { return uint32(min(d.Microseconds(), 1<<32-1)) }

// Parse reads a packet and refuses what RFC 5880, section 6.8.6, says is to be
// discarded whatever the session.
func Parse(b []byte) (c Control, err error) {
	switch {
	case len(b) < size:
		return c, fmt.Errorf("%d bytes are no control packet", len(b))
	case b[0]>>5 != version:
		return c, fmt.Errorf("version %d", b[0]>>5)
	case int(b[3]) < size || int(b[3]) > len(b):
		return c, fmt.Errorf("length %d in %d bytes", b[3], len(b))
	case b[1]&authentication != 0:
		return c, errors.New("authentication is not in use")
	case b[1]&multipoint != 0:
		return c, errors.New("multipoint")
	}
	word := func(i int) uint32 { return binary.BigEndian.Uint32(b[4+4*i:]) }
	c = Control{
		Diagnostic: Diagnostic(b[0] & 31), State: State(b[1] >> 6), Poll: b[1]&poll != 0, Final: b[1]&final != 0, Demand: b[1]&demand != 0, Multiplier: b[2],
		My: word(0), Your: word(1), MinTransmit: time.Duration(word(2)) * time.Microsecond, MinReceive: time.Duration(word(3)) * time.Microsecond,
	}
	switch {
	case c.Multiplier == 0:
		return c, errors.New("multiplier 0")
	case c.My == 0:
		return c, errors.New("no discriminator")
	case c.Your == 0 && c.State != Down && c.State != AdminDown:
		return c, fmt.Errorf("state %v without the receiver's discriminator", c.State)
	}
	return c, nil
}
