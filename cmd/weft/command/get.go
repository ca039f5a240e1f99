// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// getOptions are the flags of get.
type getOptions struct {
	all    bool
	labels []string
	watch  bool
	host   string
	output string
}

const getLong = `Print objects as a table, or one of a host's live tables.

Without arguments: the kinds and how many objects each has. A kind is written
in the singular, the plural or short (network, networks, net). Objects that
live in projects are listed for one project, see --project; -A lists all.

With --host, the table is read from the agent of that host as it is now:
  ` + hostTables + `

-o wide adds columns; json and yaml print objects that "weft apply -f" reads
again; name prints KIND/NAME, one a line.`

const hostTables = "ports, port-addresses, routes, next-hops, vnis, macs, receivers, connections, counters, drops, capacity, leases, aliases, desired"

const getExample = `  weft get
  weft get networks
  weft get ports -A -o wide
  weft get port web-1 -o yaml
  weft get ports -l tier=web --watch
  weft get routes --host h1`

func newGet(s *session) *cobra.Command {
	var o getOptions
	c := &cobra.Command{
		Use:               "get [KIND [NAME...] | TABLE --host HOST]",
		Short:             "List objects, or a live table of a host",
		Long:              getLong,
		Example:           getExample,
		GroupID:           groupSee,
		Args:              arguments(0, -1),
		ValidArgsFunction: s.completeTargets,
		RunE:              func(c *cobra.Command, args []string) error { return s.get(c.Context(), o, args) },
	}
	f := c.Flags()
	f.BoolVarP(&o.all, "all", "A", false, "objects of all projects")
	f.StringArrayVarP(&o.labels, "label", "l", nil, "only objects whose labels meet `CONDITION`: KEY=VALUE, KEY!=VALUE, KEY, !KEY, KEY in (A,B), KEY notin (A,B); may be repeated")
	f.BoolVarP(&o.watch, "watch", "w", false, "stay, and print changes as they happen")
	f.StringVar(&o.host, "host", "", "read the table from the agent of this `HOST`")
	outputFlag(c, &o.output, formatJSON, formatYAML, formatWide, formatName)
	return c
}

func (s *session) get(ctx context.Context, o getOptions, args []string) error {
	if o.host != "" && (len(args) != 1 || o.watch || o.all || len(o.labels) > 0) {
		return usagef("--host wants one table and no other selection: weft get TABLE --host HOST, with TABLE one of %s", hostTables)
	}
	selector, err := parseSelector(o.labels)
	if err != nil {
		return err
	}
	c, err := s.connect()
	if err != nil {
		return err
	}
	switch {
	case o.host != "":
		return s.getHostTable(ctx, c, o, args[0])
	case len(args) == 0 || len(args) == 1 && args[0] == "all":
		return s.getCounts(ctx, c, o)
	}
	targets, err := s.parseTargets(args)
	if err != nil {
		return err
	}
	if o.watch {
		return s.getWatch(ctx, c, o, args[0], targets, selector)
	}
	if len(targets) > 0 {
		return s.getNamed(ctx, c, o, targets)
	}
	info, err := parseKind(args[0])
	if err != nil {
		return err
	}
	return s.getList(ctx, c, o, info, selector)
}

// getList prints the objects of a kind.
func (s *session) getList(ctx context.Context, c *client.Client, o getOptions, info api.Info, selector selector) error {
	options := client.ListOptions{Labels: selector.words()}
	switch {
	case o.all || !inProject(info.Kind):
	case info.Parent == api.KindProject:
		options.Parent = api.Ref{Name: s.project}
	default: // further down: what begins with the project's name
		options.Name = s.project + ":*"
	}
	answer, err := c.List(ctx, info.Kind, options)
	if err != nil {
		return err
	}
	shown := list{Revision: answer.Revision, Items: answer.Items}
	if done, err := s.encode(o.output, shown); done {
		return err
	}
	if o.output == formatName {
		return s.names(shown.Items)
	}
	if len(shown.Items) == 0 {
		s.sayNone(info, o)
		return nil
	}
	v := newView(s.project)
	if err := v.load(ctx, c, info.Kind, o.output == formatWide, shown.Items); err != nil {
		return err
	}
	return s.printObjects(v, info.Kind, o.output == formatWide, o.all, shown.Items)
}

// inScope tells whether an object belongs to the listing.
func (s *session) inScope(all bool, o api.Object) bool {
	h := o.Head()
	return all || !inProject(h.Kind) || projectName(h.Meta.FQName) == s.project
}

