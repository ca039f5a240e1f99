// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"slices"
)

// enter finds whose a frame from a device is, by its VLAN tag, and takes that off.
func (o *Oracle) enter(device int, frame []byte) (ifindex int, inner []byte, refused string) {
	protocol, control, tagged := tagOf(frame)
	switch {
	case !tagged:
		return device, frame, ""
	case len(frame) < 18:
		return device, frame, "malformed"
	case protocol != 0x8100:
		return device, frame, "vlan-tagged"
	}
	ifindex = device
	if vlan := control & 0xfff; vlan != 0 {
		number, known := o.SubPorts[SubPort{Device: device, VLAN: vlan}]
		if !known {
			return device, frame, "unknown-vlan"
		}
		ifindex = number
	}
	inner = slices.Concat(frame[:12], frame[16:])
	if _, _, again := tagOf(inner); again {
		return ifindex, slices.Concat(inner[:12], inner[16:]), "vlan-tagged" // the kernel holds the second one
	}
	return ifindex, inner, ""
}

// tagOf reads the VLAN tag behind the MACs, if one is there.
func tagOf(frame []byte) (protocol, control uint16, tagged bool) {
	if len(frame) < 14 {
		return 0, 0, false
	}
	protocol = binary.BigEndian.Uint16(frame[12:])
	if protocol != 0x8100 && protocol != 0x88a8 {
		return protocol, 0, false
	}
	if len(frame) >= 16 {
		control = binary.BigEndian.Uint16(frame[14:])
	}
	return protocol, control, true
}

// leave gives a frame for a sub-port its tag, and the device it leaves through.
func (o *Oracle) leave(out Outcome) Outcome {
	if p := o.Ports[out.Redirect]; p.VLAN != 0 {
		out.Redirect, out.VLAN = p.Device, p.VLAN
	}
	for i, c := range out.Copies {
		if p := o.Ports[c.Redirect]; p.VLAN != 0 {
			out.Copies[i].Redirect, out.Copies[i].VLAN = p.Device, p.VLAN
		}
	}
	return out
}
