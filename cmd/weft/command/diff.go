// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/weft-network/weft/api"
)

func newDiff(s *session) *cobra.Command {
	var files []string
	c := &cobra.Command{
		Use:   "diff -f FILE...",
		Short: "Show what apply would change",
		Long: `Show what "weft apply -f" would change, object by object, line by line. The server
works everything out and changes nothing, so what it would refuse is refused here
too, and what it would allocate is shown.

The exit code is 0 if nothing differs, 1 if something does.`,
		Example: "  weft diff -f site/",
		GroupID: groupChange,
		Args:    noArguments,
		RunE:    func(c *cobra.Command, _ []string) error { return s.diff(c.Context(), files) },
	}
	filesFlag(c, &files)
	return c
}

func (s *session) diff(ctx context.Context, files []string) error {
	if len(files) == 0 {
		return usagef("-f is required: weft diff -f FILE")
	}
	c, err := s.connect()
	if err != nil {
		return err
	}
	docs, err := s.readDocuments(files)
	if err != nil {
		return err
	}
	var steps []step
	var before []api.Object
	for _, d := range docs {
		next, err := s.plan(ctx, c, d)
		if err != nil {
			return err
		}
		var current api.Object
		if next.operation.Op == api.OpUpdate {
			if current, err = c.Get(ctx, d.object.Head().Kind, d.identity()); err != nil {
				return err
			}
		}
		steps, before = append(steps, next), append(before, current)
	}
	after, err := s.perform(ctx, c, steps, 0, true, func([]step, []api.Object) error { return nil })
	if err != nil {
		return err
	}
	differs := false
	for i, st := range steps {
		if st.operation.Op == "" {
			continue
		}
		differs = true
		if err := s.printDiff(st.word, before[i], after[i]); err != nil {
			return err
		}
	}
	if differs {
		return errNotWell
	}
	return nil
}

// printDiff shows one object that would change.
func (s *session) printDiff(word string, before, after api.Object) error {
	old, err := comparisonText(before)
	if err != nil {
		return err
	}
	now, err := comparisonText(after)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "%s %s\n", slashed(after), s.printer.Word(word))
	for _, l := range diffLines(old, now) {
		if _, err := fmt.Fprintf(s.Out, "  %s\n", oneLineKept(l)); err != nil {
			return err
		}
	}
	return nil
}

// comparisonText is an object as text without what changes with every write.
func comparisonText(o api.Object) (string, error) {
	if o == nil {
		return "", nil
	}
	data, err := json.Marshal(o)
	var value map[string]any
	if err == nil {
		err = json.Unmarshal(data, &value)
	}
	if err != nil {
		return "", fmt.Errorf("encode %s: %w", slashed(o), err)
	}
	delete(value, "status")
	if meta, ok := value["meta"].(map[string]any); ok {
		for _, field := range []string{"uuid", "createdAt", "updatedAt", "generation", "revision", "fqName"} {
			delete(meta, field)
		}
	}
	text, err := yaml.Marshal(value)
	return string(text), err
}
