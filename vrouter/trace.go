// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/cilium/ebpf"

	"github.com/weft-network/weft/vrouter/rules"
)

// TunnelKey is what the tunnel carries beside the frame. Remote is the other
// host's underlay address. Local is the one that a frame is sent from, invalid
// if the kernel chooses; it says nothing of a frame that came in.
type TunnelKey struct {
	VNI    uint32 // or label
	Remote netip.Addr
	Local  netip.Addr
	// Encapsulation is that of a frame that is sent.
	Encapsulation Encapsulation
}

// Outcome is what became of one frame.
type Outcome struct {
	Verdict  string     // dropped, consumed, answered, delivered, tunnelled, …: see doc/packet-path.md
	Reason   string     // name of the reason if dropped or consumed, or if copies were left out; else empty
	Redirect int        // interface it left through, 0 if none
	Told     bool       // the agent was told of its source besides
	Peer     bool       // left into the namespace of that interface's peer
	Tunnel   *TunnelKey // set if tunnelled
	VLAN     uint16     // of the tag that it left with, 0 if none; the tag is not in Frame
	Copies   []Copy     // set if flooded
	Frame    []byte     // as it is in the end, changed or not
}

// Copy is a copy of a flooded frame.
type Copy struct {
	Redirect int        // interface it left through
	VLAN     uint16     // of the tag that it left with, 0 if none
	Tunnel   *TunnelKey // set if it went to another host
}

// Tracer runs the packet path on single frames over the live tables of a
// Datapath, without any effect: the same C, compiled to record what it would do.
type Tracer struct {
	mu     sync.Mutex // arguments and record are one entry each
	in     *ebpf.Map
	out    *ebpf.Map
	copies *ebpf.Map
	slots  *ebpf.Map
	stages map[layoutStageSlot]*ebpf.Program
	port   *ebpf.Program
	tunnel *ebpf.Program
	host   *ebpf.Program
	fabric *ebpf.Program

	toUnderlay, fromUnderlay *ebpf.Program

	asks bool // policy is asked also where it has passed the connection before
	// Answers says that frames of no connection answer one that the other side
	// began; with AnswersHost it was this host itself, about which policy is not asked.
	Answers, AnswersHost bool
}

// frameRoom is how much longer a frame may become: an advertisement is longer
// than the shortest solicitation.
const frameRoom = 256

// NewTracer loads the tracing programs.
//
// Errors: [ErrKernelLacks] with what is missing.
func (d *Datapath) NewTracer() (*Tracer, error) {
	t, err := d.newTracer(tracing{loadTracePort, loadTraceTunnel, loadTraceHost, loadTraceFabric, loadTraceBridge, loadTraceMapping, loadTraceAnswer})
	if err != nil {
		return nil, explain(err)
	}
	t.asks = true
	return t, nil
}

// tracing reads the objects of one build of the programs that record.
type tracing struct {
	port, tunnel, host, fabric, bridge, mapping, answer func() (*ebpf.CollectionSpec, error)
}

