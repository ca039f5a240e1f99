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

// Options says where and how large. PinDir is a directory on a bpf file
// system that belongs to one network namespace: interfaces are known by
// index, and an index means something in one namespace only.
type Options struct {
	PinDir     string
	Sizes      Sizes
	Attachment Attachment // empty: AttachAuto
	Timeouts   Timeouts
}

// Datapath is a loaded packet path. Its methods may be called from several
// goroutines; each table has one writer by convention.
type Datapath struct {
	Ports         *Table[int, Port]             // by interface index
	SubPorts      *Table[SubPort, int]          // interface index that stands for it
	PortAddresses *Table[PortAddress, struct{}] // presence is the value
	PortPrefixes  *PortPrefixes                 // beside the addresses
	Routes        *Routes                       // by VRF and prefix
	Gaps          *Gaps                         // where routes found no room
	NextHops      *Table[uint32, NextHop]       // by id
	Groups        *Table[uint32, Group]         // by id of the next hop
	VNIs          *Table[uint32, VNI]
	TunnelSources *Table[TunnelSource, struct{}] // presence is the value
	// TunnelAddresses are the addresses at which this host receives tunnel packets.
	TunnelAddresses *Table[netip.Addr, struct{}]
	config          *Table[uint32, Config]
	Limits          LimitTable               // by interface
	Mirrors         MirrorTable              // by interface
	MirrorTargets   MirrorTargetTable        // by number
	Services        *Table[Service, uint16]  // port of the listener on this host
	Aliases         *Table[uint32, int]      // interface, by number
	MACs            *Table[MACKey, uint32]   // next hops of the MACs of ports
	Floods          *Table[uint32, Flood]    // by VRF
	Receivers       *Table[Receiver, uint32] // next hops of floods
	learned         *Table[MACKey, LearnedMAC]
	macCounts       *Table[MACCount, uint32]
	PolicyTables
	BalanceTables
	hostFlows   *Table[HostFlow, HostFlowState]
	errorTimes  *Table[int, uint64] // nanoseconds of the monotonic clock, by interface
	answerTimes *Table[int, uint64]
	placeTables
	requestTimes *Table[int, uint64]
	floodTimes   *Table[int, uint64]
	serviceTimes *Table[int, uint64]
	generations  *generations
	slots        *counterSlots

	attachment Attachment
	timeouts   Timeouts
	expedite   *expediter
	formers    formerPorts // that ExpireConnections met

	pinDir  string
	mapsDir string
	maps    map[string]*ebpf.Map
	tries   map[string]*routeTrie // of these, those with routes and gaps
	stubMap *ebpf.Map             // the program slots
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
	d := newDatapath(options)
	if err := d.load(options.Sizes.withDefaults()); err != nil {
		d.Close()
		return nil, fmt.Errorf("load packet path at %s: %w", options.PinDir, explain(err))
	}
	return d, nil
}

func newDatapath(options Options) *Datapath {
	return &Datapath{
		attachment: cmp.Or(options.Attachment, AttachAuto), timeouts: options.Timeouts.withDefaults(), pinDir: options.PinDir, expedite: newExpediter(options.PinDir),
		maps: map[string]*ebpf.Map{}, hooks: map[stubSlot]*ebpf.Program{}, stages: map[layoutStageSlot]*ebpf.Program{},
	}
}

func (d *Datapath) load(sizes Sizes) error {
	if err := d.expedite.recover(); err != nil {
		return err
	}
	if err := d.openTables(sizes); err != nil {
		return err
	}
	if err := d.openStubs(); err != nil {
		return err
	}
	if err := d.loadHooks(); err != nil {
		return err
	}
	return d.prepareTables()
}

// loadHooks loads this build's programs.
func (d *Datapath) loadHooks() error {
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
	return d.underlay.load(d.mapsAnd(map[string]*ebpf.Map{stageProgramsName: d.stageSlots}))
}

// prepareTables makes open tables ready for their writers.
func (d *Datapath) prepareTables() error {
	var err error
	if d.generations, err = newGenerations(d.maps["generations"]); err != nil {
		return err
	}
	if d.slots, err = slotsOf(d.maps["ports"]); err != nil {
		return err
	}
	if err := d.makeTables(); err != nil {
		return err
	}
	if err := errors.Join(d.initMACCounts(), d.initCounts()); err != nil {
		return err
	}
	ports, err := d.Ports.All()
	if err != nil {
		return err
	}
	if err := d.writeShare(len(ports)); err != nil {
		return err
	}
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

func (d *Datapath) openTables(sizes Sizes) error {
	layout, err := sizedLayout(sizes)
	if err != nil {
		return err
	}
	d.mapsDir = filepath.Join(d.pinDir, mapsPrefix+layoutHash(layout))
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
	d.tries = map[string]*routeTrie{"routes4": {entries: d.maps["routes4"], size: sizes.Routes4}, "routes6": {entries: d.maps["routes6"], size: sizes.Routes6}}
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
	tables := d.mapsAnd(map[string]*ebpf.Map{stageProgramsName: d.stageSlots})
	if d.hostHook, err = loadProgram(spec, "from_host", tables); err != nil {
		return err
	}
	if spec, err = loadFabric(); err != nil {
		return fmt.Errorf("read object of from_fabric: %w", err)
	}
	d.fabricHook, err = loadProgram(spec, "from_fabric", tables)
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
	if _, there := spec.Maps[eventSection]; there {
		replace[eventSection] = maps[eventControl]
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
// takes over the connections that tables of other layouts know, and then removes
// those tables. It may be repeated.
func (d *Datapath) Activate() error {
	former, err := d.formerTables()
	if err != nil {
		return err
	}
	if err := d.carryConnections(former); err != nil {
		return err
	}
	if err := d.activatePrograms(); err != nil {
		return err
	}
	if err := d.carryConnections(former); err != nil { // that the others noted meanwhile
		return err
	}
	for _, dir := range former {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove tables of another layout: %w", err)
		}
	}
	return nil
}

func (d *Datapath) activatePrograms() error {
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
	return d.underlay.activate()
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
