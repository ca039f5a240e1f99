// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"

	"github.com/weft-network/weft/api"
)

// failure makes errors that begin with what was tried on which object.
type failure struct {
	verb   string
	kind   api.Kind
	object string
}

func failing(verb string, kind api.Kind, object string) failure { return failure{verb, kind, object} }

func (f failure) with(code api.Code, field, format string, args ...any) *api.Error {
	return api.Errorf(code, "%s %s %s: %s", f.verb, f.kind, f.object, fmt.Sprintf(format, args...)).About(f.kind, f.object, field)
}

func (f failure) invalid(field, format string, args ...any) *api.Error {
	return f.with(api.CodeInvalid, field, format, args...)
}

func (f failure) forbidden(field, format string, args ...any) *api.Error {
	return f.with(api.CodeForbidden, field, format, args...)
}

func (f failure) conflict(field, format string, args ...any) *api.Error {
	return f.with(api.CodeConflict, field, format, args...)
}

func (f failure) missing(format string, args ...any) *api.Error {
	return f.with(api.CodeNotFound, "", format, args...)
}

func (f failure) problems(problems api.Problems) *api.Error {
	e := f.invalid(problems[0].Field, "the object is wrong")
	e.Problems = problems
	return e
}

// nameOf is how messages name an object: kind and fully qualified name.
func nameOf(r *record) string {
	return string(r.id.kind()) + " " + r.object.Head().Meta.FQName
}

// firstOf returns the first string that is not empty.
func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return "(unnamed)"
}
