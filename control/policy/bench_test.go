// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"cmp"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/routing"
)

// snapshot finds what the store's does, as fast.
type snapshot struct {
	revision  int64
	lists     map[api.Kind][]api.Object
	byUUID    map[api.Kind]map[string]api.Object
	children  map[place][]api.Object
	referrers map[place][]api.Object
}

type place struct {
	kind, target api.Kind
	uuid         string
}

func newSnapshot() *snapshot {
	return &snapshot{lists: map[api.Kind][]api.Object{}, byUUID: map[api.Kind]map[string]api.Object{}, children: map[place][]api.Object{}, referrers: map[place][]api.Object{}}
}

func (s *snapshot) Revision() int64 { return s.revision }
func (s *snapshot) Get(k api.Kind, uuid string) api.Object {
	if o, ok := s.byUUID[k][uuid]; ok {
		return o
	}
	return nil
}
func (s *snapshot) Lookup(k api.Kind, r api.Ref) api.Object { return s.Get(k, r.UUID) }
func (s *snapshot) List(k api.Kind) []api.Object            { return s.lists[k] }
func (s *snapshot) Children(k api.Kind, parent string) []api.Object {
	return s.children[place{kind: k, uuid: parent}]
}
func (s *snapshot) Referrers(k, target api.Kind, uuid string) []api.Object {
	return s.referrers[place{k, target, uuid}]
}

func uuidOf(kind api.Kind, name string) string { return string(kind) + "-" + name }

func refOf(kind api.Kind, name string) api.Ref {
	return api.Ref{UUID: uuidOf(kind, name), Name: "d:" + name}
}

func (s *snapshot) add(o api.Object, kind api.Kind, name string, parent api.Ref) {
	h, ref := o.Head(), refOf(kind, name)
	s.revision++
	h.Kind, h.Meta.UUID, h.Meta.FQName, h.Meta.Name, h.Meta.Parent, h.Meta.Revision, h.Meta.Owner = kind, ref.UUID, ref.Name, name, parent, s.revision, "kubernetes"
	if s.byUUID[kind] == nil {
		s.byUUID[kind] = map[string]api.Object{}
	}
	s.byUUID[kind][ref.UUID] = o
	s.lists[kind] = append(s.lists[kind], o)
	s.children[place{kind: kind, uuid: parent.UUID}] = append(s.children[place{kind: kind, uuid: parent.UUID}], o)
	for _, r := range o.Refs() {
		if !r.Ref.IsZero() {
			at := place{kind, r.Kind, r.Ref.UUID}
			s.referrers[at] = append(s.referrers[at], o)
		}
	}
}

func (s *snapshot) sort() {
	for _, list := range s.lists {
		slices.SortFunc(list, func(a, b api.Object) int { return cmp.Compare(a.Head().Meta.FQName, b.Head().Meta.FQName) })
	}
}

// cluster is projects with four ports and three policies of two rules each, as a
// cluster has namespaces, pods and policies: of the ports two each have the same
// labels, and policies select and isolate by these.
func cluster(projects, hosts int) *snapshot {
	s := newSnapshot()
	for h := range hosts {
		o := &api.Host{}
		o.Spec.TunnelAddresses = []netip.Addr{netip.AddrFrom4([4]byte{192, 0, byte(h >> 8), byte(h)})}
		s.add(o, api.KindHost, fmt.Sprint("h", h), api.Ref{})
	}
	for p := range projects {
		s.project(p, hosts)
	}
	s.sort()
	return s
}

func (s *snapshot) project(p, hosts int) {
	name := fmt.Sprintf("p%05d", p)
	project := refOf(api.KindProject, name)
	network := &api.Network{}
	network.Spec.VNI = uint32(p + 1)
	s.add(network, api.KindNetwork, name+":net", project)
	subnet := &api.Subnet{}
	subnet.Spec.CIDR = netip.MustParsePrefix("10.0.0.0/24")
	s.add(subnet, api.KindSubnet, name+":net:sub", api.RefTo(network))
	for app := range 2 {
		tag := &api.Tag{}
		tag.Spec.Type, tag.Spec.Value = "label", fmt.Sprint("app-", app)
		s.add(tag, api.KindTag, fmt.Sprint(name, ":app-", app), project)
	}
	for i := range 4 {
		s.port(p, i, (p*7+i*13)%hosts)
	}
	set := &api.ApplicationPolicySet{}
	for k := range 3 {
		set.Spec.Policies = append(set.Spec.Policies, s.policy(name, k))
	}
	s.add(set, api.KindApplicationPolicySet, name+":set", project)
}

