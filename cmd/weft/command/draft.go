// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

const draftLong = `Stage changes of policy, look at them, and commit or revert them as one. Nothing
follows from a change that is staged.

A draft is an object of its project. "weft create", "apply", "edit" and "delete"
with --draft stage what they would do; "weft draft add" is apply with --draft.
Changes of one object in a draft are one. Staged are changes of security-groups
and their rules, network-policies and attachments, tags and tag-bindings,
address-groups, service-groups, firewall-rules, firewall-policies and
application-policy-sets.

A commit is one transaction with the rights of who commits: all of it happens
and the draft is gone, or nothing happens. If an object that the draft changes or
deletes was changed since that was staged, nothing happens, and these are named.
With --check, nothing happens either unless assertions would hold afterwards.`

func newDraft(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:   "draft",
		Short: "Stage changes of policy, and commit or revert them as one",
		Long:  draftLong,
		Example: `  weft draft create opening
  weft create security-group-rule web:http --set direction=ingress --set family=IPv4 --draft opening
  weft apply -f policy/ --draft opening
  weft delete firewall-rule old --draft opening
  weft draft diff opening
  weft draft commit opening`,
		GroupID: groupChange,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return usagef("want a command: weft draft create, add, list, diff, commit or revert")
		},
	}
	c.AddCommand(newDraftCreate(s), newDraftAdd(s), newDraftList(s), newDraftDiff(s), newDraftCommit(s), newDraftRevert(s))
	return c
}

func newDraftCreate(s *session) *cobra.Command {
	return &cobra.Command{
		Use:               "create NAME",
		Short:             "Make a draft with nothing in it",
		Args:              arguments(1, 1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			return s.create(c.Context(), createOptions{}, creation{kind: api.KindDraft, build: func(_ context.Context, name string) ([]api.Operation, error) {
				d, err := fresh[*api.Draft](s, api.KindDraft, name)
				return creates(d), err
			}}, args[0])
		},
	}
}

func newDraftAdd(s *session) *cobra.Command {
	var files []string
	c := &cobra.Command{
		Use:               "add NAME -f FILE...",
		Short:             "Stage that objects be as files say",
		Long:              "Stage that objects be as files say: what \"weft apply -f\" would do.",
		Example:           "  weft draft add opening -f policy/",
		Args:              arguments(1, 1),
		ValidArgsFunction: s.completeKind(api.KindDraft),
		RunE: func(c *cobra.Command, args []string) error {
			s.flags.draft = args[0]
			return s.apply(c.Context(), files, nil, strictly{}, false, formatTable)
		},
	}
	filesFlag(c, &files)
	return c
}

func newDraftList(s *session) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "list [NAME]",
		Short: "List drafts, or what is staged in one",
		Long: `List drafts of the project, or what is staged in one, in the order in which it
will be done. STATE is ready; changed, if somebody else changed the object since it
was staged; gone, if there is none any more; exists, if one of that name is there.`,
		Args:              arguments(0, 1),
		ValidArgsFunction: s.completeKind(api.KindDraft),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return s.get(c.Context(), getOptions{output: output}, []string{string(api.KindDraft)})
			}
			return s.draftList(c.Context(), args[0], output)
		},
	}
	outputFlag(c, &output, formatJSON, formatYAML)
	return c
}

// stagedChange is one write of a draft beside what is there.
type stagedChange struct {
	op    api.Operation
	now   api.Object // nil if there is none
	state string
}

// The states of what is staged.
const (
	stagedReady   = "ready"
	stagedChanged = "changed"
	stagedGone    = "gone"
	stagedExists  = "exists"
)

