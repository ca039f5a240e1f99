// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/vrouter/rules"
)

// MAC is an Ethernet address, comparable.
type MAC [6]byte

// String writes the address in the usual form.
func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// GatewayMAC is the MAC of every gateway on every host, the same everywhere so
// that a workload that moves keeps its neighbour table.
var GatewayMAC = MAC{0x00, 0x00, 0x5e, 0x00, 0x01, 0x00}

// Port is a workload's interface, seen from the host.
type Port struct {
	VRF          uint32
	ID           uint32 // the control plane's id
	MAC          MAC    // the only one it may send from, unless it learns or is unchecked
	MTU          int    // bytes after the Ethernet header; 0 = not checked
	RedirectPeer bool   // a veth whose other end is in another namespace
	// Gateway4 and Gateway6 send the port's ICMP errors; invalid: nobody does.
	Gateway4, Gateway6 netip.Addr
	// DHCP4, DHCP6 and Advertise say that the agent answers what the workload
	// asks by DHCP, DHCPv6 and router solicitations.
	DHCP4, DHCP6, Advertise bool
	// Disabled says that nothing passes: the adminState of the port, or of its
	// network, is down.
	Disabled bool
	// Alias is the number of the addresses by which this host knows the port,
	// see [AliasAddress]; 0: it does not.
	Alias uint32
	// Address4 and Address6 are where what the host begins is sent; invalid: nowhere.
	Address4, Address6 netip.Addr
	// Device and VLAN say where the frames of a sub-port come and go; VLAN is 0
	// for a port with a device of its own.
	Device int
	VLAN   uint16
	// Bridge says that its network forwards frames by their MAC, Frames that it
	// does nothing else.
	Bridge, Frames bool
	// MACLimit is how many MACs are learned behind it at most; 0: none.
	MACLimit int
	// Unchecked: it sends from any address and MAC that is nobody else's.
	Unchecked bool
	// Policed: it asks policy, and passes nothing unless PortPolicies has it.
	Policed bool
	// Stateless: its security-groups are asked about every packet.
	Stateless bool
	Aliases   bool // it has floating addresses itself, see Floats
}

// SubPort is where the frames of a port that has no device of its own come and
// go: in another port's device, with a tag.
type SubPort struct {
	Device int
	VLAN   uint16 // 1 to 4094
}

// VLANs is how many values a tag has.
const VLANs = 1 << 12

// firstSubPort is greater than the index of any device.
const firstSubPort = 1 << 31

// SubPortDevices is how many devices have sub-port numbers of their own.
const SubPortDevices = 1 << 19

// Number is the interface that stands for a sub-port in all tables. It follows
// from device and VLAN alone, so it is the same after a restart, when
// connections go on. Two devices whose indexes are equal but for a
// multiple of SubPortDevices share numbers; whoever meets both refuses one.
func (s SubPort) Number() int {
	return firstSubPort | s.Device%SubPortDevices*VLANs | int(s.VLAN)
}

// PortAddress is an address that the port may send from.
type PortAddress struct {
	Ifindex int
	Address netip.Addr
}

// PortPrefix is a prefix that the port may send from, with this MAC. The prefix
// must be masked.
type PortPrefix struct {
	Ifindex int
	MAC     MAC
	Prefix  netip.Prefix
}

// Permission says how far a PortPrefix goes.
type Permission struct {
	// Behind: only addresses to which the VRF's longest route has this very prefix.
	Behind bool
	// Standby: whoever of several ports spoke last has an address in it, and the
	// agent is told who speaks.
	Standby bool
	// Asked: it must not be sent from; the agent is told which addresses in it
	// the workload probes.
	Asked bool
	bits  uint8 // of the prefix
}

// RouteKey names a route. The prefix must be masked.
type RouteKey struct {
	VRF    uint32
	Prefix netip.Prefix
}

// UnderlayVRF is the VRF of the underlay, as far as this host's workloads are
// in it: no network has the number.
const UnderlayVRF = 0

// Route says where a prefix is.
type Route struct {
	NextHop uint32 // id in NextHops
	MAC     MAC    // who has the addresses, written as destination
	Routed  bool   // leaked from another network: decrement the hop count, send from the gateway MAC
	Fabric  bool   // in UnderlayVRF: what uplinks receive may go there
	MTU     int    // of the destination's network; 0 = not known, ignored for a port of this host
	Proxied bool   // neighbours are told the gateway MAC
	// Identity is that of who has the addresses; None: nobody whom policy knows.
	Identity rules.Identity
	bits     uint8 // of the prefix; only on the way into the table
	gap      bool  // no route, see Gaps
}

