// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/balance"
	"github.com/weft-network/weft/control/health"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/status"
	"github.com/weft-network/weft/control/stream"
	"github.com/weft-network/weft/control/world"
)

const servingWorld = `host h1 192.0.2.1
network n 10
network frames 11
network fabric 12
forward frames l2
underlay fabric
port n a
port n six
port n nowhere
port frames f
address n 10.0.0.5 a
address n 2001:db8::6 six
address n 10.0.0.7 nowhere
address frames 10.0.0.5 f
address n 10.0.0.9
address n 10.0.0.10
address n 10.0.0.11
address frames 10.0.0.9
address fabric 10.0.0.9
bind a h1
bind six h1
bind f h1
balancer good address=n:10.0.0.9
pool good p
listener good i TCP 80 pool=p
member p good-member 80 port=a
member p six 80 port=six
member p nowhere 80 port=nowhere
member p frames 80 port=f
member p elsewhere 80 ip=198.51.100.1
pool good empty
listener good e TCP 81 pool=empty
pool good unused
pool good turns algorithm=round-robin
pool good busy algorithm=least-connections
listener good l TCP 82 pool=turns
listener good m TCP 83 pool=busy
member turns turn 80 port=a
listener good u UDP 53 pool=p
listener good h HTTP 8080 pool=p
balancer same address=n:10.0.0.9
balancer held address=n:10.0.0.5
balancer proxy address=n:10.0.0.10 haproxy
balancer in-frames address=frames:10.0.0.9
balancer in-fabric address=fabric:10.0.0.9
balancer two address=n:10.0.0.11 address=frames:10.0.0.9
listener two t TCP 80
balancer none`

// A member that is tried says both, whether it answers and whether it serves.
func TestServingAndOnline(t *testing.T) {
	w := world.New("host h1 192.0.2.1\nnetwork n 10\nport n a\naddress n 10.0.0.5 a\naddress n 10.0.0.9\nbind a h1\nbalancer l address=n:10.0.0.9\npool l p\nlistener l i TCP 80 pool=p\nmember p m 80 port=a\nmonitor p tcp")
	in := status.Input{Snapshot: w, Plan: placement.New(1, routing.Derive(w), nil), Now: time.Unix(1, 0), ClaimAll: true}
	of := map[string]int{}
	for _, c := range status.Changes(in) {
		if r, ok := c.Status.(*api.Reported); ok {
			of[c.UUID] += len(r.Conditions)
		}
		if c.Kind == api.KindMember {
			m := api.Clone(w.Get(api.KindMember, c.UUID).(*api.Member))
			m.Status = *c.Status.(*api.Reported)
			w.SetStatus(m)
		}
	}
	for kind, name := range map[api.Kind]string{api.KindMember: "m", api.KindPool: "p", api.KindLoadBalancer: "l"} {
		if of[world.UUID(kind, name)] != 2 {
			t.Errorf("%s has %d conditions, want Online and Serving", kind, of[world.UUID(kind, name)])
		}
	}
	in.Now = time.Unix(2, 0)
	for _, c := range status.Changes(in) {
		if c.Kind == api.KindMember {
			t.Errorf("what is written already is written again: %+v", c.Status)
		}
	}
}

