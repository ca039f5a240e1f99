// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/weft-network/weft/api"
)

// addByFields adds a create command for every kind that has none.
func (s *session) addByFields(create *cobra.Command) {
	own := create.Commands()
	for _, info := range api.Kinds() {
		if !slices.ContainsFunc(own, func(c *cobra.Command) bool { return c.Name() == string(info.Kind) }) {
			create.AddCommand(newCreateByFields(s, info))
		}
	}
}

// newCreateByFields makes an object of any kind by the fields of its spec. It
// is the same for all these kinds, so the reference does not repeat it.
func newCreateByFields(s *session, info api.Info) *cobra.Command {
	var fields []string
	c := s.creation(creation{
		kind: info.Kind, args: "NAME [--set FIELD=VALUE]...", short: "Make a " + string(info.Kind),
		long:    "What fields it has is in doc/reference/" + string(info.Kind) + ".md. A value is YAML: a word, a\nnumber, [a, list] or {a: block}. Names may be short.",
		example: "  weft create " + string(info.Kind) + " one --set FIELD=VALUE",
		build: func(_ context.Context, name string) ([]api.Operation, error) {
			o, err := s.buildByFields(info, name, fields)
			if err != nil {
				return nil, err
			}
			return creates(o), nil
		},
	})
	c.Hidden = true
	c.Flags().StringArrayVar(&fields, "set", nil, "`FIELD=VALUE` of the spec, e.g. match.protocol=tcp; may be repeated")
	return c
}

// buildByFields makes an object from a name and FIELD=VALUE.
func (s *session) buildByFields(info api.Info, name string, fields []string) (api.Object, error) {
	full, err := completeName(s.project, info.Kind, name)
	if err != nil {
		return nil, err
	}
	meta := map[string]any{"name": api.BaseName(full)}
	if info.Parent != "" {
		meta["parent"] = parentName(full)
	}
	spec := map[string]any{}
	for _, f := range fields {
		path, text, ok := strings.Cut(f, "=")
		if !ok || path == "" {
			return nil, usagef("--set %q: want FIELD=VALUE", f)
		}
		var value any
		if err := yaml.Unmarshal([]byte(text), &value); err != nil {
			return nil, usagef("--set %s: %v", path, err)
		}
		if err := setField(spec, strings.Split(strings.TrimPrefix(path, "spec."), "."), value); err != nil {
			return nil, usagef("--set %s: %v", path, err)
		}
	}
	d, err := s.documentOf("--set", map[string]any{"kind": string(info.Kind), "meta": meta, "spec": spec})
	return d.object, err
}

// setField puts a value into a decoded object, making what is missing above it.
func setField(in map[string]any, path []string, value any) error {
	for ; len(path) > 1; path = path[1:] {
		switch inner := in[path[0]].(type) {
		case nil:
			next := map[string]any{}
			in[path[0]] = next
			in = next
		case map[string]any:
			in = inner
		default:
			return fmt.Errorf("%s is not a block", path[0])
		}
	}
	in[path[0]] = value
	return nil
}

// createFiles makes the objects of files; none of them may be there already.
func (s *session) createFiles(ctx context.Context, files []string, dryRun bool) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	docs, err := s.readDocuments(files)
	if err != nil {
		return err
	}
	var steps []step
	for _, d := range docs {
		steps = append(steps, step{"created", api.Operation{Op: api.OpCreate, Object: d.object}})
	}
	_, err = s.perform(ctx, c, steps, 0, dryRun, func(done []step, after []api.Object) error {
		return s.printSteps(done, after, dryRun)
	})
	return err
}
