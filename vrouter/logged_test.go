// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/weft-network/weft/vrouter/rules"
)

// asking makes the loopback port ask rules in layers when it sends.
func asking(t *testing.T, d *Datapath, layers map[rules.Layer][]rules.Rule) {
	t.Helper()
	var p PortPolicy
	for layer, of := range layers {
		c := compiled(rules.Ruleset{Rules: of, Outside: rules.Deny, Identified: rules.Deny})
		check(t, d.PutRuleset(c))
		p.Rulesets[rules.Egress][layer] = c.ID
	}
	check(t, d.PortPolicies.Put(loopback, p))
	check(t, d.Ports.Put(loopback, Port{VRF: 7, ID: 42, MAC: portMAC(loopback), Policed: true}))
}

// sendFrom returns what sends a packet of UDP to port 53 of another host from a port of
// the workload.
func sendFrom(t *testing.T, d *Datapath) func(port uint16) {
	return func(port uint16) {
		t.Helper()
		_, err := d.hooks[stubSlotSLOT_PORT].Run(&ebpf.RunOptions{Data: question53(port)})
		check(t, err)
	}
}

// question53 is a packet to port 53.
func question53(from uint16) []byte {
	s := ipSpec{source: netip.MustParseAddr("10.0.0.1"), destination: netip.MustParseAddr("10.0.0.9"), protocol: 17, hops: 64}
	s.payload = append([]byte{byte(from >> 8), byte(from), 0, 53, 0, 108, 0, 0}, make([]byte, 100)...)
	return ethernetFrame(MAC{2, 0, 0, 0, 0, 9}, portMAC(loopback), s.ethertype(), s.build())
}

// TestRulesLog: of a rule that logs each packet is told that it decides and that begins a
// conversation, or is refused; of an audit rule each for which it comes before the rule
// that decides; of other rules nothing.
func TestRulesLog(t *testing.T) {
	dns := []rules.Service{{Protocol: rules.UDP, Ports: &rules.Range{First: 53, Last: 53}}}
	web := []rules.Service{{Protocol: rules.UDP, Ports: &rules.Range{First: 80, Last: 80}}}
	pass := func(number uint32, log bool) rules.Rule {
		return rules.Rule{Number: number, Action: rules.Pass, Services: dns, Log: log}
	}
	deny := func(number uint32, log, audit bool) rules.Rule {
		return rules.Rule{Number: number, Action: rules.Deny, Services: dns, Log: log, Audit: audit}
	}
	const group, admin, tenant = rules.SecurityGroup, rules.FirewallAdmin, rules.Firewall
	d, _, _ := speaker(t)
	send, from, heard := sendFrom(t, d), uint16(1000), uint64(0)
	check(t, d.SetRecording(Recording{Logged: true, OneOf: 1000}))
	r, err := d.OpenEvents()
	check(t, err)
	defer r.Close()
	for what, c := range map[string]struct {
		layers map[rules.Layer][]rules.Rule
		want   string // of two packets of one conversation
	}{
		"no rule logs":               {map[rules.Layer][]rules.Rule{group: {pass(1, false)}}, ""},
		"one that passes":            {map[rules.Layer][]rules.Rule{group: {pass(1, true)}}, "security-group 1"},
		"one that does not match":    {map[rules.Layer][]rules.Rule{group: {{Number: 2, Action: rules.Deny, Services: web, Log: true}, pass(1, false)}}, ""},
		"one that denies":            {map[rules.Layer][]rules.Rule{group: {deny(3, true, false)}}, "policy-denied: security-group 3|policy-denied: security-group 3"},
		"no rule decides":            {map[rules.Layer][]rules.Rule{group: {{Number: 2, Action: rules.Pass, Services: web, Log: true}}}, ""},
		"an audit rule":              {map[rules.Layer][]rules.Rule{group: {deny(4, false, true), pass(1, false)}}, "security-group audit 4"},
		"one after what decides":     {map[rules.Layer][]rules.Rule{group: {pass(1, false), deny(4, false, true)}}, ""},
		"one, and one that logs":     {map[rules.Layer][]rules.Rule{group: {deny(4, false, true), pass(1, true)}}, "security-group audit 4, security-group 1"},
		"two layers":                 {map[rules.Layer][]rules.Rule{group: {pass(1, true)}, tenant: {pass(5, true)}}, "security-group 1, firewall 5"},
		"a layer after, that denies": {map[rules.Layer][]rules.Rule{group: {pass(1, true)}, tenant: {deny(6, false, false)}}, "policy-denied: security-group 1|policy-denied: security-group 1"},
		"one that leaves it to another tier": {
			map[rules.Layer][]rules.Rule{admin: {{Number: 7, Action: rules.Next, Services: dns, Log: true}}, tenant: {pass(5, true)}}, "firewall-admin 7, firewall 5",
		},
	} {
		from++
		asking(t, d, c.layers)
		send(from)
		send(from)
		counts, err := d.EventCounts()
		check(t, err)
		var got []string
		for ; heard < counts[EventLogged].Told; heard++ {
			e, err := r.Next()
			check(t, err)
			if e.Kind != EventLogged || e.Ifindex != loopback || e.Port != 42 || e.VRF != 7 || e.In || e.OneOf != 1 || len(e.Frame) != 128 {
				t.Errorf("%s: told %+v", what, e)
			}
			got = append(got, wordsOf(e))
		}
		if strings.Join(got, "|") != c.want {
			t.Errorf("%s: told %q, want %q", what, got, c.want)
		}
	}
}

