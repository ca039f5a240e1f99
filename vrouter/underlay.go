// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// underlayProgramsName is apart from the other slots, whose arrays are pinned
// and cannot grow.
const underlayProgramsName = "underlay_programs"

// underlayHooks are the programs of MPLS over UDP and their slots.
type underlayHooks struct {
	slots    *ebpf.Map
	to, from *ebpf.Program
}

// open opens the pinned slots.
func (u *underlayHooks) open(stubs *ebpf.CollectionSpec, pinDir string) error {
	spec := stubs.Maps[underlayProgramsName]
	spec.Pinning = ebpf.PinByName
	var err error
	if u.slots, err = ebpf.NewMapWithOptions(spec, ebpf.MapOptions{PinPath: pinDir}); err != nil {
		return fmt.Errorf("open program slots of the underlay: %w", err)
	}
	spec.Pinning = ebpf.PinNone
	return nil
}

func (u *underlayHooks) load(maps map[string]*ebpf.Map) error {
	spec, err := loadToUnderlay()
	if err != nil {
		return fmt.Errorf("read object of to_underlay: %w", err)
	}
	if u.to, err = loadProgram(spec, "to_underlay", maps); err != nil {
		return err
	}
	if spec, err = loadFromUnderlay(); err != nil {
		return fmt.Errorf("read object of from_underlay: %w", err)
	}
	u.from, err = loadProgram(spec, "from_underlay", maps)
	return err
}

func (u *underlayHooks) activate() error {
	err := errors.Join(u.slots.Put(stubUnderlaySlotSLOT_TO_UNDERLAY, u.to), u.slots.Put(stubUnderlaySlotSLOT_FROM_UNDERLAY, u.from))
	if err != nil {
		return fmt.Errorf("activate programs of the underlay: %w", err)
	}
	return nil
}

func (u *underlayHooks) close() {
	for _, p := range []*ebpf.Program{u.to, u.from} {
		if p != nil {
			p.Close()
		}
	}
	if u.slots != nil {
		u.slots.Close()
	}
}

// AttachedUnderlay returns the interfaces that AttachUnderlay has attached, sorted.
func (d *Datapath) AttachedUnderlay() ([]int, error) { return d.attachedBy(fromUnderlayHook.named) }

// DetachUnderlay undoes AttachUnderlay. Absence is success.
func (d *Datapath) DetachUnderlay(ifindex int) error { return d.detach(fromUnderlayHook, ifindex) }

func (t *Tracer) loadUnderlay(maps map[string]*ebpf.Map) error {
	spec, err := loadTraceToUnderlay()
	if err != nil {
		return fmt.Errorf("read trace object: %w", err)
	}
	if t.toUnderlay, err = loadProgram(spec, "to_underlay", maps); err != nil {
		return err
	}
	if spec, err = loadTraceFromUnderlay(); err != nil {
		return fmt.Errorf("read trace object: %w", err)
	}
	t.fromUnderlay, err = loadProgram(spec, "from_underlay", maps)
	return err
}

// ToUnderlay shows what would become of a frame at the far end of the label
// path: of what FromPort shows as tunnelled by MPLS over UDP.
func (t *Tracer) ToUnderlay(ifindex int, frame []byte) (Outcome, error) {
	trace, err := t.FollowToUnderlay(ifindex, frame)
	return trace.Outcome, err
}

// FollowToUnderlay is ToUnderlay, and the way there.
func (t *Tracer) FollowToUnderlay(ifindex int, frame []byte) (Trace, error) {
	return t.run(t.toUnderlay, tracePortTraceArguments{Ifindex: uint32(ifindex)}, frame)
}

// FromUnderlay shows what would become of a frame that the underlay brings.
func (t *Tracer) FromUnderlay(ifindex int, frame []byte) (Outcome, error) {
	trace, err := t.FollowFromUnderlay(ifindex, frame)
	return trace.Outcome, err
}

// FollowFromUnderlay is FromUnderlay, and the way there.
func (t *Tracer) FollowFromUnderlay(ifindex int, frame []byte) (Trace, error) {
	return t.run(t.fromUnderlay, tracePortTraceArguments{Ifindex: uint32(ifindex)}, frame)
}