// VNI is a network as other hosts name it in the tunnel.
type VNI struct {
	VRF          uint32
	CheckSources bool // only hosts in TunnelSources may send
	// Bridge and Frames are as in Port.
	Bridge, Frames bool
	Label          bool // an MPLS label of this host, too, with which hosts in TunnelSources may send
}

// TunnelSource is another host's underlay address, and a VNI that it may send.
type TunnelSource struct {
	VNI     uint32
	Address netip.Addr
}

// NextHopKind is what a next hop is.
type NextHopKind uint32

// The kinds of next hop.
const (
	NextHopNone    = NextHopKind(layoutNextHopKindNEXT_HOP_NONE)    // not known yet; frames are dropped
	NextHopPort    = NextHopKind(layoutNextHopKindNEXT_HOP_PORT)    // a port of this host
	NextHopTunnel  = NextHopKind(layoutNextHopKindNEXT_HOP_TUNNEL)  // another host
	NextHopGateway = NextHopKind(layoutNextHopKindNEXT_HOP_GATEWAY) // the vRouter itself
	NextHopDiscard = NextHopKind(layoutNextHopKindNEXT_HOP_DISCARD) // drop, on purpose
	NextHopGroup   = NextHopKind(layoutNextHopKindNEXT_HOP_GROUP)   // one of several, see Group
	NextHopFabric  = NextHopKind(layoutNextHopKindNEXT_HOP_FABRIC)  // the underlay, without encapsulation
	// NextHopBalancer is a virtual address: VNI is the VRF of its listeners.
	NextHopBalancer = NextHopKind(layoutNextHopKindNEXT_HOP_BALANCER)
	// NextHopMapped is a floating address of a port of this host.
	NextHopMapped = NextHopKind(layoutNextHopKindNEXT_HOP_MAPPED)
	// NextHopShared is a shared address, see SharedAddress. Programs know none yet.
	NextHopShared = NextHopKind(layoutNextHopKindNEXT_HOP_SHARED)
)

// String returns the kind's word: none, port, tunnel, gateway, discard, group, fabric, balancer, mapped, shared.
func (k NextHopKind) String() string {
	w, err := words()
	if word, ok := w.nextHopKinds[uint32(k)]; ok && err == nil {
		return word
	}
	return fmt.Sprintf("next-hop-kind-%d", uint32(k))
}

// Encapsulation is how a packet travels through a tunnel.
type Encapsulation uint32

// The encapsulations.
const (
	EncapsulationVXLAN       = Encapsulation(layoutEncapsulationENCAPSULATION_VXLAN)
	EncapsulationMPLSUDP     = Encapsulation(layoutEncapsulationENCAPSULATION_MPLSUDP)
	EncapsulationUnavailable = Encapsulation(layoutEncapsulationENCAPSULATION_UNAVAILABLE) // nothing fits both ends; frames are dropped
)

// String returns the word: vxlan, mplsudp, unavailable.
func (e Encapsulation) String() string {
	w, err := words()
	if word, ok := w.encapsulations[uint32(e)]; ok && err == nil {
		return word
	}
	return fmt.Sprintf("encapsulation-%d", uint32(e))
}

// NextHop is a value: only the fields of its kind are used.
type NextHop struct {
	Kind    NextHopKind
	Ifindex int        // port; fabric: the uplink, 0 = through this host's own routing; tunnel by MPLS over UDP: the uplink
	VNI     uint32     // tunnel; by MPLS over UDP the label
	Remote  netip.Addr // tunnel, the other host's underlay address
	MTU     int        // tunnel and fabric, the largest packet that fits; 0 = not checked
	Mapping uint64     // mapped, its number in Mappings
	Group   string     // group, the name that its maker knows it by; it is not in the table
	// Encapsulation and Local are of a tunnel. From an invalid Local VXLAN is
	// sent as the kernel chooses, and MPLS over UDP not at all.
	Encapsulation Encapsulation
	Local         netip.Addr
}

// Table is one pinned table with the types a caller works with.
type Table[K comparable, V any] struct {
	name string
	put  func(K, V) error
	del  func(K) error
	get  func(K) (V, bool, error)
	scan func(func(K, V)) error

	freed bool // a value's memory may be used by the next entry, see settle
}

