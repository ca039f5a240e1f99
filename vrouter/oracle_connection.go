// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"net/netip"
)

// wirePorts are a packet's ports or what stands for them.
type wirePorts struct{ source, destination uint16 }

// fragmentKey names the packet that a fragment is of.
type fragmentKey struct {
	vrf                 uint32
	ifindex             int
	source, destination netip.Addr
	protocol            byte
	id                  uint32
}

// noted is where a frame came from.
type noted struct {
	ifindex    int
	vrf        uint32
	fromTunnel bool // or from an uplink, or from the host
	fromHost   bool
	frame      bool // it goes by its MAC, and leaves no way
}

// note remembers a frame at the ends of its connection that are on this host.
func (o *Oracle) note(from noted, next NextHop, route Route, f parsed) {
	ports, known := o.portsOf(from.ifindex, from.vrf, f)
	o.notePassage(from, next, route, passage{sent: f, heard: f, sentPorts: ports, heardPorts: ports, known: known})
}

// notePassage remembers a frame at both ends, at each as that one has it.
func (o *Oracle) notePassage(from noted, next NextHop, route Route, p passage) {
	ifindex, vrf, f := from.ifindex, from.vrf, p.sent
	if o.Connections == nil || o.Traces || !p.known {
		return
	}
	if p.outward {
		vrf = o.Ports[ifindex].VRF // where it came from
	}
	if f.fragment && !f.later {
		o.fragments[fragmentKeyOf(ifindex, vrf, f)] = p.sentPorts
	}
	if !from.fromTunnel {
		key := senderKey(ifindex, f, p.sentPorts)
		if c := o.Connections[key]; f.saying().beginsAnew(c.State, true) {
			c.Mapping, c.Itself = 0, 0
			o.Connections[key] = c
		}
		o.noteEnd(key, ConnectionSent, 0, f)
		if p.sends != 0 {
			c := o.Connections[key]
			c.Mapping, c.Itself = p.sends, p.sendsAs
			o.Connections[key] = c
		}
		if f.ethSource == o.Ports[ifindex].MAC && !from.frame {
			o.ways[key] = oracleWay{route.NextHop, route.MAC}
		} else if p.served != nil {
			o.ways[key] = oracleWay{mac: p.member}
		}
	}
	if _, here := o.Ports[next.Ifindex]; here && next.Kind == NextHopPort {
		began := ConnectionHeardFirst
		if from.fromHost {
			began |= ConnectionUnasked
		}
		key := receiverKey(next.Ifindex, p)
		if c, had := o.Connections[key]; p.mapping != 0 && had && (c.Mapping != p.mapping || c.Itself != p.itself) {
			delete(o.Connections, key) // what was there is over
		}
		o.noteEnd(key, ConnectionHeard, began, p.heard)
		c := o.Connections[key]
		c.Mapping, c.Itself = p.mapping, p.itself
		o.Connections[key] = c
	}
}

func (o *Oracle) portsOf(ifindex int, vrf uint32, f parsed) (ports wirePorts, known bool) {
	if f.later {
		ports, known = o.fragments[fragmentKeyOf(ifindex, vrf, f)]
		return ports, known
	}
	return f.wirePorts()
}

// wirePorts are those that a packet carries itself; false: it is of no connection.
func (f parsed) wirePorts() (ports wirePorts, known bool) {
	echo := uint16(8)
	if f.source.Is6() {
		echo = 128
	}
	switch isICMP := f.protocol == 1 && f.source.Is4() || f.protocol == 58 && f.source.Is6(); {
	case isICMP && f.payload[1] != 0:
		return ports, false
	case isICMP && f.payload[0] == byte(echo):
		ports = wirePorts{binary.BigEndian.Uint16(f.payload[4:]), echo}
	case isICMP && (f.payload[0] == 0 && echo == 8 || f.payload[0] == 129 && echo == 128):
		ports = wirePorts{echo, binary.BigEndian.Uint16(f.payload[4:])}
	case isICMP:
		return ports, false
	case f.protocol == 6 || f.protocol == 17 || f.protocol == 33 || f.protocol == 132 || f.protocol == 136:
		ports = wirePorts{binary.BigEndian.Uint16(f.payload), binary.BigEndian.Uint16(f.payload[2:])}
	}
	return ports, true
}

func fragmentKeyOf(ifindex int, vrf uint32, f parsed) fragmentKey {
	return fragmentKey{vrf, ifindex, f.source, f.destination, f.protocol, f.fragmentID}
}

// senderKey is that of a frame's connection at its sender.
func senderKey(ifindex int, f parsed, ports wirePorts) ConnectionKey {
	return ConnectionKey{ifindex, f.protocol, netip.AddrPortFrom(f.source, ports.source), netip.AddrPortFrom(f.destination, ports.destination)}
}

// noteEnd remembers a frame that an end has sent or heard. began is what the
// end's entry has besides if the frame begins it.
func (o *Oracle) noteEnd(key ConnectionKey, how, began ConnectionState, f parsed) {
	port := o.Ports[key.Ifindex].ID
	c, known := o.Connections[key]
	if known = known && c.Port == port; !known {
		c = Connection{Port: port, HalfOpen: true, State: began}
		delete(o.ways, key)
	}
	says, sends := f.saying(), how == ConnectionSent
	if known && !says.believed(c, sends) {
		o.meetsState(f, "disbelieved")
		return
	}
	before := c.State
	if says.beginsAnew(before, sends) {
		c.State, c.Expects = how|began, 0
	} else {
		c.State = says.after(before|how, sends)
	}
	if sends && says.shows(c.State) {
		c.Expects = says.shown
	}
	if before&^c.State == ConnectionReset && !says.syn {
		o.returnPlace(Place{key, port}, before)
	}
	if c.State&ConnectionProven != 0 {
		c.HalfOpen = false
	}
	if c.State.Over() && says.changes() {
		delete(o.Places, Place{key, port})
	}
	o.Connections[key] = c
	from := before.String()
	if !known {
		from = "new"
	}
	o.meetsState(f, from+" to "+c.State.String())
}
