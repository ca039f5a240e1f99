// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"

	"github.com/weft-network/weft/api"
)

// filler sets every field of an object to a value that tells which field it is.
type filler struct {
	variant int               // fillers of different variants give different values
	sparse  bool              // leave out what may be left out
	next    int               // to count values that cannot hold a text
	names   map[string]string // what stands in a claim's key, and the field it is from
}

// Filled returns an object with every field set, every list with one entry.
func Filled(info api.Info) api.Object {
	o, _ := filled(info, 0)
	return o
}

func filled(info api.Info, variant int) (api.Object, *filler) {
	return (&filler{variant: variant}).object(info)
}

func (f *filler) object(info api.Info) (api.Object, *filler) {
	f.names = map[string]string{}
	o := api.New(info.Kind)
	o.Head().Meta.UUID = fmt.Sprintf("{meta.uuid %d}", f.variant)
	if info.Parent != "" {
		o.Head().Meta.Parent = api.Ref{UUID: "{meta.parent}", Name: "{meta.parent}"}
	}
	f.fill(reflect.ValueOf(o).Elem().FieldByName("Spec"), "spec", "")
	return o, f
}

func (f *filler) fill(v reflect.Value, path string, tag reflect.StructTag) {
	f.next++
	switch v.Interface().(type) {
	case api.Ref:
		name := f.text("{" + path + "}")
		v.Set(reflect.ValueOf(api.Ref{UUID: name, Name: name}))
		return
	case netip.Addr:
		v.Set(reflect.ValueOf(f.address(path)))
		return
	case api.AddressRange:
		a := f.address(path)
		v.Set(reflect.ValueOf(api.AddressRange{First: a, Last: a}))
		return
	case netip.Prefix:
		a := f.address(path)
		v.Set(reflect.ValueOf(netip.PrefixFrom(a, a.BitLen())))
		return
	case api.Document:
		v.Set(reflect.ValueOf(api.Document(`{}`)))
		return
	case api.Protocol:
		v.SetString([]string{"tcp", "udp"}[f.variant])
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem(), path, tag)
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i)
			if f.sparse && strings.Contains(field.Tag.Get("json"), ",omit") {
				continue
			}
			f.fill(v.Field(i), fieldPath(path, field), field.Tag)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		f.fill(v.Index(0), path+"[]", tag)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("key"), reflect.ValueOf(f.text("value")))
	case reflect.String:
		v.SetString(f.word(path, tag, v.Type()))
	case reflect.Bool:
		v.SetBool(f.variant == 0)
	default:
		f.number(v, path)
	}
}

// fieldPath is the path of a struct's field; embedded structs add nothing.
func fieldPath(path string, field reflect.StructField) string {
	if field.Anonymous {
		return path
	}
	name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
	return path + "." + name
}

func (f *filler) text(text string) string {
	if f.variant > 0 {
		return text + " of another"
	}
	return text
}

// word is a text, of those the field may have if it may not have any.
func (f *filler) word(path string, tag reflect.StructTag, t reflect.Type) string {
	if words := tag.Get("enum"); words != "" {
		all := strings.Split(words, ",")
		return all[min(f.variant, len(all)-1)]
	}
	if t == reflect.TypeFor[api.Kind]() {
		return []string{string(api.KindNetwork), string(api.KindPort)}[f.variant]
	}
	return f.text("{" + path + "}")
}

func (f *filler) number(v reflect.Value, path string) {
	n := 1000 + 2*f.next + f.variant
	f.names[strconv.Itoa(n)] = "{" + path + "}"
	if v.CanInt() {
		v.SetInt(int64(n))
		return
	}
	v.SetUint(uint64(n))
}

func (f *filler) address(path string) netip.Addr {
	a := netip.AddrFrom4([4]byte{192, 0, byte(2 + f.variant), byte(f.next)})
	f.names[a.String()] = "{" + path + "}"
	f.names[a.String()+"/32"] = "{" + path + "}"
	return a
}

// named puts fields in the place of their values.
func (f *filler) named(text string) string {
	for _, suffix := range []string{"/32", ""} { // the longer first
		for value, name := range f.names {
			if strings.HasSuffix(value, "/32") == (suffix != "") {
				text = strings.ReplaceAll(text, value, name)
			}
		}
	}
	return text
}
