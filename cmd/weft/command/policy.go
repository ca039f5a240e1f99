// SPDX-License-Identifier: Apache-2.0

package command

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

func newPolicy(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "See what the rules of policy decided and logged, and which decide nothing",
		Long: `See which rules of security-groups, network-policies and firewalls decided how
many conversations on which hosts, and which decided none. Each host counts the
first packet of a conversation, and asking anew after a change, for the rule that
decided; of an audit rule, what it would have decided. Both ends count, each for its
own rule. A host counts a rule from when the rule came to it.`,
		Example: "  weft policy hits\n  weft policy hits --host h1\n  weft policy unused\n  weft policy log --follow\n  weft policy diff opening",
		GroupID: groupSee,
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			return usagef("want a command: weft policy hits, unused, log or diff")
		},
	}
	c.AddCommand(newPolicyHits(s), newPolicyUnused(s), newPolicyLog(s), newPolicyDiff(s))
	return c
}

func newPolicyHits(s *session) *cobra.Command {
	var host, output string
	c := &cobra.Command{
		Use:   "hits",
		Short: "Show how many conversations each rule decided, the busiest first",
		Long: `Show how many conversations each rule decided that a port asks, summed up over all
hosts, the busiest first. VIA is by what the rule came to ports: its group, or policy
and set.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return s.policyHits(c.Context(), host, output) },
	}
	c.Flags().StringVar(&host, "host", "", "only this `HOST`")
	outputFlag(c, &output, formatJSON, formatYAML)
	return c
}

// ruleHits is one rule, over all hosts whose ports ask it.
type ruleHits struct {
	rule, layer, action, audit, owner, via, object string
	count                                          uint64
	hosts                                          []string
}

// collectHits sums the tables of rules of several hosts up.
func collectHits(hosts []string, tables []api.Table) ([]ruleHits, error) {
	sums := map[[2]string]*ruleHits{}
	for i, t := range tables {
		at := map[string]int{}
		for n, title := range t.Columns {
			at[title] = n
		}
		for _, row := range t.Rows {
			cell := func(title string) string {
				if n, ok := at[title]; ok && n < len(row) {
					return row[n]
				}
				return ""
			}
			count, err := strconv.ParseUint(cell("CONVERSATIONS"), 10, 64)
			if err != nil {
				return nil, fmt.Errorf("host %s: read the hits of %s: %w", hosts[i], cell("RULE"), err)
			}
			key := [2]string{cell("OBJECT") + cell("RULE"), cell("VIA")}
			sum := sums[key]
			if sum == nil {
				sum = &ruleHits{rule: cell("RULE"), layer: cell("LAYER"), action: cell("ACTION"), audit: cell("AUDIT"), owner: cell("OWNER"), via: cell("VIA"), object: cell("OBJECT")}
				sums[key] = sum
			}
			sum.count += count
			if !slices.Contains(sum.hosts, hosts[i]) {
				sum.hosts = append(sum.hosts, hosts[i])
			}
		}
	}
	var all []ruleHits
	for _, sum := range sums {
		all = append(all, *sum)
	}
	slices.SortFunc(all, func(a, b ruleHits) int {
		return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.rule, b.rule), cmp.Compare(a.via, b.via))
	})
	return all, nil
}

// askHits asks hosts for their rules. It tells how many did not answer.
func (s *session) askHits(ctx context.Context, c *client.Client, only string) (hits []ruleHits, silent, asked int, err error) {
	hosts, err := s.hostsToAsk(ctx, c, only)
	if err != nil {
		return nil, 0, 0, err
	}
	tables, failures := askAll(ctx, c, hosts, api.HostTableRules)
	var names []string
	var answers []api.Table
	for i, h := range hosts {
		if failures[i] != nil {
			silent++
			fmt.Fprintf(s.Err, "host %s does not answer: %s\n", h, oneLine(failures[i].Error()))
			continue
		}
		names, answers = append(names, h.String()), append(answers, tables[i])
	}
	hits, err = collectHits(names, answers)
	return hits, silent, len(hosts), err
}

func (s *session) policyHits(ctx context.Context, host, output string) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	hits, silent, asked, err := s.askHits(ctx, c, host)
	if err != nil {
		return err
	}
	t := api.Table{Columns: []string{"CONVERSATIONS", "RULE", "LAYER", "ACTION", "AUDIT", "HOSTS", "OWNER", "VIA"}}
	for _, h := range hits {
		t.Rows = append(t.Rows, []string{strconv.FormatUint(h.count, 10), h.rule, h.layer, h.action, h.audit, strings.Join(h.hosts, ","), h.owner, h.via})
	}
	switch {
	case silent > 0 && silent == asked:
		return errNotWell
	case len(t.Rows) == 0 && output == formatTable:
		fmt.Fprintf(s.Err, "no rule is asked on %d of %d hosts\n", asked-silent, asked)
		return nil
	}
	return s.printTable(output, t)
}

func newPolicyUnused(s *session) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "unused",
		Short: "Show the rules that decided nothing, or that no port asks",
		Long: `Show the rules that decided no conversation on any host since they came there, and
those that no port of any host asks. If a host does not answer, what it counted is
not known: it is named on the standard error and the exit code is 1.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return s.policyUnused(c.Context(), output) },
	}
	outputFlag(c, &output, formatJSON, formatYAML)
	return c
}

