// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"net/netip"
	"time"
)

const udpSilence = 120 * time.Second

// ends are the transport ports of a whole TCP or UDP packet.
func (f parsed) ends() (from, to uint16, ok bool) {
	least := map[byte]int{6: 20, 17: 8}[f.protocol]
	if f.arp || f.fragment || least == 0 || len(f.payload) < least {
		return 0, 0, false
	}
	return binary.BigEndian.Uint16(f.payload), binary.BigEndian.Uint16(f.payload[2:]), true
}

// service says what becomes of a packet to a gateway address that is for this
// host; others are not done.
func (o *Oracle) service(ifindex int, f parsed) (outcome Outcome, done bool) {
	from, to, ok := f.ends()
	if !ok {
		return Outcome{}, false
	}
	port := o.Ports[ifindex]
	seenFrom := from
	listener, is := o.Services[Service{VRF: port.VRF, Address: f.destination, Protocol: f.protocol, Port: to}]
	if is {
		var begins bool
		seenFrom, begins = o.hostSidePort(ifindex, f, from, to, listener)
		if o.Served[ifindex] && (begins || f.protocol == 17) {
			return dropped(f.frame, "service-limited"), true
		}
	} else {
		flow, known := o.HostFlows[HostFlow{Ifindex: ifindex, Six: f.source.Is6(), Protocol: f.protocol, WorkloadPort: from, HostPort: to}]
		if !known || !flow.FromHost || flow.Workload != f.source || flow.Peer != f.destination {
			return Outcome{}, false
		}
		if f.protocol == 17 && o.Now-flow.Seen >= udpSilence {
			return Outcome{}, false
		}
		if f.protocol == 6 && f.payload[13]&0x12 == 0x02 { // SYN and not ACK
			return Outcome{}, false
		}
		listener = to
	}
	if o.Config.HostDevice == 0 || port.Alias == 0 {
		return dropped(f.frame, "no-host-path"), true
	}
	out := append([]byte(nil), f.frame...)
	f.rewrite(out, AliasAddress(port.Alias, f.source.Is6()), AliasAddress(HostAlias, f.source.Is6()), seenFrom, listener)
	copy(out[0:], o.Config.HostMAC[:])
	copy(out[6:], GatewayMAC[:])
	return Outcome{Verdict: "hosted", Redirect: o.Config.HostDevice, Frame: out}, true
}

// portCandidates are the ports from which the host may see a conversation.
func portCandidates(source, destination netip.Addr, from, to uint16) (all [4]uint16) {
	const prime = 2654435761
	h := addressHash(source, destination, from, to)
	all[0] = from
	for i := uint32(1); i < 4; i++ {
		h = (h ^ i) * prime
		all[i] = uint16(32768 + h>>17)
	}
	return all
}

// hostSidePort is the port from which the host sees a packet to a listener, and
// whether that begins a conversation.
func (o *Oracle) hostSidePort(ifindex int, f parsed, from, to, listener uint16) (port uint16, begins bool) {
	all := portCandidates(f.source, f.destination, from, to)
	used := func(candidate uint16) (HostFlowState, bool) {
		flow, is := o.HostFlows[HostFlow{Ifindex: ifindex, Six: f.source.Is6(), Protocol: f.protocol, WorkloadPort: candidate, HostPort: listener}]
		return flow, is
	}
	least := all[0]
	for _, c := range all {
		flow, is := used(c)
		if is && !flow.FromHost && flow.Workload == f.source && flow.WorkloadPort == from && flow.Peer == f.destination && flow.PeerPort == to {
			return c, false
		}
		other, _ := used(least)
		if flow.Seen < other.Seen {
			least = c
		}
	}
	return least, true
}

// FromHost says what becomes of a packet that this host sends into the host path.
func (o *Oracle) FromHost(frame []byte) Outcome {
	f := parse(frame)
	if f.refused != "" {
		return dropped(frame, f.refused)
	}
	number := uint32(0)
	if !f.arp {
		number = AliasNumber(f.destination)
	}
	if route, known := o.lookup(UnderlayVRF, f.destination); number == 0 && known && !f.arp {
		return o.leave(o.arrive(0, false, route, f))
	}
	ifindex, known := o.Aliases[number]
	port, there := o.Ports[ifindex]
	if number == 0 || !known || !there || port.Alias != number || f.source != AliasAddress(HostAlias, f.source.Is6()) {
		return dropped(frame, "unknown-alias")
	}
	from, to, ok := f.ends()
	if !ok {
		return dropped(frame, "host-protocol")
	}
	workload, peer, workloadPort := port.Address4, port.Gateway4, to
	if f.source.Is6() {
		workload, peer = port.Address6, port.Gateway6
	}
	peerPort := from
	flow, known := o.HostFlows[HostFlow{Ifindex: ifindex, Six: f.source.Is6(), Protocol: f.protocol, WorkloadPort: to, HostPort: from}]
	if known && !flow.FromHost {
		workload, peer, peerPort, workloadPort = flow.Workload, flow.Peer, flow.PeerPort, flow.WorkloadPort
	}
	if !workload.IsValid() || !peer.IsValid() {
		return dropped(frame, "no-port-address")
	}
	out := append([]byte(nil), frame...)
	f.rewrite(out, peer, workload, peerPort, workloadPort)
	copy(out[0:], port.MAC[:])
	copy(out[6:], GatewayMAC[:])
	if port.Disabled {
		return dropped(out, "receiver-disabled")
	}
	return o.leave(Outcome{Verdict: "delivered", Redirect: ifindex, Peer: port.RedirectPeer, Frame: out})
}

// rewrite changes addresses and transport ports of a copy of f's frame. All
// checksums are adjusted, so that a wrong one stays wrong by as much.
func (f parsed) rewrite(out []byte, source, destination netip.Addr, from, to uint16) {
	at := 26
	if f.source.Is6() {
		at = 22
	}
	addresses := append(append([]byte(nil), source.AsSlice()...), destination.AsSlice()...)
	ends := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, from), to)
	sum := out[f.l4+map[byte]int{6: 16, 17: 6}[f.protocol]:][:2]
	summed := f.protocol == 6 || sum[0] != 0 || sum[1] != 0 // UDP's 0 says that there is none
	change := func(at int, now []byte) {
		for i := 0; i < len(now); i += 2 {
			before, after := binary.BigEndian.Uint16(out[at+i:]), binary.BigEndian.Uint16(now[i:])
			if summed {
				adjust(sum, before, after)
			}
			if f.source.Is4() && at == 26 {
				adjust(out[24:], before, after)
			}
			copy(out[at+i:], now[i:i+2])
		}
	}
	change(at, addresses)
	change(f.l4, ends)
	if f.protocol == 17 && summed && sum[0] == 0 && sum[1] == 0 {
		sum[0], sum[1] = 0xff, 0xff
	}
}
