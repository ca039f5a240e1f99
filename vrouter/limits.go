// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Limit is how much passes in one direction, and how it is marked. Zero: all, as it is.
type Limit struct {
	Rate        uint32 // kbit/s; 0: any
	Burst       uint32 // kbit that may pass at once; 0: what passes in 0.8 s
	PacketRate  uint32 // 1,000 packets/s; 0: any
	PacketBurst uint32 // 1,000 packets; 0: what passes in 0.8 s
	Mark        bool   // packets get DSCP
	DSCP        uint8
}

// Limits are those of a port.
type Limits struct {
	Device int   // through which its frames come and go
	Out    Limit // what its workload sends
	In     Limit // what it gets; then its Port must not have RedirectPeer
}

// LimitCount counts what met a limit or mark. Packets and bytes are as on a wire.
type LimitCount struct {
	Packets, Bytes uint64 // that passed
	Limited        uint64 // frames that did not
	LimitedBytes   uint64
	Marked         uint64 // frames
}

// LimitUse is what came of one limit.
type LimitUse struct {
	Ifindex int
	In      bool // else out
	Limit
	LimitCount
}

// LimitTable is what ports may send and get, by interface. An entry is there with
// its programs on the port's device. What ports have used up stays when limits change, as far as the new buckets hold it.
type LimitTable struct{ d *Datapath }

// The directions of a limit, as the programs name them.
const (
	limitOut uint32 = iota
	limitIn
)

// limitDirections are those in which there may be one, with the hook that asks it.
var limitDirections = map[uint32]hook{limitOut: limitOutHook, limitIn: limitInHook}

func (l Limits) of(direction uint32) Limit {
	if direction == limitIn {
		return l.In
	}
	return l.Out
}

// Put limits a port, in the network namespace of its device.
func (t LimitTable) Put(ifindex int, l Limits) error {
	for direction, h := range limitDirections {
		var err error
		if limit := l.of(direction); limit == (Limit{}) {
			err = t.remove(ifindex, l.Device, direction)
		} else if err = t.set(ifindex, l.Device, direction, limit); err == nil {
			err = t.d.attach(h, l.Device)
		}
		if err != nil {
			return fmt.Errorf("limit interface %d: %w", ifindex, err)
		}
	}
	return nil
}

func (t LimitTable) set(ifindex, device int, direction uint32, l Limit) error {
	key := layoutLimitKey{Ifindex: uint32(ifindex), Direction: direction}
	states, limits := t.d.maps["limit_states"], t.d.maps["limits"]
	if err := states.Update(&key, &layoutLimitState{}, ebpf.UpdateNoExist); err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
		return refused(states, err)
	}
	raw := limitToRaw(l)
	raw.Device = uint32(device)
	return errors.Join(refused(limits, limits.Put(&key, &raw)), t.bound(key, &raw))
}

// bound lets a port owe no more than its buckets of now hold: what it used up of a deeper
// one would keep it from everything until that had filled. What is counted in the
// microseconds of it may be lost.
func (t LimitTable) bound(key layoutLimitKey, l *layoutLimitValue) error {
	states := t.d.maps["limit_states"]
	var s layoutLimitState
	if err := states.LookupWithFlags(&key, &s, ebpf.LookupLock); err != nil {
		return fmt.Errorf("read what is used up: %w", err)
	}
	var at unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &at); err != nil {
		return fmt.Errorf("read the clock: %w", err)
	}
	now := uint64(at.Nano()) * uint64(layoutLimitBoundLIMIT_TIME)
	until, packets := min(s.Until, now+l.Depth), min(s.PacketsUntil, now+l.PacketDepth)
	if until == s.Until && packets == s.PacketsUntil {
		return nil
	}
	s.Until, s.PacketsUntil = until, packets
	if err := states.Update(&key, &s, ebpf.UpdateExist|ebpf.UpdateLock); err != nil {
		return fmt.Errorf("bound what is used up: %w", err)
	}
	return nil
}

// remove takes away one direction, and the program from the device if nothing there is limited so.
func (t LimitTable) remove(ifindex, device int, direction uint32) error {
	key := layoutLimitKey{Ifindex: uint32(ifindex), Direction: direction}
	for _, name := range []string{"limits", "limit_states"} {
		if err := t.d.maps[name].Delete(&key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
	}
	used, err := t.devices(direction)
	if err != nil || used[device] {
		return err
	}
	return t.d.detach(limitDirections[direction], device)
}

// devices are those on which something is limited in a direction.
func (t LimitTable) devices(direction uint32) (map[int]bool, error) {
	used := map[int]bool{}
	err := t.each(func(key layoutLimitKey, raw layoutLimitValue) {
		if key.Direction == direction {
			used[int(raw.Device)] = true
		}
	})
	return used, err
}

func (t LimitTable) each(visit func(layoutLimitKey, layoutLimitValue)) error {
	var key layoutLimitKey
	var raw layoutLimitValue
	entries := t.d.maps["limits"].Iterate()
	for entries.Next(&key, &raw) {
		visit(key, raw)
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("list limits: %w", err)
	}
	return nil
}

// Delete lets everything of a port pass again. Absence is success.
func (t LimitTable) Delete(ifindex int) error {
	device := ifindex // of one that has no entry any more, or a device with programs alone
	for direction := range limitDirections {
		var raw layoutLimitValue
		if err := t.d.maps["limits"].Lookup(&layoutLimitKey{Ifindex: uint32(ifindex), Direction: direction}, &raw); err == nil {
			device = int(raw.Device)
		} else if !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("read limits of interface %d: %w", ifindex, err)
		}
	}
	for direction := range limitDirections {
		if err := t.remove(ifindex, device, direction); err != nil {
			return fmt.Errorf("remove limits of interface %d: %w", ifindex, err)
		}
	}
	return nil
}

