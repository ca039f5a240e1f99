// SPDX-License-Identifier: Apache-2.0

package plug_test

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/agent/link"
	"github.com/weft-network/weft/agent/plug"
)

// An interface made here follows its port after a restart too; one that
// somebody else made is left alone, and so is one of which an older agent did
// not say what it got, until it has changed once more.
func TestFollowTouchesOnlyWhatWasGiven(t *testing.T) {
	l, dir := newLinks(), t.TempDir()
	kernel := datapath.NewMemoryKernel(nil)
	w := start(t, l, kernel, dir, 1, 2, 3)
	for n, place := range map[int]link.Place{1: inNetns("1"), 2: {Interface: "tap0"}} {
		if _, err := w.Plug(t.Context(), plug.Request{Port: portID(n), Place: place, TimeoutSeconds: 10}); err != nil {
			t.Fatal(err)
		}
	}
	records, err := plug.OpenRecords(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := records.Save(plug.Record{Port: portID(3), Name: "d:p:3", Place: inNetns("3")}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Ensure(portID(3), inNetns("3"), link.Settings{}); err != nil {
		t.Fatal(err)
	}
	w.stop()
	w = start(t, l, kernel, dir, 1, 2, 3)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Follow(ctx) }()
	followed := func(want ...string) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; runtime.Gosched() {
			l.mu.Lock()
			got := slices.Clone(l.followed)
			l.mu.Unlock()
			all, err := records.All()
			if err != nil {
				t.Fatal(err)
			}
			said := 0
			for _, r := range all {
				if r.Given != nil {
					said++
				}
			}
			slices.Sort(got)
			if slices.Equal(got, want) && said == 2 {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("followed %v, %d records say what was given; want %v and 2", got, said, want)
			}
		}
	}
	followed()
	underlay := func(mtu int) {
		t.Helper()
		err := w.loop.Do(t.Context(), func(c *host.Core) {
			u := datapath.Underlay{IPv4: netip.MustParseAddr("192.0.2.1"), MTU: mtu}
			c.SetUnderlay(u, u.Addresses())
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	underlay(1600)
	before, after := datapath.Underlay{IPv4: netip.MustParseAddr("192.0.2.1"), MTU: 1500}.WorkloadMTU(), datapath.Underlay{IPv4: netip.MustParseAddr("192.0.2.1"), MTU: 1600}.WorkloadMTU()
	followed(fmt.Sprint("1", before, after), fmt.Sprint("3", before, after))
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