func (d *Datapath) newTracer(read tracing) (*Tracer, error) {
	spec, err := read.port()
	if err != nil {
		return nil, fmt.Errorf("read trace object: %w", err)
	}
	t := &Tracer{stages: map[layoutStageSlot]*ebpf.Program{}}
	tables := maps.Clone(d.maps)
	for name, m := range map[string]**ebpf.Map{"trace_in": &t.in, "trace_out": &t.out, "trace_copies": &t.copies, stageProgramsName: &t.slots} {
		if *m, err = ebpf.NewMap(spec.Maps[name]); err != nil {
			t.Close()
			return nil, fmt.Errorf("create map %s: %w", name, err)
		}
		tables[name] = *m
	}
	if t.port, err = loadProgram(spec, "from_port", tables); err != nil {
		t.Close()
		return nil, err
	}
	if spec, err = read.tunnel(); err != nil {
		t.Close()
		return nil, fmt.Errorf("read trace object: %w", err)
	}
	if t.tunnel, err = loadProgram(spec, "from_tunnel", tables); err != nil {
		t.Close()
		return nil, err
	}
	if err = t.loadStages(read, tables); err != nil {
		t.Close()
		return nil, err
	}
	if err = t.loadOwn(read, tables); err != nil {
		t.Close()
		return nil, err
	}
	if err := t.loadUnderlay(tables); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// loadOwn loads the programs of the host's own interfaces.
func (t *Tracer) loadOwn(read tracing, tables map[string]*ebpf.Map) error {
	spec, err := read.host()
	if err != nil {
		return fmt.Errorf("read trace object: %w", err)
	}
	if t.host, err = loadProgram(spec, "from_host", tables); err != nil {
		return err
	}
	if spec, err = read.fabric(); err != nil {
		return fmt.Errorf("read trace object: %w", err)
	}
	t.fabric, err = loadProgram(spec, "from_fabric", tables)
	return err
}

func (t *Tracer) loadStages(read tracing, tables map[string]*ebpf.Map) error {
	if err := loadStagesOf(read.bridge, bridgeStages, tables, t.stages); err != nil {
		return err
	}
	if err := loadStagesOf(read.mapping, mapStages, tables, t.stages); err != nil {
		return err
	}
	if err := loadStagesOf(read.answer, answerStages, tables, t.stages); err != nil {
		return err
	}
	for slot, program := range t.stages {
		if err := t.slots.Put(slot, program); err != nil {
			return fmt.Errorf("set slot %d of the trace: %w", slot, err)
		}
	}
	return nil
}

// Close unloads the tracing programs.
func (t *Tracer) Close() {
	for _, m := range []*ebpf.Map{t.in, t.out, t.copies, t.slots} {
		if m != nil {
			m.Close()
		}
	}
	for _, p := range append(slices.Collect(maps.Values(t.stages)), t.port, t.tunnel, t.host, t.fabric, t.toUnderlay, t.fromUnderlay) {
		if p != nil {
			p.Close()
		}
	}
}

// FromPort shows what would become of a frame that a workload sends. The kernel
// refuses to try a frame that ends within its Ethernet or IP header.
func (t *Tracer) FromPort(ifindex int, frame []byte) (Outcome, error) {
	trace, err := t.FollowFromPort(ifindex, frame)
	return trace.Outcome, err
}

// FollowFromPort is FromPort, and the way there.
func (t *Tracer) FollowFromPort(ifindex int, frame []byte) (Trace, error) {
	return t.run(t.port, tracePortTraceArguments{Ifindex: uint32(ifindex)}, frame)
}

// FromTunnel shows what would become of a frame that the vxlan device with
// that index receives. A nil key is a frame without tunnel metadata.
func (t *Tracer) FromTunnel(ifindex int, key *TunnelKey, frame []byte) (Outcome, error) {
	trace, err := t.FollowFromTunnel(ifindex, key, frame)
	return trace.Outcome, err
}

// FollowFromTunnel is FromTunnel, and the way there.
func (t *Tracer) FollowFromTunnel(ifindex int, key *TunnelKey, frame []byte) (Trace, error) {
	arguments := tracePortTraceArguments{Ifindex: uint32(ifindex)}
	if key != nil {
		remote, family, err := addressToRaw(key.Remote)
		if err != nil {
			return Trace{}, fmt.Errorf("trace frame from tunnel: %w", err)
		}
		arguments.HasTunnelKey = 1
		arguments.TunnelKey.Vni = key.VNI
		arguments.TunnelKey.Family = uint32(family)
		arguments.TunnelKey.Remote.Word = remote.Word
	}
	return t.run(t.tunnel, arguments, frame)
}

// FromHost shows what would become of a frame that this host sends into the
// host path.
func (t *Tracer) FromHost(ifindex int, frame []byte) (Outcome, error) {
	trace, err := t.FollowFromHost(ifindex, frame)
	return trace.Outcome, err
}

// FollowFromHost is FromHost, and the way there.
func (t *Tracer) FollowFromHost(ifindex int, frame []byte) (Trace, error) {
	return t.run(t.host, tracePortTraceArguments{Ifindex: uint32(ifindex)}, frame)
}

// FromFabric shows what would become of a frame that an uplink receives for
// this host's MAC.
func (t *Tracer) FromFabric(ifindex int, frame []byte) (Outcome, error) {
	trace, err := t.FollowFromFabric(ifindex, frame)
	return trace.Outcome, err
}

// FollowFromFabric is FromFabric, and the way there.
func (t *Tracer) FollowFromFabric(ifindex int, frame []byte) (Trace, error) {
	return t.run(t.fabric, tracePortTraceArguments{Ifindex: uint32(ifindex)}, frame)
}

func (t *Tracer) run(program *ebpf.Program, arguments tracePortTraceArguments, frame []byte) (Trace, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var record tracePortTraceRecord
	if t.asks {
		arguments.Asks = 1
		switch {
		case t.AnswersHost:
			arguments.Asks = 3
		case t.Answers:
			arguments.Asks = 2
		}
	}
	if err := t.in.Put(uint32(0), &arguments); err != nil {
		return Trace{}, fmt.Errorf("write trace arguments: %w", err)
	}
	if err := t.out.Put(uint32(0), &record); err != nil {
		return Trace{}, fmt.Errorf("clear trace record: %w", err)
	}
	options := ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+frameRoom)}
	if _, err := program.Run(&options); err != nil {
		return Trace{}, fmt.Errorf("run packet path on a frame of %d bytes: %w", len(frame), err)
	}
	if err := t.out.Lookup(uint32(0), &record); err != nil {
		return Trace{}, fmt.Errorf("read trace record: %w", err)
	}
	outcome, err := outcomeOf(record, options.DataOut)
	if err == nil {
		outcome.Copies, err = t.readCopies(record.Copies)
	}
	if err != nil {
		return Trace{}, err
	}
	return traceOf(record, outcome)
}

