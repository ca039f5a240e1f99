// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"testing"

	"github.com/weft-network/weft/api"
)

// TestPolicyStepSaysThatARuleLogs: a step names the rule, and says so if it logs.
func TestPolicyStepSaysThatARuleLogs(t *testing.T) {
	step := api.PolicyStep{Direction: api.Egress, Port: "d:p:a", Layer: "firewall", Action: "pass", Rule: &api.PolicyRule{Kind: "firewall-rule", Name: "d:p:web"}}
	for logs, want := range map[bool]string{
		false: "egress at d:p:a, firewall: pass by firewall-rule d:p:web",
		true:  "egress at d:p:a, firewall: pass by firewall-rule d:p:web, which logs",
	} {
		if step.Logs = logs; step.String() != want {
			t.Errorf("it says %q, want %q", step, want)
		}
	}
}
