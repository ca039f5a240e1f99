// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// records asks a host for records.
func (m *machine) records(table string, q api.RecordQuestion) (all []api.Record) {
	m.t.Helper()
	var t api.Table
	for _, r := range m.controller.table(q.Table(table)).Rows {
		t.Rows = append(t.Rows, r.Cells)
	}
	all, err := api.ParseRecords(t)
	if err != nil {
		m.t.Fatal(err)
	}
	return all
}

// Whoever asks for events hears of each frame that is dropped from then on,
// with the names of both ends as far as the host knows them, and of nothing
// that was dropped while nobody asked. Conversations have names, too, and one
// between two ports of a host is told once.
func TestRecordsHaveNames(t *testing.T) {
	m := twoHosts(t, tunnels4)
	for i := range m {
		m[i].start(tunnels4[i])
		m[i].agent.waitReady(t)
	}
	together(m, tunnels4, 100)
	w := map[int]string{}
	for n, at := range placed {
		w[n] = namespace(t, "w"+strconv.Itoa(n))
		m[at].mustPlug(portID(100, n), w[n])
	}
	nobody, other, neighbour := ips(99)[0].String(), ips(11)[0].String(), ips(12)[0].String()
	if _, err := ping(t, w[10], nobody, "-c", "1", "-W", "1"); err == nil {
		t.Fatal("an address that nobody has answers")
	}
	begin := m[0].records(api.HostTableEvents, api.RecordQuestion{})
	if len(begin) != 1 || begin[0].Record != api.RecordLost || begin[0].Sequence == 0 || begin[0].Lost != 0 {
		t.Fatalf("the first answer only says where to go on, and not %+v", begin)
	}
	after := begin[0].Sequence
	if _, err := ping(t, w[10], nobody, "-c", "1", "-W", "1"); err == nil {
		t.Fatal("an address that nobody has answers")
	}
	var seen []api.Record
	eventually(t, func() error {
		for _, r := range m[0].records(api.HostTableEvents, api.RecordQuestion{After: after, Port: portName(100, 10), Verdict: "dropped"}) {
			after = max(after, r.Sequence)
			if r.Record != api.RecordLost {
				seen = append(seen, r)
			}
		}
		if len(seen) == 0 {
			return fmt.Errorf("no drop is told")
		}
		return nil
	})
	r := seen[0]
	if r.Record != api.RecordDrop || r.Reason != "arp-unknown-target" || r.Protocol != "arp" || r.Source.Workload != portName(100, 10) || r.Source.ID != portID(100, 10) ||
		r.Source.Network != "d:p:net100" || r.Source.Project != "d:p" || r.Destination.Address.String() != nobody || r.Destination.Workload != "" || r.Direction != "egress" || r.VRF != 100 {
		t.Errorf("told of the packet to nobody: %+v", r)
	}
	for _, to := range []string{other, neighbour} {
		reaches(t, w[10], to)
	}
	flows := m[0].records(api.HostTableFlows, api.RecordQuestion{Port: portID(100, 10)})
	var lines []string
	for _, f := range flows {
		if f.Protocol == "icmp" && f.State == "established" {
			lines = append(lines, f.Source.Workload+" > "+f.Destination.Address.String()+" "+f.Destination.Workload+" on "+f.Destination.Host+" in "+f.Destination.Network)
		}
	}
	slices.Sort(lines)
	want := []string{
		portName(100, 10) + " > " + other + "  on h1 in d:p:net100",
		portName(100, 10) + " > " + neighbour + " " + portName(100, 12) + " on  in d:p:net100",
	}
	slices.Sort(want)
	if !slices.Equal(lines, want) {
		t.Errorf("conversations\n %s\nwant\n %s", strings.Join(lines, "\n "), strings.Join(want, "\n "))
	}
	if none := m[0].records(api.HostTableFlows, api.RecordQuestion{Project: "d:other"}); len(none) != 0 {
		t.Errorf("conversations of another project: %+v", none)
	}
}

// exported reads the records of a file.
func exported(t *testing.T, path string) (all []api.Record) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // what rules log is written when there is something
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var r api.Record
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		all = append(all, r)
	}
	return all
}

