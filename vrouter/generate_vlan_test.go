// SPDX-License-Identifier: Apache-2.0

package vrouter

import "encoding/binary"

// subPorts makes the last ports sub-ports of others, in some worlds. One of
// them may be in the tables under a tag that leads elsewhere or nowhere.
func (g *generator) subPorts() {
	for ifindex := testPorts - 1; ifindex <= testPorts; ifindex++ {
		if g.chance(40) {
			continue
		}
		port := g.o.Ports[ifindex]
		port.Device, port.VLAN = 1+g.IntN(3), uint16(pick(g, 1, 5, 4094))
		at := SubPort{port.Device, port.VLAN}
		if _, taken := g.o.SubPorts[at]; taken {
			continue
		}
		g.o.Ports[ifindex] = port
		g.o.SubPorts[at] = ifindex
	}
	if g.chance(20) {
		g.o.SubPorts[SubPort{1, 77}] = 99 // no port
	}
}

// wire returns the device that an interface's frame comes through, and the
// frame as it is there.
func (g *generator) wire(ifindex int, frame []byte) (device int, tagged []byte) {
	port := g.o.Ports[ifindex]
	if port.VLAN == 0 || len(frame) < 14 {
		return ifindex, frame
	}
	return port.Device, insertTag(frame, 0x8100, port.VLAN|uint16(g.IntN(16))<<12)
}

// tagged puts one tag or two on a frame, most often such as leads nowhere.
func (g *generator) tagged(frame []byte) []byte {
	for range pick(g, 1, 1, 1, 2, 3) {
		frame = insertTag(frame, pick(g, uint16(0x8100), 0x8100, 0x8100, 0x88a8), pick(g, uint16(0), 1, 5, 6, 77, 4094, 4095)|uint16(g.IntN(16))<<12)
	}
	return frame
}

func insertTag(frame []byte, protocol, control uint16) []byte {
	out := append([]byte(nil), frame[:12]...)
	out = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(out, protocol), control)
	return append(out, frame[12:]...)
}
