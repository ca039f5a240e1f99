// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/balance"
	"github.com/weft-network/weft/control/health"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/world"
)

// looked is a snapshot that finds what belongs to an object at once, as the store's.
type looked struct {
	fixed
	below    map[api.Kind]map[string][]api.Object
	referred map[api.Kind]map[string][]api.Object
}

func indexed(s api.Snapshot) looked {
	l := looked{freeze(s), map[api.Kind]map[string][]api.Object{}, map[api.Kind]map[string][]api.Object{}}
	for _, k := range api.Kinds() {
		l.below[k.Kind], l.referred[k.Kind] = map[string][]api.Object{}, map[string][]api.Object{}
		for _, o := range l.List(k.Kind) {
			parent := o.Head().Meta.Parent.UUID
			l.below[k.Kind][parent] = append(l.below[k.Kind][parent], o)
			for _, f := range o.Refs() {
				l.referred[k.Kind][f.Ref.UUID] = append(l.referred[k.Kind][f.Ref.UUID], o)
			}
		}
	}
	return l
}

func (l looked) Children(kind api.Kind, parent string) []api.Object { return l.below[kind][parent] }

func (l looked) Referrers(kind, _ api.Kind, uuid string) []api.Object { return l.referred[kind][uuid] }

// balanced is load-balancers of ten members each in one network, on 100 hosts.
func balanced(balancers int) *world.World {
	var b strings.Builder
	for h := range 100 {
		fmt.Fprintf(&b, "host h%d 192.0.2.%d\n", h, h+1)
	}
	b.WriteString("network services 10\nnetwork pods 20\npolicy join any any\nattach join services\nattach join pods\n")
	for p := range 1000 {
		fmt.Fprintf(&b, "port pods p%d\naddress pods 10.0.%d.%d p%d\nbind p%d h%d\n", p, p/250, p%250+1, p, p, p%100)
	}
	for i := range balancers {
		fmt.Fprintf(&b, "address services 10.96.%d.%d\nbalancer l%d address=services:10.96.%d.%d\npool l%d o%d\nlistener l%d i%d TCP 80 pool=o%d\n", i/250, i%250+1, i, i/250, i%250+1, i, i, i, i, i)
		for m := range 10 {
			fmt.Fprintf(&b, "member o%d m%d-%d 8080 port=p%d\n", i, i, m, (i*7+m*101)%1000)
		}
	}
	return world.New(b.String())
}

// BenchmarkMemberChange is one member of many that is drained, from the events to
// what every host must have and what each is sent. It is to be about the same however many there are.
func BenchmarkMemberChange(b *testing.B) {
	for _, balancers := range []int{1000, 10_000} {
		w := balanced(balancers)
		before := indexed(w.Snapshot())
		routes := routing.Derive(before)
		plan := placement.With(1, policy.Derive(routes), health.Derive(routes), balance.Derive(routes), nil)
		w.Do("member o500 m500-3 8080 port=p803 draining")
		after := indexed(w.Snapshot())
		events := []api.Event{{Type: api.EventPut, Kind: api.KindMember, Revision: after.Revision(), Object: after.Get(api.KindMember, world.UUID(api.KindMember, "m500-3")), Was: before.Get(api.KindMember, world.UUID(api.KindMember, "m500-3"))}}
		name := func(what string) string { return fmt.Sprintf("%d-load-balancers/%s", balancers, what) }
		var asked *policy.Derived
		var balances *balance.Derived
		var next *placement.Plan
		b.Run(name("from-nothing"), func(b *testing.B) {
			for b.Loop() {
				balance.Derive(routes)
			}
		})
		b.Run(name("derive"), func(b *testing.B) {
			for b.Loop() {
				now := routing.Update(plan.Derived, after, events)
				asked = policy.Update(plan.Policy, now, events)
				balances = balance.Update(plan.Balance, now, events)
			}
		})
		b.Run(name("placement"), func(b *testing.B) {
			for b.Loop() {
				next = placement.With(1, asked, plan.Health, balances, plan)
			}
		})
		b.Run(name("rows-for-100-hosts"), func(b *testing.B) {
			rows := 0
			for b.Loop() {
				rows = 0
				for _, h := range plan.Derived.Hosts {
					was, is := plan.View(h.Ref.UUID), next.View(h.Ref.UUID)
					for i, t := range is.Tables() {
						if old := was.Tables()[i]; old != t {
							puts, deletes := placement.Difference(placement.Sources, old, t, h.Ref.UUID)
							rows += len(puts) + len(deletes)
						}
					}
				}
			}
			b.ReportMetric(float64(rows), "rows")
		})
	}
}