// Sessions are exported with what went each way, also between two ports of one
// host, where each end counts for both; what is recorded since the last record
// sums up to the total; and only what the filter says is there.
func TestSessionsAreExported(t *testing.T) {
	m := twoHosts(t, tunnels4)
	path := filepath.Join(t.TempDir(), "records")
	m[0].arguments = []string{"--record", "sessions", "--record-file", path, "--record-update", "1s", "--record-only", "port=" + portName(100, 10)}
	for i := range m {
		m[i].start(tunnels4[i])
		m[i].agent.waitReady(t)
	}
	together(m, tunnels4, 100)
	w := map[int]string{}
	for n, at := range placed {
		w[n] = namespace(t, "w"+strconv.Itoa(n))
		m[at].mustPlug(portID(100, n), w[n])
	}
	across, beside := ips(11)[0].String(), ips(12)[0].String()
	for _, to := range []string{across, beside} {
		reaches(t, w[10], to)
		if out, err := ping(t, w[10], to, "-c", "5", "-i", "0.01", "-W", "5"); err != nil {
			t.Fatalf("ping %s: %v\n%s", to, err, out)
		}
	}
	reaches(t, w[12], across)
	eventually(t, func() error {
		done := map[string]bool{}
		since := map[string]api.Traffic{}
		for _, r := range exported(t, path) {
			if r.Destination.Workload != portName(100, 10) && r.Source.Workload != portName(100, 10) {
				t.Fatalf("not asked for: %+v", r)
			}
			if r.Protocol != "icmp" || r.Source.Workload != portName(100, 10) {
				continue
			}
			to := r.Destination.Address.String()
			key := fmt.Sprint(to, " ", r.Source.Port)
			if r.Sent == nil {
				return fmt.Errorf("session to %s counts nothing: %+v", to, r)
			}
			sum := since[key]
			sum.Packets += r.AnsweredSince.Packets
			since[key] = sum
			if r.Sent.Packets == 5 && r.Answered.Packets == 5 && r.Answered.Bytes == 5*98 && sum.Packets == 5 && r.Direction == "egress" {
				done[to] = true
			}
		}
		if !done[across] || !done[beside] {
			return fmt.Errorf("sessions of five packets each way: %v", done)
		}
		return nil
	})
}

// told are rows of the guarded network in which workload 10 and 11 have tags,
// and 10 denies one port by a rule.
func told(rows map[string]*hoststream.Row) map[string]*hoststream.Row {
	all := guarded(rows, 8080, 11)
	for _, ip := range ips(11) {
		r := all[desired.RouteRow(desired.RouteKey{VRF: 100, Prefix: netip.PrefixFrom(ip, ip.BitLen())})].GetRoute()
		r.Tags, r.PortName = []string{"tier=client"}, portName(100, 11)
	}
	if p := all[desired.PortRow(portID(100, 10))].GetPort(); p != nil {
		p.Tags = []string{"site=a", "tier=web"}
	}
	denied := passRule("d:p:no", 8082, fromMembers())
	denied.Action = "deny"
	in := all[desired.RulesetRow("web-in-8080")].GetRuleset()
	in.Rules = append([]*hoststream.Rule{denied}, in.Rules...)
	return all
}

// plugGuarded starts hosts with the rows of the guarded network, changed, and has a
// server in its tenth workload; it returns the workloads' namespaces.
func plugGuarded(t *testing.T, m [2]*machine, changed func(map[string]*hoststream.Row) map[string]*hoststream.Row) map[int]string {
	t.Helper()
	rows := network(100, tunnels4)
	for i := range m {
		m[i].start(tunnels4[i])
		m[i].agent.waitReady(t)
		m[i].controller.set(changed(rows[i]))
	}
	for i := range m {
		m[i].controller.settled()
	}
	w := map[int]string{}
	for n, at := range placed {
		w[n] = namespace(t, fmt.Sprintf("w%d", n))
		m[at].mustPlug(portID(100, n), w[n])
	}
	serveEcho(t, w[10], 8080)
	return w
}

