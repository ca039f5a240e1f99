// SPDX-License-Identifier: Apache-2.0

package command

import (
	"errors"
	"reflect"
	"testing"

	"github.com/weft-network/weft/api"
)

// What is printed of a rule reads as the rule it is of.
func TestRulesReadAsWritten(t *testing.T) {
	s := &session{project: "d:p"}
	for _, text := range []string{
		"pass any <> any",
		"deny tcp/443,udp/53-54 web > db log",
		"deny web > db audit",
		"pass tcp/443 web > db log audit",
		"pass icmp/8,icmpv6/128/0,all,47 local <> policy=front",
		"pass tcp/https:from=1024-65535 other:back > subnet=web:v4",
		"deny 10.0.0.0/8 > local",
		"pass 2001:db8::/32 <> any log",
	} {
		rule, err := s.parseRule(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := ruleText("d:p", rule); got != text && got != "pass tcp/https:from=1024-65535 d:other:back > subnet=web:v4" {
			t.Errorf("%s is printed as %s", text, got)
		}
		again, err := s.parseRule(ruleText("d:p", rule))
		if err != nil || !reflect.DeepEqual(again, rule) {
			t.Errorf("%s: %+v is read back as %+v, %v", text, rule, again, err)
		}
		p := &api.NetworkPolicy{Spec: api.NetworkPolicySpec{Rules: []api.NetworkPolicyRule{rule}}}
		if problems := p.Validate(); len(problems) > 0 {
			t.Errorf("%s: %v", text, problems)
		}
	}
	for _, text := range []string{"", "log", "pass", "pass a b", "pass a < b", "reject a > b", "pass tcp/80", "pass tcp/ a > b", "pass tcp/1-x a > b", "pass esp/5 a > b", "pass tcp/80:from=x a > b", "pass icmp/x a > b", "pass TCP a > b", "pass a > b c", "pass tcp a > b log x", "pass policy= > b"} {
		rule, err := s.parseRule(text)
		if used := (usageError{}); !errors.As(err, &used) {
			t.Errorf("%q is read as %+v, %v", text, rule, err)
		}
	}
}
