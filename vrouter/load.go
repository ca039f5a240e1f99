// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ErrNotBPFFS says that a pin directory is not on a bpf file system. Mounting
// one is the caller's business.
var ErrNotBPFFS = errors.New("not on a bpf file system (mount -t bpf bpf <directory>)")

// Sizes bounds the tables, in entries. A full table refuses further entries.
// Changing a size changes the layout: see [Load].
type Sizes struct {
	Ports         uint32
	PortAddresses uint32
	PortPrefixes  uint32 // of each family
	HostRoutes    uint32 // of full length, both families
	Routes4       uint32 // shorter ones
	Routes6       uint32
	NextHops      uint32
	Groups        uint32 // of equal next hops
	VNIs          uint32
	TunnelSources uint32
	Connections   uint32 // whose remote end is proven
	HalfOpen      uint32 // all others
	Fragments     uint32 // packets in fragments at one time
	MACs          uint32 // of ports, wherever they are
	LearnedMACs   uint32
	Receivers     uint32 // of floods, all networks together
}

// DefaultSizes are used for sizes that are zero. Hash tables are allocated in
// full when created, about 14 MB together here; routes, connections, tunnel
// sources and services grow as they fill.
var DefaultSizes = Sizes{
	Ports:         1024,    // the largest hosts run some 250 pods, each perhaps with several interfaces
	PortAddresses: 8192,    // eight addresses a port
	PortPrefixes:  16384,   // sixteen a port; costs memory only when used
	HostRoutes:    1 << 20, // every address of a large installation imported on one host; an entry costs memory only when used
	Routes4:       1 << 16, // subnets and what is outside; an entry costs memory only when used
	Routes6:       1 << 16,
	NextHops:      16384,   // ports of this host, and (host, VNI) pairs it talks to
	Groups:        4096,    // an entry is 1 KiB and costs memory only when used
	VNIs:          4096,    // networks with a port on this host
	Connections:   1 << 18, // as many as Linux tracks by default; 4 MB of buckets, a larger table is slower for all (0025); entries cost memory only when used
	HalfOpen:      1 << 16, // 10 MB; a flood of 100,000 a second turns it over in half a second
	Fragments:     8192,
	MACs:          1 << 17, // ports of the networks that have a port here; these three cost memory only when used
	LearnedMACs:   1 << 16, // a thousand ports with the 64 that are their limit unless they ask for more
	Receivers:     1 << 16, // 256 networks with as many receivers as may be
	TunnelSources: 1 << 18, // 64 other hosts, each with two addresses, in 2048 networks; costs memory only when used
}

// Bounds of the tables nobody configures.
const (
	reasonsPerInterface = 8  // an interface that shows more kinds of trouble at once loses the count of some
	ownDevices          = 3  // tunnel, host path and uplinks
	underlayDevices     = 9  // label path and interfaces into the underlay
	tunnelAddresses     = 32 // of this host
	servicesPerVRF      = 16 // DNS of both transports at four gateways, metadata in both families, and some of the fabric
	flowsPerPort        = 16 // conversations with services at a time; the oldest makes room
	// requestBytes is room for 128 requests that wait for the agent: a request
	// costs it microseconds, and a host that starts all its workloads at once
	// sees one of each kind from each. A power of two.
	requestBytes = 1 << 18
)

func (s Sizes) withDefaults() Sizes {
	or := func(size, otherwise uint32) uint32 {
		if size == 0 {
			return otherwise
		}
		return size
	}
	return Sizes{
		Ports:         or(s.Ports, DefaultSizes.Ports),
		PortAddresses: or(s.PortAddresses, DefaultSizes.PortAddresses),
		PortPrefixes:  or(s.PortPrefixes, DefaultSizes.PortPrefixes),
		HostRoutes:    or(s.HostRoutes, DefaultSizes.HostRoutes),
		Routes4:       or(s.Routes4, DefaultSizes.Routes4),
		Routes6:       or(s.Routes6, DefaultSizes.Routes6),
		NextHops:      or(s.NextHops, DefaultSizes.NextHops),
		Groups:        or(s.Groups, DefaultSizes.Groups),
		VNIs:          or(s.VNIs, DefaultSizes.VNIs),
		TunnelSources: or(s.TunnelSources, DefaultSizes.TunnelSources),
		Connections:   or(s.Connections, DefaultSizes.Connections),
		HalfOpen:      or(s.HalfOpen, DefaultSizes.HalfOpen),
		Fragments:     or(s.Fragments, DefaultSizes.Fragments),
		MACs:          or(s.MACs, DefaultSizes.MACs),
		LearnedMACs:   or(s.LearnedMACs, DefaultSizes.LearnedMACs),
		Receivers:     or(s.Receivers, DefaultSizes.Receivers),
	}
}

