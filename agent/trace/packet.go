// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/netip"
	"strconv"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

const (
	protocolICMP    = 1
	protocolTCP     = 6
	protocolUDP     = 17
	protocolDCCP    = 33
	protocolICMPv6  = 58
	protocolSCTP    = 132
	protocolUDPLite = 136

	ethernetSize = 14
	minPayload   = 46 // of a frame on a wire

	ethertypeIPv4         = 0x0800
	ethertypeARP          = 0x0806
	ethertypeIPv6         = 0x86dd
	ethertypeVLAN         = 0x8100
	ethertypeQinQ         = 0x88a8
	ethertypeExperimental = 0x88b5 // local, of IEEE 802
	minEthertype          = 0x0600 // what is less is a length

	defaultHops = 64
	// maxFrame is what the kernel tries in a test run: a page, less what it
	// keeps for itself.
	maxFrame = 3400
)

// protocolOf reads a name or number; ICMP is that of the family.
func protocolOf(name string, six bool) (byte, error) {
	name = strings.ToLower(name)
	switch name {
	case "", "icmp", "icmpv6":
		if six {
			return protocolICMPv6, nil
		}
		return protocolICMP, nil
	}
	n, known := api.Protocol(name).Number()
	if !known {
		return 0, fmt.Errorf("trace: protocol %q is neither a name that rules know nor a number from 0 to 255", name)
	}
	return byte(n), nil
}

// hasPorts tells whether the packet path reads ports of a protocol.
func hasPorts(protocol byte) bool {
	return api.Protocol(strconv.Itoa(int(protocol))).HasPorts()
}

// packet is an IP packet to be built.
type packet struct {
	from, to         netip.Addr
	protocol         byte
	sport, dport     uint16
	icmp             *[2]byte // type and code where it is no echo
	reply            bool
	hops             byte
	size             int // of the whole packet, at least
	source, destined vrouter.MAC
}

// String says it in the usual way.
func (p packet) String() string {
	ends := fmt.Sprintf("%v > %v", p.from, p.to)
	if hasPorts(p.protocol) {
		ends = fmt.Sprintf("%v > %v", netip.AddrPortFrom(p.from, p.sport), netip.AddrPortFrom(p.to, p.dport))
	}
	return fmt.Sprintf("%s  %s, %d bytes, ttl %d", ends, p.name(), len(p.build())-ethernetSize, p.hops)
}

// name is what kind of packet it is: one that begins a conversation, or the answer to that.
func (p packet) name() string {
	name := map[byte]string{
		protocolTCP: "tcp syn", protocolUDP: "udp", protocolUDPLite: "udplite", protocolSCTP: "sctp init", protocolDCCP: "dccp request",
		protocolICMP: "icmp echo request", protocolICMPv6: "icmpv6 echo request",
	}[p.protocol]
	switch {
	case name == "":
		return fmt.Sprintf("protocol %d", p.protocol)
	case p.icmp != nil:
		return fmt.Sprintf("icmp type %d code %d", p.icmp[0], p.icmp[1])
	case !p.reply:
		return name
	case p.protocol == protocolTCP:
		return "tcp syn, ack"
	case p.protocol == protocolSCTP:
		return "sctp init ack"
	case p.protocol == protocolDCCP:
		return "dccp response"
	}
	return strings.Replace(name, "request", "reply", 1)
}

// payload is what follows the IP header, with its checksum.
func (p packet) payload() []byte {
	header := 20
	if p.from.Is6() {
		header = 40
	}
	size := max(0, p.size-header)
	switch p.protocol {
	case protocolTCP:
		b := make([]byte, max(size, 20))
		binary.BigEndian.PutUint16(b, p.sport)
		binary.BigEndian.PutUint16(b[2:], p.dport)
		b[12], b[13] = 5<<4, 0x02 // no options; SYN
		if p.reply {
			b[13] = 0x12
		}
		binary.BigEndian.PutUint16(b[14:], 0xffff)
		return p.summed(b, 16)
	case protocolUDP, protocolUDPLite: // whose checksum covers all of it
		b := make([]byte, max(size, 8))
		binary.BigEndian.PutUint16(b, p.sport)
		binary.BigEndian.PutUint16(b[2:], p.dport)
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
		return p.summed(b, 6)
	case protocolSCTP:
		return p.association(size)
	case protocolDCCP:
		b := make([]byte, max(size, 28))
		binary.BigEndian.PutUint16(b, p.sport)
		binary.BigEndian.PutUint16(b[2:], p.dport)
		b[4], b[8] = 5, 0x01 // 20 bytes of header; REQUEST, with long sequence numbers
		if p.reply {
			b[4], b[8] = 7, 0x03 // RESPONSE, with what it acknowledges
		}
		return p.summed(b, 6)
	case protocolICMP, protocolICMPv6:
		b := make([]byte, max(size, 8))
		b[0] = map[bool]byte{false: 8, true: 0}[p.reply]
		if p.protocol == protocolICMPv6 {
			b[0] = map[bool]byte{false: 128, true: 129}[p.reply]
		}
		binary.BigEndian.PutUint16(b[4:], p.sport)
		if p.icmp != nil {
			b[0], b[1] = p.icmp[0], p.icmp[1]
		}
		return p.summed(b, 2)
	}
	return make([]byte, size)
}

