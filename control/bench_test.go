// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/world"
)

// fixed is a snapshot whose lists cost nothing, as the store's.
type fixed struct {
	api.Snapshot
	lists map[api.Kind][]api.Object
}

func (f fixed) List(k api.Kind) []api.Object { return f.lists[k] }

func freeze(s api.Snapshot) fixed {
	f := fixed{s, map[api.Kind][]api.Object{}}
	for _, k := range api.Kinds() {
		f.lists[k.Kind] = s.List(k.Kind)
	}
	return f
}

// large is 1,000 networks of 10 ports each, spread over 100 hosts; every
// tenth network is joined with its neighbour.
func large() *world.World {
	var b strings.Builder
	for h := range 100 {
		fmt.Fprintf(&b, "host h%d 192.0.2.%d\n", h, h+1)
	}
	for n := range 1000 {
		fmt.Fprintf(&b, "network n%d %d\nsubnet n%d 10.0.0.0/24\n", n, n+1, n)
		for p := range 10 {
			fmt.Fprintf(&b, "port n%d p%d-%d\naddress n%d 10.0.%d.%d p%d-%d\nbind p%d-%d h%d\n", n, n, p, n, n%2, p+5, n, p, n, p, (n*7+p*13)%100)
		}
		if n%10 == 1 {
			fmt.Fprintf(&b, "policy j%d n%d n%d\nattach j%d n%d\nattach j%d n%d\n", n, n-1, n, n, n-1, n, n)
		}
	}
	return world.New(b.String())
}

// BenchmarkRecompute measures one change in a large world, from the snapshot
// to what every host must have.
func BenchmarkRecompute(b *testing.B) {
	w := large()
	before := freeze(w.Snapshot())
	w.Do("port n5 new\naddress n5 10.0.9.9 new\nbind new h1")
	after := freeze(w.Snapshot())
	plan := placement.New(1, routing.Derive(before), nil)
	derived := routing.Derive(after)
	b.Run("derive", func(b *testing.B) {
		for b.Loop() {
			routing.Derive(after)
		}
	})
	b.Run("plan-from-nothing", func(b *testing.B) {
		for b.Loop() {
			placement.New(1, derived, nil)
		}
	})
	b.Run("plan-from-earlier", func(b *testing.B) {
		for b.Loop() {
			placement.New(1, derived, plan)
		}
	})
	b.Run("hosts-that-change-of-100", func(b *testing.B) {
		next := placement.New(1, derived, plan)
		changed := 0
		for b.Loop() {
			changed = 0
			for _, h := range derived.Hosts {
				if !next.Same(h.Ref.UUID, plan) {
					changed++
				}
			}
		}
		b.ReportMetric(float64(changed), "hosts")
	})
	b.Run("rows-of-100-hosts", func(b *testing.B) {
		rows := 0
		for b.Loop() {
			rows = 0
			for _, h := range derived.Hosts {
				rows += len(plan.For(h.Ref.UUID))
			}
		}
		b.ReportMetric(float64(rows), "rows")
	})
}
