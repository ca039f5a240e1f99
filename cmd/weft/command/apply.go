// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

const applyLong = `Make the objects of files be as the files say: create those that are missing,
change those that differ, leave alone those that agree.

A file is YAML with any number of documents, or JSON; a folder stands for its
*.yaml, *.yml and *.json files; "-" is the standard input. Kinds may come in any
order. Names may be short, see "weft --help"; an object that lives in a project
needs no meta.parent when that is --project. What "weft get -o yaml" prints can
be applied.

A field that the file does not mention stays as it is; null clears it; a list
is replaced as a whole. Objects that are in no file are not touched.

Everything happens in one transaction, or nothing does, up to 100 objects; more
are done in several, in an order that works.

With --check, assertions about who may talk to whom are checked for the state as it
would be; if one would not hold, nothing is changed. Check and change are one step: if
others write meanwhile, both are done again, some times, and then refused.`

func newApply(s *session) *cobra.Command {
	var files, checks []string
	var dryRun bool
	var output string
	var strict strictly
	c := &cobra.Command{
		Use:     "apply -f FILE...",
		Short:   "Create and change objects as files say",
		Long:    applyLong,
		Example: "  weft apply -f networks.yaml\n  weft apply -f site/ --dry-run\n  weft get ports -A -o yaml | sed s/old/new/ | weft apply -f -",
		GroupID: groupChange,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return s.apply(c.Context(), files, checks, strict, dryRun, output)
		},
	}
	filesFlag(c, &files)
	s.draftFlag(c)
	c.Flags().BoolVar(&dryRun, "dry-run", false, "check and say what would be done, but change nothing")
	checkFlag(c, &checks)
	strict.addFlags(c)
	outputFlag(c, &output, formatJSON, formatYAML, formatName)
	return c
}

// checkFlag adds --check.
func checkFlag(c *cobra.Command, files *[]string) {
	c.Flags().StringSliceVar(files, "check", nil, "`FILE` of assertions that must hold afterwards, see weft check; else nothing is changed")
}

// filesFlag adds -f.
func filesFlag(c *cobra.Command, files *[]string) {
	c.Flags().StringSliceVarP(files, "filename", "f", nil, "`FILE`, folder, or - for the standard input; may be repeated")
	// The only error is a flag that does not exist.
	_ = c.MarkFlagFilename("filename", "yaml", "yml", "json")
}

// step is what is to be done for one document.
type step struct {
	word      string // created, configured, unchanged
	operation api.Operation
}

func (s *session) apply(ctx context.Context, files, checks []string, strict strictly, dryRun bool, output string) error {
	if len(files) == 0 {
		return usagef("-f is required: weft apply -f FILE")
	}
	c, err := s.connect()
	if err != nil {
		return err
	}
	docs, err := s.readDocuments(files)
	if err != nil {
		return err
	}
	assertions, err := s.allAssertions(checks)
	if err != nil {
		return err
	}
	return again(ctx, func() error { return s.applyDocuments(ctx, c, docs, assertions, strict, dryRun, output) })
}

// applyDocuments makes the objects as documents say, if assertions allow it.
func (s *session) applyDocuments(ctx context.Context, c *client.Client, docs []document, assertions []api.Assertion, strict strictly, dryRun bool, output string) error {
	var steps []step
	for _, d := range docs {
		next, err := s.plan(ctx, c, d)
		if err != nil {
			return err
		}
		steps = append(steps, next)
	}
	g, err := s.checkSteps(ctx, c, steps, assertions)
	if err != nil {
		return err
	}
	strict.on = strict.on && slices.ContainsFunc(steps, func(st step) bool { return st.operation.Op != "" })
	hold, err := s.hold(ctx, c, strict)
	if err == nil && hold != nil {
		steps, err = s.held(steps, hold)
	}
	if err != nil {
		return err
	}
	after, err := s.perform(ctx, c, steps, g.base(), dryRun, func(done []step, after []api.Object) error {
		if err := s.passed(g); err != nil || output != formatTable {
			return err
		}
		return s.printSteps(done, after, dryRun)
	})
	if err != nil {
		return err
	}
	var holds api.Ref
	if hold != nil {
		last := len(after) - 1
		holds, after = api.RefTo(after[last]), after[:last]
	}
	if err := s.applied(output, after); err != nil || hold == nil || dryRun {
		return err
	}
	return s.released(ctx, c, holds, hold)
}

// applied prints the objects as they are then, where that is asked for.
func (s *session) applied(output string, after []api.Object) error {
	if done, err := s.encode(output, list{Items: after}); done {
		return err
	}
	if output == formatName {
		return s.names(after)
	}
	return nil
}

