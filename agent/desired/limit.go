// SPDX-License-Identifier: Apache-2.0

package desired

import "github.com/weft-network/weft/api/hoststream"

// Limit is how much passes in one direction, and how it is marked. Zero: all, as it is.
type Limit struct {
	Rate, Burst             uint32 // kbit/s, kbit
	PacketRate, PacketBurst uint32 // 1,000 packets/s, 1,000 packets
	Mark                    bool   // packets get DSCP
	DSCP                    uint8
}

func limit(m *hoststream.Limit) Limit {
	return Limit{
		Rate: m.GetRate(), Burst: m.GetBurst(), PacketRate: m.GetPacketRate(), PacketBurst: m.GetPacketBurst(),
		Mark: m.GetMark(), DSCP: uint8(m.GetDscp() & 63),
	}
}
