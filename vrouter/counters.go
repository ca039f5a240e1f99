// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

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
}

// Counters returns the counters of every interface that has seen a frame.
func (d *Datapath) Counters() ([]Counter, error) {
	var all []Counter
	var ifindex uint32
	var perCPU []layoutCounterValue
	entries := d.maps["counters"].Iterate()
	for entries.Next(&ifindex, &perCPU) {
		c := Counter{Ifindex: int(ifindex)}
		for _, v := range perCPU {
			c.RxPackets += v.RxPackets
			c.RxBytes += v.RxBytes
			c.TxPackets += v.TxPackets
			c.TxBytes += v.TxBytes
		}
		all = append(all, c)
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("read counters: %w", err)
	}
	slices.SortFunc(all, func(a, b Counter) int { return cmp.Compare(a.Ifindex, b.Ifindex) })
	return all, nil
}

// Forget removes the counts of an interface that is no longer a port, so that
// a later interface with its index starts from zero.
func (d *Datapath) Forget(ifindex int) error {
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
	if err := d.requestTimes.Delete(ifindex); err != nil {
		return fmt.Errorf("forget requests of interface %d: %w", ifindex, err)
	}
	if err := d.errorTimes.Delete(ifindex); err != nil {
		return fmt.Errorf("forget ICMP errors of interface %d: %w", ifindex, err)
	}
	if err := d.maps["counters"].Delete(uint32(ifindex)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("forget counters of interface %d: %w", ifindex, err)
	}
	return nil
}
