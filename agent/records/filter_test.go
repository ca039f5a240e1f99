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
	r.RuleID = "9e107d9d-372b-4a1c-8f3d-2b6c5a4e1f00"
	arp := api.Record{Record: api.RecordDrop, Protocol: "arp", Verdict: "dropped"}
	lldp := api.Record{Record: api.RecordDrop, Protocol: "ethertype-88cc", Verdict: "dropped"}
	lost := api.Record{Record: api.RecordLost}
	lostAt := api.Record{Record: api.RecordLost, Source: api.Party{ID: "x", Project: "d:other"}}
	for _, c := range []struct {
		words string
		want  string // of the records above those that match
	}{
		{"", "session arp lldp lost lostAt"},
		{"project=d:p", "session lost"},
		{"project=d:none,project=d:q", "session lost"},
		{"project=d:none,project=d:other", "lost lostAt"},
		{"project=d:none", "lost"},
		{"network=d:p:db,network=d:p:other", "session lost"},
		{"port=d:p:client,project=d:none", "lost"},
		{"port=d:p:client,project=d:q", "session lost"},
		{"port=5f0c3a6e-3c1c-4b8a-9c43-1f0d2d3f4a5b", "session lost"},
		{"port=5F0C3A6E-3C1C-4B8A-9C43-1F0D2D3F4A5B", "session lost"},
		{"port=urn:uuid:5f0c3a6e-3c1c-4b8a-9c43-1f0d2d3f4a5b", "session lost"},
		{"port={5f0c3a6e-3c1c-4b8a-9c43-1f0d2d3f4a5b}", "session lost"},
		{"rule=9E107D9D-372B-4A1C-8F3D-2B6C5A4E1F00", "session lost lostAt"},
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
		{"protocol=ethertype-0806", "arp lost lostAt"},
		{"protocol=ethertype-88CC", "lldp lost lostAt"},
		{"verdict=dropped", "arp lldp lost lostAt"},
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
		}{{"session", &r}, {"arp", &arp}, {"lldp", &lldp}, {"lost", &lost}, {"lostAt", &lostAt}} {
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
		"project=a:b:c": "fully qualified", "network=a:b:c:d": "fully qualified", "port=a:b:c:d": "fully qualified", "network=a::c": "fully qualified", "rule=d:": "or a UUID",
		"protocol=ethertype-zz": "no protocol", "protocol=ethertype-88cg": "no protocol", "protocol=ethertype-+8cc": "no protocol", "protocol=ethertype-088cc": "no protocol",
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