func (s *snapshot) port(p, i, host int) {
	name := fmt.Sprintf("p%05d", p)
	project, port := refOf(api.KindProject, name), fmt.Sprint(name, ":pod-", i)
	o := &api.Port{}
	o.Spec.Network = refOf(api.KindNetwork, name+":net")
	o.Spec.MAC = api.MAC(fmt.Sprintf("02:00:%02x:%02x:%02x:%02x", p>>16, p>>8&255, p&255, i))
	s.add(o, api.KindPort, port, project)
	a := &api.Address{}
	a.Spec.IP, a.Spec.Port, a.Spec.Subnet = netip.AddrFrom4([4]byte{10, 0, 0, byte(10 + i)}), api.RefTo(o), refOf(api.KindSubnet, name+":net:sub")
	s.add(a, api.KindAddress, fmt.Sprint(port, "-ip"), o.Spec.Network)
	b := &api.Binding{}
	b.Spec.Host, b.Spec.Active = refOf(api.KindHost, fmt.Sprint("h", host)), true
	s.add(b, api.KindBinding, port+":b", api.RefTo(o))
	t := &api.TagBinding{}
	t.Spec.Tag, t.Spec.TargetKind, t.Spec.Target = refOf(api.KindTag, fmt.Sprint(name, ":app-", i%2)), api.KindPort, api.RefTo(o)
	s.add(t, api.KindTagBinding, port+":t", project)
}

func (s *snapshot) policy(name string, k int) api.Ref {
	project := refOf(api.KindProject, name)
	app := func(i int) []api.Ref { return []api.Ref{refOf(api.KindTag, fmt.Sprint(name, ":app-", i%2))} }
	o := &api.FirewallPolicy{}
	o.Spec.Workloads.Tags, o.Spec.Isolates = app(k), []api.Side{api.Ingress, api.Egress}
	for i := range 2 {
		r := &api.FirewallRule{}
		r.Spec.Action = api.ActionPass
		r.Spec.Services = []api.Match{{Protocol: api.TCP, Ports: &api.PortRange{From: 80 + k}}}
		if i == 0 {
			r.Spec.Source.Tags, r.Spec.Destination.Tags = app(k+1), app(k)
		} else {
			r.Spec.Source.Tags, r.Spec.Destination.Tags = app(k), app(k+1)
		}
		s.add(r, api.KindFirewallRule, fmt.Sprint(name, ":rule-", k, "-", i), project)
		o.Spec.Rules = append(o.Spec.Rules, api.RefTo(r))
	}
	s.add(o, api.KindFirewallPolicy, fmt.Sprint(name, ":policy-", k), project)
	return api.RefTo(o)
}

// processor is how long the process has had one.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCompile compiles what a large cluster asks from nothing, and one change.
func BenchmarkCompile(b *testing.B) {
	const projects = 25_000
	s := cluster(projects, 1000)
	routes := routing.Derive(s)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var derived *policy.Derived
	b.Run("from-nothing", func(b *testing.B) {
		before, worked := heap(), processor()
		for b.Loop() {
			derived = policy.Derive(routes)
		}
		b.StopTimer()
		b.ReportMetric((processor()-worked).Seconds()/float64(b.N), "cpu-s/op") // of a machine that is shared
		b.ReportMetric(float64(heap()-before)/1e6, "MB")
		b.ReportMetric(float64(derived.Count().Rulesets), "rulesets")
		b.ReportMetric(float64(derived.Count().Workloads), "workloads")
	})
	b.Run("one-rule", func(b *testing.B) {
		was := s.Get(api.KindFirewallRule, uuidOf(api.KindFirewallRule, "p00007:rule-0-0")).(*api.FirewallRule)
		now := api.Clone(was)
		now.Spec.Services[0].Ports.From, now.Meta.Revision = 8080, was.Meta.Revision+1_000_000
		s.byUUID[api.KindFirewallRule][was.Meta.UUID] = now
		events := []api.Event{{Type: api.EventPut, Kind: api.KindFirewallRule, Object: now, Was: was}}
		for b.Loop() {
			policy.Update(derived, routes, events)
		}
		s.byUUID[api.KindFirewallRule][was.Meta.UUID] = was
	})
}
