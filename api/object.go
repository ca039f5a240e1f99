// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Kind names a kind of object, in the singular: "network".
type Kind string

// Object is implemented by a pointer to every kind's Go type.
type Object interface {
	// Head returns the part that every kind has. The pointer is into the object.
	Head() *Header
	// Refs lists every reference to another object except the parent, as
	// pointers into the object, so that the store can resolve them in place.
	Refs() []FieldRef
	// Claims lists what this object holds exclusively. It is called after
	// references are resolved and allocated fields are filled in.
	Claims() []Claim
	// Guards lists the sets this object is a member of and whose members must
	// be compared with each other ("subnets of one network do not overlap").
	// Two transactions that touch the same guard never both commit unseen.
	Guards() []string
	// Validate reports what is wrong with the spec, looking at this object only.
	Validate() Problems
	// ValidateUpdate reports the fields that may not change from old to this.
	ValidateUpdate(old Object) Problems
	// StatusBody returns a pointer to the status, for decoding.
	StatusBody() any
}

// Header is embedded by every kind.
type Header struct {
	Kind Kind `json:"kind" doc:"Kind of the object, in the singular."`
	Meta Meta `json:"meta" doc:"Identity, ownership and bookkeeping."`
}

// Head returns the header itself.
func (h *Header) Head() *Header { return h }

// What most kinds have none of. A kind that has some says so itself.

// Refs is none.
func (h *Header) Refs() []FieldRef { return nil }

// Claims is none.
func (h *Header) Claims() []Claim { return nil }

// Guards is none.
func (h *Header) Guards() []string { return nil }

// ValidateUpdate lets every field change.
func (h *Header) ValidateUpdate(Object) Problems { return nil }

// Meta is the identity of an object and what the store keeps about it.
type Meta struct {
	// UUID is the identity. The client may choose it at creation (take-over,
	// idempotent create); it never changes.
	UUID string `json:"uuid,omitempty" doc:"Identity; may be chosen at creation, never changes."`
	// Name is unique within parent and kind and never changes. It defaults to
	// the UUID.
	Name string `json:"name,omitempty" doc:"Unique within parent and kind, immutable; defaults to the UUID."`
	// DisplayName is free and changeable, and need not be unique.
	DisplayName string `json:"displayName,omitempty" doc:"Free, changeable text; need not be unique."`
	// Parent is zero for kinds at the root.
	Parent Ref `json:"parent,omitzero" doc:"The object that contains this one; immutable."`
	// FQName is the path of names from the root, joined by ':'. Read-only.
	FQName string `json:"fqName,omitempty" doc:"Fully qualified name, domain:project:name. Read-only." readOnly:"true"`
	// Owner is the name of the orchestrator that made the object, the only one
	// that may write its spec. It is taken from the writer's credentials.
	Owner string `json:"owner,omitempty" doc:"Orchestrator that made the object and alone may write it. Read-only." readOnly:"true"`
	// Foreign is the object's identity in its orchestrator.
	Foreign     *Foreign          `json:"foreign,omitempty" doc:"Identity of the object in its orchestrator."`
	Description string            `json:"description,omitempty" doc:"Free text."`
	Labels      map[string]string `json:"labels,omitempty" doc:"Free key/value pairs."`
	CreatedAt   time.Time         `json:"createdAt,omitzero" doc:"RFC 3339, UTC. Read-only." readOnly:"true"`
	UpdatedAt   time.Time         `json:"updatedAt,omitzero" doc:"RFC 3339, UTC. Read-only." readOnly:"true"`
	// Generation counts changes of the spec, from 1.
	Generation int64 `json:"generation,omitempty" doc:"Counts changes of the spec, from 1. Read-only." readOnly:"true"`
	// Revision is the store's revision of the last change of anything but the
	// status. A write that carries one commits only if it still matches.
	Revision int64 `json:"revision,omitempty" doc:"Store revision of the last write; as precondition of a write, 0 means any."`
}

