// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"testing"
	"time"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/vrouter/rules"
)

// A port that comes to the host refuses quietly what its rules reject, until it is
// said who talks to it, or for two seconds. One that was here when the agent started
// does not.
func TestPortThatCameRefusesQuietly(t *testing.T) {
	rejecting := func() map[string]*hoststream.Row {
		rows := policedRows("r", 80)
		set := rows[desired.RulesetRow("r")].GetRuleset()
		set.Identified, set.Rules[0].Action = "reject", "reject"
		return rows
	}
	p := newPoliced(t)
	p.c.Round(t.Context(), p.now) // without it
	p.revision++
	if err := p.c.Apply(delta(p.has, rejecting(), p.revision, true)); err != nil {
		t.Fatal(err)
	}
	ifindex := 4
	refuses := func(what string, want rules.Action) {
		t.Helper()
		for p.c.Round(t.Context(), p.now) {
		}
		asked := p.m.PortPolicies.Rows[ifindex].Rulesets[rules.Ingress][rules.SecurityGroup]
		if got := p.m.Rulesets.Rows[asked].Identified.Action; got != want || len(p.m.Verdicts.Rows) == 0 {
			t.Errorf("%s: what is refused is %v, want %v\n%s", what, got, want, show(p.m))
		}
		for k, v := range p.m.Verdicts.Rows {
			if k.Ruleset == asked && v.Action != want && v.Action != rules.DropPending {
				t.Errorf("%s: what a rule refuses is %v, want %v", what, v.Action, want)
			}
		}
	}
	refuses("just come", rules.Deny)
	p.now = p.now.Add(time.Second)
	refuses("a second later", rules.Deny)
	p.c.Heard(portID(1))
	refuses("heard", rules.Reject)

	attach := func(to int) {
		ifindex = to
		p.c.SetPlug(portID(1), host.Plug{Interface: "wf2", Attachment: datapath.Attachment{Ifindex: to}})
	}
	attach(5)
	refuses("on another interface", rules.Deny)
	next, any := p.c.NextAttempt()
	if !any || !next.Equal(p.now.Add(2*time.Second)) {
		t.Errorf("the next is due at %v: %t", next, any)
	}
	p.now = next
	refuses("two seconds later", rules.Reject)

	p.c = boot(t, p.m, reopen(t, p.c, t.TempDir()+"/desired"), map[string]host.Plug{portID(1): {Interface: "wf2", Attachment: datapath.Attachment{Ifindex: 5}}})
	refuses("the agent started again", rules.Reject)
	attach(6)
	refuses("and it comes to another interface", rules.Deny)
}
