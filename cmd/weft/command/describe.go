// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// shownRelated bounds the rows of a related table: describe is to be read.
const shownRelated = 30

func newDescribe(s *session) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:               "describe KIND NAME...",
		Short:             "Show everything about an object",
		Long:              "Show everything about an object: what it should be, how it is, and the objects\nthat belong to it or refer to it. With -o json or\nyaml: the object, and those around it under related.",
		Example:           "  weft describe port web-1\n  weft describe network/web",
		GroupID:           groupSee,
		Args:              arguments(1, -1),
		ValidArgsFunction: s.completeTargets,
		RunE:              func(c *cobra.Command, args []string) error { return s.describe(c.Context(), args, output) },
	}
	outputFlag(c, &output, formatJSON, formatYAML)
	return c
}

func (s *session) describe(ctx context.Context, args []string, output string) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	targets, err := s.parseTargets(args)
	if err != nil {
		return err
	}
	if len(targets) == 0 {
		return usagef("which %s? weft describe %s NAME", args[0], args[0])
	}
	var all []description
	for i, t := range targets {
		o, err := c.Get(ctx, t.info.Kind, t.ref)
		if err != nil {
			return err
		}
		if output != formatTable {
			d, err := describedObject(ctx, c, o)
			if err != nil {
				return err
			}
			all = append(all, d)
			continue
		}
		if i > 0 {
			fmt.Fprintln(s.Out)
		}
		if err := s.describeObject(ctx, c, o); err != nil {
			return err
		}
	}
	var value any = map[string]any{"items": all}
	if len(all) == 1 {
		value = all[0]
	}
	_, err = s.encode(output, value)
	return err
}

func (s *session) describeObject(ctx context.Context, c *client.Client, o api.Object) error {
	h := o.Head()
	var raw map[string]any
	data, err := json.Marshal(o)
	if err == nil {
		err = json.Unmarshal(data, &raw)
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(s.Out, s.printer.Title(string(h.Kind)+" "+h.Meta.FQName))
	s.fields(append(metaFields(&h.Meta, s.Now()), effectFields(o)...))
	if p, ok := o.(*api.NetworkPolicy); ok {
		raw["spec"] = rulesBySequence(p)
	}
	if spec := flatten("", raw["spec"]); len(spec) > 0 {
		s.section("Spec")
		s.fields(spec)
	}
	status, _ := raw["status"].(map[string]any)
	conditions, _ := status["conditions"].([]any)
	delete(status, "conditions")
	if rows := flatten("", status); len(rows) > 0 {
		s.section("Status")
		s.fields(rows)
	}
	if len(conditions) > 0 {
		s.section("Conditions")
		if err := s.indented(conditionTable(conditions)); err != nil {
			return err
		}
	}
	return s.describeRelated(ctx, c, o)
}

// rulesBySequence shows the rules of a policy as people write them.
func rulesBySequence(p *api.NetworkPolicy) map[string]any {
	rules := map[string]any{}
	for i, r := range p.Spec.Rules {
		rules[fmt.Sprintf("rule %d", i+1)] = ruleText(projectName(p.Meta.FQName), r)
	}
	return rules
}

func (s *session) section(title string) { fmt.Fprintln(s.Out, s.printer.Title(title+":")) }

// fields prints names and values in two columns.
func (s *session) fields(rows [][2]string) {
	width := 0
	for _, r := range rows {
		width = max(width, len(r[0])+1)
	}
	for _, r := range rows {
		fmt.Fprintf(s.Out, "  %-*s %s\n", width, r[0]+":", s.printer.Word(oneLine(r[1])))
	}
}

// metaFields are the fields of identity that are set.
func metaFields(m *api.Meta, now time.Time) [][2]string {
	foreign := ""
	if m.Foreign != nil {
		foreign = fmt.Sprintf("%s %s of %s", m.Foreign.Kind, m.Foreign.ID, m.Foreign.Orchestrator)
	}
	var rows [][2]string
	for _, r := range [][2]string{
		{"uuid", m.UUID},
		{"owner", m.Owner},
		{"display name", m.DisplayName},
		{"description", m.Description},
		{"labels", labelsText(m.Labels)},
		{"foreign", foreign},
		{"created", moment(m.CreatedAt, now)},
		{"updated", moment(m.UpdatedAt, now)},
		{"generation", fmt.Sprintf("%d, revision %d", m.Generation, m.Revision)},
	} {
		if r[1] != "" {
			rows = append(rows, r)
		}
	}
	return rows
}

// moment is a time with how long ago it was.
func moment(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339) + " (" + age(now.Sub(t)) + " ago)"
}