// stagedChanges compares what is staged with what is there.
func (s *session) stagedChanges(ctx context.Context, c *client.Client, d *api.Draft) ([]stagedChange, error) {
	ops, err := d.Operations()
	if err != nil {
		return nil, err
	}
	deleted := map[string]bool{} // what is deleted may be made anew
	var changes []stagedChange
	for _, op := range ops {
		h := op.Object.Head()
		is := api.StagedRef(op.Object)
		h.Meta.FQName = is.Name
		change := stagedChange{op: op, state: stagedReady}
		change.now, err = c.Get(ctx, h.Kind, is)
		var e *api.Error
		if err != nil && !(errors.As(err, &e) && e.Code == api.CodeNotFound) {
			return nil, err
		}
		switch {
		case err != nil:
			change.now = nil
			if op.Op != api.OpCreate {
				change.state = stagedGone
			}
		case op.Op == api.OpCreate:
			change.state = stagedExists
		case change.now.Head().Meta.Revision != h.Meta.Revision:
			change.state = stagedChanged
		}
		if op.Op == api.OpDelete {
			deleted[string(h.Kind)+"/"+is.Name] = true
		}
		changes = append(changes, change)
	}
	for i, change := range changes {
		if change.state == stagedExists && deleted[slashed(change.op.Object)] {
			changes[i].state, changes[i].now = stagedReady, nil
		}
	}
	return changes, nil
}

func (s *session) draftList(ctx context.Context, name, output string) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	d, err := s.draft(ctx, c, name)
	if err != nil {
		return err
	}
	changes, err := s.stagedChanges(ctx, c, d)
	if err != nil {
		return err
	}
	t := api.Table{Columns: []string{"OP", "KIND", "NAME", "STAGED-AT", "STATE"}}
	for _, change := range changes {
		h := change.op.Object.Head()
		revision := ""
		if h.Meta.Revision != 0 {
			revision = strconv.FormatInt(h.Meta.Revision, 10)
		}
		t.Rows = append(t.Rows, []string{change.op.Op, string(h.Kind), within(projectName(d.Meta.FQName), h.Meta.FQName), revision, change.state})
	}
	if len(t.Rows) == 0 && output == formatTable {
		if d.Spec.Hold != nil {
			fmt.Fprintf(s.Err, "%s holds a change that is committed: %s\n", d.Meta.FQName, oneLine(heldText(nil, d)))
			return nil
		}
		fmt.Fprintf(s.Err, "nothing is staged in %s\n", d.Meta.FQName)
		return nil
	}
	return s.printTable(output, t)
}

func newDraftDiff(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "diff NAME",
		Short: "Show what a commit would change, line by line",
		Long: `Show what a commit would change of what is there now, object by object, line by
line, and whether it would be refused.

The exit code is 0 if the draft can be committed, 1 if not.`,
		Args:              arguments(1, 1),
		ValidArgsFunction: s.completeKind(api.KindDraft),
		RunE:              func(c *cobra.Command, args []string) error { return s.draftDiff(c.Context(), args[0]) },
	}
}

func (s *session) draftDiff(ctx context.Context, name string) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	d, err := s.draft(ctx, c, name)
	if err != nil {
		return err
	}
	changes, err := s.stagedChanges(ctx, c, d)
	if err != nil {
		return err
	}
	for _, change := range changes {
		if err := s.printStaged(change); err != nil {
			return err
		}
	}
	if _, err = c.CommitDraft(ctx, api.RefTo(d), d.Meta.Revision, true); err != nil {
		fmt.Fprintf(s.Err, "a commit would be refused: %s\n", oneLine(err.Error()))
		return errNotWell
	}
	return nil
}

// printStaged shows one staged write as the difference to what is there.
func (s *session) printStaged(change stagedChange) error {
	before, after := change.now, change.op.Object
	word := change.op.Op
	switch {
	case change.op.Op == api.OpDelete && before == nil:
		before = after
	case change.op.Op == api.OpUpdate && before != nil:
		resolveLike(after, before)
		after.Head().Meta.Owner = before.Head().Meta.Owner
	}
	if change.state != stagedReady {
		word += " (" + change.state + ")"
	}
	if change.op.Op != api.OpDelete {
		return s.printDiff(word, before, after)
	}
	text, err := comparisonText(before)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "%s %s\n", slashed(before), s.printer.Word(word))
	for _, l := range prefixed("-", textLines(text)) {
		if _, err := fmt.Fprintf(s.Out, "  %s\n", oneLineKept(l)); err != nil {
			return err
		}
	}
	return nil
}

