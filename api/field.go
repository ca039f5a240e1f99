// SPDX-License-Identifier: Apache-2.0

package api

import (
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Bounds of fields that state none of their own with a tag. A reviewer of a
// new field need not think of a bound; who wants more says so.
const (
	maxTextBytes  = 255
	maxListItems  = 100
	maxMapEntries = 64
)

// checked is a type of fields that knows what is wrong with its own value. The
// zero value is never asked.
type checked interface {
	// problem says what is wrong, or nothing.
	problem() string
}

// checkFields reports what the tags of a spec's fields forbid. They are the
// same tags that the OpenAPI description and the reference pages are made of,
// so these cannot say anything else:
//
//	json:",omitempty"   the field may be left out; without it, it is required
//	enum:"a,b"          the values of a text, or of each text of a list
//	minimum, maximum    of a number; 0 of a field that may be left out means absent
//	maxLength           bytes of a text (255 unless said)
//	maxItems            of a list (100 unless said)
//	hostBits:"true"     a range may have host bits; it is matched without them
func checkFields(spec any) Problems {
	var p Problems
	checkStruct(&p, "spec", reflect.ValueOf(spec))
	return p
}

func checkStruct(p *Problems, path string, v reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		at, value := path+"."+name, v.Field(i)
		if f.Anonymous {
			checkStruct(p, path, value)
			continue
		}
		if value.IsZero() {
			if options == "" && value.Kind() != reflect.Bool {
				missing(p, at, value)
			}
			continue
		}
		checkValue(p, at, f.Tag, value)
	}
}

func missing(p *Problems, at string, v reflect.Value) {
	if _, ok := v.Interface().(Ref); ok {
		required(p, at, Ref{})
		return
	}
	p.Addf(at, "is required")
}

func checkValue(p *Problems, at string, tag reflect.StructTag, v reflect.Value) {
	if c, ok := v.Interface().(checked); ok {
		if reason := c.problem(); reason != "" {
			p.Addf(at, "%s", reason)
		}
	}
	switch value := v.Interface().(type) {
	case Ref, Document:
		return
	case netip.Addr:
		checkAddress(p, at, value)
		return
	case netip.Prefix:
		checkRange(p, at, value, tag.Get("hostBits") != "")
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		checkValue(p, at, tag, v.Elem())
	case reflect.Struct:
		checkStruct(p, at, v)
	case reflect.String:
		checkText(p, at, tag, v.String())
	case reflect.Slice:
		if most := bound(tag, "maxItems", maxListItems); v.Len() > most {
			p.Addf(at, "%d entries, at most %d are allowed", v.Len(), most)
			return
		}
		for i := range v.Len() {
			checkValue(p, entry(at, i), tag, v.Index(i))
		}
	case reflect.Map:
		if v.Len() > maxMapEntries {
			p.Addf(at, "%d entries, at most %d are allowed", v.Len(), maxMapEntries)
		}
		for _, k := range v.MapKeys() {
			checkText(p, at, "", k.String())
			checkText(p, at, "", v.MapIndex(k).String())
			if k.Len() == 0 || k.Len() > maxTextBytes || v.MapIndex(k).Len() > maxTextBytes {
				p.Addf(at, "key and value of %q may be 1 to %d bytes long", k.String(), maxTextBytes)
			}
		}
	default:
		checkNumber(p, at, tag, v)
	}
}

func checkText(p *Problems, at string, tag reflect.StructTag, text string) {
	if strings.ContainsFunc(text, unicode.IsControl) {
		p.Addf(at, "%q has a control character", text)
		return
	}
	if words := tag.Get("enum"); words != "" {
		if !slices.Contains(strings.Split(words, ","), text) {
			p.Addf(at, "%q is not one of %s", text, strings.ReplaceAll(words, ",", ", "))
		}
		return
	}
	if most := bound(tag, "maxLength", maxTextBytes); len(text) > most {
		p.Addf(at, "is %d bytes long, at most %d are allowed", len(text), most)
	}
}

func checkNumber(p *Problems, at string, tag reflect.StructTag, v reflect.Value) {
	var n int
	switch {
	case v.CanInt():
		n = int(v.Int())
	case v.CanUint():
		n = int(v.Uint())
	default:
		return
	}
	least, most := bound(tag, "minimum", 0), bound(tag, "maximum", n)
	if n < least || n > most {
		p.Addf(at, "%d is not between %d and %d", n, least, bound(tag, "maximum", 1<<53))
	}
}

// bound is a number in a tag, or what holds without.
func bound(tag reflect.StructTag, name string, otherwise int) int {
	n, err := strconv.Atoi(tag.Get(name))
	if err != nil {
		return otherwise
	}
	return n
}

func checkAddress(p *Problems, at string, a netip.Addr) {
	if a.Zone() != "" || a.Is4In6() {
		p.Addf(at, "%v: write the address without zone, and IPv4 as IPv4", a)
	}
}

func checkRange(p *Problems, at string, r netip.Prefix, hostBits bool) {
	switch {
	case r.Addr().Is4In6():
		p.Addf(at, "%v is IPv4 in IPv6 form: write it as IPv4", r)
	case r != r.Masked() && !hostBits:
		p.Addf(at, "%v has host bits set: did you mean %v?", r, r.Masked())
	}
}

// refList lists the references of a field that holds several.
func refList(field string, kind Kind, refs []Ref, verb Verb) []FieldRef {
	var all []FieldRef
	for i := range refs {
		all = append(all, FieldRef{entry(field, i), kind, &refs[i], verb})
	}
	return all
}

// distinct refuses entries that are written twice in a list of references.
func distinct(p *Problems, field string, refs []Ref) {
	seen := map[Ref]bool{}
	for i, r := range refs {
		at := entry(field, i)
		if r.IsZero() {
			required(p, at, r)
		}
		if seen[r] {
			p.Addf(at, "%s is named twice", r)
		}
		seen[r] = true
	}
}

// exactlyOne refuses none or several of fields that exclude each other.
func exactlyOne(p *Problems, field, names string, set ...bool) {
	if n := count(set); n != 1 {
		p.Addf(field, "%d of %s are given, want exactly one", n, names)
	}
}

// atMostOne refuses several of fields that exclude each other.
func atMostOne(p *Problems, field, names string, set ...bool) {
	if n := count(set); n > 1 {
		p.Addf(field, "%d of %s are given, want at most one", n, names)
	}
}

func count(set []bool) int {
	n := 0
	for _, s := range set {
		if s {
			n++
		}
	}
	return n
}

// entry is the path of an entry of a list.
func entry(field string, index int) string { return field + "[" + strconv.Itoa(index) + "]" }