// Put writes an entry, new or not. A reader sees the old value or the new one.
func (t *Table[K, V]) Put(key K, value V) error {
	if err := t.put(key, value); err != nil {
		return fmt.Errorf("put %v into table %s: %w", key, t.name, err)
	}
	return nil
}

// Delete removes an entry; absence is success.
func (t *Table[K, V]) Delete(key K) error {
	if err := t.del(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("delete %v from table %s: %w", key, t.name, err)
	}
	return nil
}

// Get returns what is under a key, in a trie under the longest prefix of it.
func (t *Table[K, V]) Get(key K) (value V, found bool, err error) {
	if value, found, err = t.get(key); err != nil {
		return value, false, fmt.Errorf("look up %v in table %s: %w", key, t.name, err)
	}
	return value, found, nil
}

// All returns every entry. Entries written meanwhile may be missing.
func (t *Table[K, V]) All() (map[K]V, error) {
	all := map[K]V{}
	if err := t.scan(func(k K, v V) { all[k] = v }); err != nil {
		return nil, fmt.Errorf("list table %s: %w", t.name, err)
	}
	return all, nil
}

// codec translates between what a caller uses and what the programs read.
type codec[K comparable, V, RawK, RawV any] struct {
	key     func(K) (RawK, error)
	value   func(V) (RawV, error)
	keyOf   func(RawK) K
	valueOf func(RawV) V
}

func newTable[K comparable, V, RawK, RawV any](name string, m *ebpf.Map, c codec[K, V, RawK, RawV]) *Table[K, V] {
	return &Table[K, V]{
		name: name,
		put: func(k K, v V) error {
			rawK, err := c.key(k)
			if err != nil {
				return err
			}
			rawV, err := c.value(v)
			if err != nil {
				return err
			}
			return refused(m, m.Put(&rawK, &rawV))
		},
		del: func(k K) error {
			rawK, err := c.key(k)
			if err != nil {
				return err
			}
			return m.Delete(&rawK)
		},
		get: func(k K) (v V, found bool, err error) {
			rawK, err := c.key(k)
			if err != nil {
				return v, false, err
			}
			var rawV RawV
			switch err := m.Lookup(&rawK, &rawV); {
			case errors.Is(err, ebpf.ErrKeyNotExist):
				return v, false, nil
			case err != nil:
				return v, false, err
			}
			return c.valueOf(rawV), true, nil
		},
		scan: func(yield func(K, V)) error {
			var rawK RawK
			var rawV RawV
			entries := m.Iterate()
			for entries.Next(&rawK, &rawV) {
				yield(c.keyOf(rawK), c.valueOf(rawV))
			}
			return entries.Err()
		},
	}
}

// then makes a table call f after each change, as part of it.
func (t *Table[K, V]) then(f func(K) error) *Table[K, V] {
	put, del := t.put, t.del
	t.put = func(k K, v V) error {
		if err := put(k, v); err != nil {
			return err
		}
		return f(k)
	}
	t.del = func(k K) error {
		err := del(k)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
		return f(k) // also if absent: it may be a repetition of one whose f failed
	}
	return t
}

