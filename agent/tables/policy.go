// SPDX-License-Identifier: Apache-2.0

package tables

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
	"github.com/weft-network/weft/vrouter/rules"
)

// policy lists what each port asks in the kernel, layer by layer, and how many
// entries each ruleset has there.
func (r Reader) policy(_ context.Context, w words) (api.Table, error) {
	t := api.Table{Columns: []string{"INTERFACE", "PORT", "DIRECTION", "LAYER", "RULESET", "ENTRIES", "NONE-MATCHES", "AUDIT", "IDENTITY", "STATELESS", "LIMIT", "FORMER"}}
	ports, err := r.Kernel.PortPolicies.All()
	if err != nil {
		return t, err
	}
	heads, err := r.Kernel.Rulesets.All()
	if err != nil {
		return t, err
	}
	taken, err := r.placesTaken()
	if err != nil {
		return t, err
	}
	entries, err := r.entries()
	for _, ifindex := range slices.Sorted(maps.Keys(ports)) {
		p := ports[ifindex]
		limit := "-"
		if p.ConnectionLimit != 0 {
			limit = fmt.Sprintf("%d of %d", taken[ifindex], p.ConnectionLimit)
		}
		rows := len(t.Rows)
		add := func(sets [rules.Directions][rules.Layers]uint32, stateless, former bool) {
			common := []string{fmt.Sprintf("%016x", uint64(p.Identity)), yes(stateless), limit, yes(former)}
			for d, layers := range sets {
				for l, id := range layers {
					if id == 0 {
						continue
					}
					row := []string{w.name(ifindex), w.port(ifindex), rules.Direction(d).String(), rules.Layer(l).String(), rulesetName(id), number(uint32(entries[id])), unmatched(heads, id), audit(heads[id])}
					t.Rows = append(t.Rows, append(row, common...))
				}
			}
			if len(t.Rows) == rows && !former {
				t.Rows = append(t.Rows, append([]string{w.name(ifindex), w.port(ifindex), "-", "-", "-", "0", "-", "-"}, common...))
			}
		}
		add(p.Rulesets, p.Stateless, false)
		if p.Strict {
			add(p.Former, p.FormerStateless, true)
		}
	}
	return t, err
}

// placesTaken counts the conversations of each port with a limit, by interface.
func (r Reader) placesTaken() (map[int]int, error) {
	ports, err := r.Kernel.Ports.All()
	if err != nil {
		return nil, err
	}
	places, err := r.Statistics.Places()
	taken := map[int]int{}
	for owner, n := range places {
		if ports[owner.Ifindex].ID == owner.Port { // else it is of a former port
			taken[owner.Ifindex] = n
		}
	}
	return taken, err
}

func rulesetName(id uint32) string { return fmt.Sprintf("%08x", id) }

func audit(head vrouter.RulesetValue) string {
	if head.Audit == 0 {
		return "-"
	}
	return rulesetName(head.Audit)
}

// unmatched is what a ruleset says where no rule for somebody matches.
func unmatched(heads map[uint32]vrouter.RulesetValue, id uint32) string {
	head, there := heads[id]
	switch {
	case !there:
		return "missing"
	case head.Outside.Action == head.Identified.Action:
		return head.Outside.Action.String()
	}
	return fmt.Sprintf("%v, workloads %v", head.Outside.Action, head.Identified.Action)
}

// entries counts the kernel's entries of each ruleset.
func (r Reader) entries() (map[uint32]int, error) {
	count := map[uint32]int{}
	named, err := r.Kernel.RemoteClasses.All()
	if err != nil {
		return nil, err
	}
	ranges, err := r.Kernel.RemoteRanges.All()
	if err != nil {
		return nil, err
	}
	services, err := r.Kernel.ServiceClasses.All()
	if err != nil {
		return nil, err
	}
	pages, err := r.Kernel.ServicePages.All()
	if err != nil {
		return nil, err
	}
	verdicts, err := r.Kernel.Verdicts.All()
	for k := range named {
		count[k.Ruleset]++
	}
	for k := range ranges {
		count[k.Ruleset]++
	}
	for k := range services {
		count[k.Ruleset]++
	}
	for k := range pages {
		count[k.Ruleset]++
	}
	for k := range verdicts {
		count[k.Ruleset]++
	}
	return count, err
}

// rules lists the rules that ports of this host ask, with the conversations
// that each has decided here, or as an audit rule would have.
func (r Reader) rules(ctx context.Context, _ words) (api.Table, error) {
	t := api.Table{Columns: []string{"NUMBER", "LAYER", "ACTION", "AUDIT", "CONVERSATIONS", "RULE", "OWNER", "VIA", "OBJECT"}}
	hits, err := r.Statistics.RuleHits()
	if err != nil {
		return t, err
	}
	var all map[uint32][]datapath.Numbered
	err = r.Loop.Do(ctx, func(c *host.Core) { all = c.Rules() })
	for _, n := range slices.Sorted(maps.Keys(all)) {
		for _, rule := range all[n] {
			t.Rows = append(t.Rows, []string{
				rulesetName(n), rule.Layer.String(), rule.Action.String(), yes(rule.Audit), number(hits[n]), rule.Cause.String(), rule.Owner, strings.Join(rule.Via, ", "), rule.Object,
			})
		}
	}
	for _, n := range slices.Sorted(maps.Keys(hits)) {
		if _, known := all[n]; !known {
			which := "no port asks it any more"
			if n == vrouter.AnyRule {
				which = api.RulesWithoutRoom
			}
			t.Rows = append(t.Rows, []string{rulesetName(n), "-", "-", "-", number(hits[n]), which, "-", "-", "-"})
		}
	}
	return t, err
}

// portRules lists what one port asks, named by its UUID: each layer's rules in
// their order, and what is said if none of them matches. CONVERSATIONS are those
// of all ports of this host that ask the rule.
func (r Reader) portRules(ctx context.Context, port string) (api.Table, error) {
	t := api.Table{Columns: []string{"DIRECTION", "LAYER", "PLACE", "ACTION", "AUDIT", "CONVERSATIONS", "RULE", "OWNER", "VIA"}}
	hits, err := r.Statistics.RuleHits()
	if err != nil {
		return t, err
	}
	err = r.Loop.Do(ctx, func(c *host.Core) {
		rows := c.Rows()
		for _, asked := range rows.Ports[port].Rulesets {
			direction := rules.Egress
			if asked.Ingress {
				direction = rules.Ingress
			}
			set, here := rows.Rulesets[asked.Ruleset]
			if !here {
				t.Rows = append(t.Rows, []string{direction.String(), asked.Layer, "-", "-", "-", "-", "is not here yet", "-", "-"})
				continue
			}
			for i, rule := range set.Rules {
				t.Rows = append(t.Rows, []string{
					direction.String(), asked.Layer, number(i + 1), rule.Body.Action.String(), yes(rule.Body.Audit), number(hits[c.RuleNumber(rule.Cause)]),
					rule.Cause.String(), rule.Cause.Owner, strings.Join(rule.Cause.Via, ", "),
				})
			}
			last := set.Identified.String()
			if set.Outside != set.Identified {
				last += ", of outside " + set.Outside.String()
			}
			row := []string{direction.String(), asked.Layer, "-", last, "-", "-", "no rule matches", "-", "-"}
			if rest := set.Rest; rest != nil {
				row[5], row[6], row[7] = number(hits[c.RuleNumber(*rest)]), "no rule matches, which "+rest.String()+" logs", rest.Owner
			}
			t.Rows = append(t.Rows, row)
		}
	})
	return t, err
}
