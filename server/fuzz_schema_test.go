// SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// schema is a JSON Schema as the description has it.
type schema = map[string]any

// apiDescription is the description of the API as a client reads it.
type apiDescription struct {
	schemas    map[string]schema
	operations []describedOperation
}

// describedOperation is one method of one path.
type describedOperation struct {
	id, method, path, tag string
	parameters            []describedParameter
	body                  schema // nil: takes none
	media                 string // of the body
	status                string
	reply                 schema // nil: has none
	sends                 string
}

type describedParameter struct {
	name, in string
	schema   schema
}

func child(of any, path ...string) any {
	for _, name := range path {
		m, _ := of.(map[string]any)
		of = m[name]
	}
	return of
}

func text(of any) string { s, _ := of.(string); return s }

// readDescription reads an OpenAPI document.
func readDescription(data []byte) (*apiDescription, error) {
	var document map[string]any
	if err := json.Unmarshal(data, &document); err != nil {
		return nil, err
	}
	d := &apiDescription{schemas: map[string]schema{}}
	for name, s := range child(document, "components", "schemas").(map[string]any) {
		d.schemas["#/components/schemas/"+name] = s.(schema)
	}
	paths := child(document, "paths").(map[string]any)
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		methods := paths[path].(map[string]any)
		for _, method := range slices.Sorted(maps.Keys(methods)) {
			d.operations = append(d.operations, readOperation(path, method, methods[method].(map[string]any)))
		}
	}
	return d, nil
}

func readOperation(path, method string, from map[string]any) describedOperation {
	o := describedOperation{id: text(from["operationId"]), method: strings.ToUpper(method), path: path}
	if tags, _ := from["tags"].([]any); len(tags) > 0 {
		o.tag = text(tags[0])
	}
	parameters, _ := from["parameters"].([]any)
	for _, p := range parameters {
		s, _ := child(p, "schema").(schema)
		o.parameters = append(o.parameters, describedParameter{text(child(p, "name")), text(child(p, "in")), s})
	}
	o.body, o.media = content(child(from, "requestBody", "content"))
	for status, response := range from["responses"].(map[string]any) {
		if status != "default" {
			o.status = status
			o.reply, o.sends = content(child(response, "content"))
		}
	}
	return o
}

func content(of any) (schema, string) {
	m, _ := of.(map[string]any)
	for media, c := range m {
		s, _ := child(c, "schema").(schema)
		return s, media
	}
	return nil, ""
}

// follow returns what a schema says, through references.
func (d *apiDescription) follow(s schema) schema {
	for text(s["$ref"]) != "" {
		s = d.schemas[text(s["$ref"])]
	}
	return s
}

// fits reports where a value is not what a schema says. Only what our
// description uses of JSON Schema is looked at.
func (d *apiDescription) fits(value any, s schema, at string) error {
	s = d.follow(s)
	if of, _ := s["oneOf"].([]any); of != nil {
		return d.fitsOne(value, s, of, at)
	}
	if !hasType(value, s["type"]) {
		return fmt.Errorf("%s: %.60v is not of type %v", at, value, s["type"])
	}
	if enum, _ := s["enum"].([]any); enum != nil && !slices.Contains(enum, value) {
		return fmt.Errorf("%s: %v is not one of %v", at, value, enum)
	}
	switch v := value.(type) {
	case []any:
		items, _ := s["items"].(schema)
		for i, item := range v {
			if err := d.fits(item, items, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
	case map[string]any:
		return d.fitsObject(v, s, at)
	}
	return nil
}

func (d *apiDescription) fitsOne(value any, s schema, of []any, at string) error {
	if kinds, _ := child(s, "discriminator", "mapping").(map[string]any); kinds != nil {
		kind := text(child(value, "kind"))
		if kinds[kind] == nil {
			return fmt.Errorf("%s: kind %q is none of those described", at, kind)
		}
		return d.fits(value, schema{"$ref": kinds[kind]}, at)
	}
	var all []string
	for _, one := range of {
		err := d.fits(value, one.(schema), at)
		if err == nil {
			return nil
		}
		all = append(all, err.Error())
	}
	return fmt.Errorf("%s: fits none: %s", at, strings.Join(all, "; "))
}

func (d *apiDescription) fitsObject(value map[string]any, s schema, at string) error {
	required, _ := s["required"].([]any)
	for _, name := range required {
		if _, there := value[text(name)]; !there {
			return fmt.Errorf("%s: %v is missing", at, name)
		}
	}
	known, _ := s["properties"].(map[string]any)
	further, isSchema := s["additionalProperties"].(schema)
	for name, inner := range value {
		var err error
		switch p, there := known[name].(schema); {
		case there:
			err = d.fits(inner, p, at+"."+name)
		case isSchema:
			err = d.fits(inner, further, at+"."+name)
		case known != nil && s["additionalProperties"] != true:
			err = fmt.Errorf("%s: %s is not described", at, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func hasType(value any, want any) bool {
	if many, _ := want.([]any); many != nil {
		return slices.ContainsFunc(many, func(one any) bool { return hasType(value, one) })
	}
	switch v := value.(type) {
	case nil:
		return want == "null" || want == nil
	case string:
		return want == "string" || want == nil
	case bool:
		return want == "boolean" || want == nil
	case float64:
		return want == "number" || want == "integer" && v == math.Trunc(v) || want == nil
	case []any:
		return want == "array" || want == nil
	}
	return want == "object" || want == nil
}
