// SPDX-License-Identifier: Apache-2.0

package lossless

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/weft-network/weft/vrouter"
)

// drops are the counters of one host's vRouter. A change of layout starts new
// ones, so all that were ever seen are held open and summed up.
type drops struct {
	bpf     string // folder that the agent pins below
	reasons []vrouter.Reason
	tables  map[ebpf.MapID]*ebpf.Map
}

func newDrops(bpf string) (*drops, error) {
	reasons, err := vrouter.Reasons()
	if err != nil {
		return nil, err
	}
	return &drops{bpf: bpf, reasons: reasons, tables: map[ebpf.MapID]*ebpf.Map{}}, nil
}

// hold opens the counters that are there now.
func (d *drops) hold() error {
	files, err := filepath.Glob(filepath.Join(d.bpf, "maps-*", "drops"))
	if err != nil {
		return fmt.Errorf("find counters below %s: %w", d.bpf, err)
	}
	if len(files) == 0 {
		return fmt.Errorf("find counters below %s: there are none", d.bpf)
	}
	for _, file := range files {
		m, err := ebpf.LoadPinnedMap(file, &ebpf.LoadPinOptions{ReadOnly: true})
		if err != nil {
			return fmt.Errorf("open counters %s: %w", file, err)
		}
		info, err := m.Info()
		if err != nil {
			m.Close()
			return fmt.Errorf("look at counters %s: %w", file, err)
		}
		id, _ := info.ID() // every kernel that tcx or a fallback of ours works on tells it
		if _, held := d.tables[id]; held {
			m.Close()
			continue
		}
		d.tables[id] = m
	}
	return nil
}

func (d *drops) close() {
	for _, m := range d.tables {
		m.Close()
	}
}

type dropKey struct{ Ifindex, Reason uint32 }

type dropValue struct{ Packets, Bytes uint64 }

// dropped sums frames up by reason; those that were only consumed had no
// further to go.
func (d *drops) dropped() (map[string]uint64, error) {
	sum := map[string]uint64{}
	for _, m := range d.tables {
		var key dropKey
		var perCPU []dropValue
		rows := m.Iterate()
		for rows.Next(&key, &perCPU) {
			if key.Reason == 0 || int(key.Reason) > len(d.reasons) {
				return nil, fmt.Errorf("read counters: reason %d is not known", key.Reason)
			}
			reason := d.reasons[key.Reason-1]
			for _, v := range perCPU {
				if reason.Verdict == "dropped" {
					sum[reason.Name] += v.Packets
				}
			}
		}
		if err := rows.Err(); err != nil {
			return nil, fmt.Errorf("read counters: %w", err)
		}
	}
	return sum, nil
}

// since takes what was counted before from what is counted now.
func since(now, before map[string]uint64) map[string]uint64 {
	more := map[string]uint64{}
	for reason, n := range now {
		if n > before[reason] {
			more[reason] = n - before[reason]
		}
	}
	return more
}

// backlog reads how many frames the machine's queues between devices and stack
// had no room for (the second column of softnet_stat). It is the sum of all
// namespaces: what else runs on the machine counts too.
func backlog() (uint64, error) {
	file, err := os.Open("/proc/net/softnet_stat")
	if err != nil {
		return 0, fmt.Errorf("read the backlog's drops: %w", err)
	}
	defer file.Close()
	var sum uint64
	for s := bufio.NewScanner(file); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) < 2 {
			return 0, fmt.Errorf("read the backlog's drops: %q has no second column", s.Text())
		}
		n, err := strconv.ParseUint(fields[1], 16, 64)
		if err != nil {
			return 0, fmt.Errorf("read the backlog's drops: %w", err)
		}
		sum += n
	}
	return sum, nil
}
