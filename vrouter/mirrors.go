// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"
)

// The most mirrors of a port in one direction, and matches of a mirror.
const (
	MaxMirrors       = int(layoutMirrorBoundMIRRORS)
	MaxMirrorMatches = int(layoutMirrorBoundMIRROR_MATCHES)
)

// MirrorMatch is what a frame must have to be copied: all of what is not zero. Frames of
// no IP match none. Later fragments have neither ports nor types.
type MirrorMatch struct {
	Protocol    uint8 // of IP; 0: any
	Ports       PortSpan
	SourcePorts PortSpan
	ICMPType    uint8 // of either family, where HasICMPType
	ICMPCode    uint8
	HasICMPType bool
	HasICMPCode bool
}

// PortSpan is from the first port to the last, both included; zero: any.
type PortSpan struct{ First, Last uint16 }

// Mirror says which frames of a port are copied, and where to.
type Mirror struct {
	Target  uint32 // of [Datapath.MirrorTargets]; 0: no mirror
	OneOf   uint32 // of so many frames one is copied, at random; 0 and 1: each
	Matches uint32 // how many of Match count; 0: every frame is copied
	Match   [MaxMirrorMatches]MirrorMatch
}

// Mirrors are those of a port.
type Mirrors struct {
	Device int                // through which its frames come and go
	Out    [MaxMirrors]Mirror // of what its workload sends
	In     [MaxMirrors]Mirror // of what it gets; then its Port must not have RedirectPeer
}

// MirrorEncapsulation is what is around a copy.
type MirrorEncapsulation uint32

// The encapsulations of copies: VXLAN (RFC 7348), GRE of Ethernet with the id as key
// (RFC 2784, 2890), ERSPAN type II with the id as session, of which there are 1,024.
const (
	MirrorVXLAN  = MirrorEncapsulation(layoutMirrorEncapsulationMIRROR_VXLAN)
	MirrorGRE    = MirrorEncapsulation(layoutMirrorEncapsulationMIRROR_GRE)
	MirrorERSPAN = MirrorEncapsulation(layoutMirrorEncapsulationMIRROR_ERSPAN)
)

// MirrorTarget is where copies go.
type MirrorTarget struct {
	Path          int // the near end of the mirror path, see [Datapath.AttachMirrorPath]
	Ifindex       int // through which copies leave
	Encapsulation MirrorEncapsulation
	ID            uint32
	Port          uint16     // of UDP, with VXLAN
	Local, Remote netip.Addr // of one family
	Most          int        // bytes that are left of a frame, 64 or more
}

// MirrorCount counts copies. The originals are never fewer.
type MirrorCount struct {
	Packets, Bytes uint64
	PassedOver     uint64 // by sampling
	Cut            uint64 // copies that are not whole
	Lost           uint64 // copies for which there was no room or no way
}

func (c *MirrorCount) add(raw layoutMirrorCount) {
	c.Packets += raw.Packets
	c.Bytes += raw.Bytes
	c.PassedOver += raw.PassedOver
	c.Cut += raw.Cut
	c.Lost += raw.Lost
}

// MirrorTable is what of ports is copied, by interface. An entry is there with its
// programs on the port's device.
type MirrorTable struct{ d *Datapath }

// MirrorTargetTable is where copies go, by number.
type MirrorTargetTable struct{ d *Datapath }

// The directions of a mirror, as the programs name them.
const (
	mirrorOut uint32 = iota
	mirrorIn
)

var mirrorDirections = map[uint32]hook{mirrorOut: mirrorOutHook, mirrorIn: mirrorInHook}

func (m *Mirrors) of(direction uint32) *[MaxMirrors]Mirror {
	if direction == mirrorIn {
		return &m.In
	}
	return &m.Out
}

// Put copies frames of a port, in the network namespace of its device. The targets
// must be there.
func (t MirrorTable) Put(ifindex int, m Mirrors) error {
	for direction, h := range mirrorDirections {
		some := false
		for number, one := range m.of(direction) {
			key := layoutMirrorKey{Ifindex: uint32(ifindex), Direction: direction, Number: uint32(number)}
			var err error
			if one.Target == 0 {
				err = t.forget(key)
			} else {
				some = true
				err = t.set(key, m.Device, one)
			}
			if err != nil {
				return fmt.Errorf("mirror interface %d: %w", ifindex, err)
			}
		}
		var err error
		if some {
			err = t.d.attach(h, m.Device)
		} else {
			err = t.leave(m.Device, direction)
		}
		if err != nil {
			return fmt.Errorf("mirror interface %d: %w", ifindex, err)
		}
	}
	return nil
}

func (t MirrorTable) set(key layoutMirrorKey, device int, m Mirror) error {
	counts, mirrors := t.d.maps["mirror_counts"], t.d.maps["mirrors"]
	none := make([]layoutMirrorCount, ebpf.MustPossibleCPU())
	if err := counts.Update(&key, none, ebpf.UpdateNoExist); err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
		return refused(counts, err)
	}
	raw := mirrorToRaw(m)
	raw.Device = uint32(device)
	return refused(mirrors, mirrors.Put(&key, &raw))
}

// forget removes the count first: an entry that is left alone is found by All.
func (t MirrorTable) forget(key layoutMirrorKey) error {
	for _, name := range []string{"mirror_counts", "mirrors"} {
		if err := t.d.maps[name].Delete(&key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("remove from %s: %w", name, err)
		}
	}
	return nil
}

// leave takes the program from a device of which nothing is copied so.
func (t MirrorTable) leave(device int, direction uint32) error {
	used, err := t.devices(direction)
	if err != nil || used[device] {
		return err
	}
	return t.d.detach(mirrorDirections[direction], device)
}