// of returns the bound of each table by name.
func (s Sizes) of() map[string]uint32 {
	return map[string]uint32{
		"ports":            s.Ports,
		"sub_ports":        s.Ports,
		"port_addresses":   s.PortAddresses,
		"port_prefixes4":   s.PortPrefixes,
		"port_prefixes6":   s.PortPrefixes,
		"host_routes":      s.HostRoutes,
		"routes4":          s.Routes4,
		"routes6":          s.Routes6,
		"next_hops":        s.NextHops,
		"groups":           s.Groups,
		"vnis":             s.VNIs,
		"tunnel_sources":   s.TunnelSources,
		"connections":      s.Connections,
		"half_open":        s.HalfOpen,
		"fragments":        s.Fragments,
		"macs":             s.MACs,
		"learned_macs":     s.LearnedMACs,
		"mac_counts":       s.Ports + s.VNIs,
		"floods":           s.VNIs,
		"receivers":        s.Receivers,
		"generations":      2 * generationSlots,
		"config":           1,
		"tunnel_addresses": tunnelAddresses,
		"error_times":      s.Ports,
		"services":         s.VNIs * servicesPerVRF,
		"host_flows":       s.Ports * flowsPerPort,
		"aliases":          s.Ports,
		"request_times":    s.Ports,
		"requests":         requestBytes,
		"drops":            (s.Ports + ownDevices + underlayDevices) * reasonsPerInterface,
		"counters":         2*s.Ports + ownDevices, // ports that go and ports that come may be there together
	}
}

// Options says where and how large. PinDir is a directory on a bpf file
// system that belongs to one network namespace: interfaces are known by
// index, and an index means something in one namespace only.
type Options struct {
	PinDir     string
	Sizes      Sizes
	Attachment Attachment // empty: AttachAuto
}

// Datapath is a loaded packet path. Its methods may be called from several
// goroutines; each table has one writer by convention.
type Datapath struct {
	Ports         *Table[int, Port]             // by interface index
	SubPorts      *Table[SubPort, int]          // interface index that stands for it
	PortAddresses *Table[PortAddress, struct{}] // presence is the value
	PortPrefixes  *PortPrefixes                 // beside the addresses
	Routes        *Routes                       // by VRF and prefix
	NextHops      *Table[uint32, NextHop]       // by id
	Groups        *Table[uint32, Group]         // by id of the next hop
	VNIs          *Table[uint32, VNI]
	TunnelSources *Table[TunnelSource, struct{}] // presence is the value
	// TunnelAddresses are the addresses at which this host receives tunnel packets.
	TunnelAddresses *Table[netip.Addr, struct{}]
	config          *Table[uint32, Config]
	Services        *Table[Service, uint16]  // port of the listener on this host
	Aliases         *Table[uint32, int]      // interface, by number
	MACs            *Table[MACKey, uint32]   // next hops of the MACs of ports
	Floods          *Table[uint32, Flood]    // by VRF
	Receivers       *Table[Receiver, uint32] // next hops of floods
	learned         *Table[MACKey, LearnedMAC]
	macCounts       *Table[MACCount, uint32]
	hostFlows       *Table[HostFlow, HostFlowState]
	errorTimes      *Table[int, uint64] // nanoseconds of the monotonic clock, by interface
	requestTimes    *Table[int, uint64]
	generations     *generations
	slots           *counterSlots

	attachment Attachment
	expedite   *expediter

	pinDir  string
	mapsDir string
	maps    map[string]*ebpf.Map
	stubMap *ebpf.Map // the program slots
	stubs   *ebpf.Collection
	hooks   map[stubSlot]*ebpf.Program
	// The host path's slot is an array of its own.
	hostSlots *ebpf.Map
	hostHook  *ebpf.Program
	// So is that of the uplinks.
	fabricSlots *ebpf.Map
	fabricHook  *ebpf.Program
	// Programs that hooks go on with, by their slots in an array of their own.
	stageSlots *ebpf.Map
	stages     map[layoutStageSlot]*ebpf.Program
	underlay   underlayHooks
}

