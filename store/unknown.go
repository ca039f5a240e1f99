// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// remains is what one JSON value has that this version of Weft does not know: a
// newer controller wrote it, and it is kept through every write here.
type remains struct {
	fields map[string]json.RawMessage // of an object: fields that are not known at all
	inner  map[string]*remains        // of an object: known fields in which something is not
	// Of a list: for each element, by what is known of it in compact JSON, since
	// elements have no names, what is not; nil where everything is. Equal
	// elements are in their order.
	items map[string][]*remains
}

// unknownIn returns what a stored value has and its re-encoding by this version
// does not; nil if that is nothing.
func unknownIn(stored, known json.RawMessage) *remains {
	var all, ours map[string]json.RawMessage
	if isObject(stored) && isObject(known) && json.Unmarshal(stored, &all) == nil && json.Unmarshal(known, &ours) == nil {
		r := &remains{fields: map[string]json.RawMessage{}, inner: map[string]*remains{}}
		for name, value := range all {
			if has, ok := ours[name]; !ok {
				r.fields[name] = value
			} else if in := unknownIn(value, has); in != nil {
				r.inner[name] = in
			}
		}
		if len(r.fields)+len(r.inner) > 0 {
			return r
		}
		return nil
	}
	var list, ourList []json.RawMessage
	if json.Unmarshal(stored, &list) != nil || json.Unmarshal(known, &ourList) != nil || len(list) != len(ourList) {
		return nil
	}
	r, found := &remains{items: map[string][]*remains{}}, false
	for n := range list {
		in := unknownIn(list[n], ourList[n])
		found = found || in != nil
		known := compact(ourList[n])
		r.items[known] = append(r.items[known], in)
	}
	if found {
		return r
	}
	return nil
}

// into returns a value of this version with what remains put into it. A known
// field or element that is gone takes along what was in it. It fails where an
// element with unknown fields was changed: nobody can tell then which of the
// new elements they belong to.
func (r *remains) into(value json.RawMessage, path string) (json.RawMessage, error) {
	if r == nil {
		return value, nil
	}
	if r.items != nil {
		return r.intoList(value, path)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(value, &fields); err != nil || fields == nil {
		return value, nil // it is no object any more
	}
	for name, unknown := range r.fields {
		if _, ok := fields[name]; !ok {
			fields[name] = unknown
		}
	}
	for name, in := range r.inner {
		if _, ok := fields[name]; !ok {
			continue
		}
		merged, err := in.into(fields[name], path+"."+name)
		if err != nil {
			return nil, err
		}
		fields[name] = merged
	}
	return mustJSON(fields), nil
}

// intoList takes elements that went for removed, unless others came: one of
// these may be the same one, changed.
func (r *remains) intoList(value json.RawMessage, path string) (json.RawMessage, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(value, &list); err != nil {
		return value, nil // it is no list any more
	}
	places, came := map[string][]int{}, false
	for n, element := range list {
		known := compact(element)
		places[known] = append(places[known], n)
		came = came || len(places[known]) > len(r.items[known])
	}
	for known, was := range r.items {
		at := places[known]
		fewer := len(at) < len(was)
		for n, in := range was {
			switch {
			case in == nil:
				continue
			case fewer && (came || len(at) > 0):
				return nil, fmt.Errorf("an element of %s has fields that only newer controllers know, and one cannot tell whether it is changed or gone", path)
			case fewer:
				continue // it is gone
			}
			merged, err := in.into(list[at[n]], fmt.Sprintf("%s[%d]", path, at[n]))
			if err != nil {
				return nil, err
			}
			list[at[n]] = merged
		}
	}
	return mustJSON(list), nil
}

func isObject(value json.RawMessage) bool {
	value = bytes.TrimSpace(value)
	return len(value) > 0 && value[0] == '{'
}

// compact is the one spelling in which elements are compared.
func compact(value json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, value) != nil {
		return string(value)
	}
	return b.String()
}