// held adds what holds the change, if there is one that fits into one transaction with it.
func (s *session) held(steps []step, h *api.Hold) ([]step, error) {
	operation, err := s.holding(h)
	if err != nil {
		return nil, err
	}
	all := append(slices.Clip(steps), step{"held", operation})
	if batch, _ := nextBatch(all); len(batch) < len(all) {
		return nil, failure{
			what: fmt.Sprintf("--strict: there are more changes than the %d that fit into one transaction with what holds them", client.MaxOperations-1),
			hint: "apply fewer files at a time",
		}
	}
	return all, nil
}

// checkSteps asks whether assertions would hold after the steps.
func (s *session) checkSteps(ctx context.Context, c *client.Client, steps []step, assertions []api.Assertion) (*gate, error) {
	if len(assertions) == 0 {
		return nil, nil
	}
	batch, operations := nextBatch(steps)
	if len(batch) < len(steps) {
		return nil, failure{
			what: fmt.Sprintf("--check: there are more changes than the %d of one transaction, so what would hold after them all cannot be worked out", client.MaxOperations),
			hint: "apply fewer files at a time",
		}
	}
	return s.checkFirst(ctx, c, operations, assertions)
}

// plan compares a document with what is there.
func (s *session) plan(ctx context.Context, c *client.Client, d document) (step, error) {
	h := d.object.Head()
	ref := d.identity()
	if ref.IsZero() {
		return step{}, failure{
			what: fmt.Sprintf("%s: %s %s is known only by its parent's UUID", d.source, h.Kind, h.Meta.Name),
			hint: "give meta.parent by name, or meta.uuid",
		}
	}
	current, err := s.current(ctx, c, h.Kind, ref)
	var e *api.Error
	switch {
	case errors.As(err, &e) && e.Code == api.CodeNotFound:
		return step{"created", api.Operation{Op: api.OpCreate, Object: d.object}}, nil
	case err != nil:
		return step{}, err
	}
	wanted, differs, err := s.merged(d, current)
	if err != nil {
		return step{}, failure{what: fmt.Sprintf("%s: %v", d.source, err)}
	}
	if !differs {
		return step{"unchanged", api.Operation{Object: current}}, nil
	}
	reflect.ValueOf(wanted.StatusBody()).Elem().SetZero() // not ours to write
	return step{"configured", api.Operation{Op: api.OpUpdate, Object: wanted}}, nil
}

// perform does the steps that change something, as many at a time as the
// server takes, and calls done after each transaction with its steps and the
// objects as they are then. With a base, that of a check, nothing is done if others
// wrote since.
func (s *session) perform(ctx context.Context, c *client.Client, steps []step, base int64, dryRun bool, done func([]step, []api.Object) error) ([]api.Object, error) {
	changes := 0
	for _, st := range steps {
		if st.operation.Op != "" {
			changes++
		}
	}
	if changes > client.MaxOperations {
		if dryRun {
			return nil, failure{
				what: fmt.Sprintf("dry run: %d changes are more than the %d of one transaction", changes, client.MaxOperations),
				hint: "try it with fewer files at a time",
			}
		}
		fmt.Fprintf(s.Err, "%d changes do not fit into one transaction (%d): doing them in several\n", changes, client.MaxOperations)
	}
	var all []api.Object
	for len(steps) > 0 {
		batch, operations := nextBatch(steps)
		steps = steps[len(batch):]
		var made client.Result
		if len(operations) > 0 {
			var err error
			if made, err = s.transact(ctx, c, operations, base, dryRun); err != nil {
				return nil, err
			}
		}
		after := objectsAfter(batch, made.Objects)
		s.sayStoredOnly(operations)
		if err := done(batch, after); err != nil {
			return nil, err
		}
		all = append(all, after...)
	}
	return all, nil
}

// nextBatch takes steps until a transaction is full.
func nextBatch(steps []step) ([]step, []api.Operation) {
	var operations []api.Operation
	for i, st := range steps {
		if st.operation.Op == "" {
			continue
		}
		if len(operations) == client.MaxOperations {
			return steps[:i], operations
		}
		operations = append(operations, st.operation)
	}
	return steps, operations
}

// objectsAfter are the objects of steps after their transaction.
func objectsAfter(steps []step, made []api.Object) []api.Object {
	var after []api.Object
	for _, st := range steps {
		if st.operation.Op != "" && len(made) > 0 {
			after = append(after, made[0])
			made = made[1:]
			continue
		}
		after = append(after, st.operation.Object)
	}
	return after
}

// printSteps says what was done, one line an object.
func (s *session) printSteps(steps []step, after []api.Object, dryRun bool) error {
	for i, st := range steps {
		line := slashed(after[i]) + " " + s.printer.Word(st.word)
		if _, err := fmt.Fprintln(s.Out, line+s.aside(dryRun)); err != nil {
			return err
		}
	}
	return nil
}