// All returns the limits of all ports. A limit whose program is not on its device
// is not among them, but its port is; and so is a device with a program that
// limits nothing: each is to be put again, or deleted.
func (t LimitTable) All() (map[int]Limits, error) {
	all := map[int]Limits{}
	err := t.each(func(key layoutLimitKey, raw layoutLimitValue) {
		l := all[int(key.Ifindex)]
		l.Device = int(raw.Device)
		switch {
		case !t.d.lives(limitDirections[key.Direction], l.Device):
		case key.Direction == limitIn:
			l.In = limitOf(raw)
		default:
			l.Out = limitOf(raw)
		}
		all[int(key.Ifindex)] = l
	})
	if err != nil {
		return nil, err
	}
	attached, err := t.d.attachedBy(func(h string) bool { return limitOutHook.named(h) || limitInHook.named(h) })
	if err != nil {
		return nil, err
	}
	for direction := range limitDirections {
		used, err := t.devices(direction)
		if err != nil {
			return nil, err
		}
		attached = slices.DeleteFunc(attached, func(device int) bool { return used[device] })
	}
	for _, device := range attached {
		if _, limited := all[device]; !limited {
			all[device] = Limits{}
		}
	}
	return all, nil
}

// LimitUses returns what came of every limit, by interface, out first.
func (d *Datapath) LimitUses() ([]LimitUse, error) {
	var all []LimitUse
	var bad error
	err := d.Limits.each(func(key layoutLimitKey, raw layoutLimitValue) {
		var s layoutLimitState
		err := d.maps["limit_states"].LookupWithFlags(&key, &s, ebpf.LookupLock)
		if err != nil {
			if !errors.Is(err, ebpf.ErrKeyNotExist) {
				bad = fmt.Errorf("read use of limit of interface %d: %w", key.Ifindex, err)
			}
			return
		}
		all = append(all, LimitUse{int(key.Ifindex), key.Direction == limitIn, limitOf(raw), LimitCount{s.Packets, s.Bytes, s.Limited, s.LimitedBytes, s.Marked}})
	})
	slices.SortFunc(all, func(a, b LimitUse) int {
		first := func(u LimitUse) int {
			if u.In {
				return 1
			}
			return 0
		}
		return cmp.Or(cmp.Compare(a.Ifindex, b.Ifindex), cmp.Compare(first(a), first(b)))
	})
	return all, errors.Join(err, bad)
}

// depth is how long a bucket takes to fill, in times of limits: units a second
// for each of rate, and 0.8 s where no burst is asked for. A bucket that is
// deeper than a day is no other.
func depth(rate, burst uint32) uint64 {
	const second, day = uint64(layoutLimitBoundLIMIT_TIME) * 1_000_000_000, 24 * 60 * 60
	switch {
	case rate == 0:
		return 0
	case burst == 0:
		return second / 10 * 8
	case uint64(burst)/uint64(rate) >= day:
		return day * second
	}
	high, low := bits.Mul64(uint64(burst), second)
	fill, _ := bits.Div64(high, low, uint64(rate))
	return fill
}

func limitToRaw(l Limit) layoutLimitValue {
	raw := layoutLimitValue{
		Rate: l.Rate, Burst: l.Burst, Depth: depth(l.Rate, l.Burst),
		PacketRate: l.PacketRate, PacketBurst: l.PacketBurst, PacketDepth: depth(l.PacketRate, l.PacketBurst),
	}
	if l.Mark {
		raw.Flags, raw.Dscp = layoutLimitFlagLIMIT_MARKS, uint32(l.DSCP)
	}
	return raw
}

func limitOf(raw layoutLimitValue) Limit {
	return Limit{
		Rate: raw.Rate, Burst: raw.Burst, PacketRate: raw.PacketRate, PacketBurst: raw.PacketBurst,
		Mark: raw.Flags&layoutLimitFlagLIMIT_MARKS != 0, DSCP: uint8(raw.Dscp & math.MaxUint8),
	}
}
