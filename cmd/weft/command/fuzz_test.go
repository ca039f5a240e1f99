// SPDX-License-Identifier: Apache-2.0

package command

import (
	"testing"

	"github.com/weft-network/weft/api"
)

// FuzzRule: a rule that is read, and that the API takes, is printed so that it reads as
// the rule it is of.
func FuzzRule(f *testing.F) {
	for _, s := range []string{
		"pass any <> any", "deny tcp/443,udp/53-54 web > db log", "pass icmp/8,icmpv6/128/0,all,47 local <> policy=front", "deny 10.0.0.0/8 > local audit",
		"pass tcp/https:from=1024-65535 other:back > subnet=web:v4", "pass d:p:any > d:p:local", "deny tcp web > log", "deny web > audit log log", "pass tcp/80-80 a > b", "pass tcp/443 a",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, words string) {
		s := &session{project: "d:p"}
		rule, err := s.parseRule(words)
		p := &api.NetworkPolicy{Spec: api.NetworkPolicySpec{Rules: []api.NetworkPolicyRule{rule}}}
		if err != nil || len(p.Validate()) > 0 {
			return
		}
		text := ruleText("d:p", rule)
		again, err := s.parseRule(text)
		if err != nil {
			t.Fatalf("%q is printed as %q, which is no rule: %v", words, text, err)
		}
		same := len(again.Services) == len(rule.Services)
		for i := range min(len(rule.Services), len(again.Services)) {
			same = same && serviceText(again.Services[i]) == serviceText(rule.Services[i])
		}
		again.Services, rule.Services = nil, nil
		if again.Source != rule.Source || again.Destination != rule.Destination || again.Action != rule.Action || again.Direction != rule.Direction || again.Log != rule.Log || again.Audit != rule.Audit || !same {
			t.Errorf("%q is printed as %q, which is %+v and not %+v", words, text, again, rule)
		}
	})
}

// FuzzService: a service that is read, and that the API takes, is printed so that it
// reads as the same.
func FuzzService(f *testing.F) {
	for _, s := range []string{"tcp/443", "udp/5000-5010", "tcp/https", "icmp/8", "icmp/3/4", "all", "47", "tcp/179:from=1024-65535", "tcp/a:from=1:from=2", "tcp/+80", "icmp/-1", "", "all/1", "tcp/80-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, word string) {
		m, err := parseService(word)
		if err != nil {
			return
		}
		text := serviceText(m)
		again, err := parseService(text)
		if err != nil || serviceText(again) != text || again.Protocol.Key() != m.Protocol.Key() || again.PortName != m.PortName {
			t.Errorf("%q is printed as %q, and that is %+v and not %+v (%v)", word, text, again, m, err)
		}
	})
}

// FuzzDocuments: whatever a file holds is read or refused, and each object of it is of
// a kind that there is.
func FuzzDocuments(f *testing.F) {
	f.Add([]byte("kind: network\nmeta: {name: a, parent: 'd:p'}\n---\n- kind: network\n  meta: {name: b}\n"))
	f.Add([]byte(`{"items":[{"kind":"network","meta":{"name":"a"}}]}`))
	f.Add([]byte("---\n---\n- &a [*a]\n"))
	f.Add([]byte("a: b\na: c\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &session{project: "d:p"}
		all, err := s.parseDocuments("file", data)
		if err != nil {
			return
		}
		for _, d := range all {
			if _, known := api.KindInfo(d.object.Head().Kind); !known {
				t.Errorf("%q has an object of kind %q", data, d.object.Head().Kind)
			}
		}
	})
}

// FuzzTarget: an object that is named KIND/REF has the whole name of its kind.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"network/web", "ports/d:p:a", "net/01234567-89AB-4def-8123-456789abcdef", "subnet/web:v4", "host/", "x/y", "network/a:b:c:d", "network/:a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := &session{project: "d:p"}
		named, err := s.parseSlashed(text)
		if err != nil {
			return
		}
		again, err := s.parseSlashed(string(named.info.Kind) + "/" + named.ref.String())
		if err != nil || again.ref != named.ref || again.info.Kind != named.info.Kind {
			t.Errorf("%q is %+v, and that is %+v (%v)", text, named.ref, again.ref, err)
		}
	})
}
