// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
)

// Drop counts the frames that ended for one reason on one interface. Bytes
// include the Ethernet header. Consumed frames are among them: see the verdict.
type Drop struct {
	Ifindex int
	Reason
	Packets uint64
	Bytes   uint64
}

// AnyInterface is no interface: what ended on interfaces whose own counts found
// no room.
const AnyInterface = 0

// initCounts makes the counts of what finds no room, one for each reason and
// one of rules. Those that are there stay.
func (d *Datapath) initCounts() error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("count processors: %w", err)
	}
	there := func(err error) error {
		if errors.Is(err, ebpf.ErrKeyExist) {
			return nil
		}
		return err
	}
	for reason := layoutReason(1); reason < layoutReasonREASON_COUNT; reason++ {
		key := layoutDropKey{Ifindex: AnyInterface, Reason: reason}
		if err := there(d.maps["drops"].Update(&key, make([]layoutDropValue, cpus), ebpf.UpdateNoExist)); err != nil {
			return fmt.Errorf("make the count of drops that find no room: %w", err)
		}
	}
	if err := there(d.maps["rule_hits"].Update(uint32(AnyRule), make([]uint64, cpus), ebpf.UpdateNoExist)); err != nil {
		return fmt.Errorf("make the count of rules that find no room: %w", err)
	}
	return nil
}

// Drops returns all counts since the tables were created or the interface was
// forgotten, by interface and in the order of the stages.
func (d *Datapath) Drops() ([]Drop, error) {
	w, err := words()
	if err != nil {
		return nil, err
	}
	type numbered struct {
		reason layoutReason
		drop   Drop
	}
	var found []numbered
	var key layoutDropKey
	var perCPU []layoutDropValue
	entries := d.maps["drops"].Iterate()
	for entries.Next(&key, &perCPU) {
		if int(key.Reason) >= len(w.reasons) {
			return nil, fmt.Errorf("read drops: reason %d is not in this build", key.Reason)
		}
		drop := Drop{Ifindex: int(key.Ifindex), Reason: w.reasons[key.Reason]}
		for _, v := range perCPU {
			drop.Packets += v.Packets
			drop.Bytes += v.Bytes
		}
		if key.Ifindex == AnyInterface && drop.Packets == 0 {
			continue
		}
		found = append(found, numbered{key.Reason, drop})
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("read drops: %w", err)
	}
	slices.SortFunc(found, func(a, b numbered) int {
		return cmp.Or(cmp.Compare(a.drop.Ifindex, b.drop.Ifindex), cmp.Compare(a.reason, b.reason))
	})
	drops := make([]Drop, len(found))
	for i, n := range found {
		drops[i] = n.drop
	}
	return drops, nil
}

// Counter counts frames received from an interface and sent to it. Bytes
// include the Ethernet header; an offloaded frame counts once.
type Counter struct {
	Ifindex   int
	RxPackets uint64
	RxBytes   uint64
	TxPackets uint64
	TxBytes   uint64
	// Untracked counts the frames received from it whose connection found no
	// room in a table. They were forwarded all the same.
	Untracked uint64
	// Unlogged counts the records that are missing of what its rules log.
	Unlogged uint64
}

// counterSlots gives each port a place in the table of counters, which it keeps
// until the interface is forgotten.
type counterSlots struct {
	mu   sync.Mutex
	of   map[int]uint32
	used map[uint32]bool
}

// slotsOf finds the slots that an earlier run gave.
func slotsOf(ports *ebpf.Map) (*counterSlots, error) {
	s := &counterSlots{of: map[int]uint32{}, used: map[uint32]bool{uint32(layoutCounterSlotTUNNEL_SLOT): true, uint32(layoutCounterSlotHOST_SLOT): true, uint32(layoutCounterSlotFABRIC_SLOT): true}}
	var ifindex uint32
	var port layoutPortValue
	entries := ports.Iterate()
	for entries.Next(&ifindex, &port) {
		s.of[int(ifindex)] = port.Slot
		s.used[port.Slot] = true
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("read slots of ports: %w", err)
	}
	return s, nil
}

// take returns the slot of a port; a fresh one starts from zero.
func (s *counterSlots) take(ifindex int, counters *ebpf.Map) (uint32, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slot, has := s.of[ifindex]; has {
		return slot, nil
	}
	for slot := range counters.MaxEntries() {
		if s.used[slot] {
			continue
		}
		cpus, err := ebpf.PossibleCPU()
		if err == nil {
			err = counters.Put(slot, make([]layoutCounterValue, cpus))
		}
		if err != nil {
			return 0, fmt.Errorf("clear counters of interface %d: %w", ifindex, err)
		}
		s.of[ifindex], s.used[slot] = slot, true
		return slot, nil
	}
	return 0, fmt.Errorf("take a slot in table counters: %w", full(counters.MaxEntries()))
}

