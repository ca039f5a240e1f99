// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"net/netip"
)

// parsed is what the oracle knows about a frame.
type parsed struct {
	frame          []byte
	refused        string // reason of the parse stage, or empty
	ethDestination MAC
	ethSource      MAC
	arp            bool
	arpReply       bool
	arpSenderMAC   MAC
	source         netip.Addr // ARP: sender
	destination    netip.Addr // ARP: target
	hops           byte
	protocol       byte
	fragment       bool
	later          bool   // a fragment with an offset
	fragmentID     uint32 // of a fragment
	icmp           bool   // of the right family and not a fragment
	l4             int    // offset in frame
	payload        []byte // from l4 to the end of the IP packet
}

func (f parsed) isND() bool {
	return f.icmp && f.source.Is6() && f.payload[0] >= 133 && f.payload[0] <= 137
}

func (f parsed) isMulticastListener() bool {
	if !f.icmp || !f.source.Is6() {
		return false
	}
	switch f.payload[0] {
	case 130, 131, 132, 143:
		return true
	}
	return false
}

func parse(frame []byte) parsed {
	f := parsed{frame: frame}
	if len(frame) < 14 {
		f.refused = "malformed"
		return f
	}
	f.ethDestination = MAC(frame[0:6])
	f.ethSource = MAC(frame[6:12])
	switch binary.BigEndian.Uint16(frame[12:]) {
	case 0x0800:
		f.parse4(frame[14:])
	case 0x86dd:
		f.parse6(frame[14:])
	case 0x0806:
		f.parseARP(frame[14:])
	case 0x8100, 0x88a8:
		f.refused = "vlan-tagged"
	default:
		f.refused = "unknown-protocol"
	}
	return f
}

func (f *parsed) parseARP(a []byte) {
	if len(a) < 28 || binary.BigEndian.Uint16(a) != 1 || binary.BigEndian.Uint16(a[2:]) != 0x0800 || a[4] != 6 || a[5] != 4 {
		f.refused = "arp-malformed"
		return
	}
	operation := binary.BigEndian.Uint16(a[6:])
	if operation != 1 && operation != 2 {
		f.refused = "arp-malformed"
		return
	}
	f.arp = true
	f.arpReply = operation == 2
	f.arpSenderMAC = MAC(a[8:14])
	f.source = netip.AddrFrom4([4]byte(a[14:18]))
	f.destination = netip.AddrFrom4([4]byte(a[24:28]))
}

func (f *parsed) parse4(ip []byte) {
	f.refused = "malformed"
	if len(ip) < 20 || ip[0]>>4 != 4 {
		return
	}
	header := int(ip[0]&15) * 4
	total := int(binary.BigEndian.Uint16(ip[2:]))
	if header < 20 || total < header || total > len(ip) {
		return
	}
	f.refused = ""
	f.source = netip.AddrFrom4([4]byte(ip[12:16]))
	f.destination = netip.AddrFrom4([4]byte(ip[16:20]))
	f.hops = ip[8]
	f.protocol = ip[9]
	moreFragments := ip[6]&0x20 != 0
	offset := binary.BigEndian.Uint16(ip[6:]) & 0x1fff
	f.fragment = moreFragments || offset != 0
	f.later = offset != 0
	f.fragmentID = uint32(binary.BigEndian.Uint16(ip[4:]))
	f.l4 = 14 + header
	f.payload = ip[header:total]
	f.parseTransport(1)
}

func (f *parsed) parse6(ip []byte) {
	f.refused = "malformed"
	if len(ip) < 40 || ip[0]>>4 != 6 {
		return
	}
	length := int(binary.BigEndian.Uint16(ip[4:]))
	if length > len(ip)-40 {
		return
	}
	f.refused = ""
	f.source = netip.AddrFrom16([16]byte(ip[8:24]))
	f.destination = netip.AddrFrom16([16]byte(ip[24:40]))
	f.hops = ip[7]
	f.protocol = ip[6]
	f.l4 = 54
	f.payload = ip[40 : 40+length]
	f.skipExtensions()
	if f.refused == "" {
		f.parseTransport(58)
	}
}

func (f *parsed) skipExtensions() {
	for seen := 0; ; seen++ {
		size := 0
		switch f.protocol {
		case 0, 43, 60, 135, 139, 140:
			if len(f.payload) >= 2 {
				size = 8 + 8*int(f.payload[1])
			}
		case 51:
			if len(f.payload) >= 2 {
				size = 8 + 4*int(f.payload[1])
			}
		case 44:
			size = 8
		default:
			return
		}
		if seen == 6 {
			f.refused = "too-many-extension-headers"
			return
		}
		if len(f.payload) < 8 || len(f.payload) < size {
			f.refused = "malformed"
			return
		}
		offset := 0
		if f.protocol == 44 {
			word := binary.BigEndian.Uint16(f.payload[2:])
			offset = int(word >> 3)
			f.fragment = f.fragment || offset != 0 || word&1 != 0
			f.later = f.later || offset != 0
			f.fragmentID = binary.BigEndian.Uint32(f.payload[4:])
		}
		f.protocol = f.payload[0]
		f.payload = f.payload[size:]
		f.l4 += size
		if offset != 0 {
			return
		}
	}
}

// parseTransport wants the whole transport header. icmp is that of the family.
func (f *parsed) parseTransport(icmp byte) {
	if f.later {
		return
	}
	size := map[byte]int{6: 20, 17: 8, 136: 8, 132: 12, 33: 12, icmp: 8}[f.protocol]
	if len(f.payload) < size {
		f.refused = "malformed"
		return
	}
	f.icmp = f.protocol == icmp && !f.fragment
}
