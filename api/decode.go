// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxDepth bounds how deep JSON may be nested; what objects have is far below.
const MaxDepth = 64

// decodeInto reads exactly one JSON value into o.
func decodeInto(data []byte, o any, strict bool) error {
	if strict {
		if err := checkStrictly(data, reflect.TypeOf(o)); err != nil {
			return err
		}
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if strict {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(o); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value")
	}
	return nil
}

// DecodeStrictly reads exactly one JSON value. What encoding/json lets pass or
// repairs, so that it would mean something else than its sender thinks, is
// refused: unknown fields and those in another case, a field twice, text that is
// not UTF-8, deep nesting. An error names the field.
func DecodeStrictly(data []byte, into any) error {
	return asInvalid("read the body", decodeInto(data, into, true))
}

// asInvalid makes an error of a decoder one of the API; nil stays nil.
func asInvalid(what string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("it is empty")
	}
	e := Errorf(CodeInvalid, "%s: %v", what, err)
	var at *misfit
	if errors.As(err, &at) {
		e.Field = at.field
	}
	return e
}

// misfit is what in a JSON text does not fit its type, and where.
type misfit struct{ field, reason string }

func (m *misfit) Error() string {
	if m.field == "" {
		return m.reason
	}
	return m.field + ": " + m.reason
}

// checkStrictly compares a JSON text with the type it shall be read into; nil
// means any.
func checkStrictly(data []byte, t reflect.Type) error {
	if !utf8.Valid(data) {
		return &misfit{"", "the text is not UTF-8 (RFC 8259)"}
	}
	c := &checker{data: data, d: json.NewDecoder(bytes.NewReader(data))}
	c.d.UseNumber()
	return c.value("", t, 0)
}

// checker walks through a JSON text beside a type.
type checker struct {
	data []byte
	d    *json.Decoder
}

func (c *checker) value(path string, t reflect.Type, depth int) error {
	if depth > MaxDepth {
		return &misfit{path, fmt.Sprintf("is nested deeper than %d", MaxDepth)}
	}
	for t != nil && t.Kind() == reflect.Pointer && !reads(t) {
		t = t.Elem()
	}
	whole := depth == 0 && t != nil && (t.Kind() == reflect.Struct || t.Kind() == reflect.Map)
	own := t // reads itself from the whole value
	if t != nil && (reads(t) || reads(reflect.PointerTo(t)) || t.Kind() == reflect.Interface) {
		t = nil
	}
	from := c.d.InputOffset()
	token, err := c.d.Token()
	if err != nil {
		return err
	}
	switch token {
	case nil:
		if whole {
			err = &misfit{path, "is null, want an object"}
		}
	case json.Delim('{'):
		err = c.object(path, t, depth)
	case json.Delim('['):
		err = c.array(path, t, depth)
	default:
		err = fits(path, token, t)
	}
	if err == nil && t == nil && own != nil && own.Kind() != reflect.Interface {
		err = readsItself(path, bytes.TrimLeft(c.data[from:c.d.InputOffset()], " \t\r\n:,"), own)
	}
	return err
}

func (c *checker) object(path string, t reflect.Type, depth int) error {
	if t != nil && t.Kind() != reflect.Struct && t.Kind() != reflect.Map {
		return &misfit{path, "is an object, want " + wanted(t)}
	}
	seen := map[string]bool{}
	for c.d.More() {
		token, err := c.d.Token()
		if err != nil {
			return err
		}
		name := token.(string) // the decoder takes nothing else here
		at := strings.TrimPrefix(path+"."+name, ".")
		if name == "" {
			at = path + `""`
		}
		if seen[name] {
			return &misfit{at, "is given twice"}
		}
		seen[name] = true
		var inner reflect.Type
		switch {
		case t == nil:
		case t.Kind() == reflect.Map:
			inner = t.Elem()
		default:
			if inner = fieldType(t, name); inner == nil {
				return &misfit{at, fmt.Sprintf("unknown field %q; there are %s", name, strings.Join(fieldNames(t), ", "))}
			}
		}
		if err := c.value(at, inner, depth+1); err != nil {
			return err
		}
	}
	_, err := c.d.Token()
	return err
}

func (c *checker) array(path string, t reflect.Type, depth int) error {
	var inner reflect.Type
	if t != nil {
		if t.Kind() != reflect.Slice {
			return &misfit{path, "is a list, want " + wanted(t)}
		}
		inner = t.Elem()
	}
	for i := 0; c.d.More(); i++ {
		if err := c.value(path+"["+strconv.Itoa(i)+"]", inner, depth+1); err != nil {
			return err
		}
	}
	_, err := c.d.Token()
	return err
}

// reads tells whether a type has its own way of being read.
func reads(t reflect.Type) bool {
	return t.Implements(reflect.TypeFor[json.Unmarshaler]()) || t.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// readsItself lets a type that has its own way try a value. Null leaves
// everything as it is.
func readsItself(path string, raw []byte, t reflect.Type) error {
	if string(raw) == "null" {
		return nil
	}
	if err := json.Unmarshal(raw, reflect.New(t).Interface()); err != nil {
		return &misfit{path, err.Error()}
	}
	return nil
}

// fits tells whether a plain value can be read into a type.
func fits(path string, token json.Token, t reflect.Type) error {
	if t == nil || token == nil {
		return nil
	}
	ok := false
	switch v := token.(type) {
	case string:
		ok = t.Kind() == reflect.String || t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8
	case bool:
		ok = t.Kind() == reflect.Bool
	case json.Number:
		// The same as encoding/json does, which also knows the size of the type.
		ok = json.Unmarshal([]byte(v), reflect.New(t).Interface()) == nil
	}
	if !ok {
		text := fmt.Sprintf("%.40q", fmt.Sprint(token))
		return &misfit{path, text + " is not " + wanted(t)}
	}
	return nil
}

// wanted says in words what a type is read from.
func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Slice:
		return "a list"
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "a number"
	}
	return fmt.Sprintf("a whole number of %d bits", t.Bits())
}

// fields are the fields of a struct by their names in JSON, with their types.
func fields(t reflect.Type) iter.Seq2[string, reflect.Type] {
	return func(yield func(string, reflect.Type) bool) {
		for i := range t.NumField() {
			f := t.Field(i)
			tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case f.Anonymous && tag == "":
				for name, of := range fields(f.Type) {
					if !yield(name, of) {
						return
					}
				}
				continue
			case tag == "-" || tag == "" && !f.IsExported():
				continue
			case tag == "":
				tag = f.Name
			}
			if !yield(tag, f.Type) {
				return
			}
		}
	}
}

// fieldType finds the type of a field by its exact name in JSON, or nil.
func fieldType(t reflect.Type, name string) reflect.Type {
	for tag, of := range fields(t) {
		if tag == name {
			return of
		}
	}
	return nil
}

// fieldNames are the names that a struct's fields have in JSON, sorted.
func fieldNames(t reflect.Type) (names []string) {
	for name := range fields(t) {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
