// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
	"github.com/weft-network/weft/vrouter/rules"
)

// policy writes what the layers said that were asked: at the sender's end about
// the one at to, at the receiver's end about the one at from.
func (a *answer) policy(t vrouter.Trace, from, to netip.Addr) error {
	if len(t.Policy) == 0 {
		return nil
	}
	receiver, err := a.receiver(t)
	if err != nil {
		return err
	}
	return a.Loop.Do(a.ctx, func(c *host.Core) {
		numbers, rows := c.Rules(), c.Rows()
		for _, said := range t.Policy {
			id, remote := a.port.ID, to
			if said.Receiver {
				id, remote = receiver, from
			}
			step := api.PolicyStep{
				Direction: side(said.Direction), Layer: said.Layer.String(), Port: rows.Ports[id].Name, Remote: remote,
				Identity: identity(said.Remote), Action: said.Action.String(), Logs: said.Logs,
				Rule: ruleAt(numbers, said.Rule, said.Layer), Audit: ruleAt(numbers, said.AuditRule, said.Layer), Former: said.Former,
			}
			for _, r := range rows.Ports[id].Rulesets {
				if !said.Former && r.Layer == step.Layer && r.Ingress == (said.Direction == rules.Ingress) {
					step.Ruleset = rows.Rulesets[r.Ruleset].Name
				}
			}
			a.step(step)
		}
	})
}

// step adds a row: its words, and for programs all of it.
func (a *answer) step(s api.PolicyStep) {
	cell, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("trace: encode own step: %v", err)) // words and addresses always encode
	}
	a.table.Rows = append(a.table.Rows, []string{api.TracePolicy, s.String(), api.TracedHow, string(cell)})
}

// receiver is the UUID of the port that the packet came to: where its route
// leads, or where it was delivered.
func (a *answer) receiver(t vrouter.Trace) (string, error) {
	ifindex, vlan := t.Redirect, int(t.VLAN)
	if t.Route != nil && ifindex == 0 {
		hop, there, err := a.NextHops.Get(t.Route.NextHop)
		if err != nil || !there {
			return "", err
		}
		ifindex = hop.Ifindex
	}
	if id, is := a.tagged[tag{ifindex, vlan}]; is && vlan != 0 {
		return id, nil
	}
	return a.ports[ifindex], nil
}

func side(d rules.Direction) api.Side {
	if d == rules.Ingress {
		return api.Ingress
	}
	return api.Egress
}

// identity says who an end is to rules.
func identity(id rules.Identity) string {
	switch id {
	case rules.None:
		return "outside"
	case rules.Pending:
		return "pending"
	}
	return fmt.Sprintf("%016x", uint64(id))
}

// ruleAt finds a rule by its number. Two may share one; then it is said of both.
func ruleAt(numbers map[uint32][]datapath.Numbered, number uint32, layer rules.Layer) *api.PolicyRule {
	if number == 0 {
		return nil
	}
	of := slices.DeleteFunc(slices.Clone(numbers[number]), func(n datapath.Numbered) bool { return n.Layer != layer })
	if len(of) == 0 {
		return &api.PolicyRule{Kind: "rule", Name: fmt.Sprintf("number %d, which has just changed", number)}
	}
	slices.SortFunc(of, func(x, y datapath.Numbered) int { return cmp.Compare(x.Name, y.Name) })
	r := &api.PolicyRule{Kind: of[0].Kind, Name: of[0].Name, Index: of[0].Index, Owner: of[0].Owner, Via: of[0].Via}
	for _, other := range of[1:] {
		r.Name = strings.Join([]string{r.Name, other.Name}, " or ")
	}
	return r
}
