// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/reconcile"
	"github.com/weft-network/weft/vrouter"
	"github.com/weft-network/weft/vrouter/rules"
)

// asks are rulesets of one action each, and a port that asks them.
func asks(p *Programmer, actions map[uint32]rules.Action) {
	sets, policy := map[uint32]*contents{}, vrouter.PortPolicy{}
	for id, action := range actions {
		sets[id] = newContents()
		sets[id].head.Identified = rules.Verdict{Order: rules.Default, Action: action}
		policy.Rulesets[rules.Ingress][rules.SecurityGroup] = id
	}
	p.rulesets.Want(sets)
	p.policies.Want(map[int]vrouter.PortPolicy{4: policy})
}

// A number that a port asks never comes to mean something else.
func TestNumberOfAFormerRulesetIsNotTaken(t *testing.T) {
	m := NewMemoryKernel(nil)
	p := NewProgrammer(m.Kernel())
	asks(p, map[uint32]rules.Action{7: rules.Pass})
	p.Round(t.Context(), time.Unix(0, 0))
	before := maps.Clone(m.Rulesets.Rows)
	if before[7].Identified.Action != rules.Pass {
		t.Fatalf("rulesets %v", before)
	}
	asks(p, map[uint32]rules.Action{7: rules.Deny})
	p.Round(t.Context(), time.Unix(1, 0))
	if st, _ := p.rulesets.Status(7); !maps.Equal(m.Rulesets.Rows, before) || st.State == reconcile.Done || !strings.Contains(st.Error, "former") {
		t.Errorf("rulesets %v, were %v; %+v", m.Rulesets.Rows, before, st)
	}
	asks(p, map[uint32]rules.Action{8: rules.Deny})
	p.Round(t.Context(), time.Unix(2, 0))
	if m.Rulesets.Rows[8].Identified.Action != rules.Deny || len(m.Rulesets.Rows) != 1 {
		t.Errorf("rulesets %v, want the one with another number", m.Rulesets.Rows)
	}
}

// Former rulesets stay as long as the kernel does not say that no packet asks
// them, and that is said; many of them share a wait.
func TestFormerRulesetsStayUntilNoPacketAsksThem(t *testing.T) {
	m, now, waits := NewMemoryKernel(nil), time.Unix(0, 0), 0
	failure := errors.New("no way to wait")
	m.Wait = func() error { waits++; return failure }
	p := NewProgrammer(m.Kernel())
	asks(p, map[uint32]rules.Action{1: rules.Pass})
	p.Round(t.Context(), now)
	asks(p, map[uint32]rules.Action{2: rules.Pass})
	p.Round(t.Context(), now)
	asks(p, map[uint32]rules.Action{3: rules.Pass})
	p.Round(t.Context(), now)
	if len(m.Rulesets.Rows) != 3 || waits != 1 {
		t.Errorf("%d rulesets after %d waits that failed, want all 3 after 1", len(m.Rulesets.Rows), waits)
	}
	problems := map[string]string{}
	p.policyProblems(desired.Rows{}, nil, problems)
	next, ok := p.NextAttempt()
	if !ok || !strings.Contains(problems["ruleset/former"], failure.Error()) {
		t.Errorf("next attempt %v %t, problems %v", next, ok, problems)
	}
	failure = nil
	p.Round(t.Context(), next)
	if len(m.Rulesets.Rows) != 1 || waits != 2 {
		t.Errorf("%d rulesets after %d waits, want 1 after 2", len(m.Rulesets.Rows), waits)
	}
}
