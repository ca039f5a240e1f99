// SPDX-License-Identifier: Apache-2.0

package command

import (
	"bytes"
	"encoding/json"
	"maps"
	"strings"

	"github.com/weft-network/weft/api"
)

// changeable are the fields of meta that a file may change.
var changeable = []string{"displayName", "description", "labels", "foreign"}

// merged returns what a document makes of the object that is there: a field
// that the file does not mention stays, null clears one, lists are replaced as
// a whole. It also tells whether anything differs.
func (s *session) merged(d document, current api.Object) (api.Object, bool, error) {
	before, err := json.Marshal(current)
	if err != nil {
		return nil, false, err
	}
	var target map[string]any
	decoder := json.NewDecoder(bytes.NewReader(before))
	decoder.UseNumber()
	if err := decoder.Decode(&target); err != nil {
		return nil, false, err
	}
	data, err := json.Marshal(mergePatch(target, patchOf(d)))
	if err != nil {
		return nil, false, err
	}
	o, err := api.Decode(data, false)
	if err != nil {
		return nil, false, err
	}
	if err := s.completeRefs(o); err != nil {
		return nil, false, err
	}
	resolveLike(o, current)
	after, err := json.Marshal(o)
	return o, !bytes.Equal(before, after), err
}

// patchOf is the part of a document that may change an object. References are
// written as one value, so that a new name is not mixed with an old UUID.
func patchOf(d document) map[string]any {
	patch := map[string]any{}
	if spec, ok := d.raw["spec"].(map[string]any); ok {
		spec = deepCopy(spec)
		for _, r := range d.object.Refs() {
			within, path := spec, strings.Split(strings.TrimPrefix(r.Field, "spec."), ".")
			for ; within != nil && len(path) > 1; path = path[1:] {
				within, _ = within[path[0]].(map[string]any) // none for a list, which is replaced as a whole
			}
			if _, given := within[path[0]].(map[string]any); given {
				within[path[0]] = refValue(*r.Ref)
			}
		}
		patch["spec"] = spec
	}
	if meta, ok := d.raw["meta"].(map[string]any); ok {
		kept := map[string]any{}
		for _, field := range changeable {
			if value, given := meta[field]; given {
				kept[field] = value
			}
		}
		patch["meta"] = kept
	}
	return patch
}

// deepCopy copies the maps of a decoded object.
func deepCopy(from map[string]any) map[string]any {
	to := maps.Clone(from)
	for key, value := range to {
		if inner, ok := value.(map[string]any); ok {
			to[key] = deepCopy(inner)
		}
	}
	return to
}

// refValue is a reference as one text, null when it is unset.
func refValue(r api.Ref) any {
	switch {
	case r.UUID != "":
		return r.UUID
	case r.Name != "":
		return r.Name
	}
	return nil
}

// resolveLike gives references that point at the same object as one of the
// current object's the same form: the server keeps UUID and name.
func resolveLike(o, current api.Object) {
	known := map[string]api.Ref{} // by kind too: a network and a security-group may have one name
	for _, r := range current.Refs() {
		known[string(r.Kind)+"/"+r.Ref.UUID], known[string(r.Kind)+"/"+r.Ref.Name] = *r.Ref, *r.Ref
	}
	for _, r := range o.Refs() {
		if r.Ref.IsZero() {
			continue
		}
		key := r.Ref.UUID
		if key == "" {
			key = r.Ref.Name
		}
		if full, ok := known[string(r.Kind)+"/"+key]; ok {
			*r.Ref = full
		}
	}
}

// mergePatch applies a JSON merge patch (RFC 7396) to a decoded object.
func mergePatch(target, patch map[string]any) map[string]any {
	result := maps.Clone(target)
	if result == nil {
		result = map[string]any{}
	}
	for key, value := range patch {
		switch value := value.(type) {
		case nil:
			delete(result, key)
		case map[string]any:
			inner, _ := result[key].(map[string]any)
			result[key] = mergePatch(inner, value)
		default:
			result[key] = value
		}
	}
	return result
}