func newDraftCommit(s *session) *cobra.Command {
	var dryRun bool
	var checks []string
	var strict strictly
	c := &cobra.Command{
		Use:               "commit NAME",
		Short:             "Do all that is staged, or nothing of it",
		Example:           "  weft draft commit opening --check promises.yaml",
		Args:              arguments(1, 1),
		ValidArgsFunction: s.completeKind(api.KindDraft),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := s.connect()
			if err != nil {
				return err
			}
			assertions, err := s.allAssertions(checks)
			if err != nil {
				return err
			}
			return again(c.Context(), func() error { return s.draftCommit(c.Context(), client, args[0], assertions, strict, dryRun) })
		},
	}
	c.Flags().BoolVar(&dryRun, "dry-run", false, "check and say what would be done, but change nothing")
	checkFlag(c, &checks)
	strict.addFlags(c)
	return c
}

func (s *session) draftCommit(ctx context.Context, c *client.Client, name string, assertions []api.Assertion, strict strictly, dryRun bool) error {
	d, err := s.draft(ctx, c, name)
	if err != nil {
		return err
	}
	ops, err := d.Operations()
	if err != nil {
		return err
	}
	g, err := s.checkFirst(ctx, c, ops, assertions)
	if err != nil {
		return err
	}
	hold, err := s.hold(ctx, c, strict)
	if err != nil {
		return err
	}
	made, err := c.CommitDraftAs(ctx, api.RefTo(d), client.DraftCommit{Revision: d.Meta.Revision, Hold: hold, UnchangedSince: g.base(), DryRun: dryRun})
	if err == nil {
		err = s.passed(g)
	}
	if err != nil {
		return err
	}
	var steps []step
	for _, op := range ops {
		word := map[string]string{api.OpCreate: "created", api.OpUpdate: "configured", api.OpDelete: "deleted"}[op.Op]
		steps = append(steps, step{word, op})
	}
	s.sayStoredOnly(ops)
	if len(made.Objects) != len(steps) {
		return fmt.Errorf("commit draft %s: %d writes, and the answer has %d objects", d.Meta.FQName, len(steps), len(made.Objects))
	}
	if err := s.printSteps(steps, made.Objects, dryRun); err != nil || hold == nil || dryRun {
		return err
	}
	return s.released(ctx, c, api.RefTo(d), hold)
}

func newDraftRevert(s *session) *cobra.Command {
	return &cobra.Command{
		Use:               "revert NAME [KIND/NAME...]",
		Short:             "Forget what is staged, or some of it",
		Long:              "Forget what is staged: all of it and the draft, or the changes of some objects.",
		Example:           "  weft draft revert opening\n  weft draft revert opening firewall-rule/old",
		Args:              arguments(1, -1),
		ValidArgsFunction: s.completeKind(api.KindDraft),
		RunE:              func(c *cobra.Command, args []string) error { return s.draftRevert(c.Context(), args[0], args[1:]) },
	}
}

func (s *session) draftRevert(ctx context.Context, name string, objects []string) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	d, err := s.draft(ctx, c, name)
	if err != nil {
		return err
	}
	if len(objects) == 0 {
		if err := c.Delete(ctx, api.KindDraft, api.RefTo(d), d.Meta.Revision); err != nil {
			return err
		}
		_, err := fmt.Fprintf(s.Out, "draft %s reverted: %s\n", d.Meta.FQName, changesText(len(d.Spec.Writes)))
		return err
	}
	var done []string
	for _, text := range objects {
		t, err := s.parseSlashed(text)
		if err != nil {
			return err
		}
		at := d.Find(t.info.Kind, t.ref)
		if at < 0 {
			return failure{what: fmt.Sprintf("nothing of %s %s is staged in %s", t.info.Kind, t.ref, d.Meta.FQName), hint: "see what is: weft draft list " + name}
		}
		d.Spec.Writes = append(d.Spec.Writes[:at:at], d.Spec.Writes[at+1:]...)
		done = append(done, string(t.info.Kind)+"/"+t.ref.String())
	}
	if _, err := client.Update(ctx, c, d); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.Out, "%s reverted in draft %s\n", strings.Join(done, ", "), d.Meta.FQName)
	return err
}

func changesText(n int) string {
	if n == 1 {
		return "1 change"
	}
	return strconv.Itoa(n) + " changes"
}
