// SPDX-License-Identifier: Apache-2.0

package records

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
	"github.com/weft-network/weft/vrouter/rules"
)

// TestLoggedRulesHaveNames: of what a packet is logged for each rule is told by itself, in
// the layer that it was asked in and as the kind of rule that it was, with what it said
// and what became of the packet.
func TestLoggedRulesHaveNames(t *testing.T) {
	numbered := func(name string, layer rules.Layer, action rules.Action, audit bool) datapath.Numbered {
		return datapath.Numbered{Cause: desired.Cause{Kind: "firewall-rule", Name: name, Object: name + "-uuid"}, Layer: layer, Action: action, Audit: audit}
	}
	d := directory{rules: map[uint32][]datapath.Numbered{
		7: {numbered("web", rules.Firewall, rules.Pass, false), numbered("other", rules.SecurityGroup, rules.Pass, false)}, // of one number, by chance
		8: {numbered("watch", rules.FirewallAdmin, rules.Deny, true)},
	}}
	e := vrouter.Event{Kind: vrouter.EventLogged, In: true, Layer: int(rules.Firewall), Rule: 7, OneOf: 1, Logged: []vrouter.LoggedRule{
		{Layer: int(rules.FirewallAdmin), Rule: 8, Audit: true}, {Layer: int(rules.Firewall), Rule: 7}, {Layer: int(rules.FirewallBaseline), Rule: 9},
	}}
	want := `audit firewall-admin deny passed  watch-uuid firewall-rule watch
log firewall pass passed  web-uuid firewall-rule web
log firewall-baseline  passed   rule 9, which this host does not have any more`
	if got := wordsOf(loggedOf(&e, d)); got != want {
		t.Errorf("told\n%s\nwant\n%s", got, want)
	}
	e.Logged, e.Reason = e.Logged[:1], vrouter.Reason{Name: "policy-denied", Verdict: "dropped"}
	if got, want := wordsOf(loggedOf(&e, d)), "audit firewall-admin deny dropped policy-denied watch-uuid firewall-rule watch"; got != want {
		t.Errorf("of a packet that is refused %s, want %s", got, want)
	}
}

func wordsOf(all []api.Record) string {
	var lines []string
	for _, r := range all {
		lines = append(lines, fmt.Sprintf("%s %s %s %s %s %s %s", r.Record, r.Layer, r.Action, r.Verdict, r.Reason, r.RuleID, r.Rule))
	}
	return strings.Join(lines, "\n")
}

// TestPolicyLogOutlivesTheAgent: what rules log is in a file, of which there is none
// before; an agent that starts later answers with it, and one who follows goes on.
func TestPolicyLogOutlivesTheAgent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy-log", "records")
	begin := func() (*Recorder, *Exporter) {
		to := NewLog(path, 1<<20, 1, slog.New(slog.DiscardHandler))
		r := New(emptyPath{}, oneInterface{t}, Options{Host: "h1", Log: to, LogFile: path}, slog.New(slog.DiscardHandler))
		r.recall()
		return r, to
	}
	end := func(to *Exporter) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		to.Run(ctx)
	}
	first, to := begin()
	end(to)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("a file of nothing: %v", err)
	}
	first, to = begin()
	now := time.Now()
	first.take([]api.Record{{Time: now, Record: api.RecordDrop}})
	first.keepLogged([]api.Record{{Time: now.Add(-time.Hour), Record: api.RecordLog, Length: 1}, {Time: now, Record: api.RecordLog, Length: 2}, {Time: now, Record: api.RecordAudit, Length: 3}})
	end(to)
	if text, err := os.ReadFile(path); err != nil || strings.Count(string(text), "\n") != 3 {
		t.Fatalf("file %q, %v; want the three records that are logged", text, err)
	}
	if err := os.WriteFile(path+".1", []byte("cut off\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	second, _ := begin()
	ask := func(q api.RecordQuestion) []api.Record {
		t.Helper()
		table, err := second.PolicyLog(t.Context(), strings.TrimPrefix(q.Table(""), "?"))
		if err != nil {
			t.Fatal(err)
		}
		all, err := api.ParseRecords(table)
		if err != nil || len(all) == 0 || all[0].Record != api.RecordLost {
			t.Fatalf("answer %+v, %v", all, err)
		}
		return all
	}
	if all := ask(api.RecordQuestion{Since: time.Minute}); len(all) != 3 || all[1].Length != 3 || all[2].Length != 2 || all[0].Lost != 0 {
		t.Errorf("of the last minute: %+v", all)
	}
	if all := ask(api.RecordQuestion{Since: time.Minute, Record: api.RecordAudit}); len(all) != 2 || all[1].Length != 3 {
		t.Errorf("of audit rules: %+v", all)
	}
	at := first.logged.sequence
	second.keepLogged([]api.Record{{Time: now, Record: api.RecordLog, Length: 4}})
	if all := ask(api.RecordQuestion{After: at}); len(all) != 2 || all[1].Length != 4 || all[0].Lost != 0 || all[0].Sequence != all[1].Sequence {
		t.Errorf("after what the first agent told last: %+v", all)
	}
	if all := ask(api.RecordQuestion{}); len(all) != 1 || all[0].Sequence != second.logged.sequence {
		t.Errorf("where to go on: %+v", all)
	}
}

// floodedPath has ports at which records are missing.
type floodedPath struct {
	emptyPath
	limited  uint64
	unlogged []vrouter.Counter
}

func (p *floodedPath) EventCounts() (map[vrouter.EventKind]vrouter.EventCount, error) {
	return map[vrouter.EventKind]vrouter.EventCount{vrouter.EventLogged: {Limited: p.limited}}, nil
}

func (p *floodedPath) Counters() ([]vrouter.Counter, error) { return p.unlogged, nil }

// TestMissingRecordsHaveAPort: what was not logged is told by the port at which it was
// not, since the last time; who asks for other ports hears nothing of it.
func TestMissingRecordsHaveAPort(t *testing.T) {
	path := &floodedPath{limited: 5, unlogged: []vrouter.Counter{{Ifindex: 1, Unlogged: 5}}} // of before this agent
	r := New(path, oneInterface{t}, Options{Host: "h1", Interfaces: func() (map[int]string, error) { return map[int]string{1: "x"}, nil }}, slog.New(slog.DiscardHandler))
	var err error
	if r.lost, err = r.countLost(); err != nil {
		t.Fatal(err)
	}
	said := func(port string) string {
		t.Helper()
		if err := r.noteLost(t.Context()); err != nil {
			t.Fatal(err)
		}
		table, err := r.PolicyLog(t.Context(), strings.TrimPrefix(api.RecordQuestion{Since: time.Hour, Port: port}.Table(""), "?"))
		if err != nil {
			t.Fatal(err)
		}
		all, err := api.ParseRecords(table)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, m := range all[1:] {
			lines = append(lines, fmt.Sprintf("%s %s %s %d", m.Record, m.Interface, m.Source.Workload, m.Lost))
		}
		return strings.Join(lines, ", ")
	}
	if got := said(""); got != "" {
		t.Errorf("of before it says %q", got)
	}
	path.limited, path.unlogged[0].Unlogged = 12, 12
	if got := said("d:p:a"); got != "lost x d:p:a 7" {
		t.Errorf("of 7 that are missing it says %q", got)
	}
	if got := said("d:p:b"); got != "" {
		t.Errorf("of another port it says %q", got)
	}
	path.limited, path.unlogged[0].Unlogged = 14, 2
	if got := said(""); got != "lost x d:p:a 2, lost x d:p:a 7" {
		t.Errorf("of another port on the interface it says %q", got)
	}
}