// age is a duration in its largest unit that fits at least twice.
func age(d time.Duration) string {
	for _, u := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}} {
		if d >= 2*u.of {
			return fmt.Sprintf("%d%s", d/u.of, u.name)
		}
	}
	return fmt.Sprintf("%ds", max(0, d/time.Second))
}

// flatten makes rows of a decoded value: references by name, lists of words in
// one row, everything else by its path.
func flatten(path string, value any) [][2]string {
	switch v := value.(type) {
	case nil:
		return nil
	case map[string]any:
		if name, ok := asRef(v); ok {
			return [][2]string{{path, name}}
		}
		var rows [][2]string
		for _, key := range slices.Sorted(maps.Keys(v)) {
			rows = append(rows, flatten(strings.TrimPrefix(path+"."+key, "."), v[key])...)
		}
		return rows
	case []any:
		if words, ok := asWords(v); ok {
			return [][2]string{{path, words}}
		}
		var rows [][2]string
		for i, item := range v {
			rows = append(rows, flatten(fmt.Sprintf("%s[%d]", path, i), item)...)
		}
		return rows
	case bool:
		return [][2]string{{path, yesNo(v)}}
	case float64:
		return [][2]string{{path, fmt.Sprintf("%.0f", v)}}
	}
	return [][2]string{{path, fmt.Sprint(value)}}
}

// asRef is the name of a value that is a reference.
func asRef(v map[string]any) (string, bool) {
	name, _ := v["name"].(string)
	uuid, _ := v["uuid"].(string)
	if uuid == "" || len(v) > 2 || len(v) == 2 && name == "" {
		return "", false
	}
	return api.Ref{UUID: uuid, Name: name}.String(), true
}

// asWords joins a list that holds only words.
func asWords(list []any) (string, bool) {
	var words []string
	for _, item := range list {
		word, ok := item.(string)
		if !ok {
			return "", false
		}
		words = append(words, word)
	}
	return strings.Join(words, ", "), true
}

func conditionTable(conditions []any) api.Table {
	t := api.Table{Columns: []string{"CONDITION", "HOLDS", "REASON", "SINCE", "MESSAGE"}}
	for _, c := range conditions {
		m, _ := c.(map[string]any)
		holds, _ := m["status"].(bool)
		t.Rows = append(t.Rows, []string{fieldText(m, "type"), yesNo(holds), fieldText(m, "reason"), fieldText(m, "since"), fieldText(m, "message")})
	}
	return t
}

// describedBy are the kinds that describe lists for a kind: those of its
// objects that belong to the described one or refer to it.
var describedBy = map[api.Kind][]api.Kind{
	api.KindDomain:        {api.KindProject, api.KindOrchestrator},
	api.KindProject:       {api.KindNetwork, api.KindPort, api.KindNetworkPolicy, api.KindShare},
	api.KindHost:          {api.KindBinding},
	api.KindIPAM:          {api.KindNetwork, api.KindShare},
	api.KindAddressScope:  {api.KindSubnetPool, api.KindShare},
	api.KindSubnetPool:    {api.KindSubnet, api.KindShare},
	api.KindNetwork:       {api.KindSubnet, api.KindPort, api.KindNetworkPolicyAttachment, api.KindSourceNAT, api.KindShare},
	api.KindSubnet:        {api.KindAddress},
	api.KindPort:          {api.KindAddress, api.KindBinding},
	api.KindNetworkPolicy: {api.KindNetworkPolicyAttachment, api.KindShare},

	api.KindVirtualMachine: {api.KindPort, api.KindVirtualMachine, api.KindTagBinding},
	api.KindTag:            {api.KindTagBinding, api.KindFirewallRule},
	api.KindSecurityGroup:  {api.KindSecurityGroupRule, api.KindPort},
	api.KindFirewallRule:   {api.KindFirewallPolicy},
	api.KindFirewallPolicy: {api.KindApplicationPolicySet},
	api.KindRouter:         {api.KindRouterInterface},
	api.KindFloatingIPPool: {api.KindFloatingIP},
	api.KindFloatingIP:     {api.KindFloatingIPAssociation, api.KindPortForwarding},
	api.KindAddress:        {api.KindPortBlock},
	api.KindLoadBalancer:   {api.KindListener, api.KindPool, api.KindFloatingIPAssociation},
	api.KindListener:       {api.KindListenerRule},
	api.KindPool:           {api.KindMember, api.KindHealthMonitor},
	api.KindTrunk:          {api.KindSubPort},
	api.KindSwitch:         {api.KindSwitchPort},
	api.KindSwitchPort:     {api.KindSwitchPortAttachment},
	api.KindRouteTarget:    {api.KindNetwork},
}