// Whoever made a load-balancer that does not do what it says is told why, at the
// object that it is about.
func TestServing(t *testing.T) {
	w := world.New(servingWorld)
	plan := placement.New(1, routing.Derive(w), nil)
	said := map[string]string{}
	for _, c := range status.Changes(status.Input{Snapshot: w, Plan: plan, Now: time.Unix(1, 0)}) {
		r, ok := c.Status.(*api.Reported)
		if !ok {
			continue
		}
		for _, now := range r.Conditions {
			if now.Type == status.Serving {
				said[c.UUID] = map[bool]string{true: "yes ", false: "no "}[now.Status] + now.Reason + " " + now.Message
			}
		}
	}
	for _, want := range []struct {
		kind       api.Kind
		name, says string
	}{
		{api.KindLoadBalancer, "good", "yes serving"},
		{api.KindLoadBalancer, "same", "no address-taken address 10.0.0.9 is load-balancer d:p:good's"},
		{api.KindLoadBalancer, "held", "no address-taken address d:p:n:10.0.0.5 (10.0.0.5) is a port's"},
		{api.KindLoadBalancer, "proxy", "no no-host no host has a proxy for it"},
		{api.KindLoadBalancer, "in-frames", "no network-not-routed network d:p:frames of address 10.0.0.9 forwards frames only"},
		{api.KindLoadBalancer, "in-fabric", "no network-not-routed network d:p:fabric of address 10.0.0.9 is without encapsulation"},
		{api.KindLoadBalancer, "two", "yes network-not-routed network d:p:frames"},
		{api.KindLoadBalancer, "none", "no no-address"},
		{api.KindListener, "i", "yes serving"},
		{api.KindListener, "e", "yes serving"},
		{api.KindListener, "t", "yes no-pool no pool of the load-balancer serves it"},
		{api.KindListener, "u", "yes pool-speaks-another pool d:p:p speaks TCP and not UDP"},
		{api.KindListener, "h", "no not-built protocol HTTP is read"},
		{api.KindPool, "p", "yes serving"},
		{api.KindPool, "empty", "no no-member it has no member that can be chosen"},
		{api.KindPool, "unused", "no unused"},
		{api.KindPool, "turns", "yes served-as-maglev algorithm round-robin is for load-balancers of provider haproxy"},
		{api.KindPool, "busy", "no no-member"},
		{api.KindMember, "good-member", "yes serving"},
		{api.KindMember, "six", "no no-address-of-family port d:p:six has no address of IPv4"},
		{api.KindMember, "nowhere", "no no-host port d:p:nowhere is on no host"},
		{api.KindMember, "frames", "no network-not-routed network d:p:frames of port d:p:f forwards frames only"},
		{api.KindMember, "elsewhere", "no nobody-has-address no workload of its project has the address 198.51.100.1"},
	} {
		if got := said[world.UUID(want.kind, want.name)]; !strings.HasPrefix(got, want.says) {
			t.Errorf("%s %s says %q, want %q", want.kind, want.name, got, want.says)
		}
	}
}

// Members on the host of an agent that does not know virtual addresses are not chosen, and
// say why, as do the load-balancers that its workloads would ask. Of a host that
// is away, what it said last holds. So it is in a round that looks only at what changed.
func TestAgentsThatDoNotServe(t *testing.T) {
	w := world.New("host h1 192.0.2.1\nhost h2 192.0.2.2\nnetwork n 10\nport n a\nport n b\naddress n 10.0.0.5 a\naddress n 10.0.0.6 b\naddress n 10.0.0.9\nbind a h1\nbind b h2\nbalancer l address=n:10.0.0.9\npool l p\nlistener l i TCP 80 pool=p\nmember p m 80 port=a\nmember p other 80 port=b")
	was := w.Snapshot()
	plan := placement.New(1, routing.Derive(was), nil)
	tracker := &status.Tracker{}
	round := func(now int64, hosts map[string]stream.HostState) {
		for _, c := range tracker.Changes(status.Input{Snapshot: was, Plan: plan, Hosts: hosts, ClaimAll: true, Now: time.Unix(1, now)}) {
			o := api.Clone(w.Get(c.Kind, c.UUID))
			switch r := c.Status.(type) {
			case *api.Reported:
				*o.StatusBody().(*api.Reported) = *r
			case *api.HostStatus:
				*o.StatusBody().(*api.HostStatus) = *r
			}
			w.SetStatus(o)
		}
		next := w.Snapshot()
		events := world.Changes(was, next)
		routes := routing.Update(plan.Derived, next, events)
		plan = placement.With(1, policy.Update(plan.Policy, routes, events), health.Update(plan.Health, routes, events), balance.Update(plan.Balance, routes, events), plan)
		was = next
	}
	old, away := "no agent-too-old the agent of host h1 does not serve virtual addresses", "yes serving"
	for step, want := range []struct {
		says            []string // the agent; nil: it is away
		member, state   string
		balancer, lacks string
	}{
		{nil, "yes serving", balance.Active, away, ""},
		{[]string{"policy"}, old, balance.Down, "yes agent-too-old workloads of host h1 have no route to it", "balance"},
		{nil, old, balance.Down, away, "balance"},
		{[]string{"policy", "balance"}, "yes serving", balance.Active, "yes serving", ""},
		{[]string{""}, old, balance.Down, "yes agent-too-old workloads of host h1", "balance"},
	} {
		hosts := map[string]stream.HostState{}
		if want.says != nil {
			hosts[world.UUID(api.KindHost, "h1")] = stream.HostState{Connected: true, Report: &hoststream.Report{Features: want.says}}
		}
		for i := range 3 { // what the host lacks, what follows of it, and nothing more
			round(int64(step*3+i), hosts)
		}
		said := func(kind api.Kind, name string) string {
			for _, c := range w.Get(kind, world.UUID(kind, name)).StatusBody().(*api.Reported).Conditions {
				if c.Type == status.Serving {
					return map[bool]string{true: "yes ", false: "no "}[c.Status] + c.Reason + " " + c.Message
				}
			}
			return ""
		}
		if got := said(api.KindMember, "m"); !strings.HasPrefix(got, want.member) {
			t.Errorf("step %d: the member says %q, want %q", step, got, want.member)
		}
		if got := said(api.KindMember, "other"); got != "yes serving " {
			t.Errorf("step %d: the member on the other host says %q", step, got)
		}
		if got := said(api.KindLoadBalancer, "l"); !strings.HasPrefix(got, want.balancer) {
			t.Errorf("step %d: the load-balancer says %q, want %q", step, got, want.balancer)
		}
		if got := plan.Balance.Get(world.UUID(api.KindLoadBalancer, "l")).Member(world.UUID(api.KindMember, "m")).State; got != want.state {
			t.Errorf("step %d: the member is %s, want %s", step, got, want.state)
		}
		if got := strings.Join(w.Get(api.KindHost, world.UUID(api.KindHost, "h1")).(*api.Host).Status.Lacks, " "); got != want.lacks {
			t.Errorf("step %d: the host lacks %q, want %q", step, got, want.lacks)
		}
	}
}

