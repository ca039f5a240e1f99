// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ConnectionKey is the end of a connection behind a port. Protocols without
// ports have zeros; an echo has its identifier at the asker's end and the type
// of a request at the other.
type ConnectionKey struct {
	Ifindex       int
	Protocol      uint8
	Local, Remote netip.AddrPort
}

// ConnectionState is a sum of what an end has seen.
type ConnectionState uint8

// What an end has seen.
const (
	ConnectionSent     = ConnectionState(layoutConnectionStateCONNECTION_SENT)
	ConnectionHeard    = ConnectionState(layoutConnectionStateCONNECTION_HEARD)
	ConnectionProven   = ConnectionState(layoutConnectionStateCONNECTION_PROVEN) // heard after it sent
	ConnectionFinSent  = ConnectionState(layoutConnectionStateCONNECTION_FIN_SENT)
	ConnectionFinHeard = ConnectionState(layoutConnectionStateCONNECTION_FIN_HEARD)
	ConnectionReset    = ConnectionState(layoutConnectionStateCONNECTION_RESET)

	ConnectionHeardFirst = ConnectionState(layoutConnectionStateCONNECTION_HEARD_FIRST) // the other end began
	ConnectionUnasked    = ConnectionState(layoutConnectionStateCONNECTION_UNASKED)     // this host itself began: policy is not asked
)

// String is one word for the whole: opening until the remote end is proven,
// then established; closing after the first FIN, closed after both; reset.
func (s ConnectionState) String() string {
	const both = ConnectionFinSent | ConnectionFinHeard
	switch {
	case s&ConnectionReset != 0:
		return "reset"
	case s&both == both:
		return "closed"
	case s&both != 0:
		return "closing"
	case s&ConnectionProven != 0:
		return "established"
	}
	return "opening"
}

// Over tells of a connection that is closed or reset. It is kept for late packets
// and repetitions.
func (s ConnectionState) Over() bool {
	const both = ConnectionFinSent | ConnectionFinHeard
	return s&ConnectionReset != 0 || s&both == both
}

// Connection is what an end remembers of its connection.
type Connection struct {
	Port     uint32 // the control plane's id of the port; else the entry is of a former port of the interface
	State    ConnectionState
	HalfOpen bool // in the table of those whose remote end is not proven
	Former   bool // its port is at this interface no more
	Idle     time.Duration
	Age      time.Duration
	Rule     uint32 // that passed it last, a number of this host; 0: none
	Expects  uint16 // where the other end's packets must be to end it, see doc/packet-path.md; 0: not known
	// Sent and Heard are what the end has, while [Recording] has Counts. Between two
	// ports of one host only what was sent is counted, at each end.
	Sent, Heard ConnectionCount
	// Mapping is the number of the one that the conversation goes through, and Itself the
	// port that the other end has itself; 0: none.
	Mapping uint64
	Itself  uint16
}

// ConnectionCount is what went one way, in frames with their Ethernet headers.
type ConnectionCount struct{ Packets, Bytes uint64 }

const tick = time.Duration(1) << layoutTickTICK_SHIFT

// ticksNow is the programs' clock.
func ticksNow() (uint32, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0, fmt.Errorf("read monotonic clock: %w", err)
	}
	return uint32(now.Nano() >> layoutTickTICK_SHIFT), nil
}

// since is the time from one tick to another, zero if a packet came after now
// was read. Ticks wrap around after 146 years.
func since(now, then uint32) time.Duration { return max(0, time.Duration(int32(now-then))*tick) }

// connectionsBatch is how many entries one system call reads.
const connectionsBatch = 1024