func (s *counterSlots) release(ifindex int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slot, has := s.of[ifindex]; has {
		delete(s.of, ifindex)
		delete(s.used, slot)
	}
}

// Counters returns the counters of every interface that has seen a frame.
func (d *Datapath) Counters() ([]Counter, error) {
	config, err := d.Config()
	if err != nil {
		return nil, err
	}
	d.slots.mu.Lock()
	slots := maps.Clone(d.slots.of)
	d.slots.mu.Unlock()
	if config.TunnelDevice != 0 {
		slots[config.TunnelDevice] = uint32(layoutCounterSlotTUNNEL_SLOT)
	}
	if config.HostDevice != 0 {
		slots[config.HostDevice] = uint32(layoutCounterSlotHOST_SLOT)
	}
	// One slot serves all uplinks, and is shown at the first.
	uplinks, err := d.Uplinks()
	if err != nil {
		return nil, err
	}
	if len(uplinks) > 0 {
		slots[uplinks[0]] = uint32(layoutCounterSlotFABRIC_SLOT)
	}
	var all []Counter
	for ifindex, slot := range slots {
		var perCPU []layoutCounterValue
		if err := d.maps["counters"].Lookup(slot, &perCPU); err != nil {
			return nil, fmt.Errorf("read counters of interface %d: %w", ifindex, err)
		}
		c := Counter{Ifindex: ifindex}
		for _, v := range perCPU {
			c.RxPackets += v.RxPackets
			c.RxBytes += v.RxBytes
			c.TxPackets += v.TxPackets
			c.TxBytes += v.TxBytes
			c.Untracked += v.Untracked
			c.Unlogged += v.Unlogged
		}
		if c != (Counter{Ifindex: ifindex}) {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b Counter) int { return cmp.Compare(a.Ifindex, b.Ifindex) })
	return all, nil
}

// Forget removes the counts of an interface that is no longer a port, so that
// a later interface with its index starts from zero.
func (d *Datapath) Forget(ifindex int) error {
	if err := d.forgetCounts(ifindex); err != nil {
		return err
	}
	d.slots.release(ifindex)
	return d.forgetMACs(ifindex)
}

func (d *Datapath) forgetCounts(ifindex int) error {
	w, err := words()
	if err != nil {
		return err
	}
	for reason := range w.reasons {
		key := layoutDropKey{Ifindex: uint32(ifindex), Reason: layoutReason(reason)}
		if err := d.maps["drops"].Delete(&key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forget drops of interface %d: %w", ifindex, err)
		}
	}
	for what, used := range map[string]*Table[int, uint64]{"requests": d.requestTimes, "ICMP errors": d.errorTimes, "answers": d.answerTimes, "floods": d.floodTimes, "services": d.serviceTimes} {
		if err := used.Delete(ifindex); err != nil {
			return fmt.Errorf("forget %s of interface %d: %w", what, ifindex, err)
		}
	}
	return nil
}

// ForgetGone drops the counts of interfaces that are neither ports nor have the
// packet path on them: what a frame counted after [Datapath.Forget], on its way
// or before its interface went, would stay for ever and in the end fill the table.
func (d *Datapath) ForgetGone() error {
	counted, err := d.countedInterfaces() // before what is there, for one may come meanwhile
	if err != nil {
		return err
	}
	ports, err := d.Ports.All()
	if err != nil {
		return err
	}
	attached, err := d.attachedBy(func(string) bool { return true })
	if err != nil {
		return err
	}
	delete(counted, AnyInterface)
	for ifindex := range ports {
		delete(counted, ifindex)
	}
	for _, ifindex := range attached {
		delete(counted, ifindex)
	}
	for ifindex := range counted {
		err = errors.Join(err, d.forgetCounts(ifindex))
	}
	return err
}

// countedInterfaces are those that tables have counts or times of.
func (d *Datapath) countedInterfaces() (map[int]bool, error) {
	counted := map[int]bool{}
	var key layoutDropKey
	var perCPU []layoutDropValue
	entries := d.maps["drops"].Iterate()
	for entries.Next(&key, &perCPU) {
		counted[int(key.Ifindex)] = true
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("list table drops: %w", err)
	}
	for _, used := range []*Table[int, uint64]{d.requestTimes, d.errorTimes, d.answerTimes, d.floodTimes, d.serviceTimes} {
		all, err := used.All()
		if err != nil {
			return nil, err
		}
		for ifindex := range all {
			counted[ifindex] = true
		}
	}
	return counted, nil
}
