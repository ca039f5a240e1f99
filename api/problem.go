// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// Code tells a client what to do about an error.
type Code string

// The codes and the HTTP status each is sent with.
const (
	CodeInvalid         Code = "invalid"         // 400: the request itself is wrong
	CodeUnauthenticated Code = "unauthenticated" // 401
	CodeForbidden       Code = "forbidden"       // 403: another owner's object, or no share
	CodeNotFound        Code = "not-found"       // 404
	CodeConflict        Code = "conflict"        // 409: a name, claim or reference stands in the way
	CodeGone            Code = "gone"            // 410: the revision asked for was compacted
	CodePrecondition    Code = "precondition"    // 412: the object changed since it was read
	CodeTooLarge        Code = "too-large"       // 413
	CodeExhausted       Code = "exhausted"       // 409: nothing left to allocate
	CodeUnavailable     Code = "unavailable"     // 503: the store or a host does not answer
	CodeTimeout         Code = "timeout"         // 504
	CodeInternal        Code = "internal"        // 500: our bug
)

// Error is the error of every operation of the API: what was tried on which
// object, what stood in the way, and which field to look at.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	Kind    Kind   `json:"kind,omitempty"`
	Object  string `json:"object,omitempty"` // fully qualified name or UUID
	Field   string `json:"field,omitempty"`  // JSON path
	// Referrers names the objects that still refer to one that should be deleted.
	Referrers []string  `json:"referrers,omitempty"`
	Problems  []Problem `json:"problems,omitempty"`
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Message)
	for _, p := range e.Problems {
		fmt.Fprintf(&b, "; %s", p)
	}
	return b.String()
}

// Errorf makes an Error with a code.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// About names the object an error is about and returns the error.
func (e *Error) About(kind Kind, object, field string) *Error {
	e.Kind, e.Object, e.Field = kind, object, field
	return e
}

// Problem is one thing wrong with one field.
type Problem struct {
	Field  string `json:"field"`
	Reason string `json:"reason"`
}

func (p Problem) String() string { return p.Field + ": " + p.Reason }

// Problems collects what is wrong with an object.
type Problems []Problem

// Addf adds a problem.
func (p *Problems) Addf(field, format string, args ...any) {
	*p = append(*p, Problem{Field: field, Reason: fmt.Sprintf(format, args...)})
}

// immutable adds a problem if a field changed.
func immutable[T comparable](p *Problems, field string, old, now T) {
	if old != now {
		p.Addf(field, "cannot change from %v to %v: the field is fixed at creation", old, now)
	}
}

// required adds a problem if a reference is unset.
func required(p *Problems, field string, r Ref) {
	if r.IsZero() {
		p.Addf(field, "is required: give a UUID or a fully qualified name")
	}
}

var (
	namePattern = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$`)
	uuidPattern = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
)

// Bounds of what one object may carry; they keep every object far below
// etcd's request limit of 1.5 MiB.
const (
	MaxNameBytes        = 255
	MaxDescriptionBytes = 4096
	MaxLabels           = 64
	MaxLabelBytes       = 255
	MaxPolicyRules      = 1000
)

// IsUUID tells whether s is a UUID in its canonical lower-case form (RFC 9562).
func IsUUID(s string) bool { return uuidPattern.MatchString(s) }

// ValidateHeader reports what is wrong with the part every kind has.
func ValidateHeader(h *Header) Problems {
	var p Problems
	m := &h.Meta
	info, ok := KindInfo(h.Kind)
	if !ok {
		p.Addf("kind", "%q is not a kind of object", h.Kind)
		return p
	}
	if m.UUID != "" && !IsUUID(m.UUID) {
		p.Addf("meta.uuid", "%q is not a UUID in lower case", m.UUID)
	}
	if m.Name != "" && (len(m.Name) > MaxNameBytes || !namePattern.MatchString(m.Name)) {
		p.Addf("meta.name", "%q must be 1 to %d letters, digits, '.', '_' or '-', and begin and end with a letter, digit or '_'", m.Name, MaxNameBytes)
	}
	if info.Parent != "" && m.Parent.IsZero() {
		p.Addf("meta.parent", "is required: a %s belongs to a %s", h.Kind, info.Parent)
	}
	if info.Parent == "" && !m.Parent.IsZero() {
		p.Addf("meta.parent", "a %s has no parent", h.Kind)
	}
	if len(m.Description) > MaxDescriptionBytes || len(m.DisplayName) > MaxDescriptionBytes {
		p.Addf("meta.description", "description and displayName may be %d bytes long", MaxDescriptionBytes)
	}
	if len(m.Labels) > MaxLabels {
		p.Addf("meta.labels", "%d labels, at most %d are allowed", len(m.Labels), MaxLabels)
	}
	for k, v := range m.Labels {
		if k == "" || len(k) > MaxLabelBytes || len(v) > MaxLabelBytes {
			p.Addf("meta.labels", "key and value of %q may be 1 to %d bytes long", k, MaxLabelBytes)
		}
	}
	if f := m.Foreign; f != nil && (f.Kind == "" || f.ID == "" || len(f.Kind)+len(f.ID) > MaxNameBytes || strings.Contains(f.Kind, "/")) {
		p.Addf("meta.foreign", "kind (without '/') and id are required, together at most %d bytes", MaxNameBytes)
	}
	if f := m.Foreign; f != nil && f.Document != nil {
		if reason := f.Document.problem(); reason != "" {
			p.Addf("meta.foreign.document", "%s", reason)
		}
	}
	return p
}

// ValidateHeaderUpdate reports the fields of the header that may not change.
func ValidateHeaderUpdate(old, now *Header) Problems {
	var p Problems
	immutable(&p, "kind", old.Kind, now.Kind)
	immutable(&p, "meta.uuid", old.Meta.UUID, now.Meta.UUID)
	immutable(&p, "meta.name", old.Meta.Name, now.Meta.Name)
	immutable(&p, "meta.parent", old.Meta.Parent, now.Meta.Parent)
	immutable(&p, "meta.owner", old.Meta.Owner, now.Meta.Owner)
	return p
}

// addrKey is the one spelling of an address in keys: no zone, IPv4-mapped
// IPv6 addresses unmapped.
func addrKey(a netip.Addr) string { return a.Unmap().WithZone("").String() }

// ruleField is the JSON path of a field of a policy's rule.
func ruleField(index int, field string) string {
	return fmt.Sprintf("spec.rules[%d].%s", index, field)
}