// Trace is what became of one frame, and its way there.
type Trace struct {
	Outcome
	Stages []string // that it met, in the order of the packet path
	Led    bool     // by what its connection remembers: stages were skipped
	Route  *Route   // that it took, nil if it came to none
	Policy []Answer // what the layers said that were asked, in their order
	Bits   int      // length of that route's prefix; -1 if it was led, when nobody looked for one
}

// Answer is what one layer of policy said to an end of a frame.
type Answer struct {
	Receiver  bool            // at the receiver's end, else at the sender's
	Direction rules.Direction // in which it was asked: that of the conversation's first packet
	Layer     rules.Layer
	Remote    rules.Identity // whom the end took the other for
	Action    rules.Action
	Rule      uint32 // number of the rule that decided, 0 if none matched
	Logs      bool   // that rule logs
	AuditRule uint32 // number of the audit rule that was counted, 0 if none
	Former    bool   // as a ruleset that is asked until a change holds everywhere
}

func traceOf(record tracePortTraceRecord, outcome Outcome) (Trace, error) {
	w, err := words()
	if err != nil {
		return Trace{}, err
	}
	t := Trace{Outcome: outcome, Led: record.Led != 0}
	for _, number := range record.Stages[:min(int(record.Met), len(record.Stages))] {
		t.Stages = append(t.Stages, w.stages[uint32(number)])
	}
	for _, a := range record.Answers[:min(int(record.Answered), len(record.Answers))] {
		t.Policy = append(t.Policy, Answer{
			Receiver: a.Receiver != 0, Direction: rules.Direction(a.Direction), Layer: rules.Layer(a.Layer), Remote: rules.Identity(a.Identity),
			Action: rules.Action(a.Action), Rule: a.Rule, AuditRule: a.AuditRule, Logs: a.Logs != 0, Former: a.Former != 0,
		})
	}
	if record.HasRoute != 0 {
		r := record.Route
		t.Route = &Route{NextHop: r.NextHop, MAC: r.Mac.Byte, Routed: r.Flags&uint32(layoutRouteFlagROUTE_ROUTED) != 0, MTU: int(r.Mtu)}
		if t.Bits = int(r.Length); t.Led {
			t.Bits = -1
		}
	}
	return t, nil
}

// readCopies reads where copies of a flooded frame went.
func (t *Tracer) readCopies(number uint32) (all []Copy, err error) {
	for n := range number {
		var c tracePortTraceCopy
		if err := t.copies.Lookup(n, &c); err != nil {
			return nil, fmt.Errorf("read trace record of copy %d: %w", n, err)
		}
		sent := Copy{Redirect: int(c.Redirect), VLAN: uint16(c.Vlan)}
		if c.HasTunnelKey != 0 {
			sent.Tunnel = tracedKey(c.TunnelKey)
		}
		all = append(all, sent)
	}
	return all, nil
}

func tracedKey(raw tracePortTunnelKey) *TunnelKey {
	remote, local := layoutAddress{Word: raw.Remote.Word}, layoutAddress{Word: raw.Local.Word}
	family := layoutFamily(raw.Family)
	return &TunnelKey{VNI: raw.Vni, Remote: addressOf(remote, family), Local: optionalOf(local, family), Encapsulation: Encapsulation(raw.Encapsulation)}
}

func outcomeOf(record tracePortTraceRecord, frame []byte) (Outcome, error) {
	w, err := words()
	if err != nil {
		return Outcome{}, err
	}
	outcome := Outcome{
		Verdict:  w.verdicts[record.Verdict],
		Redirect: int(record.Redirect),
		Peer:     record.Peer != 0,
		VLAN:     uint16(record.Vlan),
		Told:     record.Told != 0,
		Frame:    frame,
	}
	if record.Reason != 0 {
		outcome.Reason = w.reasons[record.Reason].Name
	}
	if record.HasTunnelKey != 0 {
		outcome.Tunnel = tracedKey(record.TunnelKey)
	}
	return outcome, nil
}
