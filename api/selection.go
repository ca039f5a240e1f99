// SPDX-License-Identifier: Apache-2.0

package api

import (
	"reflect"
	"regexp"
	"strings"
)

// Selection says which objects of a kind a list or a watch is about. The zero
// value selects all; all conditions must hold.
type Selection struct {
	// Parent selects children, by UUID or fully qualified name.
	Parent Ref
	// Labels are conditions on labels.
	Labels []LabelRequirement
	// Name is the object's own name, a fully qualified name, or the beginning
	// of either followed by '*'.
	Name string
	// Owner is the name of an orchestrator.
	Owner string
	// References are fields, as ReferenceFields lists them, and what one of
	// the references in the field must point at.
	References map[string]Ref
}

// Matches tells whether an object as stored is selected.
func (s Selection) Matches(o Object) bool {
	m := &o.Head().Meta
	if s.Owner != "" && m.Owner != s.Owner || !s.Parent.IsZero() && !s.Parent.pointsAt(m.Parent) || !s.matchesName(m) {
		return false
	}
	for _, l := range s.Labels {
		if !l.Matches(m.Labels) {
			return false
		}
	}
	return len(s.References) == 0 || s.matchesReferences(o)
}

func (s Selection) matchesName(m *Meta) bool {
	if s.Name == "" {
		return true
	}
	name := m.Name
	if strings.Contains(s.Name, ":") {
		name = m.FQName
	}
	if start, ok := strings.CutSuffix(s.Name, "*"); ok {
		return strings.HasPrefix(name, start)
	}
	return name == s.Name
}

func (s Selection) matchesReferences(o Object) bool {
	refs := o.Refs()
	for field, wanted := range s.References {
		found := false
		for _, r := range refs {
			found = found || plainField(r.Field) == field && wanted.pointsAt(*r.Ref)
		}
		if !found {
			return false
		}
	}
	return true
}

// pointsAt tells whether a stored reference is to what r names.
func (r Ref) pointsAt(stored Ref) bool {
	if r.UUID != "" {
		return r.UUID == stored.UUID
	}
	return r.Name == stored.Name
}

var listIndex = regexp.MustCompile(`\[[0-9]+\]`)

// plainField is the path of a field without the places in lists.
func plainField(field string) string { return listIndex.ReplaceAllString(field, "") }

// ReferenceField is a field of a kind that refers to another object.
type ReferenceField struct {
	Field string // without places in lists: "spec.rules.source"
	Kind  Kind   // "" where another field says it
}

// ReferenceFields lists the fields of a kind that refer to other objects.
func ReferenceFields(kind Kind) []ReferenceField {
	o := New(kind)
	if o == nil {
		return nil
	}
	furnish(reflect.ValueOf(o).Elem(), maxDepth)
	var fields []ReferenceField
	seen := map[string]bool{}
	for _, r := range o.Refs() {
		if f := plainField(r.Field); !seen[f] {
			seen[f] = true
			fields = append(fields, ReferenceField{f, r.Kind})
		}
	}
	return fields
}

// maxDepth is deeper than any kind, and ends types that contain themselves.
const maxDepth = 8

// furnish gives every list one element and every pointer a target, so that an
// empty object shows all references it could have.
func furnish(v reflect.Value, depth int) {
	if depth == 0 {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				furnish(v.Field(i), depth-1)
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Struct {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			furnish(v.Index(0), depth-1)
		}
	case reflect.Pointer:
		if v.Type().Elem().Kind() == reflect.Struct && v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
			furnish(v.Elem(), depth-1)
		}
	}
}