// ruleKinds are the kinds whose objects are rules, or have them.
var ruleKinds = []api.Kind{api.KindSecurityGroupRule, api.KindNetworkPolicy, api.KindFirewallRule}

func (s *session) policyUnused(ctx context.Context, output string) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	hits, silent, _, err := s.askHits(ctx, c, "")
	if err != nil {
		return err
	}
	var objects []api.Object
	for _, kind := range ruleKinds {
		for o, err := range c.Pages(ctx, kind, client.ListOptions{}) {
			if err != nil {
				return err
			}
			objects = append(objects, o)
		}
	}
	t := api.Table{Columns: []string{"RULE", "OWNER", "WHY"}, Rows: unusedRules(objects, hits)}
	switch {
	case len(t.Rows) == 0 && output == formatTable && silent == 0:
		fmt.Fprintln(s.Err, "every rule has decided something")
	case len(t.Rows) > 0 || output != formatTable:
		if err := s.printTable(output, t); err != nil {
			return err
		}
	}
	if silent > 0 {
		return errNotWell
	}
	return nil
}

// unusedRules lists the rules of objects that decided nothing, with why.
func unusedRules(objects []api.Object, hits []ruleHits) [][]string {
	asked := map[string][]ruleHits{} // by object
	var crowded []string             // hosts that lack counts
	for _, h := range hits {
		asked[h.object] = append(asked[h.object], h)
		if h.rule == api.RulesWithoutRoom {
			crowded = h.hosts
		}
	}
	var rows [][]string
	for _, o := range objects {
		m := &o.Head().Meta
		if p, ok := o.(*api.NetworkPolicy); ok && len(p.Spec.Rules) == 0 {
			continue // a name for networks
		}
		if len(asked[m.UUID]) == 0 {
			rows = append(rows, []string{string(o.Head().Kind) + " " + m.FQName, m.Owner, "no port asks it"})
			continue
		}
		decided := map[string]uint64{}
		hosts := map[string][]string{}
		for _, h := range asked[m.UUID] {
			decided[h.rule] += h.count
			hosts[h.rule] = append(hosts[h.rule], h.hosts...)
		}
		for _, h := range asked[m.UUID] {
			if n, first := decided[h.rule]; first && n == 0 {
				slices.Sort(hosts[h.rule])
				at := slices.Compact(hosts[h.rule])
				why := "asked on " + strings.Join(at, ", ") + ", decided nothing"
				if lacking := slices.DeleteFunc(slices.Clone(at), func(host string) bool { return !slices.Contains(crowded, host) }); len(lacking) > 0 {
					why += " that is counted; no room to count all on " + strings.Join(lacking, ", ")
				}
				rows = append(rows, []string{h.rule, m.Owner, why})
			}
			delete(decided, h.rule)
		}
	}
	return rows
}
