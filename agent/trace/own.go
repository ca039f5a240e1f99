// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/agent/link"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

// fromOwn follows a packet of this host's own TCP/IP: the kernel's routes say
// whether it comes to the packet path, through the host path, or leaves without.
func (a *answer) fromOwn(q api.TraceQuestion) error {
	device := q.To.Zone()
	if q.To = q.To.WithZone(""); device == "" && q.To.Is6() && vrouter.AliasNumber(q.To) != 0 {
		device = link.HostPathName // as its users must say: it is a link-local address
	}
	p, err := packetOf(q)
	if err != nil {
		return err
	}
	route, err := a.Underlay.OwnRoute(q.To, q.From, device)
	switch {
	case err != nil:
		a.nothing(err.Error())
		return nil
	case route.Local:
		a.nothing(fmt.Sprintf("%v is an address of the host itself, so nothing leaves it", q.To))
		return nil
	case !route.Source.IsValid():
		a.nothing(fmt.Sprintf("the kernel knows no address of this host from which to send to %v", q.To))
		return nil
	}
	words := fmt.Sprintf("%v from %v on %s", q.To, route.Source, route.Device)
	if route.Via.IsValid() {
		words += fmt.Sprintf(" via %v", route.Via)
	}
	a.add("host route", words, api.QueriedHow)
	p.from, p.source, p.destined = route.Source, link.HostPathMAC, vrouter.GatewayMAC
	a.sent(p)
	if route.Device != link.HostPathName {
		a.unseen(p)
		return nil
	}
	if vrouter.AliasNumber(p.to) != 0 {
		a.add(api.TraceOneWay, "the answer to an alias finds its way by what its question leaves behind, and a trace leaves nothing", api.ReadHow)
	}
	config, err := a.Path.Config()
	if err != nil {
		return err
	}
	trace, err := a.tracer.FollowFromHost(config.HostDevice, p.build())
	if err != nil {
		return err
	}
	return a.tell(trace, vrouter.UnderlayVRF, p.from, p.to)
}

// nothing says that no packet is sent, and why.
func (a *answer) nothing(why string) {
	a.add(api.TraceVerdict, "none", api.QueriedHow)
	a.add(api.TraceText, why, api.QueriedHow)
}

// unseen tells of a packet that the host sends into the underlay itself: for a
// workload of another host, or past a network that it does not see.
func (a *answer) unseen(p packet) {
	a.add(api.TraceVerdict, "routed", api.QueriedHow)
	a.add(api.TraceText, "the host sends it into the underlay itself, and the packet path does not see it", api.QueriedHow)
	t := vrouter.Trace{Outcome: vrouter.Outcome{Frame: p.build()}}
	_ = a.Loop.Do(a.ctx, func(c *host.Core) { // fails only at the end
		rows := c.Rows()
		for id, v := range rows.VRFs {
			r, is := rows.Routes[desired.RouteKey{VRF: id, Prefix: netip.PrefixFrom(p.to, p.to.BitLen())}]
			if e, known := rows.Endpoints[r.Host]; is && known && v.Fabric {
				a.add(api.TraceNextHost, e.Name, api.ReadHow)
				return
			}
		}
	})
	a.frame(t)
}

// fromPortFrame follows a frame that is no packet, from a workload to a MAC.
func (a *answer) fromPortFrame(q api.TraceQuestion) error {
	to, err := q.ToMAC.Bytes()
	if err != nil {
		return err
	}
	if q.Size > maxFrame-ethernetSize {
		return fmt.Errorf("trace: the kernel tries frames of at most %d bytes after the Ethernet header, not of %d", maxFrame-ethernetSize, q.Size)
	}
	kind := q.Ethertype
	switch {
	case kind == 0:
		kind = ethertypeExperimental
	case kind == ethertypeIPv4 || kind == ethertypeIPv6 || kind == ethertypeARP:
		return fmt.Errorf("trace: ethertype 0x%04x is not one of frames that are no packets: for IPv4 and IPv6 name an address; ARP is tried with it", kind)
	case kind == ethertypeVLAN || kind == ethertypeQinQ || kind < minEthertype:
		return fmt.Errorf("trace: ethertype 0x%04x is a VLAN tag or a length", kind)
	}
	frame := make([]byte, ethernetSize, ethernetSize+max(q.Size, minPayload))
	copy(frame, to[:])
	copy(frame[6:], a.port.MAC[:])
	binary.BigEndian.PutUint16(frame[12:], kind)
	frame = frame[:cap(frame)]
	a.add("ethernet frame", fmt.Sprintf("%v > %s  ethertype 0x%04x, %d bytes", vrouter.MAC(a.port.MAC), q.ToMAC, kind, len(frame)-ethernetSize), api.ReadHow)
	a.add(api.TraceFromMAC, vrouter.MAC(a.port.MAC).String(), api.ReadHow)
	trace, err := a.send(frame)
	if err != nil {
		return err
	}
	return a.tell(trace, a.port.VRF, netip.Addr{}, netip.Addr{})
}