// makeTables gives the maps their types.
func (d *Datapath) makeTables() error {
	d.Ports = newTable("ports", d.maps["ports"], portCodec)
	d.Ports.put = d.putPort
	d.Ports.settle(d.WaitForPackets).then(d.generations.renewPort)
	d.SubPorts = newTable("sub_ports", d.maps["sub_ports"], subPortCodec)
	d.PortAddresses = newTable("port_addresses", d.maps["port_addresses"], portAddressCodec).then(
		func(k PortAddress) error { return d.generations.renewPort(k.Ifindex) })
	ofPrefix := func(k PortPrefix) error { return d.generations.renewPort(k.Ifindex) }
	d.PortPrefixes = &PortPrefixes{
		four: newTable("port_prefixes4", d.maps["port_prefixes4"], portPrefix4Codec).then(ofPrefix),
		six:  newTable("port_prefixes6", d.maps["port_prefixes6"], portPrefix6Codec).then(ofPrefix),
	}
	if err := d.makeRoutes(); err != nil {
		return err
	}
	d.NextHops = newTable("next_hops", d.maps["next_hops"], nextHopCodec).settle(d.WaitForPackets)
	d.Groups = newTable("groups", d.maps["groups"], groupCodec).settle(d.WaitForPackets)
	d.VNIs = newTable("vnis", d.maps["vnis"], vniCodec).settle(d.WaitForPackets)
	d.TunnelSources = newTable("tunnel_sources", d.maps["tunnel_sources"], tunnelSourceCodec)
	d.TunnelAddresses = newTable("tunnel_addresses", d.maps["tunnel_addresses"], tunnelAddressCodec)
	d.config = newTable("config", d.maps["config"], configCodec)
	d.errorTimes = newTable("error_times", d.maps["error_times"], errorTimeCodec)
	d.answerTimes = newTable("answer_times", d.maps["answer_times"], errorTimeCodec)
	d.Services = newTable("services", d.maps["services"], serviceCodec)
	d.Aliases = newTable("aliases", d.maps["aliases"], aliasCodec)
	d.hostFlows = newTable("host_flows", d.maps["host_flows"], hostFlowCodec)
	d.requestTimes = newTable("request_times", d.maps["request_times"], errorTimeCodec)
	d.serviceTimes = newTable("service_times", d.maps["service_times"], errorTimeCodec)
	d.Limits = LimitTable{d}
	d.Mirrors, d.MirrorTargets = MirrorTable{d}, MirrorTargetTable{d}
	d.makeBridgeTables()
	d.makeBalanceTables()
	d.makePolicyTables()
	return nil
}

// putPort gives the port its counters, too.
func (d *Datapath) putPort(ifindex int, p Port) error {
	raw, err := portCodec.value(p)
	if err == nil {
		raw.Slot, err = d.slots.take(ifindex, d.maps["counters"])
	}
	if err != nil {
		return err
	}
	return refused(d.maps["ports"], d.maps["ports"].Put(uint32(ifindex), &raw))
}

// refused says of an entry that found no room what can be done.
func refused(m *ebpf.Map, err error) error {
	if errors.Is(err, unix.E2BIG) || errors.Is(err, unix.ENOSPC) { // a hash table, a trie
		return full(m.MaxEntries())
	}
	return err
}

func full(size uint32) error {
	return fmt.Errorf("%w: all of its %d entries are in use (weft get capacity; weft-agent run --table-size)", ErrFull, size)
}

// Config is what the programs know beside the tables.
type Config struct {
	// TunnelDevice is the interface that encapsulates; 0 means none, and frames
	// for other hosts are dropped and counted.
	TunnelDevice int
	// Local4 and Local6 are this host's own tunnel addresses, from which copies
	// are flooded. For one that is invalid the kernel chooses the source.
	Local4, Local6 netip.Addr
	// LabelDevice is the end of the label path into which frames are sent that
	// leave by MPLS over UDP; 0 means none, and they are dropped and counted.
	LabelDevice int
	// ErrorInterval is the time between the ICMP errors of one port, after
	// ErrorBurst of them at once; 0 does not limit them.
	ErrorInterval time.Duration
	ErrorBurst    int
	// RequestInterval and RequestBurst are the same for what a port asks of the agent.
	RequestInterval time.Duration
	RequestBurst    int
	// FloodInterval and FloodBurst are the same for the copies of what a port floods.
	FloodInterval time.Duration
	FloodBurst    int
	// ServiceInterval and ServiceBurst are the same for packets to services.
	ServiceInterval time.Duration
	ServiceBurst    int
	// HostDevice is the far end of the host path, 0 if there is none, and
	// HostMAC the address of its near end.
	HostDevice int
	HostMAC    MAC
	// TunnelMTU4 and TunnelMTU6 are the largest packets that fit a tunnel to a
	// host where a MAC was learned; 0 = not checked.
	TunnelMTU4, TunnelMTU6 int
}

// SetConfig replaces the configuration.
func (d *Datapath) SetConfig(c Config) error { return d.config.Put(configKey, c) }

// Config returns what SetConfig was last told, in this process or an earlier
// one with the same layout.
func (d *Datapath) Config() (Config, error) {
	all, err := d.config.All()
	return all[configKey], err
}

// configKey is the only one.
const configKey = 0

// initConfig writes what this build decides (the gateway MAC) and keeps the rest.
func (d *Datapath) initConfig() error {
	c, err := d.Config()
	if err != nil {
		return err
	}
	return d.SetConfig(c)
}
