// SPDX-License-Identifier: Apache-2.0

package store

import (
	"strings"

	"github.com/weft-network/weft/api"
)

// The first path elements of all keys.
const (
	prefixObject  = "object/"
	prefixStatus  = "status/"
	prefixName    = "name/"
	prefixRef     = "ref/"
	prefixClaim   = "claim/"
	prefixForeign = "foreign/"
	prefixGuard   = "guard/"
	prefixRest    = "rest/"
	prefixToken   = "token/"
	prefixWrite   = "write/"
	prefixMeta    = "meta/"
	keyEpoch      = prefixMeta + "epoch"
	keyAuthority  = prefixMeta + "authority"
	keyDeleted    = prefixMeta + "deleted"
	keyWritten    = prefixMeta + "written"
	keyDefaults   = prefixMeta + "default-networks"
	keySchema     = prefixMeta + "schema"
)

// Keys that package peers writes, under a lease of the controller that did.
const (
	PrefixPeer   = "peer/"
	PrefixLeader = "leader/"
)

// Fields of references that no kind lists itself.
const (
	fieldParent = "meta.parent"
	fieldOwner  = "meta.owner"
)

// id names an object across kinds: "network/<uuid>". It is also the value of
// name, claim and foreign keys.
type id string

func idOf(kind api.Kind, uuid string) id { return id(string(kind) + "/" + uuid) }

func (i id) kind() api.Kind {
	kind, _, _ := strings.Cut(string(i), "/")
	return api.Kind(kind)
}

func (i id) uuid() string {
	_, uuid, _ := strings.Cut(string(i), "/")
	return uuid
}

func (i id) objectKey() string { return prefixObject + string(i) }
func (i id) statusKey() string { return prefixStatus + string(i) }

// refsPrefix is the range of all references to the object.
func (i id) refsPrefix() string { return prefixRef + string(i) + "/" }

func refKey(target, referrer id, field string) string {
	return target.refsPrefix() + string(referrer) + "/" + field
}

// rootParent stands in a name's key for the parent of what has none.
const rootParent = "-"

func nameKey(kind api.Kind, parent, name string) string {
	if parent == "" {
		parent = rootParent
	}
	return prefixName + string(kind) + "/" + parent + "/" + name
}

func foreignKey(owner string, f *api.Foreign) string {
	return prefixForeign + owner + "/" + f.Kind + "/" + f.ID
}

// held is one key an object holds beside its own, with what it is in words
// and the field that asks for it, for the refusal when somebody else has it.
type held struct {
	key   string
	value string
	field string
	what  string
}

// heldKeys lists every key besides object and status that belongs to a record.
func heldKeys(r *record) []held {
	m := &r.object.Head().Meta
	self := string(r.id)
	keys := []held{{nameKey(r.id.kind(), m.Parent.UUID, m.Name), self, "meta.name", "name " + m.FQName}}
	for _, t := range r.targets() {
		keys = append(keys, held{key: refKey(t.target, r.id, t.field), value: "", field: t.field, what: "reference " + t.field})
	}
	for _, c := range r.object.Claims() {
		keys = append(keys, held{prefixClaim + c.Key, self, c.Field, c.What})
	}
	if m.Foreign != nil {
		keys = append(keys, held{foreignKey(m.Owner, m.Foreign), self, "meta.foreign", "foreign identity " + m.Foreign.Kind + " " + m.Foreign.ID + " of " + m.Owner})
	}
	return keys
}