// Load creates the pinned tables, or opens them with their contents if a
// build with the same layout made them, and loads this build's programs.
// Nothing changes for traffic before [Datapath.Activate]. Tables of another
// layout (other fields, other reasons, other sizes) are left alone beside the
// new ones until then, so the caller fills the new ones in between.
//
// Errors: [ErrNotBPFFS]; [ErrKernelLacks] with what is missing; an [ebpf.VerifierError] inside if the kernel refuses
// a program.
func Load(options Options) (*Datapath, error) {
	if err := preparePinDir(options.PinDir); err != nil {
		return nil, err
	}
	d := &Datapath{attachment: cmp.Or(options.Attachment, AttachAuto), pinDir: options.PinDir, expedite: newExpediter(options.PinDir), maps: map[string]*ebpf.Map{}, hooks: map[stubSlot]*ebpf.Program{}, stages: map[layoutStageSlot]*ebpf.Program{}}
	if err := d.load(options.Sizes.withDefaults()); err != nil {
		d.Close()
		return nil, fmt.Errorf("load packet path at %s: %w", options.PinDir, explain(err))
	}
	return d, nil
}

func (d *Datapath) load(sizes Sizes) error {
	if err := d.expedite.recover(); err != nil {
		return err
	}
	layout, err := sizedLayout(sizes)
	if err != nil {
		return err
	}
	d.mapsDir = filepath.Join(d.pinDir, mapsPrefix+layoutHash(layout))
	if err := d.openTables(layout); err != nil {
		return err
	}
	if err := d.openStubs(); err != nil {
		return err
	}
	if err := d.loadHook(stubSlotSLOT_PORT, loadPort, "from_port"); err != nil {
		return err
	}
	if err := d.loadHook(stubSlotSLOT_TUNNEL, loadTunnel, "from_tunnel"); err != nil {
		return err
	}
	if err := d.loadOwnHooks(); err != nil {
		return err
	}
	if err := d.loadStages(); err != nil {
		return err
	}
	if err := d.underlay.load(d.maps); err != nil {
		return err
	}
	if d.generations, err = newGenerations(d.maps["generations"]); err != nil {
		return err
	}
	if d.slots, err = slotsOf(d.maps["ports"]); err != nil {
		return err
	}
	d.makeTables()
	return d.initConfig()
}

const (
	mapsPrefix   = "maps-"
	linksName    = "links"
	programsName = "programs"
	// hostProgramsName is apart, because programs is pinned and cannot grow.
	hostProgramsName   = "host_programs"
	fabricProgramsName = "fabric_programs"
	// stageProgramsName is apart for the same reason.
	stageProgramsName = "stage_programs"
)

func preparePinDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create pin directory: %w", err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("stat pin directory %s: %w", dir, err)
	}
	if uint32(fs.Type) != unix.BPF_FS_MAGIC {
		return fmt.Errorf("use pin directory %s: %w", dir, ErrNotBPFFS)
	}
	if err := os.MkdirAll(filepath.Join(dir, linksName), 0o700); err != nil {
		return fmt.Errorf("create directory of links: %w", err)
	}
	return nil
}

func (d *Datapath) openTables(layout *ebpf.CollectionSpec) error {
	if err := os.MkdirAll(d.mapsDir, 0o700); err != nil {
		return fmt.Errorf("create directory of tables: %w", err)
	}
	for name, spec := range layout.Maps {
		spec.Pinning = ebpf.PinByName
		m, err := ebpf.NewMapWithOptions(spec, ebpf.MapOptions{PinPath: d.mapsDir})
		if err != nil {
			return fmt.Errorf("open table %s: %w", name, err)
		}
		d.maps[name] = m
	}
	return nil
}

// openStubs loads the programs that links hold. Their slots are one pinned
// array whose layout never changes.
func (d *Datapath) openStubs() error {
	spec, err := loadStub()
	if err != nil {
		return fmt.Errorf("read stub object: %w", err)
	}
	for name, m := range map[string]**ebpf.Map{programsName: &d.stubMap, hostProgramsName: &d.hostSlots, fabricProgramsName: &d.fabricSlots, stageProgramsName: &d.stageSlots} {
		slots := spec.Maps[name]
		slots.Pinning = ebpf.PinByName
		*m, err = ebpf.NewMapWithOptions(slots, ebpf.MapOptions{PinPath: d.pinDir})
		if err != nil {
			return fmt.Errorf("open program slots %s: %w", name, err)
		}
		slots.Pinning = ebpf.PinNone
	}
	if err := d.underlay.open(spec, d.pinDir); err != nil {
		return err
	}
	d.stubs, err = ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		MapReplacements: map[string]*ebpf.Map{programsName: d.stubMap, hostProgramsName: d.hostSlots, fabricProgramsName: d.fabricSlots, stageProgramsName: d.stageSlots, underlayProgramsName: d.underlay.slots},
	})
	if err != nil {
		return fmt.Errorf("load stubs: %w", err)
	}
	return nil
}