// association is SCTP's INIT, or INIT ACK (RFC 9260, 3.3.2).
func (p packet) association(size int) []byte {
	b := make([]byte, max(size, 32))
	binary.BigEndian.PutUint16(b, p.sport)
	binary.BigEndian.PutUint16(b[2:], p.dport)
	b[12], b[15] = 1, 20 // INIT, with no parameters
	if p.reply {
		b[7], b[12] = 1, 2 // the tag that the INIT gave
	}
	binary.BigEndian.PutUint32(b[16:], 1)     // tag of who sends this
	binary.BigEndian.PutUint32(b[20:], 1<<16) // window
	b[25], b[27] = 1, 1                       // streams
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// summed writes the checksum of a transport header.
func (p packet) summed(b []byte, at int) []byte {
	var sum uint32
	if p.protocol != protocolICMP {
		pseudo := append(append([]byte(nil), p.from.AsSlice()...), p.to.AsSlice()...)
		sum = add(0, pseudo) + uint32(len(b)) + uint32(p.protocol)
	}
	binary.BigEndian.PutUint16(b[at:], fold(add(sum, b)))
	return b
}

// build writes the frame.
func (p packet) build() []byte {
	body := p.payload()
	b := append(append(make([]byte, 0, ethernetSize+40+len(body)), p.destined[:]...), p.source[:]...)
	if p.from.Is4() {
		b = binary.BigEndian.AppendUint16(b, 0x0800)
		ip := []byte{0x45, 0, 0, 0, 0, 0, 0x40, 0, p.hops, p.protocol, 0, 0}
		binary.BigEndian.PutUint16(ip[2:], uint16(20+len(body)))
		ip = append(append(ip, p.from.AsSlice()...), p.to.AsSlice()...)
		binary.BigEndian.PutUint16(ip[10:], fold(add(0, ip)))
		return append(append(b, ip...), body...)
	}
	b = binary.BigEndian.AppendUint16(b, 0x86dd)
	b = append(b, 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	b = append(append(append(b, p.protocol, p.hops), p.from.AsSlice()...), p.to.AsSlice()...)
	return append(b, body...)
}

func add(sum uint32, data []byte) uint32 {
	for i, b := range data {
		if i%2 == 0 {
			sum += uint32(b) << 8
		} else {
			sum += uint32(b)
		}
	}
	return sum
}

func fold(sum uint32) uint16 {
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// whoHas is the question by which a workload learns its neighbour's MAC: ARP,
// or a neighbour solicitation.
func whoHas(mac vrouter.MAC, from, target netip.Addr) []byte {
	if from.Is4() {
		b := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
		b = append(append(b, mac[:]...), 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1)
		b = append(append(b, mac[:]...), from.AsSlice()...)
		return append(append(b, make([]byte, 6)...), target.AsSlice()...)
	}
	t := target.As16()
	p := packet{from: from, protocol: protocolICMPv6, hops: 255, source: mac}
	p.to = netip.AddrFrom16([16]byte{0xff, 2, 11: 1, 12: 0xff, 13: t[13], 14: t[14], 15: t[15]})
	p.destined = vrouter.MAC{0x33, 0x33, 0xff, t[13], t[14], t[15]}
	message := append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, t[:]...)
	message = append(append(message, 1, 1), mac[:]...)
	frame := p.build()[:ethernetSize+40]
	binary.BigEndian.PutUint16(frame[ethernetSize+4:], uint16(len(message)))
	return append(frame, p.summed(message, 2)...)
}

// answeredMAC reads the MAC that an answer to whoHas tells.
func answeredMAC(frame []byte, six bool) (mac vrouter.MAC, ok bool) {
	at := 22 // ARP: the sender's
	if six {
		at = ethernetSize + 40 + 24 + 2 // the option of the advertisement
	}
	if len(frame) < at+6 {
		return mac, false
	}
	return vrouter.MAC(frame[at : at+6]), true
}

// packetOf makes the packet of a question; MACs are still to come.
func packetOf(q api.TraceQuestion) (p packet, err error) {
	p = packet{from: q.From, to: q.To, sport: q.SourcePort, dport: q.DestinationPort, reply: q.Reply, hops: byte(q.Hops), size: q.Size}
	if p.hops == 0 {
		p.hops = defaultHops
	}
	if p.protocol, err = protocolOf(q.Protocol, q.To.Is6()); err != nil {
		return p, err
	}
	switch echo := p.protocol == protocolICMP || p.protocol == protocolICMPv6; {
	case echo && q.ICMP != "":
		kind, code, err := api.ICMPMessage(q.ICMP)
		if err != nil {
			return p, fmt.Errorf("trace: %w", err)
		}
		p.icmp, p.sport = &[2]byte{kind, code}, 0
	case !echo && !hasPorts(p.protocol):
		p.sport, p.dport = 0, 0
	}
	if p.size > maxFrame-ethernetSize {
		return p, fmt.Errorf("trace: the kernel tries packets of at most %d bytes, not of %d", maxFrame-ethernetSize, p.size)
	}
	return p, nil
}
