// SPDX-License-Identifier: Apache-2.0

package reserve_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/reserve"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/stream"
	"github.com/weft-network/weft/control/world"
)

// blockWorld is objects and what hosts have acknowledged.
type blockWorld struct {
	*world.World
	t        *testing.T
	acked    map[string]int64 // by host
	isolated map[string]bool
	gone     int // port-blocks that were deleted
}

func (w *blockWorld) states() map[string]stream.HostState {
	states := map[string]stream.HostState{}
	for _, h := range api.ListOf[*api.Host](w, api.KindHost) {
		name := h.Meta.Name
		up := !w.isolated[name]
		states[h.Meta.UUID] = stream.HostState{Connected: up, InSync: up, Report: &hoststream.Report{}, Settled: placement.Version{Epoch: 1, Revision: w.acked[name]}}
	}
	return states
}

// round does what the controller that leads does, and tells how much that was.
func (w *blockWorld) round() int {
	s := w.Snapshot()
	changes := reserve.Blocks(reserve.Input{Snapshot: s, Routes: routing.Derive(s), Epoch: 1, Hosts: w.states()}, 100)
	for _, c := range changes {
		for _, op := range c.Operations {
			w.apply(op)
		}
	}
	return len(changes)
}

func (w *blockWorld) apply(op api.Operation) {
	w.t.Helper()
	b := op.Object.(*api.PortBlock)
	_, address, _ := strings.Cut(strings.ReplaceAll(b.Meta.Parent.Name, "d:p:", "|"), "|")
	if problems := b.Validate(); len(problems) > 0 && op.Op != api.OpDelete {
		w.t.Fatalf("%s %+v: %v", op.Op, b.Spec, problems)
	}
	if op.Op == api.OpCreate { // the store would refuse it
		all := w.blocksOf()[b.Meta.Parent.UUID]
		for i, to := b.Blocks(); i < to; i++ {
			if of := all[i]; of != nil {
				w.t.Fatalf("ports %v are given to %s, and %v are of %s", b.Spec.Ports, b.Spec.Host.Name, of.Spec.Ports, of.Spec.Host.Name)
			}
		}
	}
	if op.Op == api.OpDelete {
		host := b.Spec.Host.Name
		if w.isolated[host] || w.acked[host] < b.Meta.Revision || !b.Spec.Releasing {
			w.t.Fatalf("port-block %v of %s is deleted, which has acknowledged %d of %d (isolated %t, releasing %t)", b.Spec.Ports, host, w.acked[host], b.Meta.Revision, w.isolated[host], b.Spec.Releasing)
		}
		w.gone++
		w.Do(fmt.Sprintf("remove %s %s:%v", api.KindPortBlock, address, b.Spec.Ports))
		return
	}
	line := fmt.Sprintf("block %s %v %s", address, b.Spec.Ports, b.Spec.Host.Name)
	if b.Spec.Releasing {
		line += " releasing"
	}
	w.Do(line)
}

// blocksOf are the port-blocks, by address and block.
func (w *blockWorld) blocksOf() map[string]map[int]*api.PortBlock {
	all := map[string]map[int]*api.PortBlock{}
	for _, b := range api.ListOf[*api.PortBlock](w, api.KindPortBlock) {
		of := all[b.Meta.Parent.UUID]
		if of == nil {
			of = map[int]*api.PortBlock{}
			all[b.Meta.Parent.UUID] = of
		}
		for i, to := b.Blocks(); i < to; i++ {
			if of[i] != nil {
				w.t.Fatalf("ports %d of %s are of %s and of %s", i*api.BlockPorts, b.Meta.Parent.Name, of[i].Spec.Host.Name, b.Spec.Host.Name)
			}
			of[i] = b
		}
	}
	return all
}