// around are the objects of a kind that belong to an object or refer to it, in
// the order of their names.
func around(ctx context.Context, c *client.Client, kind api.Kind, o api.Object) ([]api.Object, error) {
	info, _ := api.KindInfo(kind)
	var asked []client.ListOptions
	if info.Parent == o.Head().Kind {
		asked = append(asked, referring(fieldParent, o))
	}
	for _, f := range api.ReferenceFields(kind) {
		if f.Kind == o.Head().Kind || f.Kind == "" {
			asked = append(asked, client.ListOptions{References: map[string]api.Ref{f.Field: {UUID: o.Head().Meta.UUID}}})
		}
	}
	found := map[string]api.Object{}
	for _, options := range asked {
		answer, err := c.List(ctx, kind, options)
		if err != nil {
			return nil, err
		}
		for _, other := range answer.Items {
			found[other.Head().Meta.UUID] = other
		}
	}
	return byName(slices.Collect(maps.Values(found))), nil
}

// byName orders objects by their full names.
func byName(objects []api.Object) []api.Object {
	slices.SortFunc(objects, func(a, b api.Object) int {
		return strings.Compare(a.Head().Meta.FQName, b.Head().Meta.FQName)
	})
	return objects
}

// describeRelated prints tables of the objects around one.
func (s *session) describeRelated(ctx context.Context, c *client.Client, o api.Object) error {
	if n, ok := o.(*api.Network); ok {
		if err := s.describeReserved(ctx, c, n); err != nil {
			return err
		}
	}
	for _, kind := range describedBy[o.Head().Kind] {
		others, err := around(ctx, c, kind, o)
		if err != nil {
			return err
		}
		if len(others) == 0 {
			continue
		}
		info, _ := api.KindInfo(kind)
		if err := s.relatedTable(ctx, c, info, others); err != nil {
			return err
		}
	}
	return nil
}

// description is an object and what is around it, for programs.
type description struct {
	Object  api.Object              `json:"object"`
	Related map[string][]api.Object `json:"related,omitempty"` // by plural
}

func describedObject(ctx context.Context, c *client.Client, o api.Object) (description, error) {
	d := description{Object: o, Related: map[string][]api.Object{}}
	for _, kind := range describedBy[o.Head().Kind] {
		others, err := around(ctx, c, kind, o)
		if err != nil {
			return d, err
		}
		if info, _ := api.KindInfo(kind); len(others) > 0 {
			d.Related[info.Plural] = others
		}
	}
	return d, nil
}

// relatedTable prints objects around one, the first of many.
func (s *session) relatedTable(ctx context.Context, c *client.Client, info api.Info, around []api.Object) error {
	words := strings.ReplaceAll(info.Plural, "-", " ")
	s.section(fmt.Sprintf("%s (%d)", strings.ToUpper(words[:1])+words[1:], len(around)))
	v := newView(s.project)
	if err := v.load(ctx, c, info.Kind, false, around[:min(len(around), shownRelated)]); err != nil {
		return err
	}
	columns := tableColumns(info.Kind, false, !s.oneProject(around))
	t := api.Table{Columns: titles(columns)}
	for _, o := range around[:min(len(around), shownRelated)] {
		t.Rows = append(t.Rows, v.cells(columns, o))
	}
	if err := s.indented(t); err != nil {
		return err
	}
	if more := len(around) - shownRelated; more > 0 {
		fmt.Fprintf(s.Out, "  and %d more: weft get %s\n", more, info.Plural)
	}
	return nil
}

// indented prints a table two columns to the right.
func (s *session) indented(t api.Table) error {
	p := s.printer
	p.Indent = "  "
	return p.Print(t)
}
