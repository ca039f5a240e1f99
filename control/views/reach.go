// SPDX-License-Identifier: Apache-2.0

package views

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/reach"
	"github.com/weft-network/weft/control/routing"
)

// Reach says exactly what policy lets some workloads say to others, of those
// that the asker sees. Each is named as KIND/NAME.
func (v *Views) Reach(_ context.Context, seen api.Snapshot, from, to string) (api.Reach, error) {
	p, err := v.plan()
	if err != nil {
		return api.Reach{}, err
	}
	answer := api.Reach{Revision: p.Version.Revision, Rows: []api.ReachRow{}}
	m := reach.New(p.Policy)
	senders, err := m.Find(seen, from)
	if err != nil {
		return answer, err
	}
	receivers, err := m.Find(seen, to)
	if err != nil {
		return answer, err
	}
	answer.Rows, err = m.Rows(senders, receivers)
	return answer, ofOurs("work out what "+from+" may say to "+to, err)
}

// Check says which assertions hold. With changes, whether they would if these
// objects were as the changes say; seen is then how the asker would see them.
func (v *Views) Check(_ context.Context, seen api.Snapshot, assertions []api.Assertion, changes *api.Changes) (api.Check, error) {
	p, err := v.plan()
	if err != nil {
		return api.Check{}, err
	}
	answer := api.Check{Revision: p.Version.Revision, Verdicts: make([]api.Checked, 0, len(assertions))}
	of := p.Policy
	if changes != nil {
		of = policy.Derive(routing.Derive(Changed(p.Derived.Snapshot, changes)))
		seen = Changed(seen, changes)
	}
	m := reach.New(of)
	for _, a := range assertions {
		checked, err := m.Check(seen, a)
		if err != nil {
			return answer, ofOurs("check assertions", err)
		}
		answer.Verdicts = append(answer.Verdicts, checked)
	}
	return answer, nil
}

// ofOurs gives errors that are none of the asker's the code of a fault.
func ofOurs(what string, err error) error {
	var known *api.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	return api.Errorf(api.CodeInternal, "%s: %v", what, err)
}

// changed is a snapshot with some objects as they would be.
type changed struct {
	api.Snapshot
	put  map[api.Kind]map[string]api.Object // nil: deleted
	name map[api.Kind]map[string]string     // UUIDs by fully qualified name
}

// Changed is a snapshot as it would be after changes.
func Changed(s api.Snapshot, changes *api.Changes) api.Snapshot {
	c := &changed{s, map[api.Kind]map[string]api.Object{}, map[api.Kind]map[string]string{}}
	of := func(kind api.Kind) map[string]api.Object {
		if c.put[kind] == nil {
			c.put[kind], c.name[kind] = map[string]api.Object{}, map[string]string{}
		}
		return c.put[kind]
	}
	for _, d := range changes.Deleted {
		of(d.Kind)[d.UUID] = nil
	}
	for _, o := range changes.Put {
		h := o.Head()
		of(h.Kind)[h.Meta.UUID] = o
		c.name[h.Kind][h.Meta.FQName] = h.Meta.UUID
	}
	return c
}

func (c *changed) Get(kind api.Kind, uuid string) api.Object {
	if o, is := c.put[kind][uuid]; is {
		return o
	}
	return c.Snapshot.Get(kind, uuid)
}

func (c *changed) Lookup(kind api.Kind, ref api.Ref) api.Object {
	if ref.UUID == "" {
		ref.UUID = c.name[kind][ref.Name]
	}
	if o, is := c.put[kind][ref.UUID]; is {
		return o
	}
	o := c.Snapshot.Lookup(kind, ref)
	if o == nil {
		return nil
	}
	return c.Get(kind, o.Head().Meta.UUID)
}

func (c *changed) List(kind api.Kind) []api.Object {
	put := c.put[kind]
	if len(put) == 0 {
		return c.Snapshot.List(kind)
	}
	all := slices.DeleteFunc(slices.Clone(c.Snapshot.List(kind)), func(o api.Object) bool {
		_, is := put[o.Head().Meta.UUID]
		return is
	})
	for _, uuid := range slices.Sorted(maps.Keys(put)) {
		if o := put[uuid]; o != nil {
			all = append(all, o)
		}
	}
	slices.SortStableFunc(all, func(a, b api.Object) int { return strings.Compare(a.Head().Meta.FQName, b.Head().Meta.FQName) })
	return all
}