// devices are those of which something is copied in a direction.
func (t MirrorTable) devices(direction uint32) (map[int]bool, error) {
	used := map[int]bool{}
	err := t.each(func(key layoutMirrorKey, raw layoutMirrorValue) {
		if key.Direction == direction {
			used[int(raw.Device)] = true
		}
	})
	return used, err
}

func (t MirrorTable) each(visit func(layoutMirrorKey, layoutMirrorValue)) error {
	var key layoutMirrorKey
	var raw layoutMirrorValue
	entries := t.d.maps["mirrors"].Iterate()
	for entries.Next(&key, &raw) {
		visit(key, raw)
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("list mirrors: %w", err)
	}
	return nil
}

// Delete copies nothing of a port any more. Absence is success.
func (t MirrorTable) Delete(ifindex int) error {
	device := ifindex // of one that has no entry any more, or a device with programs alone
	err := t.each(func(key layoutMirrorKey, raw layoutMirrorValue) {
		if key.Ifindex == uint32(ifindex) {
			device = int(raw.Device)
		}
	})
	for direction := range mirrorDirections {
		for number := range uint32(MaxMirrors) {
			err = errors.Join(err, t.forget(layoutMirrorKey{Ifindex: uint32(ifindex), Direction: direction, Number: number}))
		}
		err = errors.Join(err, t.leave(device, direction))
	}
	if err != nil {
		return fmt.Errorf("remove mirrors of interface %d: %w", ifindex, err)
	}
	return nil
}

// All returns the mirrors of all ports. A mirror whose program is not on its device is
// not among them, but its port is. What an interrupted change left, a count or a program
// that copies nothing, makes the mirrors of its interface have no device: these are to be
// put again, or deleted.
func (t MirrorTable) All() (map[int]Mirrors, error) {
	all, there := map[int]Mirrors{}, map[layoutMirrorKey]bool{}
	err := t.each(func(key layoutMirrorKey, raw layoutMirrorValue) {
		m := all[int(key.Ifindex)]
		m.Device = int(raw.Device)
		if there[key] = true; t.d.lives(mirrorDirections[key.Direction], m.Device) {
			m.of(key.Direction)[key.Number] = mirrorOf(raw)
		}
		all[int(key.Ifindex)] = m
	})
	broken := func(ifindex int) {
		m := all[ifindex]
		m.Device = 0
		all[ifindex] = m
	}
	var key layoutMirrorKey
	var count []layoutMirrorCount
	counts := t.d.maps["mirror_counts"].Iterate()
	for counts.Next(&key, &count) {
		if !there[key] {
			broken(int(key.Ifindex))
		}
	}
	err = errors.Join(err, counts.Err())
	for direction, h := range mirrorDirections {
		attached, listed := t.d.attachedBy(h.named)
		used, read := t.devices(direction)
		err = errors.Join(err, listed, read)
		for _, device := range attached {
			if !used[device] {
				broken(device)
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list mirrors: %w", err)
	}
	return all, nil
}

// Put says where the copies for a number go.
func (t MirrorTargetTable) Put(number uint32, target MirrorTarget) error {
	counts, targets := t.d.maps["mirror_target_counts"], t.d.maps["mirror_targets"]
	raw, err := mirrorTargetToRaw(target)
	if err != nil {
		return fmt.Errorf("put mirror target %d: %w", number, err)
	}
	if err := counts.Update(&number, &layoutMirrorCount{}, ebpf.UpdateNoExist); err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
		return fmt.Errorf("put mirror target %d: %w", number, refused(counts, err))
	}
	if err := refused(targets, targets.Put(&number, &raw)); err != nil {
		return fmt.Errorf("put mirror target %d: %w", number, err)
	}
	return nil
}

// Delete forgets a target; copies for it are lost. Absence is success.
func (t MirrorTargetTable) Delete(number uint32) error {
	for _, name := range []string{"mirror_target_counts", "mirror_targets"} { // All finds what has no count
		if err := t.d.maps[name].Delete(&number); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("delete mirror target %d: %w", number, err)
		}
	}
	return nil
}

// All returns every target by its number.
func (t MirrorTargetTable) All() (map[uint32]MirrorTarget, error) {
	all := map[uint32]MirrorTarget{}
	err := eachEntry(t.d.maps["mirror_targets"], func(number *uint32, raw *layoutMirrorTargetValue) { all[*number] = mirrorTargetOf(*raw) })
	if err != nil {
		return nil, fmt.Errorf("list mirror targets: %w", err)
	}
	return all, nil
}

// MirrorUse is what came of a mirror of a port.
type MirrorUse struct {
	Ifindex int
	In      bool // else out
	Target  uint32
	MirrorCount
}

// MirrorUses returns what came of every mirror, by interface, and of every target.
func (d *Datapath) MirrorUses() ([]MirrorUse, map[uint32]MirrorCount, error) {
	var uses []MirrorUse
	var bad error
	err := d.Mirrors.each(func(key layoutMirrorKey, raw layoutMirrorValue) {
		u := MirrorUse{Ifindex: int(key.Ifindex), In: key.Direction == mirrorIn, Target: raw.Target}
		var perCPU []layoutMirrorCount
		if err := d.maps["mirror_counts"].Lookup(&key, &perCPU); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			bad = fmt.Errorf("read count of mirror of interface %d: %w", key.Ifindex, err)
		}
		for _, one := range perCPU {
			u.add(one)
		}
		uses = append(uses, u)
	})
	targets := map[uint32]MirrorCount{}
	listed := eachEntry(d.maps["mirror_target_counts"], func(number *uint32, raw *layoutMirrorCount) {
		var c MirrorCount
		c.add(*raw)
		targets[*number] = c
	})
	slices.SortFunc(uses, compareMirrorUses)
	return uses, maps.Clone(targets), errors.Join(err, bad, listed)
}
