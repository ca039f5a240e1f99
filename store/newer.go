// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-network/weft/api"
)

// referrersLooked bounds how many references to an object are looked through
// for one of an unknown kind.
const referrersLooked = 10_000

// newer is a refusal because a newer controller knows more of something than
// this one. It is no verdict: through that one the same write may be right.
func (f failure) newer(format string, args ...any) *api.Error {
	return f.with(api.CodeUnavailable, "", "%s; write through a newer controller, or upgrade this one", fmt.Sprintf(format, args...))
}

// understood is an error if a record is of a newer schema: what it holds, and
// what its fields mean for others, is not known here, so that nothing may be
// written that depends on it.
func understood(r *record) error {
	if r.schema <= schemaVersion {
		return nil
	}
	return fmt.Errorf("%s was written in schema %d, and this controller knows %d", nameOf(r), r.schema, schemaVersion)
}

// refersAlready tells whether a record, nil or not, has the target in a field.
func (r *record) refersAlready(field string, t *record) bool {
	if r == nil {
		return false
	}
	for _, was := range r.targets() {
		if was.field == field && was.target == t.id {
			return true
		}
	}
	return false
}

// outdated is an error if the store has been raised above this controller, by
// newer ones that keep invariants of which it knows nothing.
func (s *Snapshot) outdated() error {
	if s.floor <= schemaVersion {
		return nil
	}
	return api.Errorf(api.CodeUnavailable, "the store needs controllers that know schema %d, and this one knows %d: upgrade it", s.floor, schemaVersion)
}

// keepStatus adds to a new status, in JSON, what a newer controller reported in
// fields that are not known here. They say what was true when that one led.
// Elements of lists are reported anew, and nothing of the old ones is kept.
func (r *record) keepStatus(text string) string {
	if r.statusJSON == "" || r.statusJSON == text {
		return text
	}
	kept := unknownIn(json.RawMessage(r.statusJSON), mustJSON(r.object.StatusBody())).withoutLists()
	whole, err := kept.into(json.RawMessage(text), "status")
	if err != nil {
		return text
	}
	return string(whole)
}

// withoutLists returns what remains outside of lists' elements, or nil.
func (r *remains) withoutLists() *remains {
	if r == nil || r.items != nil {
		return nil
	}
	c := &remains{fields: r.fields, inner: map[string]*remains{}}
	for name, in := range r.inner {
		if in = in.withoutLists(); in != nil {
			c.inner[name] = in
		}
	}
	if len(c.fields)+len(c.inner) == 0 {
		return nil
	}
	return c
}

// unknownReferrer looks for what refers to an object that a plan deletes, and
// is of a kind that only newer controllers know. No table here has it.
func (s *Store) unknownReferrer(ctx context.Context, p *plan) error {
	for _, i := range p.order {
		d := p.deltas[i]
		if d.old == nil || d.now != nil {
			continue
		}
		reply, err := s.client.Get(ctx, i.refsPrefix(), clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(referrersLooked))
		if err != nil {
			return failed(err, "delete %s: look for what refers to it", nameOf(d.old))
		}
		for _, kv := range reply.Kvs {
			kind, _, _ := strings.Cut(strings.TrimPrefix(string(kv.Key), i.refsPrefix()), "/")
			if _, known := api.KindInfo(api.Kind(kind)); !known {
				return api.Errorf(api.CodeConflict, "delete %s: a %s refers to it, which only newer controllers know: delete that one first, through such a controller", nameOf(d.old), kind).
					About(i.kind(), d.old.object.Head().Meta.FQName, "")
			}
		}
	}
	return nil
}
