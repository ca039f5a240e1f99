// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/lab/probe"
)

// loggingRules are a set that logs TCP between red's workloads: what it passes to port
// 80, which one on trial would deny, and what it denies to port 443; and a group that
// logs what it does not allow, which is all but these two.
func loggingRules() []api.Operation {
	within := api.Endpoint{Project: api.Ref{Name: "red:shop"}}
	rule := func(name string, action api.Action, port int, audit bool) api.Operation {
		r := &api.FirewallRule{Header: header(api.KindFirewallRule, "red:shop", name)}
		r.Spec.Action, r.Spec.Source, r.Spec.Destination, r.Spec.Log, r.Spec.Audit = action, within, within, !audit, audit
		r.Spec.Services = []api.Match{{Protocol: api.TCP, Ports: &api.PortRange{From: port, To: port}}}
		return create(r)
	}
	p := &api.FirewallPolicy{Header: header(api.KindFirewallPolicy, "red:shop", "logging")}
	for _, name := range []string{"trial", "web", "no"} {
		p.Spec.Rules = append(p.Spec.Rules, api.Ref{Name: "red:shop:" + name})
	}
	set := &api.ApplicationPolicySet{Header: header(api.KindApplicationPolicySet, "red:shop", "logging")}
	set.Spec.Policies, set.Spec.Tier = []api.Ref{{Name: "red:shop:logging"}}, "admin"
	g := &api.SecurityGroup{Header: header(api.KindSecurityGroup, "red:shop", "telling")}
	g.Spec.Log = true
	groups := append([]api.Operation{create(g)}, allow("telling", "out", api.Egress, nil)...)
	groups = append(groups, allow("telling", "web", api.Ingress, func(r *api.SecurityGroupRuleSpec) {
		r.Match = api.Match{Protocol: api.TCP, Ports: &api.PortRange{From: 80, To: 443}}
	})...)
	return append(groups,
		rule("trial", api.ActionDeny, 80, true), rule("web", api.ActionPass, 80, false), rule("no", api.ActionDeny, 443, false), create(p), create(set))
}

// firstLogged is the source port of the first attempt of logged, below those that a
// kernel takes by itself.
const firstLogged = 20000

// logged has workloads send what rules log, what they refuse, and what no rule
// allows, on one host and across; weft policy log then says exactly what was sent:
// at each end that was asked once what passed, and at the sender's what was refused, or
// at the receiver's if its group did not allow it.
func (s *system) logged(t *testing.T) {
	s.write(t, append(loggingRules(), s.withGroups(t, s.model(t), []string{"telling"}, "w2", "w3")...)...)
	defer func() { s.write(t, s.withGroups(t, s.model(t), nil, "w2", "w3")...) }()
	defer s.withoutFirewall(t)
	w1 := find(t, "red-w1")
	want := map[string]bool{}
	var attempts []probe.Attempt
	for _, to := range []Workload{find(t, "red-w2"), find(t, "red-w3")} {
		for _, a := range to.Addresses() {
			for i, port := range []uint16{80, 443, 5432} {
				one := probe.Attempt{To: a, Protocol: probe.ProtocolTCP, Port: port, SourcePort: firstLogged + uint16(len(attempts))}
				attempts = append(attempts, one)
				from := w1.V4()
				if a.Is6() {
					from = w1.V6()
				}
				way := fmt.Sprintf("%s [%v]:%d > %s [%v]:%d", w1.Port(), from, one.SourcePort, to.Port(), a, port)
				switch i {
				case 0:
					for _, end := range []string{w1.HostName() + " egress ", to.HostName() + " ingress "} {
						want[end+"log pass passed web "+way] = true
						want[end+"audit deny passed trial "+way] = true
					}
				case 1:
					want[w1.HostName()+" egress log deny dropped no "+way] = true
				case 2:
					want[to.HostName()+" ingress log deny dropped security-group "+way] = true
				}
			}
		}
	}
	began := time.Now() // what rules logged before is there still
	found, err := probe.Sweep(s.namespace(w1), attempts, slowPatience)
	if err != nil {
		t.Fatal(err)
	}
	for i, one := range attempts {
		if passes := one.Port == 80; (found[i].Finding == probe.Connected) != passes {
			t.Errorf("%v: %v, want that it passes: %t", one, found[i], passes)
		}
	}
	s.logsExactly(t, w1, began, uint16(len(attempts)), want)
	v := s.trace(t, "--from", w1.Port(), "--to", find(t, "red-w3").Port(), "--proto", "tcp", "--dport", "80")
	for _, hop := range v.Ways[0].Hops {
		if !slices.ContainsFunc(hop.Policy, func(p api.PolicyStep) bool { return p.Logs && p.Rule != nil && p.Rule.Name == "red:shop:web" }) {
			t.Errorf("weft trace does not say at %s that rule web logs: %+v", hop.Host, hop.Policy)
		}
	}
}

// logsExactly waits until what a port's rules logged is what is wanted: each once if
// it passed, at least once if it was refused, for senders try again. What others say
// meanwhile is not of it: an end that a case before left without an answer repeats its
// last segment for minutes, and these rules refuse it.
func (s *system) logsExactly(t *testing.T, of Workload, since time.Time, attempts uint16, want map[string]bool) {
	t.Helper()
	deadline := time.After(settle)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		seen := s.policyLog(t, of, since, attempts)
		got := map[string]bool{}
		for line, times := range seen {
			if got[line] = true; times > 1 && strings.Contains(line, " passed ") {
				t.Fatalf("logged %d times, and was one first packet: %s", times, line)
			}
		}
		if maps.Equal(got, want) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("weft policy log says\n%s\nand was to say\n%s", strings.Join(slices.Sorted(maps.Keys(got)), "\n"), strings.Join(slices.Sorted(maps.Keys(want)), "\n"))
		}
	}
}

// policyLog is what weft policy log says since then of the attempts of a port, in
// either direction, and how often.
func (s *system) policyLog(t *testing.T, of Workload, since time.Time, attempts uint16) map[string]int {
	t.Helper()
	out, err := s.lab.Weft(t.Context(), "policy", "log", "--port", of.Port(), "-o", "json")
	var said struct{ Items []api.Record }
	if broken := json.Unmarshal([]byte(out), &said); err != nil || broken != nil {
		t.Fatalf("weft policy log: %v %v\n%s", err, broken, out)
	}
	seen := map[string]int{}
	ours := func(port uint16) bool { return firstLogged <= port && port < firstLogged+attempts }
	for _, r := range said.Items {
		if r.Time.Before(since) || !ours(r.Source.Port) && !ours(r.Destination.Port) {
			continue
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(r.Rule, "firewall-rule red:shop:"), " ")
		seen[fmt.Sprintf("%s %s %s %s %s %s %s [%v]:%d > %s [%v]:%d", r.Host, r.Direction, r.Record, r.Action, r.Verdict, name,
			r.Source.Workload, r.Source.Address, r.Source.Port, r.Destination.Workload, r.Destination.Address, r.Destination.Port)]++
	}
	return seen
}