// TestRestLogs: what is refused because no rule matches is told and counted under the
// number that stands for that, where there is one.
func TestRestLogs(t *testing.T) {
	d, _, _ := speaker(t)
	send := sendFrom(t, d)
	check(t, d.SetRecording(Recording{Logged: true}))
	r, err := d.OpenEvents()
	check(t, err)
	defer r.Close()
	asking(t, d, nil)
	for i, rest := range []uint32{0, 9} {
		web := rules.Rule{Number: 1, Action: rules.Pass, Services: []rules.Service{{Protocol: rules.UDP, Ports: &rules.Range{First: 80, Last: 80}}}, Log: true}
		c := compiled(rules.Ruleset{Rules: []rules.Rule{web}, Outside: rules.Deny, Identified: rules.Deny, Rest: rest})
		check(t, d.PutRuleset(c))
		var p PortPolicy
		p.Rulesets[rules.Egress][rules.SecurityGroup] = c.ID
		check(t, d.PortPolicies.Put(loopback, p))
		send(3000)
		counts, err := d.EventCounts()
		check(t, err)
		if told := counts[EventLogged].Told; told != uint64(i) {
			t.Fatalf("with %d for the rest %d packets are told of", rest, told)
		}
	}
	e, err := r.Next()
	check(t, err)
	hits, err := d.RuleHits()
	check(t, err)
	if words := wordsOf(e); words != "policy-denied: security-group 9" || hits[9] != 1 || hits[0] != 0 {
		t.Errorf("told %q, counted %v", words, hits)
	}
}

// wordsOf writes what an event says of rules.
func wordsOf(e Event) string {
	var all []string
	for _, r := range e.Logged {
		word := rules.Layer(r.Layer).String()
		if r.Audit {
			word += " audit"
		}
		all = append(all, fmt.Sprintf("%s %d", word, r.Rule))
	}
	text := strings.Join(all, ", ")
	if e.Reason.Name != "" {
		text = e.Reason.Name + ": " + text
	}
	return text
}

// TestLogIsNotCrowdedOut: neither the limit of other records nor a ring that is full of
// them keeps what rules log from being told; and it has a limit of its own.
func TestLogIsNotCrowdedOut(t *testing.T) {
	d, _, _ := speaker(t)
	send := sendFrom(t, d)
	asking(t, d, map[rules.Layer][]rules.Rule{rules.SecurityGroup: {{Number: 3, Action: rules.Deny, Log: true}}})
	check(t, d.SetRecording(Recording{Drops: true}))
	for port := range uint16(6000) {
		send(port)
	}
	check(t, d.SetRecording(Recording{Drops: true, Interval: time.Hour, Burst: 5, Logged: true, LoggedInterval: time.Hour, LoggedBurst: 20}))
	for port := range uint16(30) {
		send(port)
	}
	counts, err := d.EventCounts()
	check(t, err)
	if want := (EventCount{Told: 20, Limited: 10}); counts[EventLogged] != want {
		t.Errorf("of 30 packets %+v are logged, want %+v", counts[EventLogged], want)
	}
	if drops := counts[EventDrop]; drops.Unheard < 2000 || drops.Limited != 25 {
		t.Errorf("of 6,030 drops %+v, want that most found no room", drops)
	}
	all := told(t, d)
	if n := len(slices.DeleteFunc(all, func(e Event) bool { return e.Kind != EventLogged })); n != 20 {
		t.Errorf("%d events of what is logged, want 20", n)
	}
}

// TestLogIsOff: while it is off nothing is told, and the rules count all the same.
func TestLogIsOff(t *testing.T) {
	d, _, _ := speaker(t)
	send := sendFrom(t, d)
	asking(t, d, map[rules.Layer][]rules.Rule{rules.SecurityGroup: {{Number: 3, Action: rules.Deny, Log: true}}})
	send(1)
	if all := told(t, d); len(all) != 0 {
		t.Errorf("told %+v", all)
	}
}

