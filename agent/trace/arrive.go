// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"

	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

const (
	udpSize   = 8
	labelSize = 4
	// maxOuter is what MPLS over UDP puts around a packet: IPv6, UDP, a label.
	maxOuter = 40 + udpSize + labelSize
)

// arrive follows a frame that another host sends here.
func (a *answer) arrive(q api.TraceQuestion) error {
	frame, err := hex.DecodeString(q.Frame)
	if err != nil || q.FrameSize < len(frame) || q.FrameSize > maxFrame+maxOuter {
		return fmt.Errorf("trace: the frame is not hexadecimal of at most %d bytes", maxFrame+maxOuter)
	}
	frame = append(frame, make([]byte, q.FrameSize-len(frame))...)
	switch {
	case q.Uplink:
		a.add("uplink", "received without encapsulation", api.ReadHow)
		trace, err := a.tracer.FollowFromFabric(0, frame)
		if err != nil {
			return err
		}
		from, to := endsOf(frame)
		return a.tell(trace, vrouter.UnderlayVRF, from, to)
	case q.Labelled:
		return a.fromUnderlay(frame)
	}
	return a.fromTunnel(q, frame)
}

func (a *answer) fromTunnel(q api.TraceQuestion, frame []byte) error {
	config, err := a.Path.Config()
	if err != nil {
		return err
	}
	network, vrf, err := a.network(q.VNI)
	if err != nil {
		return err
	}
	a.add("tunnel", fmt.Sprintf("VNI %d from %v: %s", q.VNI, q.Source, network), api.ReadHow)
	trace, err := a.tracer.FollowFromTunnel(config.TunnelDevice, &vrouter.TunnelKey{VNI: q.VNI, Remote: q.Source}, frame)
	if err != nil {
		return err
	}
	from, to := endsOf(frame)
	return a.tell(trace, vrf, from, to)
}

// network finds the network of this host that has a VNI, and its VRF.
func (a *answer) network(vni uint32) (name string, vrf uint32, err error) {
	name, vrf = "no network of this host", vni
	err = a.Loop.Do(a.ctx, func(c *host.Core) {
		for _, v := range c.Rows().VRFs {
			if v.VNI == vni {
				name, vrf = "network "+v.Name, v.ID
			}
		}
	})
	return name, vrf, err
}

// label has the other end of the label path put the outer headers around what
// leaves by MPLS over UDP; all else it leaves alone.
func (a *answer) label(t vrouter.Trace) (vrouter.Trace, error) {
	if t.Verdict != "tunnelled" || t.Tunnel == nil || t.Tunnel.Encapsulation != vrouter.EncapsulationMPLSUDP {
		return t, nil
	}
	outer, err := a.tracer.FollowToUnderlay(0, t.Frame)
	if err != nil {
		return t, err
	}
	t.Stages = append(t.Stages[:len(t.Stages):len(t.Stages)], outer.Stages...)
	t.Verdict, t.Reason, t.Redirect, t.Frame = outer.Verdict, outer.Reason, outer.Redirect, outer.Frame
	if t.Verdict != "tunnelled" {
		t.Tunnel = nil
	}
	return t, nil
}

// fromUnderlay follows a frame of MPLS over UDP, with its outer headers.
func (a *answer) fromUnderlay(frame []byte) error {
	source, label, packet, ok := labelled(frame)
	if !ok {
		return fmt.Errorf("trace: the frame is not one of MPLS over UDP")
	}
	network, vrf, err := a.network(label)
	if err != nil {
		return err
	}
	a.add("underlay", fmt.Sprintf("MPLS over UDP, label %d from %v: %s", label, source, network), api.ReadHow)
	trace, err := a.tracer.FollowFromUnderlay(0, frame)
	if err != nil {
		return err
	}
	from, to := endsOfPacket(packet)
	return a.tell(trace, vrf, from, to)
}

// labelled takes a frame of MPLS over UDP apart. Whether it is right is for the
// packet path to say.
func labelled(frame []byte) (source netip.Addr, label uint32, packet []byte, ok bool) {
	source, _ = endsOf(frame)
	if !source.IsValid() {
		return source, 0, nil, false
	}
	outer := 40
	if source.Is4() {
		outer = int(frame[ethernetSize]&0x0f) * 4
	}
	at := ethernetSize + outer + udpSize
	if len(frame) < at+labelSize {
		return source, 0, nil, false
	}
	return source, binary.BigEndian.Uint32(frame[at:]) >> 12, frame[at+labelSize:], true
}

// endsOf reads the addresses of a frame's packet; invalid if it is none.
func endsOf(frame []byte) (from, to netip.Addr) {
	if len(frame) < ethernetSize {
		return from, to
	}
	if t := binary.BigEndian.Uint16(frame[12:]); t != ethertypeIPv4 && t != ethertypeIPv6 {
		return from, to
	}
	return endsOfPacket(frame[ethernetSize:])
}

func endsOfPacket(p []byte) (from, to netip.Addr) {
	switch {
	case len(p) >= 20 && p[0]>>4 == 4:
		return netip.AddrFrom4([4]byte(p[12:])), netip.AddrFrom4([4]byte(p[16:]))
	case len(p) >= 40 && p[0]>>4 == 6:
		return netip.AddrFrom16([16]byte(p[8:])), netip.AddrFrom16([16]byte(p[24:]))
	}
	return from, to
}
