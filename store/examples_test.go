// SPDX-License-Identifier: Apache-2.0

package store

import (
	"slices"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/reference"
)

// examples returns the examples of all kinds, in the order of the kinds.
func examples(t *testing.T) []api.Object {
	t.Helper()
	var all []api.Object
	for _, info := range api.Kinds() {
		objects, err := reference.Examples(info.Kind)
		if err != nil || len(objects) == 0 {
			t.Fatalf("example of %s: %d objects, %v", info.Kind, len(objects), err)
		}
		for _, o := range objects {
			if o.Head().Kind != info.Kind {
				t.Errorf("example of %s has a %s", info.Kind, o.Head().Kind)
			}
		}
		all = append(all, objects...)
	}
	return all
}

// What the reference pages show is accepted, means the same when written
// again, and goes in the reverse order. The raw keys are checked at the end.
func TestEveryExampleIsAccepted(t *testing.T) {
	w := newWorld(t)
	all := examples(t)
	var made []api.Object
	for _, o := range all {
		objects, err := w.commit(admin, api.OpCreate, o)
		if err != nil {
			t.Errorf("%s %s: %v", o.Head().Kind, o.Head().Meta.Name, err)
			continue
		}
		made = append(made, objects[0])
	}
	if t.Failed() {
		return
	}
	for _, o := range made {
		if again := w.update(admin, o); again.Head().Meta.Revision != o.Head().Meta.Revision {
			t.Errorf("%s %s: writing it again unchanged changed it", o.Head().Kind, o.Head().Meta.FQName)
		}
	}
	checkKeys(t, w.client)
	for _, o := range slices.Backward(made) {
		o = api.Clone(o)
		o.Head().Meta.Revision = 0
		w.remove(admin, o)
	}
}
