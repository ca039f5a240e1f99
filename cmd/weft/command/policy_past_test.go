// SPDX-License-Identifier: Apache-2.0

package command

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
)

// TestPastOfHosts: what a host tells twice is one conversation, drops that no
// rule decided are none, echoes have the type that rules ask for, and what a host
// cannot tell is said.
func TestPastOfHosts(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	ago := func(d time.Duration) *time.Time { t := now.Add(-d); return &t }
	a := api.Party{Address: netip.MustParseAddr("10.0.0.1"), Port: 40000, ID: "a", Network: "blue"}
	b := api.Party{Address: netip.MustParseAddr("10.0.0.2"), Port: 80, ID: "b", Network: "blue"}
	flow := func(from, to api.Party, direction, protocol string) api.Record {
		return api.Record{Time: now, Record: api.RecordFlow, Direction: direction, Protocol: protocol, Source: from, Destination: to, End: ago(time.Second)}
	}
	drop := func(from, to api.Party, reason, protocol string) api.Record {
		return api.Record{Time: now, Record: api.RecordDrop, Direction: "egress", Protocol: protocol, Source: from, Destination: to, Reason: reason}
	}
	with := func(p api.Party, id string, port uint16) api.Party { p.ID, p.Port = id, port; return p }
	tell := func(p *past, host string, events bool, all ...api.Record) {
		table, err := api.RecordsTable(all)
		if err != nil || !p.host(host, table, nil, events) {
			t.Fatalf("host %s: %v", host, err)
		}
	}
	p := newPast(now, 15*time.Minute)
	remembers := api.Record{Record: api.RecordLost, Start: ago(time.Minute)}
	tell(p, "h1", false, flow(a, with(b, "", 80), "egress", "tcp"), flow(a, with(b, "", 80), "egress", "tcp"), flow(with(a, "a", 7), with(b, "", 0), "egress", "icmp"), remembers)
	tell(p, "h2", false, flow(with(a, "", 40000), b, "ingress", "tcp"), remembers)
	tell(p, "h1", true, api.Record{Record: api.RecordLost, Sequence: 9},
		drop(with(a, "a", 8), with(b, "", 0), "policy-denied", "icmp"), drop(with(a, "a", 3), b, "spoofed-address", "tcp"), drop(with(a, "a", 3), b, "policy-denied", "arp"), drop(with(a, "", 3), b, "no-route", "tcp"))
	p.host("h3", api.Table{}, api.Errorf(api.CodeUnavailable, "is away"), false)

	var got []string
	for _, one := range p.all {
		got = append(got, strings.Join([]string{one.conversation.Port, string(one.conversation.Protocol), netip.AddrPortFrom(one.conversation.To, one.conversation.TargetPort).String()}, " "))
	}
	if want := "a tcp 10.0.0.2:80, a icmp 10.0.0.2:2048, b tcp 10.0.0.2:80, a icmp 10.0.0.2:2048"; strings.Join(got, ", ") != want {
		t.Errorf("conversations %v, want %s", got, want)
	}
	unknown := strings.Join(p.difference().Unknown, "\n")
	want := `of host h3: what there was: is away
of host h1, h2: which conversations ended more than 1m0s ago
of host h1: who was refused: no dropped packets are recorded, see --wait
what would be with 1 conversations: it is not known whose they were`
	if unknown != want {
		t.Errorf("not known is\n%s\nwant\n%s", unknown, want)
	}
}

// TestDifferenceOfPast: conversations that differ only in the sender's port are a
// line, with what decides each way.
func TestDifferenceOfPast(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	p := newPast(now, time.Minute)
	for i := range 3 {
		p.all = append(p.all, pastConversation{api.Conversation{Protocol: "tcp", SourcePort: uint16(i), TargetPort: 80}, now.Add(-time.Duration(i) * time.Second), i == 1})
	}
	from, to := api.Speaker{Address: netip.MustParseAddr("10.0.0.1"), Port: api.Ref{UUID: "a", Name: "d:p:a"}}, api.Speaker{Address: netip.MustParseAddr("10.9.0.1")}
	layer := func(action, rule string) api.LayerVerdict {
		return api.LayerVerdict{End: api.Egress, Layer: "security-group", Action: action, Rule: rule, Owner: "weft"}
	}
	passes := api.Verdict{Passes: true, Layers: []api.LayerVerdict{layer("pass", "security-group-rule d:p:g:out")}}
	refused := api.Verdict{Layers: []api.LayerVerdict{layer("deny", "")}}
	away := api.Verdict{Reason: "network d:p:n has no route to 10.9.0.1"}
	differ := func(index int, now, after api.Verdict) api.Judgement {
		return api.Judgement{Index: index, From: from, To: to, Now: now, After: after}
	}
	p.take(0, api.Judgements{Revision: 5, Distinct: 4, Differ: []api.Judgement{differ(0, passes, refused), differ(1, passes, refused), differ(2, away, passes), differ(3, away, passes)}})
	d := p.difference()
	var got []string
	for i := range d.Items {
		got = append(got, strings.Join(d.Items[i].row("d:p", now), " | "))
	}
	want := `cut | 2 | tcp/80 | a (10.0.0.1) | 10.9.0.1 | pass: egress security-group: security-group-rule d:p:g:out (of weft) | deny: egress security-group: no rule matches | 0s
opened | 1 | tcp/80 | a (10.0.0.1) | 10.9.0.1 | network d:p:n has no route to 10.9.0.1 | pass | 2s`
	if strings.Join(got, "\n") != want || d.Cut != 2 || d.Opened != 1 || d.Looked != 4 || d.Items[0].Live != 1 {
		t.Errorf("got\n%s\nwant\n%s\n%+v", strings.Join(got, "\n"), want, d)
	}
}
