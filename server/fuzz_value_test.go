// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
)

// oddTexts are what somebody may write where something else is expected.
var oddTexts = []string{
	"", "x", "a:b:c", ":", "..", "../..", "*", "\x00", "a\nb", "💥", "default-domain", "default-domain:default-project",
	"10.0.0.1", "10.0.0.1/8", "0.0.0.0", "0.0.0.0/0", "255.255.255.255", "224.0.0.1", "127.0.0.1", "10.0.0.9-10.0.0.1", "10.0.0.1-2001:db8::1",
	"2001:db8::1", "::", "::/0", "fe80::1%eth0", "::ffff:10.0.0.1", "ff02::1", "10.0.0.0/33", "2001:db8::/129", "010.0.0.1",
	"00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "02:00:00:00:00", "tcp", "any", "256", "-1", "1e9", "true",
	"00000000-0000-0000-0000-000000000000", "FFFFFFFF-0000-0000-0000-000000000000", strings.Repeat("x", 300), strings.Repeat("y", 70_000), "'; --", "%s%n", "\u202e",
}

func (v *inventor) text() string { return choose(v.choices, oddTexts) }

// odd is a value of any type that is hardly meant anywhere.
func (v *inventor) odd() any {
	return choose(v.choices, []any{
		nil, true, json.Number("0"), json.Number("-1"), json.Number("0.5"), json.Number("1e999"), json.Number("9223372036854775807"), json.Number("18446744073709551616"),
		json.Number("-0"), json.Number("1e2"), []any{}, map[string]any{}, []any{nil}, []any{[]any{[]any{}}}, map[string]any{"": ""}, map[string]any{"uuid": "x", "name": "y"}, v.text(), v.text(),
	})
}

// value makes a value as a schema says, mostly.
func (v *inventor) value(s schema, name string, depth int) any {
	s = v.d.follow(s)
	if depth > 8 || v.once(25) {
		return v.odd()
	}
	if enum, _ := s["enum"].([]any); enum != nil {
		return choose(v.choices, enum)
	}
	if of, _ := s["oneOf"].([]any); of != nil {
		if s["discriminator"] != nil {
			return v.object(choose(v.choices, api.Kinds()).Kind, v.once(2))
		}
		ref := v.reference(kindOfField(name, api.KindProject))
		if v.once(3) {
			return map[string]any{choose(v.choices, []string{"uuid", "name"}): ref}
		}
		return ref
	}
	kind := text(s["type"])
	if many, _ := s["type"].([]any); len(many) > 0 {
		kind = text(many[0])
	}
	switch kind {
	case "string":
		return v.text()
	case "boolean":
		return v.once(2)
	case "integer", "number":
		return v.number(s)
	case "array":
		items, _ := s["items"].(schema)
		list := []any{}
		for range v.below(3) {
			list = append(list, v.value(items, name, depth+1))
		}
		if len(list) > 0 && v.once(40) {
			list = slices.Repeat(list, 3000)
		}
		return list
	case "object":
		return v.members(s, depth)
	}
	return v.odd()
}

func (v *inventor) number(s schema) any {
	low, high := 0, 70_000
	if n, ok := s["minimum"].(float64); ok {
		low = int(n)
	}
	if n, ok := s["maximum"].(float64); ok {
		high = int(n)
	}
	switch v.below(8) {
	case 0:
		return low
	case 1:
		return high
	case 2:
		return low - 1
	case 3:
		return high + 1
	}
	return low + v.below(min(high-low+1, 60_000))
}

func (v *inventor) members(s schema, depth int) any {
	o := map[string]any{}
	known, _ := s["properties"].(map[string]any)
	required, _ := s["required"].([]any)
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if slices.Contains(required, any(name)) || v.once(3) {
			o[name] = v.value(known[name].(schema), name, depth+1)
		}
	}
	if further, ok := s["additionalProperties"].(schema); ok {
		for n := range v.below(3) {
			o[fmt.Sprint("k", n)] = v.value(further, "", depth+1)
		}
	}
	return o
}

func copied(value any) any {
	switch t := value.(type) {
	case map[string]any:
		c := map[string]any{}
		for name, inner := range t {
			c[name] = copied(inner)
		}
		return c
	case []any:
		c := make([]any, len(t))
		for i, inner := range t {
			c[i] = copied(inner)
		}
		return c
	}
	return value
}

// slot is a place in a tree.
type slot struct {
	set    func(any)
	remove func()
	value  any
	schema schema
	name   string
}

// slots lists all places of a tree.
func (v *inventor) slots(value any, s schema, into []slot) []slot {
	s = v.d.follow(s)
	switch t := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(t)) {
			inner, _ := child(s, "properties", name).(schema)
			into = append(into, slot{func(n any) { t[name] = n }, func() { delete(t, name) }, t[name], inner, name})
			into = v.slots(t[name], inner, into)
		}
	case []any:
		items, _ := s["items"].(schema)
		for i := range t {
			into = append(into, slot{func(n any) { t[i] = n }, func() { t[i] = nil }, t[i], items, ""})
			into = v.slots(t[i], items, into)
		}
	}
	return into
}

// change changes one place of an object.
func (v *inventor) change(o map[string]any, s schema) {
	all := v.slots(o, s, nil)
	at := choose(v.choices, all)
	switch v.below(8) {
	case 0, 1:
		at.remove()
	case 2, 3, 4:
		at.set(v.value(at.schema, at.name, 1))
	case 5:
		at.set(v.odd())
	case 6:
		at.set(copied(choose(v.choices, all).value))
	case 7:
		if m, ok := at.value.(map[string]any); ok {
			m[choose(v.choices, []string{"nonsense", "", "Name", "uuid", "$ref", "__proto__"})] = v.odd()
		} else {
			at.set(v.reference(kindOfField(at.name, api.KindNetwork)))
		}
	}
}

// garble makes a body that is no JSON, or hardly, and says how.
func (v *inventor) garble(body []byte) ([]byte, string) {
	at := v.below(len(body) + 1)
	switch v.below(11) {
	case 0:
		return body[:at], "cut off"
	case 1:
		return slices.Concat(body[:at], []byte{0xff, 0xc0}, body[at:]), "not UTF-8"
	case 2:
		return slices.Concat([]byte(`{"meta":{},"kind":"network",`), bytes.TrimPrefix(body, []byte("{"))), "keys twice"
	case 3:
		return slices.Concat(body, body), "twice"
	case 4:
		return []byte(strings.Repeat(`{"meta":`, 20_000)), "deep, not closed"
	case 5:
		return []byte(strings.Repeat(`[`, 50_000) + strings.Repeat(`]`, 50_000)), "deep"
	case 6:
		return slices.Concat([]byte("\xef\xbb\xbf"), body), "byte order mark"
	case 7:
		return nil, "no body"
	case 8:
		return slices.Concat(bytes.Repeat([]byte(" "), bodyMax), body), "large"
	case 9:
		garbled := slices.Clone(body)
		if at < len(garbled) {
			garbled[at] = byte(v.below(256))
		}
		return garbled, "one byte is another"
	}
	return []byte(`{"kind":"network","meta":{"description":"` + strings.Repeat("z", 1_400_000) + `"}}`), "just small enough"
}
