// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/lab/topology"
)

var (
	seedFlag = flag.Uint64("seed", 0, "of random objects; 0 takes one from the clock")
	rounds   = flag.Int("rounds", 2, "how often each layer changes and everything is tried")
)

func TestPolicy(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("again with: -seed %d", seed)
	e := &Editor{Rand: rand.New(rand.NewPCG(seed, 0))}
	s := start(t)
	counts := tally{}
	s.compare(t, counts, "without policy")
	s.write(t, join("red:shop", redWeb, redDB, redTest)...)
	s.compare(t, counts, "red's networks joined")
	t.Logf("without rules: %v", counts)
	t.Run("security-groups", func(t *testing.T) {
		defer s.withoutGroups(t)
		s.write(t, e.Groups()...)
		s.rounds(t, e, e.GroupEdits, 60)
	})
	t.Run("network-policies", func(t *testing.T) {
		defer s.rejoin(t)
		s.unjoin(t, "mesh")
		s.write(t, e.NetworkPolicies()...)
		s.rounds(t, e, e.NetworkEdits, 12)
	})
	t.Run("firewall", func(t *testing.T) {
		s.write(t, e.Firewall()...)
		s.rounds(t, e, e.FirewallEdits, 30)
	})
	t.Run("all layers", func(t *testing.T) {
		defer s.withoutGroups(t)
		defer s.withoutFirewall(t)
		defer s.rejoin(t)
		s.rounds(t, e, func(m *Model, number int) []api.Operation {
			return append(append(e.FirewallEdits(m, number), e.GroupEdits(m, number)...), e.NetworkEdits(m, 2)...)
		}, 20)
	})
	t.Run("explained", s.explained)
	t.Run("logged", s.logged)
	m := s.liveGroups(t)
	t.Run("revoked", s.revoked)
	t.Run("changes", func(t *testing.T) { s.changes(t, m) })
	t.Run("strict", func(t *testing.T) { s.strict(t, m) })
	t.Run("a change in several deltas", func(t *testing.T) { s.large(t, m) })
	t.Run("a workload moves", func(t *testing.T) { s.moved(t, m) })
	t.Run("the first packet of a newcomer", func(t *testing.T) { s.awaited(t, m) })
	t.Run("first instruction", s.late)
	t.Run("flood", s.flooded)
	t.Run("limit", s.limited)
}

// join joins networks by a network-policy that passes everything between them.
func join(project string, networks ...Network) []api.Operation {
	n := &api.NetworkPolicy{Header: header(api.KindNetworkPolicy, project, "mesh")}
	n.Spec.Rules = []api.NetworkPolicyRule{{Action: api.ActionPass, Direction: api.DirectionBoth}}
	operations := []api.Operation{create(n)}
	for i, net := range networks {
		a := &api.NetworkPolicyAttachment{Header: header(api.KindNetworkPolicyAttachment, project, fmt.Sprintf("mesh-%d", i))}
		a.Spec.Policy, a.Spec.Network = api.Ref{Name: project + ":mesh"}, api.Ref{Name: net.FQName()}
		operations = append(operations, create(a))
	}
	return operations
}

// rounds changes policy at random, in any order, with agents that are killed now
// and then, and has everything tried after each change. The first round makes
// more changes.
func (s *system) rounds(t *testing.T, e *Editor, edits func(*Model, int) []api.Operation, first int) {
	counts := tally{}
	defer func() { t.Log(counts) }()
	for round := range *rounds {
		number := 10
		if round == 0 {
			number = first
		}
		s.edit(t, e, func(m *Model) []api.Operation { return edits(m, number) })
		if round%3 == 1 {
			s.restart(t, 1+e.Rand.IntN(Hosts))
		}
		s.compare(t, counts, fmt.Sprintf("%s, round %d", t.Name(), round))
		s.sampled(t, e, s.model(t), 4)
	}
}

// withoutGroups takes the security-groups from all ports.
func (s *system) withoutGroups(t *testing.T) {
	m := s.model(t)
	var operations []api.Operation
	for _, p := range all[*api.Port](m, api.KindPort) {
		operations = append(operations, update(p, func(p *api.Port) { p.Spec.SecurityGroups, p.Spec.PortSecurity = nil, "" }))
	}
	for _, g := range all[*api.SecurityGroup](m, api.KindSecurityGroup) {
		if g.Spec.Default {
			operations = append(operations, update(g, func(g *api.SecurityGroup) { g.Spec.Default = false }))
		}
	}
	s.write(t, operations...)
}

// withoutFirewall deletes the sets.
func (s *system) withoutFirewall(t *testing.T) {
	s.remove(t, func(o api.Object) bool { return o.Head().Kind == api.KindApplicationPolicySet })
}

// rejoin has red's networks joined by the one policy that passes everything.
func (s *system) rejoin(t *testing.T) {
	s.unjoin(t, "")
	s.remove(t, func(o api.Object) bool { // whose rules may be others now
		p, is := o.(*api.NetworkPolicy)
		return is && p.Meta.Name == "mesh"
	})
	s.write(t, join("red:shop", redWeb, redDB, redTest)...)
}

// unjoin takes networks from the policy of this name; from all if it is empty.
func (s *system) unjoin(t *testing.T, policy string) {
	s.remove(t, func(o api.Object) bool {
		a, is := o.(*api.NetworkPolicyAttachment)
		return is && (policy == "" || api.BaseName(a.Spec.Policy.Name) == policy)
	})
}

// remove deletes objects.
func (s *system) remove(t *testing.T, which func(api.Object) bool) {
	t.Helper()
	var operations []api.Operation
	for _, o := range s.model(t).byUUID {
		if which(o) {
			operations = append(operations, api.Operation{Op: api.OpDelete, Object: o})
		}
	}
	if len(operations) > 0 {
		s.write(t, operations...)
	}
}

func (s *system) model(t *testing.T) *Model {
	t.Helper()
	m, err := Load(t.Context(), s.client)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// edit writes random changes, together or one by one in any order.
func (s *system) edit(t *testing.T, e *Editor, changes func(*Model) []api.Operation) {
	t.Helper()
	operations := changes(s.model(t))
	e.Rand.Shuffle(len(operations), func(i, j int) { operations[i], operations[j] = operations[j], operations[i] })
	if len(operations) == 0 {
		return
	}
	if e.Rand.IntN(2) == 0 {
		s.write(t, operations...)
		return
	}
	var revision int64
	for _, o := range operations {
		result, err := s.client.Transaction(t.Context(), []api.Operation{o}, false)
		if err != nil {
			t.Fatal(err)
		}
		revision = result.Revision
	}
	s.acknowledged(t, revision)
}

// restart kills an agent and starts it again.
func (s *system) restart(t *testing.T, n int) {
	t.Helper()
	if err := s.lab.Kill(topology.HostName(n)); err != nil {
		t.Fatal(err)
	}
	if err := s.lab.StartAgent(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	s.acknowledged(t, 0)
}