// TestPortsShareTheLog: a port may log its share, and what is over it uses up nothing of
// what the host may log; whatever is missing is counted at the port.
func TestPortsShareTheLog(t *testing.T) {
	d, _, _ := speaker(t)
	check(t, d.SetConfig(Config{})) // the port's counters are shown, and not a tunnel's
	send := sendFrom(t, d)
	asking(t, d, map[rules.Layer][]rules.Rule{rules.SecurityGroup: {{Number: 3, Action: rules.Deny, Log: true}}})
	limited := Recording{Logged: true, LoggedInterval: time.Hour, LoggedBurst: 25, ShareInterval: time.Hour, ShareBurst: 20}
	wide := limited
	wide.ShareBurst = 100
	for _, c := range []struct {
		recording Recording
		packets   uint16
		told      uint64 // since the beginning
		missing   uint64
	}{{limited, 30, 20, 10}, {wide, 10, 25, 15}} {
		check(t, d.SetRecording(c.recording))
		for port := range c.packets {
			send(port)
		}
		counts, err := d.EventCounts()
		check(t, err)
		if want := (EventCount{Told: c.told, Limited: c.missing}); counts[EventLogged] != want {
			t.Errorf("with %+v: %+v, want %+v", c.recording, counts[EventLogged], want)
		}
		counters, err := d.Counters()
		check(t, err)
		if len(counters) != 1 || counters[0].Ifindex != loopback || counters[0].Unlogged != c.missing {
			t.Errorf("with %+v: counters %+v, want %d missing", c.recording, counters, c.missing)
		}
	}
}

// TestTraceSaysWhatLogs: of each layer the trace says whether the rule logs that decided,
// and makes no record.
func TestTraceSaysWhatLogs(t *testing.T) {
	d, _, _ := speaker(t)
	check(t, d.SetRecording(Recording{Logged: true}))
	asking(t, d, map[rules.Layer][]rules.Rule{
		rules.SecurityGroup: {{Number: 1, Action: rules.Pass}}, rules.FirewallAdmin: {{Number: 2, Action: rules.Next, Log: true}}, rules.Firewall: {{Number: 3, Action: rules.Deny, Log: true}},
	})
	tracer, err := d.NewTracer()
	check(t, err)
	defer tracer.Close()
	trace, err := tracer.FollowFromPort(loopback, question53(1))
	check(t, err)
	var got []string
	for _, a := range trace.Policy {
		got = append(got, fmt.Sprintf("%v %d %t", a.Layer, a.Rule, a.Logs))
	}
	if got, want := strings.Join(got, ", "), "security-group 1 false, firewall-admin 2 true, firewall 3 true"; got != want {
		t.Errorf("the layers said %s, want %s", got, want)
	}
	if all := told(t, d); len(all) != 0 {
		t.Errorf("told %+v", all)
	}
}

// TestFormerRulesLogWhatTheyRefuse: a port that asks former rules besides logs these only
// where one of them refuses; what passes says which rule of the present ones passed it.
func TestFormerRulesLogWhatTheyRefuse(t *testing.T) {
	d, _, _ := speaker(t)
	send := sendFrom(t, d)
	check(t, d.SetRecording(Recording{Logged: true}))
	r, err := d.OpenEvents()
	check(t, err)
	defer r.Close()
	pass := func(number uint32) rules.Rule { return rules.Rule{Number: number, Action: rules.Pass, Log: true} }
	for i, c := range []struct {
		former rules.Rule
		want   string
	}{
		{pass(8), "security-group 1"},
		{rules.Rule{Number: 9, Action: rules.Deny, Log: true}, "policy-denied: security-group 1, firewall 9"},
		{rules.Rule{Number: 10, Action: rules.Deny}, "policy-denied: security-group 1"},
	} {
		asking(t, d, map[rules.Layer][]rules.Rule{rules.SecurityGroup: {pass(1)}})
		policy, _, err := d.PortPolicies.Get(loopback)
		check(t, err)
		former := compiled(rules.Ruleset{Rules: []rules.Rule{c.former}, Outside: rules.Deny, Identified: rules.Deny})
		check(t, d.PutRuleset(former))
		policy.Strict, policy.Former[rules.Egress][rules.Firewall] = true, former.ID
		check(t, d.PortPolicies.Put(loopback, policy))
		send(uint16(2000 + i))
		counts, err := d.EventCounts()
		check(t, err)
		if counts[EventLogged].Told != uint64(i+1) {
			t.Fatalf("with former rule %+v: told %+v", c.former, counts[EventLogged])
		}
		e, err := r.Next()
		check(t, err)
		if wordsOf(e) != c.want || c.former.Action == rules.Pass && (e.Rule != 1 || e.Layer != int(rules.SecurityGroup)) {
			t.Errorf("with former rule %+v told %+v, want %q", c.former, e, c.want)
		}
	}
}
