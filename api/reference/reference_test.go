// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
)

func TestPagesAreCurrent(t *testing.T) {
	folder := filepath.Join("..", "..", "doc", "reference")
	pages, err := Pages()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range pages {
		have, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil || string(have) != want {
			t.Errorf("doc/reference/%s is not what the kinds say (%v): go generate ./api/reference", name, err)
		}
	}
	files, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil || len(files) != len(pages) {
		t.Errorf("doc/reference has %d files for %d pages (%v)", len(files), len(pages), err)
	}
	if again, err := Pages(); err != nil || !reflect.DeepEqual(pages, again) {
		t.Errorf("pages differ from one run to the next (%v)", err)
	}
}

// Creating in the order of the kinds always works.
func TestKindsComeAfterAllTheyReferTo(t *testing.T) {
	seen := map[api.Kind]bool{}
	for _, info := range api.Kinds() {
		seen[info.Kind] = true
		if info.Parent != "" && !seen[info.Parent] {
			t.Errorf("%s comes before its parent %s", info.Kind, info.Parent)
		}
		if info.Kind == api.KindShare {
			continue // may refer to any kind, and comes last
		}
		for _, r := range Filled(info).Refs() {
			if !seen[r.Kind] {
				t.Errorf("%s comes before %s, which %s refers to", info.Kind, r.Kind, r.Field)
			}
		}
	}
	if last := api.Kinds()[len(api.Kinds())-1].Kind; last != api.KindShare {
		t.Errorf("last kind is %s, want share", last)
	}
}

func TestWordsForKindsAreOneKindsEach(t *testing.T) {
	used := map[string]api.Kind{}
	for _, info := range api.Kinds() {
		for _, word := range []string{string(info.Kind), info.Plural, info.Short} {
			if other, ok := used[word]; ok && other != info.Kind {
				t.Errorf("%q means %s and %s", word, other, info.Kind)
			}
			used[word] = info.Kind
		}
	}
}

// Every reference field of a spec is listed by Refs, under its own path, so
// that the store resolves and guards it.
func TestRefsListsEveryReference(t *testing.T) {
	for _, info := range api.Kinds() {
		o := Filled(info)
		listed := map[*api.Ref]string{}
		fields := map[string]bool{}
		for _, r := range o.Refs() {
			if _, listedBefore := listed[r.Ref]; !listedBefore { // a further right over the same has a name of its own
				listed[r.Ref] = r.Field
			}
			if fields[r.Field] {
				t.Errorf("%s lists %s twice", info.Kind, r.Field)
			}
			fields[r.Field] = true
		}
		eachRef(reflect.ValueOf(o).Elem().FieldByName("Spec"), "spec", func(r *api.Ref, path string) {
			// The rules of a network-policy have one network on each side.
			if field, ok := listed[r]; !ok || field != path && field+".network" != path {
				t.Errorf("%s: Refs has %q for the reference %s", info.Kind, field, path)
			}
		})
	}
}

func eachRef(v reflect.Value, path string, visit func(*api.Ref, string)) {
	if r, ok := v.Addr().Interface().(*api.Ref); ok {
		visit(r, path)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		eachRef(v.Elem(), path, visit)
	case reflect.Slice:
		for i := range v.Len() {
			eachRef(v.Index(i), path+"[0]", visit)
		}
	case reflect.Struct:
		if v.Type().PkgPath() != reflect.TypeFor[api.Ref]().PkgPath() {
			return
		}
		for i := range v.NumField() {
			eachRef(v.Field(i), fieldPath(path, v.Type().Field(i)), visit)
		}
	}
}

// What a field's words say is fixed, the kind refuses to change.
func TestFixedFieldsAreFixed(t *testing.T) {
	says := regexp.MustCompile(`(?i)\bfixed\b`)
	for _, info := range api.Kinds() {
		spec, _ := reflect.TypeOf(info.New()).Elem().FieldByName("Spec")
		fixed := fixedFields(info)
		for _, r := range fieldRows(spec.Type, "spec", nil) {
			field := "spec." + strings.Trim(r[0], "`")
			if says.MatchString(r[3]) && !fixed[field] && !fixed[field+".type"] {
				t.Errorf("%s: %s may change, and its words are: %s", info.Kind, field, r[3])
			}
		}
	}
}

// Every field says what it means, and survives being written and read.
func TestEveryFieldIsDocumentedAndKept(t *testing.T) {
	for _, info := range api.Kinds() {
		o := Filled(info)
		data, err := json.Marshal(o)
		if err != nil {
			t.Fatalf("%s: %v", info.Kind, err)
		}
		back, err := api.Decode(data, true)
		if err != nil {
			t.Errorf("%s: %v", info.Kind, err)
			continue
		}
		if !reflect.DeepEqual(back, o) {
			t.Errorf("%s: written and read again it is\n%+v, was\n%+v", info.Kind, back, o)
		}
		page, err := page(info)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range strings.Split(page, "\n") {
			if strings.HasPrefix(l, "| `") && strings.HasSuffix(l, "|  |") {
				t.Errorf("%s: a field without meaning: %s", info.Kind, l)
			}
		}
	}
}