// sayNone tells a person, not a program, that there is nothing.
func (s *session) sayNone(info api.Info, o getOptions) {
	which := ""
	if len(o.labels) > 0 {
		which = " with " + strings.Join(o.labels, ",")
	}
	where := ""
	if !o.all && inProject(info.Kind) {
		where = fmt.Sprintf(" in project %s (all projects: -A)", s.project)
	}
	fmt.Fprintf(s.Err, "no %s%s%s\n", strings.ReplaceAll(info.Plural, "-", " "), which, where)
}

// getNamed prints objects given by name: of one kind as one table, of several
// as one after the other.
func (s *session) getNamed(ctx context.Context, c *client.Client, o getOptions, targets []target) error {
	var objects []api.Object
	for _, t := range targets {
		object, err := c.Get(ctx, t.info.Kind, t.ref)
		if err != nil {
			return err
		}
		objects = append(objects, object)
	}
	var value any = list{Items: objects}
	if len(objects) == 1 {
		value = objects[0]
	}
	if done, err := s.encode(o.output, value); done {
		return err
	}
	if o.output == formatName {
		return s.names(objects)
	}
	for first := 0; first < len(objects); {
		kind, end := objects[first].Head().Kind, first+1
		for end < len(objects) && objects[end].Head().Kind == kind {
			end++
		}
		if err := s.printSome(ctx, c, o, kind, objects[first:end], first > 0); err != nil {
			return err
		}
		first = end
	}
	return nil
}

// printSome prints objects of one kind, of which not all are listed.
func (s *session) printSome(ctx context.Context, c *client.Client, o getOptions, kind api.Kind, objects []api.Object, space bool) error {
	v, wide := newView(s.project), o.output == formatWide
	if err := v.load(ctx, c, kind, wide, objects); err != nil {
		return err
	}
	if space {
		fmt.Fprintln(s.Out)
	}
	return s.printObjects(v, kind, wide, !s.oneProject(objects), objects)
}

// oneProject tells whether all objects are in the project in use.
func (s *session) oneProject(objects []api.Object) bool {
	for _, o := range objects {
		if !s.inScope(false, o) {
			return false
		}
	}
	return true
}

// printObjects prints a table of objects of one kind.
func (s *session) printObjects(v *view, kind api.Kind, wide, all bool, objects []api.Object) error {
	columns := tableColumns(kind, wide, all)
	t := api.Table{Columns: titles(columns)}
	for _, o := range objects {
		t.Rows = append(t.Rows, v.cells(columns, o))
	}
	return s.printer.Print(t)
}

// getCounts prints the kinds.
func (s *session) getCounts(ctx context.Context, c *client.Client, o getOptions) error {
	t := api.Table{Columns: []string{"KIND", "SHORT", "COUNT", "EFFECT", "MEANING"}}
	for _, info := range api.Kinds() {
		count, err := c.Count(ctx, info.Kind, client.ListOptions{})
		if err != nil {
			return err
		}
		t.Rows = append(t.Rows, []string{info.Plural, info.Short, fmt.Sprint(count), effectWord(info), info.Doc})
	}
	return s.printTable(o.output, t)
}

// getHostTable prints a live table of a host.
func (s *session) getHostTable(ctx context.Context, c *client.Client, o getOptions, name string) error {
	host, err := s.ref(api.KindHost, o.host)
	if err != nil {
		return err
	}
	if !slices.Contains(api.HostTables(), name) {
		return usagef("%q is not a table of a host: want one of %s", name, strings.Join(api.HostTables(), ", "))
	}
	t, err := c.HostTable(ctx, host, name)
	if err != nil {
		return err
	}
	if t.LeftOut > 0 {
		fmt.Fprintf(s.Err, "the table is too large to be sent whole: %d further rows are left out\n", t.LeftOut)
	}
	return s.printTable(o.output, t)
}

// printTable prints a table that is not made of objects.
func (s *session) printTable(format string, t api.Table) error {
	if t.Rows == nil {
		t.Rows = [][]string{}
	}
	if done, err := s.encode(format, t); done {
		return err
	}
	if format == formatName {
		for _, r := range t.Rows {
			if len(r) > 0 {
				fmt.Fprintln(s.Out, r[0])
			}
		}
		return nil
	}
	shown := api.Table{Columns: make([]string, len(t.Columns)), Rows: t.Rows}
	for i, c := range t.Columns {
		shown.Columns[i] = strings.ToUpper(c)
	}
	return s.printer.Print(shown)
}
