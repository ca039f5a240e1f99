// SPDX-License-Identifier: Apache-2.0

// Package gateway is the edge of somebody else's network: it speaks MPLS over
// UDP (RFC 7510) by itself, on sockets of the kernel, and shares no code with
// what it is there to test.
package gateway

import (
	"encoding/binary"
	"fmt"
)

// Port is that of MPLS over UDP.
const Port = 6635

const (
	labelSize = 4
	bottom    = 1 << 8
	ttl       = 64
)

// Wrap returns the payload of a datagram: a label, and a packet.
func Wrap(label uint32, packet []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, label<<12|bottom|ttl), packet...)
}

// Unwrap takes them apart.
func Unwrap(payload []byte) (label uint32, packet []byte, err error) {
	if len(payload) <= labelSize {
		return 0, nil, fmt.Errorf("read datagram of %d bytes: it has no label and packet", len(payload))
	}
	entry := binary.BigEndian.Uint32(payload)
	if entry&bottom == 0 {
		return 0, nil, fmt.Errorf("read label entry %08x: it is not the bottom of its stack", entry)
	}
	return entry >> 12, payload[labelSize:], nil
}