// Who finds no room in a host's tables is not served there, and says where: in the round
// in which it begins and in that in which it ends, though no object changed.
func TestServingWhereThereIsRoom(t *testing.T) {
	w := world.New("host h1 192.0.2.1\nhost h2 192.0.2.2\nnetwork n 10\nport n a\naddress n 10.0.0.5 a\naddress n 10.0.0.9\naddress n 10.0.0.10\nbind a h1\nbalancer l address=n:10.0.0.9\npool l p\nlistener l i TCP 80 pool=p\nmember p m 80 port=a\nbalancer other address=n:10.0.0.10\npool other q\nlistener other j TCP 80 pool=q\nmember q n 80 port=a")
	plan := placement.New(1, routing.Derive(w), nil)
	tracker := &status.Tracker{}
	key := placement.ListenerKey(10, world.UUID(api.KindLoadBalancer, "l"), world.UUID(api.KindListener, "i"))
	full := map[string]string{key: "listeners is full", placement.PortKey("x"): "no device"}
	for step, want := range []struct {
		errors map[string]map[string]string // by host
		says   string
	}{
		{nil, "yes serving "},
		{map[string]map[string]string{"h2": full}, "yes row-error not for workloads of host h2: listeners is full"},
		{map[string]map[string]string{"h2": full, "h1": full}, "yes row-error not for workloads of host h1 and of 1 more: listeners is full"},
		{map[string]map[string]string{"h2": full}, "yes row-error not for workloads of host h2: listeners is full"},
		{nil, "yes serving "},
	} {
		hosts := map[string]stream.HostState{}
		for _, name := range []string{"h1", "h2"} {
			uuid := world.UUID(api.KindHost, name)
			hosts[uuid] = stream.HostState{Host: api.Ref{UUID: uuid, Name: name}, Connected: true, Report: &hoststream.Report{Features: []string{"balance"}}, RowErrors: want.errors[name]}
		}
		for _, c := range tracker.Changes(status.Input{Snapshot: w, Plan: plan, Hosts: hosts, ClaimAll: true, Now: time.Unix(1, int64(step))}) {
			if r, ok := c.Status.(*api.Reported); ok {
				o := api.Clone(w.Get(c.Kind, c.UUID))
				*o.StatusBody().(*api.Reported) = *r
				w.SetStatus(o)
			}
		}
		for kind, names := range map[api.Kind][2]string{api.KindLoadBalancer: {"l", "other"}, api.KindListener: {"i", "j"}} {
			for i, name := range names {
				expected := []string{want.says, "yes serving "}[i]
				for _, c := range w.Get(kind, world.UUID(kind, name)).StatusBody().(*api.Reported).Conditions {
					if got := map[bool]string{true: "yes ", false: "no "}[c.Status] + c.Reason + " " + c.Message; c.Type == status.Serving && got != expected {
						t.Errorf("step %d: %s %s says %q, want %q", step, kind, name, got, expected)
					}
				}
			}
		}
	}
}