// Connections calls visit with every connection. Those that come or go
// meanwhile may be missed or seen twice.
func (d *Datapath) Connections(visit func(ConnectionKey, Connection)) error {
	ports, err := d.Ports.All()
	if err != nil {
		return err
	}
	now, err := ticksNow()
	if err != nil {
		return err
	}
	for _, name := range connectionTables {
		err := d.eachConnection(name, func(key *layoutConnectionKey, value *layoutConnectionValue) {
			c := connectionOf(now, value)
			c.HalfOpen, c.Former = name != confirmedTable, ports[int(key.Ifindex)].ID != value.Port
			visit(connectionKeyOf(key), c)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

const (
	confirmedTable = "connections"
	restTable      = "half_open_rest" // beyond the ports' shares
	halfOpenTable  = "half_open"
)

var connectionTables = []string{confirmedTable, restTable, halfOpenTable}

func (d *Datapath) eachConnection(name string, visit func(*layoutConnectionKey, *layoutConnectionValue)) error {
	if err := eachEntry(d.maps[name], visit); err != nil {
		return fmt.Errorf("list table %s: %w", name, err)
	}
	return nil
}

// eachEntry reads a hash table in batches.
func eachEntry[K, V any](m *ebpf.Map, visit func(*K, *V)) error {
	keys, values := make([]K, connectionsBatch), make([]V, connectionsBatch)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		for i := range n {
			visit(&keys[i], &values[i])
		}
		switch {
		case errors.Is(err, ebpf.ErrKeyNotExist): // the end
			return nil
		case errors.Is(err, unix.ENOSPC): // one bucket holds more than the batch
			keys, values = make([]K, 2*len(keys)), make([]V, 2*len(values))
		case err != nil:
			return err
		}
	}
}

// ExpireConnections removes the connections that have been idle for too long
// and, a minute after it met them first, those of interfaces that are no longer the
// port they were. A packet that comes while its connection is removed makes a new one. Each that is removed is
// told to ended, if that is not nil. Places of what is over come back, see
// [Datapath.Places]. One goroutine at a time may call it.
func (d *Datapath) ExpireConnections(ended func(ConnectionKey, Connection)) (removed int, err error) {
	ports, err := d.Ports.All()
	if err != nil {
		return 0, err
	}
	now, err := ticksNow()
	if err != nil {
		return 0, err
	}
	if err := d.writeShare(len(ports)); err != nil {
		return 0, err
	}
	places, err := d.newPlaceSweep(now, ports)
	if err != nil {
		return 0, err
	}
	formers := formerPorts{}
	// A conversation goes from the last of these tables to the first.
	for _, name := range slices.Backward(connectionTables) {
		var idle []layoutConnectionKey
		err := d.eachConnection(name, func(key *layoutConnectionKey, value *layoutConnectionValue) {
			port, there := ports[int(key.Ifindex)]
			over := since(now, value.Seen) > d.timeouts.of(key.Protocol, ConnectionState(value.State))
			if !there || port.ID != value.Port {
				over = formers.met(now, key.Ifindex, value.Port, d.formers) > formerFor || over
			}
			if over {
				idle = append(idle, *key)
				if ended != nil {
					ended(connectionKeyOf(key), connectionOf(now, value))
				}
			} else {
				places.meets(name, key, value)
			}
		})
		if err != nil {
			return removed, err
		}
		for i := range idle {
			if err := d.maps[name].Delete(&idle[i]); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				return removed, fmt.Errorf("remove connection from table %s: %w", name, err)
			}
			removed++
		}
	}
	d.formers = formers
	return removed, places.end()
}

// ConnectionTimeout is how long a connection in this state may be idle.
func (d *Datapath) ConnectionTimeout(protocol uint8, state ConnectionState) time.Duration {
	return d.timeouts.of(protocol, state)
}

func connectionKeyToRaw(k ConnectionKey) (raw layoutConnectionKey, err error) {
	local, family, err := addressToRaw(k.Local.Addr())
	if err != nil {
		return raw, err
	}
	remote, _, err := addressToRaw(k.Remote.Addr())
	return layoutConnectionKey{
		Ifindex: uint32(k.Ifindex), Protocol: k.Protocol, Family: uint8(family), Local: local, Remote: remote,
		LocalPort: wirePort(k.Local.Port()), RemotePort: wirePort(k.Remote.Port()),
	}, err
}

func connectionKeyOf(raw *layoutConnectionKey) ConnectionKey {
	family := layoutFamily(raw.Family)
	return ConnectionKey{
		Ifindex: int(raw.Ifindex), Protocol: raw.Protocol,
		Local:  netip.AddrPortFrom(addressOf(raw.Local, family), wirePort(raw.LocalPort)),
		Remote: netip.AddrPortFrom(addressOf(raw.Remote, family), wirePort(raw.RemotePort)),
	}
}

func connectionOf(now uint32, raw *layoutConnectionValue) Connection {
	return Connection{
		Port: raw.Port, State: ConnectionState(raw.State), Idle: since(now, raw.Seen), Age: since(now, raw.Made), Rule: raw.Rule, Expects: raw.Expects,
		Mapping: raw.Mapping, Itself: wirePort(raw.Itself),
		Sent: ConnectionCount{raw.Sent.Packets, raw.Sent.Bytes}, Heard: ConnectionCount{raw.Heard.Packets, raw.Heard.Bytes},
	}
}

// wirePort converts a port from or to network byte order as a program reads it.
func wirePort(p uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], p)
	return binary.NativeEndian.Uint16(b[:])
}
