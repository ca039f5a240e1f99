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

func newTree(s *session) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "tree [DOMAIN:PROJECT | DOMAIN]",
		Short: "Draw what a project or a domain holds",
		Long: `Draw what a project or a domain holds, each object below the one it belongs to,
with what its table shows of it. Without a name: the project in use.`,
		Example: "  weft tree\n  weft tree default-domain",
		GroupID: groupSee,
		Args:    arguments(0, 1),
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			return s.completeNames(c, api.KindProject, args)
		},
		RunE: func(c *cobra.Command, args []string) error { return s.tree(c.Context(), args, output) },
	}
	outputFlag(c, &output, formatName)
	return c
}

func (s *session) tree(ctx context.Context, args []string, output string) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	root, err := s.treeRoot(ctx, c, args)
	if err != nil {
		return err
	}
	t := tree{s: s, view: newView(projectName(root.Head().Meta.FQName)), below: map[string][]api.Object{}}
	all := []api.Object{root}
	for _, info := range api.Kinds() {
		if info.Parent == "" {
			continue
		}
		answer, err := c.List(ctx, info.Kind, client.ListOptions{Name: root.Head().Meta.FQName + ":*"})
		if err != nil {
			return err
		}
		for _, o := range answer.Items {
			t.view.put(o)
			parent := o.Head().Meta.Parent.UUID
			t.below[parent] = append(t.below[parent], o)
			all = append(all, o)
		}
	}
	if output == formatName {
		return s.names(all)
	}
	fmt.Fprintln(s.Out, s.printer.Title(t.line(root)))
	t.draw(root, "")
	return nil
}

// treeRoot finds the object to begin at. One word is a domain if there is one
// of that name, else a project of the domain in use.
func (s *session) treeRoot(ctx context.Context, c *client.Client, args []string) (api.Object, error) {
	if len(args) == 0 {
		return c.Get(ctx, api.KindProject, api.Ref{Name: s.project})
	}
	if !strings.Contains(args[0], ":") {
		domains, err := c.List(ctx, api.KindDomain, client.ListOptions{Name: args[0]})
		if err != nil || len(domains.Items) == 1 {
			return slices.Concat(domains.Items, []api.Object{nil})[0], err
		}
	}
	ref, err := s.ref(api.KindProject, args[0])
	if err != nil {
		return nil, err
	}
	return c.Get(ctx, api.KindProject, ref)
}

// tree is a drawing of objects below each other.
type tree struct {
	s     *session
	view  *view
	below map[string][]api.Object // by the parent's UUID; by kind, then name
}

// draw prints what is below an object.
func (t tree) draw(o api.Object, indent string) {
	children := t.below[o.Head().Meta.UUID]
	for i, child := range children {
		branch, deeper := "├─ ", "│  "
		if i == len(children)-1 {
			branch, deeper = "└─ ", "   "
		}
		fmt.Fprintln(t.s.Out, indent+branch+t.line(child))
		t.draw(child, indent+deeper)
	}
}

// line is an object with what its table shows beside its name.
func (t tree) line(o api.Object) string {
	h := o.Head()
	line := string(h.Kind) + " " + h.Meta.Name
	parent := t.parentCell(o)
	for _, c := range columnsOf[h.Kind] {
		if cell := c.cell(t.view, o); !c.wide && cell != "" && cell != parent {
			line += "  " + strings.ToLower(c.title) + " " + cell
		}
	}
	return oneLineKept(line)
}

// parentCell is how a table would show the parent, which a tree shows anyway.
func (t tree) parentCell(o api.Object) string {
	return refCell(o, o.Head().Meta.Parent)
}
