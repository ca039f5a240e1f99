// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
)

// formerFor is how long the connections of a port that is here no more are kept
// after that was seen: the host that has the port now asks for them, also for
// those that have been silent for long.
const formerFor = time.Minute

// formerPort is a port that an interface is no more.
type formerPort struct{ ifindex, port uint32 }

// formerPorts are those that the last walk over the connections met, and at which
// tick one met each first.
type formerPorts map[formerPort]uint32

// met notes a port that a walk meets, and tells for how long it has been known to be gone.
func (f formerPorts) met(now uint32, ifindex, port uint32, earlier formerPorts) time.Duration {
	key := formerPort{ifindex, port}
	first, known := earlier[key]
	if !known {
		first = now
	}
	f[key] = first
	return since(now, first)
}

// MovedConnection is a connection of a port, for the host that has it now.
type MovedConnection struct {
	ConnectionKey // its interface means nothing elsewhere
	Connection
	Member MAC // of a virtual address, who serves the conversation; zero: the remote is none
}

// memberOf is who serves an entry's conversation with a virtual address.
func memberOf(value *layoutConnectionValue) (member MAC) {
	if value.Mac.Byte[0] == memberMAC {
		member = value.Mac.Byte
	}
	return member
}

// ConnectionsOf calls visit with the connections of a port by its number, also
// when it is here no more.
func (d *Datapath) ConnectionsOf(port uint32, visit func(MovedConnection)) error {
	now, err := ticksNow()
	if err != nil {
		return err
	}
	for _, name := range connectionTables {
		err := d.eachConnection(name, func(key *layoutConnectionKey, value *layoutConnectionValue) {
			if value.Port == port {
				visit(MovedConnection{connectionKeyOf(key), connectionOf(now, value), memberOf(value)})
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// TakeConnections notes connections that the port behind an interface had on
// another host. They know who began, and nothing of what this host's tables say:
// the next packet of each takes the long way and is asked about, in the direction
// in which its conversation began. What the same connection has seen here
// already is kept, but for who began.
func (d *Datapath) TakeConnections(ifindex int, port uint32, all []MovedConnection) (taken int, err error) {
	now, err := ticksNow()
	if err != nil {
		return 0, err
	}
	for i := range all {
		if err := d.takeConnection(now, ifindex, port, &all[i]); err != nil {
			return taken, fmt.Errorf("take over connection %d of %d: %w", i+1, len(all), err)
		}
		taken++
	}
	return taken, nil
}

func (d *Datapath) takeConnection(now uint32, ifindex int, port uint32, c *MovedConnection) error {
	local, family, err := addressToRaw(c.Local.Addr())
	if err != nil {
		return err
	}
	remote, other, err := addressToRaw(c.Remote.Addr())
	if err != nil || other != family {
		return errors.Join(err, fmt.Errorf("%v and %v are of different families", c.Local, c.Remote))
	}
	key := layoutConnectionKey{
		Ifindex: uint32(ifindex), Protocol: c.Protocol, Family: uint8(family),
		LocalPort: wirePort(c.Local.Port()), RemotePort: wirePort(c.Remote.Port()), Local: local, Remote: remote,
	}
	ticks := func(t time.Duration) uint32 { return uint32(max(0, t) / tick) }
	value := layoutConnectionValue{
		Port: port, State: uint8(c.State), Seen: now - ticks(c.Idle), Made: now - ticks(c.Age),
	}
	value.Mac.Byte = c.Member // that of its way, which this host finds anew
	setMapping(&value, c.Mapping, wirePort(c.Itself))
	value.Sent.Packets, value.Sent.Bytes = c.Sent.Packets, c.Sent.Bytes
	value.Heard.Packets, value.Heard.Bytes = c.Heard.Packets, c.Heard.Bytes
	here, name := d.entryHere(&key, port)
	if here != nil {
		value.State |= here.State &^ uint8(ConnectionHeardFirst)
		value.Seen = here.Seen
		addCounts(&value, here)
	}
	return d.noteTaken(&key, &value, name)
}

// setMapping says which mapping a connection goes through, and the port that its other
// end has itself, as programs have it. They look for a mapping only where frames are not led.
func setMapping(value *layoutConnectionValue, mapping uint64, itself uint16) {
	if value.Mapping, value.Itself = mapping, itself; mapping != 0 {
		value.Flags |= uint8(layoutRouteFlagROUTE_UNLED)
	}
}

// entryHere finds what a port's end of a connection is noted as, and in which
// table.
func (d *Datapath) entryHere(key *layoutConnectionKey, port uint32) (*layoutConnectionValue, string) {
	for _, name := range connectionTables {
		var here layoutConnectionValue
		if d.maps[name].Lookup(key, &here) == nil && here.Port == port {
			return &here, name
		}
	}
	return nil, ""
}

func addCounts(value, here *layoutConnectionValue) {
	value.Sent.Packets, value.Sent.Bytes = value.Sent.Packets+here.Sent.Packets, value.Sent.Bytes+here.Sent.Bytes
	value.Heard.Packets, value.Heard.Bytes = value.Heard.Packets+here.Heard.Packets, value.Heard.Bytes+here.Heard.Bytes
}

// noteTaken writes an entry that no program of these made; was is the table that
// has one already.
func (d *Datapath) noteTaken(key *layoutConnectionKey, value *layoutConnectionValue, was string) error {
	if ConnectionState(value.State)&ConnectionProven == 0 {
		if was == halfOpenTable {
			return d.maps[was].Put(key, value)
		}
		return d.maps[restTable].Put(key, value) // where it makes room for others, as it has no share here
	}
	if err := d.maps[confirmedTable].Put(key, value); err != nil {
		return err
	}
	for _, name := range []string{halfOpenTable, restTable} {
		if err := d.maps[name].Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
	}
	return nil
}