func (d *Datapath) loadHook(slot stubSlot, read func() (*ebpf.CollectionSpec, error), name string) error {
	spec, err := read()
	if err != nil {
		return fmt.Errorf("read object of %s: %w", name, err)
	}
	program, err := loadProgram(spec, name, d.mapsAnd(map[string]*ebpf.Map{stageProgramsName: d.stageSlots}))
	if err != nil {
		return err
	}
	d.hooks[slot] = program
	return nil
}

// loadOwnHooks loads the programs of the host's own interfaces.
func (d *Datapath) loadOwnHooks() error {
	spec, err := loadHost()
	if err != nil {
		return fmt.Errorf("read object of from_host: %w", err)
	}
	if d.hostHook, err = loadProgram(spec, "from_host", d.maps); err != nil {
		return err
	}
	if spec, err = loadFabric(); err != nil {
		return fmt.Errorf("read object of from_fabric: %w", err)
	}
	d.fabricHook, err = loadProgram(spec, "from_fabric", d.maps)
	return err
}

// loadProgram loads one program of an object over existing maps.
func loadProgram(spec *ebpf.CollectionSpec, name string, maps map[string]*ebpf.Map) (*ebpf.Program, error) {
	programs, err := loadPrograms(spec, maps, name)
	return programs[name], err
}

// loadPrograms loads some programs of an object over existing maps.
func loadPrograms(spec *ebpf.CollectionSpec, maps map[string]*ebpf.Map, names ...string) (map[string]*ebpf.Program, error) {
	replace := map[string]*ebpf.Map{}
	for n, s := range spec.Maps {
		if m, ok := maps[n]; ok {
			s.MaxEntries = m.MaxEntries()
			replace[n] = m
		}
	}
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: replace})
	if err != nil {
		return nil, fmt.Errorf("load program %s: %w", strings.Join(names, ", "), err)
	}
	defer c.Close()
	programs := map[string]*ebpf.Program{}
	for _, name := range names {
		if programs[name] = c.DetachProgram(name); programs[name] == nil {
			return nil, fmt.Errorf("load program %s: object does not have it", name)
		}
	}
	return programs, nil
}

// Activate makes this build's programs the ones all attached interfaces run,
// and then removes the tables of other layouts. It may be repeated.
func (d *Datapath) Activate() error {
	for slot, program := range d.stages { // before the hooks that go on with them
		if err := d.stageSlots.Put(slot, program); err != nil {
			return fmt.Errorf("activate program slot %d of a stage: %w", slot, err)
		}
	}
	for slot, program := range d.hooks {
		if err := d.stubMap.Put(slot, program); err != nil {
			return fmt.Errorf("activate program slot %d: %w", slot, err)
		}
	}
	if err := d.hostSlots.Put(uint32(0), d.hostHook); err != nil {
		return fmt.Errorf("activate program of the host path: %w", err)
	}
	if err := d.fabricSlots.Put(uint32(0), d.fabricHook); err != nil {
		return fmt.Errorf("activate program of the uplinks: %w", err)
	}
	if err := d.underlay.activate(); err != nil {
		return err
	}
	entries, err := os.ReadDir(d.pinDir)
	if err != nil {
		return fmt.Errorf("list pin directory: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(d.pinDir, e.Name())
		if !strings.HasPrefix(e.Name(), mapsPrefix) || path == d.mapsDir {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove tables of another layout: %w", err)
		}
	}
	return nil
}

// Close releases what this process holds. What is pinned, attached and active
// stays and keeps forwarding.
func (d *Datapath) Close() {
	for _, m := range d.maps {
		m.Close()
	}
	for _, p := range d.hooks {
		p.Close()
	}
	if d.stubs != nil {
		d.stubs.Close()
	}
	if d.stubMap != nil {
		d.stubMap.Close()
	}
	if d.hostSlots != nil {
		d.hostSlots.Close()
	}
	if d.hostHook != nil {
		d.hostHook.Close()
	}
	if d.fabricSlots != nil {
		d.fabricSlots.Close()
	}
	if d.fabricHook != nil {
		d.fabricHook.Close()
	}
	if d.stageSlots != nil {
		d.stageSlots.Close()
	}
	for _, p := range d.stages {
		p.Close()
	}
	d.underlay.close()
}
