// SPDX-License-Identifier: Apache-2.0

package records

import (
	"encoding/csv"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
)

func TestFilter(t *testing.T) {
	r := example(false) // a session from d:p:client to d:p:server, by a security-group-rule
	r.Verdict, r.Rule, r.Source.ID = "passed", "security-group-rule d:p:g:r or network-policy d:p:np, rule 2", "5f0c3a6e-3c1c-4b8a-9c43-1f0d2d3f4a5b"
	arp := api.Record{Record: api.RecordDrop, Protocol: "arp", Verdict: "dropped"}
	lost := api.Record{Record: api.RecordLost}
	lostAt := api.Record{Record: api.RecordLost, Source: api.Party{ID: "x", Project: "d:other"}}
	for _, c := range []struct {
		words string
		want  string // of the records above those that match
	}{
		{"", "session arp lost lostAt"},
		{"project=d:p", "session lost"},
		{"project=d:none,project=d:q", "session lost"},
		{"project=d:none,project=d:other", "lost lostAt"},
		{"project=d:none", "lost"},
		{"network=d:p:db,network=d:p:other", "session lost"},
		{"port=d:p:client,project=d:none", "lost"},
		{"port=d:p:client,project=d:q", "session lost"},
		{"port=5f0c3a6e-3c1c-4b8a-9c43-1f0d2d3f4a5b", "session lost"},
		{"tag=tier=back", "session lost"},
		{"tag=tier=none", "lost"},
		{"rule=d:p:g:r", "session lost lostAt"},
		{"rule=network-policy d:p:np", "lost lostAt"},
		{"rule=d:p:np", "session lost lostAt"},
		{`"rule=d:p:np, rule 2"`, "session lost lostAt"},
		{`"rule=d:p:np, rule 3"`, "lost lostAt"},
		{"protocol=6", "session lost lostAt"},
		{"protocol=udp,protocol=tcp", "session lost lostAt"},
		{"protocol=arp", "arp lost lostAt"},
		{"verdict=dropped", "arp lost lostAt"},
		{"verdict=dropped,protocol=tcp", "lost lostAt"},
	} {
		f, err := ParseFilter(split(c.words))
		if err != nil {
			t.Errorf("%s: %v", c.words, err)
			continue
		}
		var got []string
		for _, of := range []struct {
			name string
			r    *api.Record
		}{{"session", &r}, {"arp", &arp}, {"lost", &lost}, {"lostAt", &lostAt}} {
			if f.Matches(of.r) {
				got = append(got, of.name)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v match, want %s", c.words, got, c.want)
		}
	}
	for words, want := range map[string]string{
		"project=p": "fully qualified", "network=d:p": "fully qualified", "port=web-1": "fully qualified", "rule=ssh": "fully qualified", "network=:p:x": "fully qualified",
		"tag=web": "TYPE=VALUE", "protocol=TCP": "no protocol", "protocol=256": "no protocol", "verdict=allowed": "passed, dropped", "colour=red": "is not KEY=VALUE", "project": "is not KEY=VALUE",
	} {
		if _, err := ParseFilter(split(words)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want words with %q", words, err, want)
		}
	}
}

// split is what a flag that takes several words makes of them.
func split(words string) []string {
	all, err := csv.NewReader(strings.NewReader(words)).Read()
	if err != nil { // there is nothing
		return nil
	}
	return all
}
