// SPDX-License-Identifier: Apache-2.0

package vrouter

import "encoding/binary"

// LimitModel is the limit stage once more: plain, of one direction of one port,
// written from doc/packet-path.md and not from the C.
type LimitModel struct {
	Limit
	Until, PacketsUntil uint64 // in sixteenths of a nanosecond
	LimitCount
}

// Segments are what a frame is cut into by whoever takes it; Size 0: it is whole.
type Segments struct {
	Count, Size uint32
}

// Frame says whether a frame finds room at a time, and what it is then.
func (m *LimitModel) Frame(now uint64, frame []byte, cut Segments) (passes bool, after []byte) {
	packets, size := wireSize(frame, cut)
	until, packetsUntil := max(m.Until, now), max(m.PacketsUntil, now)
	full := m.Rate != 0 && until > now+bucketDepth(m.Rate, m.Burst)
	full = full || m.PacketRate != 0 && packetsUntil > now+bucketDepth(m.PacketRate, m.PacketBurst)
	if full {
		m.Limited++
		m.LimitedBytes += size
		return false, frame
	}
	if m.Until = until; m.Rate != 0 {
		m.Until += 128_000_000 * size / uint64(m.Rate)
	}
	if m.PacketsUntil = packetsUntil; m.PacketRate != 0 {
		m.PacketsUntil += 16_000_000 * packets / uint64(m.PacketRate)
	}
	m.Packets += packets
	m.Bytes += size
	if !m.Mark {
		return true, frame
	}
	after, marked := withDSCP(frame, m.DSCP)
	if marked {
		m.Marked++
	}
	return true, after
}

// bucketDepth is how long a bucket takes to fill.
func bucketDepth(rate, burst uint32) uint64 {
	const second = 16_000_000_000
	if burst == 0 {
		return second * 8 / 10
	}
	if uint64(burst) >= 86_400*uint64(rate) {
		return 86_400 * second
	}
	whole, rest := uint64(burst/rate), uint64(burst%rate)
	return whole*second + rest*second/uint64(rate)
}

// wireSize counts a frame as what it is on a wire.
func wireSize(frame []byte, cut Segments) (packets, size uint64) {
	if cut.Size == 0 {
		return 1, uint64(len(frame))
	}
	headers := uint64(segmentHeaders(frame))
	switch packets = uint64(cut.Count); {
	case packets != 0:
	case uint64(len(frame)) > headers:
		packets = (uint64(len(frame)) - headers + uint64(cut.Size) - 1) / uint64(cut.Size)
	default:
		packets = 1
	}
	return packets, uint64(len(frame)) + (packets-1)*headers
}

// segmentHeaders is how many bytes of headers each segment of a frame has. A byte
// beyond the frame counts as 0.
func segmentHeaders(frame []byte) int {
	at := func(i int) byte {
		if i < len(frame) {
			return frame[i]
		}
		return 0
	}
	transport, protocol := 54, at(20)
	switch binary.BigEndian.Uint16(frame[12:]) {
	case 0x0800:
		transport, protocol = 14+4*int(at(14)&0xf), at(23)
	case 0x86dd:
	default:
		return 0
	}
	switch protocol {
	case 6:
		return transport + 4*int(at(transport+12)>>4)
	case 17:
		return transport + 8
	case 132:
		return transport + 12
	}
	return transport
}

// withDSCP returns a frame with another DSCP, if it has one.
func withDSCP(frame []byte, dscp uint8) (after []byte, marked bool) {
	after = append([]byte(nil), frame...)
	kind := binary.BigEndian.Uint16(frame[12:])
	switch {
	case kind == 0x0800 && len(frame) >= 34 && frame[14]>>4 == 4:
		before := binary.BigEndian.Uint16(after[14:])
		after[15] = dscp<<2 | frame[15]&3
		adjust(after[24:26], before, binary.BigEndian.Uint16(after[14:]))
	case kind == 0x86dd && len(frame) >= 54 && frame[14]>>4 == 6:
		after[14] = 6<<4 | dscp>>2
		after[15] = dscp<<6 | frame[15]&0x3f
	default:
		return frame, false
	}
	return after, true
}