// Ports of shared addresses are one host's, are there for each host that goes out,
// and are taken back when the host has acknowledged that it begins nothing there.
func TestPortBlocks(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 3))
	t.Logf("seed %d", seed)
	text := "network n0 1\nnetwork n1 2\nnetwork e 3\nsubnet e 198.51.100.0/24\nsubnet e 2001:db8:e::/64"
	for i := range 4 {
		text += fmt.Sprintf("\nhost h%d 192.0.2.%d\naddress e 198.51.100.%d\naddress e 2001:db8:e::%d", i, i+1, i+10, i+10)
	}
	for i := range 8 {
		text += fmt.Sprintf("\nport n%d p%d", i%2, i)
	}
	w := &blockWorld{World: world.New(text), t: t, acked: map[string]int64{}, isolated: map[string]bool{}}
	settled := 0
	for step := 0; step < 2000 || step < 20000 && (w.gone < 100 || settled < 500); step++ {
		host, port := fmt.Sprintf("h%d", r.IntN(4)), fmt.Sprintf("p%d", r.IntN(8))
		switch r.IntN(8) {
		case 0:
			w.Do(fmt.Sprintf("bind %s %s", port, host))
		case 1:
			w.Do(fmt.Sprintf("remove %s %s:%s", api.KindBinding, port, host))
		case 2:
			w.Do(fmt.Sprintf("snat s%d n%d e:198.51.100.1%d e:2001:db8:e::1%d", r.IntN(2), r.IntN(2), r.IntN(2), r.IntN(2)))
		case 3:
			if r.IntN(3) == 0 {
				w.Do(fmt.Sprintf("remove %s s%d", api.KindSourceNAT, r.IntN(2)))
			}
		case 4:
			w.isolated[host] = !w.isolated[host]
		case 5:
			if !w.isolated[host] {
				w.acked[host] = w.Revision()
			}
		default:
			w.round()
		}
		w.blocksOf()
		if r.IntN(4) == 0 {
			for range 3 {
				w.round()
			}
			w.allServed()
			settled++
		}
	}
	if w.gone < 100 || settled < 500 {
		t.Errorf("seed %d: too little was seen: %d port-blocks went, %d times all was done", seed, w.gone, settled)
	}
}

// allServed: every host that goes out has ports of each family, of as many
// addresses as that takes, that it may use.
func (w *blockWorld) allServed() {
	w.t.Helper()
	s := w.Snapshot()
	for _, n := range routing.Derive(s).Networks {
		for _, nat := range n.SourceNATs() {
			for _, host := range nat.Hosts {
				found := false
				for _, other := range n.SourceNATs() {
					for _, b := range other.Blocks {
						found = found || b.Host.UUID == host.UUID && !b.Releasing && other.IP.Is6() == nat.IP.Is6() && other.Inside == nat.Inside
					}
				}
				if nat.Reason == "" && !found {
					w.t.Fatalf("host %s has no ports of %v for %s", host, nat.IP, nat.Inside)
				}
			}
		}
	}
}

// The more hosts share an address the smaller their parts; what is full is full,
// and a second address takes who comes then.
func TestPortBlocksOfManyHosts(t *testing.T) {
	text := "network n 1\nnetwork e 2\naddress e 198.51.100.10\naddress e 198.51.100.11\nsnat s n e:198.51.100.10"
	for i := range 250 {
		text += fmt.Sprintf("\nhost h%03d 192.0.2.%d\nport n p%d\nbind p%d h%03d", i, i, i, i, i)
	}
	w := &blockWorld{World: world.New(text), t: t}
	for w.round() > 0 {
	}
	sizes := map[int]int{}
	count := func() (served int) {
		clear(sizes)
		for _, b := range api.ListOf[*api.PortBlock](w, api.KindPortBlock) {
			from, to := b.Blocks()
			sizes[to-from]++
			served++
		}
		return served
	}
	first := api.FirstBlockPort / api.BlockPorts
	served := count()
	if blocks := w.blocksOf()[world.UUID(api.KindAddress, "e:198.51.100.10")]; len(blocks) != 1024-first {
		t.Errorf("%d blocks are given away, want all %d", len(blocks), 1024-first)
	}
	if served < 180 || served > 200 || sizes[16] < 31 || sizes[1] < 60 {
		t.Errorf("%d hosts are served, by size %v", served, sizes)
	}
	w.Do("snat s n e:198.51.100.10 e:198.51.100.11")
	for w.round() > 0 {
	}
	if now := count(); now != 250 {
		t.Errorf("with a second address %d hosts are served, want 250; by size %v", now, sizes)
	}
	w.blocksOf()
}