// Records say who began, with identity and tags of both ends, and which rule of
// which object let it pass or denied it: of the first packet, of the session and
// of the dropped packet, by both families.
func TestRecordsTellPolicy(t *testing.T) {
	m := twoHosts(t, tunnels4)
	path := filepath.Join(t.TempDir(), "records")
	m[0].arguments = []string{"--record", "sessions,first,drops", "--record-file", path, "--record-only", "project=d:p"}
	w := plugGuarded(t, m, told)
	want := map[string]bool{}
	for i, ip := range ips(10) {
		from := ips(11)[i]
		reaches(t, w[11], ip.String())
		c, err := dial(t, w[11], ip, 8080, answered)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		refuses(t, w[11], ip, 8082)
		refuses(t, w[12], ip, 8080)
		client, server := fmt.Sprintf("%s %v %016x tier=client", portName(100, 11), from, whoIs(11)), fmt.Sprintf("%s %v %016x site=a,tier=web", portName(100, 10), ip, whoIs(10))
		way := client + " > " + server
		want["first "+way+" 8080 ingress passed  security-group security-group-rule d:p:http d:p:http-uuid"] = true
		want["start "+way+" 8080 ingress passed  security-group security-group-rule d:p:http d:p:http-uuid"] = true
		want["drop "+way+" 8082 ingress dropped policy-denied security-group security-group-rule d:p:no d:p:no-uuid"] = true
		neighbour := fmt.Sprintf("%s %v  ", portName(100, 12), ips(12)[i])
		want["drop "+neighbour+" > "+server+" 8080 ingress dropped policy-denied security-group  "] = true // no rule: what the layer says of all others
	}
	who := func(p api.Party) string {
		return fmt.Sprintf("%s %v %s %s", p.Workload, p.Address, p.Identity, strings.Join(p.Tags, ","))
	}
	eventually(t, func() error {
		seen := map[string]bool{}
		for _, r := range exported(t, path) {
			if r.Protocol == "tcp" && r.Destination.Workload == portName(100, 10) {
				seen[fmt.Sprintf("%s %s > %s %d %s %s %s %s %s %s", r.Record, who(r.Source), who(r.Destination), r.Destination.Port, r.Direction, r.Verdict, r.Reason, r.Layer, r.Rule, r.RuleID)] = true
			}
		}
		for line := range want {
			if !seen[line] {
				return fmt.Errorf("not recorded: %q\nthese are: %s", line, strings.Join(slices.Sorted(maps.Keys(seen)), "\n "))
			}
		}
		return nil
	})
}

// logged are rows of the guarded network in which the rule that passes 8080 logs, the one
// that denies 8082 too, and an audit rule would deny 8080.
func logged(rows map[string]*hoststream.Row) map[string]*hoststream.Row {
	all := told(rows)
	in := all[desired.RulesetRow("web-in-8080")].GetRuleset()
	for _, r := range in.Rules {
		r.Log = r.Name == "d:p:http" || r.Name == "d:p:no"
	}
	watch := passRule("d:p:watch", 8080, fromMembers())
	watch.Action, watch.Audit = "deny", true
	in.Rules = append([]*hoststream.Rule{watch}, in.Rules...)
	return all
}

// Rules that log do so without anybody having asked, and so do audit rules: of the first
// packet that is passed, of each that is refused, with both ends' names, and of nothing
// that other rules decide or no rule. It is in the host's file, too.
func TestRulesLogByThemselves(t *testing.T) {
	m := twoHosts(t, tunnels4)
	w := plugGuarded(t, m, logged)
	want := map[string]bool{}
	for i, ip := range ips(10) {
		reaches(t, w[11], ip.String())
		c, err := dial(t, w[11], ip, 8080, answered)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := says(c, "more of the same", answered); err != nil {
			t.Fatal(err)
		}
		refuses(t, w[11], ip, 8082)
		refuses(t, w[12], ip, 8080)
		way := fmt.Sprintf("%s %v > %s %v", portName(100, 11), ips(11)[i], portName(100, 10), ip)
		want["audit "+way+" 8080 ingress deny passed  security-group security-group-rule d:p:watch"] = true
		want["log "+way+" 8080 ingress pass passed  security-group security-group-rule d:p:http"] = true
		want["log "+way+" 8082 ingress deny dropped policy-denied security-group security-group-rule d:p:no"] = true
	}
	written := func(all []api.Record) map[string]bool {
		seen, passed := map[string]bool{}, map[string]bool{}
		for _, r := range all {
			if r.Record == api.RecordLost {
				continue
			}
			line := fmt.Sprintf("%s %s %v > %s %v %d %s %s %s %s %s %s", r.Record, r.Source.Workload, r.Source.Address, r.Destination.Workload, r.Destination.Address,
				r.Destination.Port, r.Direction, r.Action, r.Verdict, r.Reason, r.Layer, r.Rule)
			seen[line] = true
			once := fmt.Sprint(line, " ", r.Source.Port)
			if r.Verdict == "passed" && passed[once] {
				t.Errorf("not the first packet: %s", once)
			}
			passed[once] = true
		}
		return seen
	}
	eventually(t, func() error {
		for where, all := range map[string][]api.Record{
			"told":    m[0].records(api.HostTablePolicyLog, api.RecordQuestion{Since: time.Hour}),
			"written": exported(t, m[0].dir+"/state/policy-log/records"),
		} {
			if seen := written(all); !maps.Equal(seen, want) {
				return fmt.Errorf("%s is\n %s\nwant\n %s", where, strings.Join(slices.Sorted(maps.Keys(seen)), "\n "), strings.Join(slices.Sorted(maps.Keys(want)), "\n "))
			}
		}
		return nil
	})
}
