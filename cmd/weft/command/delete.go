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

const deleteLong = `Delete objects, by name or as files list them (-f), in one transaction: all of
them or, if one is still needed by something else, none.

What "weft create" makes together goes together: a port with its bindings and
the addresses it holds, a network with its subnets. With --cascade=false they
stay in the way, and are named. Nothing else is ever deleted along.

With -f, objects that do not exist are passed over; by name they are an error
unless --ignore-missing is given.`

// deleteOptions are the flags of delete.
type deleteOptions struct {
	files   []string
	cascade bool
	ignore  bool
	dryRun  bool
}

func newDelete(s *session) *cobra.Command {
	var o deleteOptions
	c := &cobra.Command{
		Use:               "delete KIND NAME... | -f FILE...",
		Short:             "Delete objects",
		Long:              deleteLong,
		Example:           "  weft delete port web-1 web-2\n  weft delete network/web network/db\n  weft delete -f networks.yaml",
		GroupID:           groupChange,
		Args:              arguments(0, -1),
		ValidArgsFunction: s.completeTargets,
		RunE:              func(c *cobra.Command, args []string) error { return s.delete(c.Context(), o, args) },
	}
	filesFlag(c, &o.files)
	s.draftFlag(c)
	c.Flags().BoolVar(&o.cascade, "cascade", true, "with a port its bindings and addresses, with a network its subnets")
	c.Flags().BoolVar(&o.ignore, "ignore-missing", false, "do not mind objects that do not exist")
	c.Flags().BoolVar(&o.dryRun, "dry-run", false, "check and say what would be done, but change nothing")
	return c
}

func (s *session) delete(ctx context.Context, o deleteOptions, args []string) error {
	if (len(args) == 0) == (len(o.files) == 0) {
		return usagef("want either objects or -f: weft delete KIND NAME..., weft delete -f FILE")
	}
	c, err := s.connect()
	if err != nil {
		return err
	}
	targets, err := s.deleteTargets(o, args)
	if err != nil {
		return err
	}
	doomed := map[string]bool{}
	var steps []step
	add := func(objects ...api.Object) {
		for _, object := range objects {
			if name := slashed(object); !doomed[name] {
				doomed[name] = true
				steps = append(steps, step{"deleted", api.Operation{Op: api.OpDelete, Object: object}})
			}
		}
	}
	for _, t := range targets {
		object, err := s.current(ctx, c, t.info.Kind, t.ref)
		var e *api.Error
		if errors.As(err, &e) && e.Code == api.CodeNotFound && (o.ignore || len(o.files) > 0) {
			fmt.Fprintf(s.Err, "%s/%s does not exist\n", t.info.Kind, t.ref)
			continue
		}
		if err != nil {
			return err
		}
		add(object)
		if !o.cascade {
			continue
		}
		along, err := belonging(ctx, c, object)
		if err != nil {
			return err
		}
		add(along...)
	}
	slices.SortStableFunc(steps, func(a, b step) int { return order(b.operation.Object) - order(a.operation.Object) })
	_, err = s.perform(ctx, c, steps, 0, o.dryRun, func(done []step, _ []api.Object) error {
		var objects []api.Object
		for _, st := range done {
			objects = append(objects, st.operation.Object)
		}
		return s.printSteps(done, objects, o.dryRun)
	})
	return err
}

// deleteTargets are the objects of the command line or of the files.
func (s *session) deleteTargets(o deleteOptions, args []string) ([]target, error) {
	if len(args) > 0 {
		targets, err := s.parseTargets(args)
		if err == nil && len(targets) == 0 {
			return nil, usagef("which %s? weft delete %s NAME...", args[0], args[0])
		}
		return targets, err
	}
	docs, err := s.readDocuments(o.files)
	if err != nil {
		return nil, err
	}
	var targets []target
	for _, d := range docs {
		info, _ := api.KindInfo(d.object.Head().Kind)
		ref := d.identity()
		if ref.IsZero() {
			return nil, failure{what: fmt.Sprintf("%s: %s %s is known only by its parent's UUID", d.source, info.Kind, d.object.Head().Meta.Name)}
		}
		targets = append(targets, target{info, ref})
	}
	return targets, nil
}

// belonging are the objects that are made with an object and go with it.
func belonging(ctx context.Context, c *client.Client, o api.Object) ([]api.Object, error) {
	var found []api.Object
	list := func(kind api.Kind, field string) error {
		answer, err := c.List(ctx, kind, referring(field, o))
		found = append(found, answer.Items...)
		return err
	}
	switch o.(type) {
	case *api.Port:
		if err := list(api.KindBinding, fieldParent); err != nil {
			return nil, err
		}
		err := list(api.KindAddress, "spec.port")
		return found, err
	case *api.Network:
		err := list(api.KindSubnet, fieldParent)
		return found, err
	}
	return nil, nil
}
