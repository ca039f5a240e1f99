// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"strings"

	"github.com/weft-network/weft/api"
)

// projectionMax bounds the fields of one request.
const projectionMax = 64

// projection is the fields of objects that are asked for; nil means all.
type projection fieldTree

// fieldTree holds names of fields and what is wanted below each; an empty one
// means everything below.
type fieldTree map[string]fieldTree

// projectionOf reads the fields that objects of a kind shall have.
func projectionOf(kind api.Kind, query url.Values) (projection, error) {
	text := query.Get(paramFields.name)
	if text == "" {
		return nil, nil
	}
	paths := strings.Split(text, ",")
	if len(paths) > projectionMax {
		return nil, badQuery(paramFields.name, "%d fields, at most %d are allowed", len(paths), projectionMax)
	}
	tree := fieldTree{}
	for _, path := range append(paths, "kind", "meta.uuid", "meta.fqName") {
		parts := strings.Split(path, ".")
		if !hasField(reflect.TypeOf(api.New(kind)), parts) {
			return nil, badQuery(paramFields.name, "a %s has no field %q", kind, path)
		}
		tree.add(parts)
	}
	return projection(tree), nil
}

// add puts a path into the tree.
func (t fieldTree) add(parts []string) {
	below, there := t[parts[0]]
	switch {
	case there && len(below) == 0: // all of it is wanted already
	case len(parts) == 1:
		t[parts[0]] = fieldTree{}
	default:
		if !there {
			below = fieldTree{}
			t[parts[0]] = below
		}
		below.add(parts[1:])
	}
}

// hasField tells whether a type has a field by its path in JSON. Below a map,
// or what encodes itself, everything may be.
func hasField(t reflect.Type, parts []string) bool {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	switch {
	case len(parts) == 0:
		return true
	case t.Kind() == reflect.Map:
		return hasField(t.Elem(), parts[1:])
	case t.Kind() != reflect.Struct:
		return false
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" && hasField(f.Type, parts) || name == parts[0] && hasField(f.Type, parts[1:]) {
			return true
		}
	}
	return false
}

// objects is what is asked for of some objects.
func (p projection) objects(all []api.Object) ([]any, error) {
	shown := make([]any, len(all))
	for i, o := range all {
		var err error
		if shown[i], err = p.object(o); err != nil {
			return nil, err
		}
	}
	return shown, nil
}

// object is what is asked for of an object.
func (p projection) object(o api.Object) (any, error) {
	if p == nil || o == nil {
		return o, nil
	}
	data, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode %s %s: %w", o.Head().Kind, o.Head().Meta.FQName, err)
	}
	var value any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&value); err != nil {
		return nil, fmt.Errorf("read the encoding of %s %s: %w", o.Head().Kind, o.Head().Meta.FQName, err)
	}
	return pick(value, fieldTree(p)), nil
}

// pick keeps what a tree names, in every element of a list.
func pick(value any, tree fieldTree) any {
	if len(tree) == 0 {
		return value
	}
	switch v := value.(type) {
	case map[string]any:
		kept := map[string]any{}
		for name, below := range tree {
			if inner, ok := v[name]; ok {
				kept[name] = pick(inner, below)
			}
		}
		return kept
	case []any:
		kept := make([]any, len(v))
		for i, item := range v {
			kept[i] = pick(item, tree)
		}
		return kept
	}
	return value
}
