// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// stageAttempts is how often a draft that others write at the same time is read anew.
const stageAttempts = 5

// draftFlag adds --draft, by which a command stages what it would do.
func (s *session) draftFlag(c *cobra.Command) {
	c.Flags().StringVar(&s.flags.draft, "draft", "", "stage it in this `DRAFT` and do it when that is committed, see weft draft")
	// The only error is a flag that does not exist.
	_ = c.RegisterFlagCompletionFunc("draft", s.completeKind(api.KindDraft))
}

// draft reads a draft by what the user calls it.
func (s *session) draft(ctx context.Context, c *client.Client, name string) (*api.Draft, error) {
	ref, err := s.ref(api.KindDraft, name)
	if err != nil {
		return nil, err
	}
	d, err := client.Get[*api.Draft](ctx, c, ref)
	var e *api.Error
	if errors.As(err, &e) && e.Code == api.CodeNotFound {
		return nil, failure{what: e.Error(), hint: "make it: weft draft create " + name}
	}
	return d, err
}

// current returns an object as it is, or as the draft in use makes it.
func (s *session) current(ctx context.Context, c *client.Client, kind api.Kind, ref api.Ref) (api.Object, error) {
	if s.flags.draft == "" {
		return c.Get(ctx, kind, ref)
	}
	d, err := s.draft(ctx, c, s.flags.draft)
	if err != nil {
		return nil, err
	}
	o, deleted, err := stagedObject(d, kind, ref)
	if deleted {
		return nil, api.Errorf(api.CodeNotFound, "draft %s deletes %s %s", d.Meta.FQName, kind, ref).About(kind, ref.String(), "")
	}
	if o != nil || err != nil {
		return o, err
	}
	o, err = c.Get(ctx, kind, ref)
	if err != nil {
		return nil, err
	}
	// It may be staged by the other of its names.
	if other, deleted, err := stagedObject(d, kind, api.RefTo(o)); other != nil || deleted || err != nil {
		if deleted {
			return nil, api.Errorf(api.CodeNotFound, "draft %s deletes %s %s", d.Meta.FQName, kind, ref).About(kind, ref.String(), "")
		}
		return other, err
	}
	return o, nil
}

// stagedObject is what a draft makes of an object: nil if it says nothing of it.
func stagedObject(d *api.Draft, kind api.Kind, ref api.Ref) (o api.Object, deleted bool, err error) {
	at := d.Find(kind, ref)
	if at < 0 {
		return nil, false, nil
	}
	op, err := d.Spec.Writes[at].Operation()
	if err != nil || op.Op == api.OpDelete {
		return nil, err == nil, err
	}
	op.Object.Head().Meta.FQName = api.StagedRef(op.Object).Name
	return op.Object, false, nil
}

// transact does operations, unless somebody wrote since the base of a check, or
// stages them in the draft in use, whatever others write.
func (s *session) transact(ctx context.Context, c *client.Client, operations []api.Operation, base int64, dryRun bool) (client.Result, error) {
	if s.flags.draft == "" {
		return c.TransactionUnchanged(ctx, operations, dryRun, base)
	}
	for _, op := range operations {
		if kind := op.Object.Head().Kind; !slices.Contains(api.Draftable(), kind) {
			return client.Result{}, usagef("changes of a %s cannot be staged: want one of %s", kind, joinWords(api.Draftable()))
		}
	}
	for attempt := 1; ; attempt++ {
		d, err := s.draft(ctx, c, s.flags.draft)
		if err != nil {
			return client.Result{}, err
		}
		for _, op := range operations {
			if err := d.Stage(op); err != nil {
				return client.Result{}, err
			}
		}
		made, err := c.Transaction(ctx, []api.Operation{{Op: api.OpUpdate, Object: d}}, dryRun)
		var e *api.Error
		if errors.As(err, &e) && e.Code == api.CodePrecondition && attempt < stageAttempts {
			continue
		}
		if err != nil {
			return client.Result{}, err
		}
		result := client.Result{Revision: made.Revision}
		for _, op := range operations {
			o := api.Clone(op.Object)
			o.Head().Meta.FQName = api.StagedRef(o).Name
			result.Objects = append(result.Objects, o)
		}
		return result, nil
	}
}

// aside says after what was done if it was not done in earnest.
func (s *session) aside(dryRun bool) string {
	text := ""
	if s.flags.draft != "" {
		text = fmt.Sprintf(" (staged in %s)", s.flags.draft)
	}
	if dryRun {
		text += " (dry run)"
	}
	return text
}