// Foreign is the identity of an object in the orchestrator that owns it.
// (owner, kind, id) is unique.
type Foreign struct {
	Orchestrator string `json:"orchestrator" doc:"Name of the orchestrator the identity belongs to: the owner."`
	Kind         string `json:"kind" doc:"The orchestrator's word for the kind of object."`
	ID           string `json:"id" doc:"The orchestrator's identifier."`
	// Document is what only the orchestrator understands of the object. Nothing
	// else reads it, and it lives and goes with the object.
	Document Document `json:"document,omitempty" doc:"A JSON object that only the orchestrator understands; at most 65536 bytes."`
}

// Ref points at another object. On input it may be written as a string, either
// a UUID or a fully qualified name; the store resolves it and keeps both. Both
// are immutable, so a Ref is never out of date.
type Ref struct {
	UUID string `json:"uuid,omitempty" doc:"UUID of the object."`
	Name string `json:"name,omitempty" doc:"Fully qualified name of the object."`
}

// RefTo returns the reference to an object.
func RefTo(o Object) Ref {
	m := &o.Head().Meta
	return Ref{UUID: m.UUID, Name: m.FQName}
}

// ParseRef reads a UUID or a fully qualified name.
func ParseRef(s string) Ref {
	if IsUUID(s) {
		return Ref{UUID: s}
	}
	return Ref{Name: s}
}

// IsZero tells whether the reference is unset.
func (r Ref) IsZero() bool { return r == Ref{} }

// String returns the name, or the UUID where the name is not known.
func (r Ref) String() string {
	if r.Name != "" {
		return r.Name
	}
	return r.UUID
}

// UnmarshalJSON accepts {"uuid":…,"name":…} and, for people, a plain string.
func (r *Ref) UnmarshalJSON(data []byte) error {
	var s string
	if len(data) > 0 && data[0] != '{' && json.Unmarshal(data, &s) == nil { // an error costs more than looking
		*r = ParseRef(s)
		return nil
	}
	type plain Ref // without this method
	var p plain
	if err := decodeInto(data, &p, true); err != nil { // strict: a mistyped field would otherwise be no reference
		return fmt.Errorf("read reference: want a UUID, a fully qualified name or an object with uuid or name: %w", err)
	}
	*r = Ref(p)
	return nil
}

// FieldRef is one reference of an object: which field, to which kind, and the
// verb that a share on a foreign target must grant. An empty Verb needs none:
// infrastructure (hosts) that any owner may refer to.
type FieldRef struct {
	Field string // JSON path, "spec.network"
	Kind  Kind
	Ref   *Ref
	Verb  Verb
}

// Claim is something only one object may hold.
type Claim struct {
	// Key is the claim's path: "address/<network uuid>/10.0.0.5".
	Key string
	// Field is the JSON path of the field that claims it.
	Field string
	// What says in words what is claimed, for the refusal: "address 10.0.0.5 in network a:b:c".
	What string
}

// Snapshot is every object at one revision of the store. It never changes and
// its objects are shared: readers must not modify them.
type Snapshot interface {
	Revision() int64
	// Get returns the object or nil.
	Get(kind Kind, uuid string) Object
	// Lookup finds by UUID or fully qualified name and returns the object or nil.
	Lookup(kind Kind, ref Ref) Object
	// List returns the objects of a kind, ordered by fully qualified name.
	List(kind Kind) []Object
}

// ListOf returns the objects of T's kind with their Go type.
func ListOf[T Object](s Snapshot, kind Kind) []T {
	objects := s.List(kind)
	typed := make([]T, len(objects))
	for i, o := range objects {
		typed[i] = o.(T)
	}
	return typed
}

// JoinName builds a fully qualified name from a parent's and a name.
func JoinName(parent, name string) string {
	if parent == "" {
		return name
	}
	return parent + ":" + name
}

// BaseName returns the last part of a fully qualified name.
func BaseName(fqName string) string {
	return fqName[strings.LastIndexByte(fqName, ':')+1:]
}

// Condition is one fact about an object that may hold or not, with a reason.
type Condition struct {
	Type    string    `json:"type" doc:"What the condition is about, e.g. Programmed."`
	Status  bool      `json:"status" doc:"Whether it holds."`
	Reason  string    `json:"reason,omitempty" doc:"One word in kebab case."`
	Message string    `json:"message,omitempty" doc:"A sentence for people."`
	Since   time.Time `json:"since,omitzero" doc:"Time of the last transition, RFC 3339, UTC."`
}
