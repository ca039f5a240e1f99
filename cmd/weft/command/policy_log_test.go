// SPDX-License-Identifier: Apache-2.0

package command_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
)

// TestPolicyLog: what rules logged on all hosts is shown in the order of time, with what
// the rule said, or an audit rule would have, beside what became of the packet; and what
// was not logged is said.
func TestPolicyLog(t *testing.T) {
	var tables map[string]api.Table
	config := startReal(t, func(r *real) { tables = r.fake.drops }).config
	clear(tables)
	at := func(second int64, host, record, action, verdict, reason, rule string) api.Record {
		return api.Record{
			Time: time.Unix(second, 0), Record: record, Host: host, Protocol: "tcp", Flags: "syn", Action: action, Verdict: verdict, Reason: reason, Layer: "firewall", Rule: rule,
			Source: api.Party{Address: netip.MustParseAddr("10.0.0.1"), Port: 40000, Workload: "d:p:a"}, Destination: api.Party{Address: netip.MustParseAddr("10.0.0.2"), Port: 80},
		}
	}
	missing := func(count uint64) api.Record {
		return api.Record{Time: time.Unix(2, 0), Record: api.RecordLost, Host: "h2", Lost: count, Source: api.Party{Workload: "d:p:b", ID: "b"}}
	}
	for host, all := range map[string][]api.Record{
		"h1": {{Record: api.RecordLost, Host: "h1"}, at(3, "h1", api.RecordLog, "pass", "passed", "", "rule web"), at(1, "h1", api.RecordAudit, "deny", "passed", "", "rule watch")},
		"h2": {{Record: api.RecordLost, Host: "h2", Lost: 7}, missing(3), missing(4), at(2, "h2", api.RecordLog, "reject", "dropped", "policy-rejected", "rule no")},
	} {
		table, err := api.RecordsTable(all)
		if err != nil {
			t.Fatal(err)
		}
		tables[host] = table
	}
	out, errOut, code := run(t, config, nil, "policy", "log")
	var lines []string
	for line := range strings.Lines(out) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"TIME HOST PROTOCOL FROM TO RULE-SAID PACKET RULE",
		"1970-01-01 00:00:01.000 h1 tcp syn d:p:a (10.0.0.1:40000) 10.0.0.2:80 would deny passed firewall: rule watch",
		"1970-01-01 00:00:02.000 h2 tcp syn d:p:a (10.0.0.1:40000) 10.0.0.2:80 reject policy-rejected firewall: rule no",
		"1970-01-01 00:00:03.000 h1 tcp syn d:p:a (10.0.0.1:40000) 10.0.0.2:80 pass passed firewall: rule web",
	}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") || code != 0 {
		t.Errorf("exit %d\n%s\nwant\n%s", code, strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if !strings.Contains(errOut, "host h2: 7 more are not shown") || !strings.Contains(errOut, "host h2: 7 packets of port d:p:b were not logged") || strings.Contains(errOut, "h1") {
		t.Errorf("of what is missing it says %q", errOut)
	}
	delete(tables, "h1")
	delete(tables, "h2")
	if _, _, code := run(t, config, nil, "policy", "log"); code != 1 {
		t.Errorf("no host answers: exit %d", code)
	}
}
