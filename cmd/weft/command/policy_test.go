// SPDX-License-Identifier: Apache-2.0

package command_test

import (
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
)

// rulesOf is the table of rules of a host.
func rulesOf(rows ...string) api.Table {
	t := api.Table{Columns: []string{"NUMBER", "LAYER", "ACTION", "AUDIT", "CONVERSATIONS", "RULE", "OWNER", "VIA", "OBJECT"}}
	for _, r := range rows {
		t.Rows = append(t.Rows, strings.Split(r, "|"))
	}
	return t
}

// TestPolicyHits sums up what rules decided over hosts, and finds those that
// decided nothing or that nobody asks.
func TestPolicyHits(t *testing.T) {
	var tables map[string]api.Table
	config := startReal(t, func(r *real) { tables = r.fake.drops }).config
	clear(tables)
	must(t, config, "", "create", "security-group", "web")
	uuid := func(kind, name string) string {
		for line := range strings.Lines(must(t, config, "", "get", kind, name, "-o", "yaml")) {
			if text, ok := strings.CutPrefix(line, "  uuid: "); ok {
				return strings.TrimSpace(text)
			}
		}
		t.Fatalf("%s %s has no UUID", kind, name)
		return ""
	}
	for _, name := range []string{"busy", "idle", "nowhere"} {
		must(t, config, "", "create", "security-group-rule", "web:"+name, "--set", "direction=ingress", "--set", "family=IPv4", "--set", "match.protocol="+map[string]string{"busy": "tcp", "idle": "udp", "nowhere": "icmp"}[name])
	}
	must(t, config, "", "create", "network-policy", "np", "--rule", "pass any <> any", "--rule", "deny any > any")
	const group = "default-domain:default-project:web"
	busy := "1|security-group|pass|no|%|security-group-rule " + group + ":busy|weft|security-group " + group + "|" + uuid("security-group-rule", "web:busy")
	idle := "2|security-group|pass|no|0|security-group-rule " + group + ":idle|weft|security-group " + group + "|" + uuid("security-group-rule", "web:idle")
	first := "3|network-policy|pass|no|5|network-policy default-domain:default-project:np, rule 1|weft||" + uuid("network-policy", "np")
	second := "4|network-policy|deny|no|0|network-policy default-domain:default-project:np, rule 2|weft||" + uuid("network-policy", "np")
	tables["h1"] = rulesOf(strings.Replace(busy, "%", "40", 1), idle, first, second)
	tables["h2"] = rulesOf(strings.Replace(busy, "%", "2", 1), idle)

	text := must(t, config, "", "policy", "hits")
	wantPieces(t, "hits", text, "42 ", "h1,h2")
	if lines := strings.Split(text, "\n"); strings.Fields(lines[1])[0] != "42" || strings.Fields(lines[2])[0] != "5" {
		t.Errorf("the busiest are not first:\n%s", text)
	}
	wantPieces(t, "hits of one", must(t, config, "", "policy", "hits", "--host", "h2"), "2 ")
	text = must(t, config, "", "policy", "unused")
	wantPieces(t, "unused", text, group+":nowhere", "no port asks it", group+":idle", "asked on h1, h2, decided nothing", "np, rule 2")
	if strings.Contains(text, "busy") || strings.Contains(text, "rule 1") || strings.Count(text, "\n") != 4 {
		t.Errorf("unused:\n%s", text)
	}
	tables["h2"] = rulesOf(idle, "0|-|-|-|7|"+api.RulesWithoutRoom+"|-|-|-")
	wantPieces(t, "unused", must(t, config, "", "policy", "unused"), "asked on h1, h2, decided nothing that is counted; no room to count all on h2", "asked on h1, decided nothing\n")
	delete(tables, "h2")
	if out, errOut, code := run(t, config, nil, "policy", "unused"); code != 1 || !strings.Contains(errOut, "host h2 does not answer") {
		t.Errorf("with a silent host: exit %d: %s%s", code, out, errOut)
	}
	if _, _, code := run(t, config, nil, "policy", "hits"); code != 0 {
		t.Errorf("hits with a silent host: exit %d", code)
	}
	delete(tables, "h1")
	if _, _, code := run(t, config, nil, "policy", "hits"); code != 1 {
		t.Errorf("hits with no host: exit %d", code)
	}
}
