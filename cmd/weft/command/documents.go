// SPDX-License-Identifier: Apache-2.0

package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/weft-network/weft/api"
)

// maxFile is far above what people write by hand, and keeps a wrong file name
// from filling the memory.
const maxFile = 64 << 20

// document is one object of a file: as Go value, and as written, because only
// the text tells an absent field from an empty one.
type document struct {
	source string
	raw    map[string]any
	object api.Object
}

// readDocuments reads the objects of files, folders and "-".
func (s *session) readDocuments(names []string) ([]document, error) {
	var all []document
	for _, name := range names {
		files := []string{name}
		if info, err := os.Stat(name); name != "-" && err == nil && info.IsDir() {
			if files, err = filesOf(name); err != nil {
				return nil, err
			}
		}
		for _, file := range files {
			data, err := s.readFile(file)
			if err != nil {
				return nil, failure{what: fmt.Sprintf("read %s: %v", file, err)}
			}
			docs, err := s.parseDocuments(file, data)
			if err != nil {
				return nil, err
			}
			all = append(all, docs...)
		}
	}
	if len(all) == 0 {
		return nil, failure{what: "no object in " + strings.Join(names, ", ")}
	}
	slices.SortStableFunc(all, func(a, b document) int { return order(a.object) - order(b.object) })
	return all, nil
}

// filesOf lists the files of a folder that hold objects.
func filesOf(folder string) ([]string, error) {
	entries, err := os.ReadDir(folder) // ordered by name
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".yaml", ".yml", ".json":
			files = append(files, filepath.Join(folder, e.Name()))
		}
	}
	return files, nil
}

func (s *session) readFile(name string) ([]byte, error) {
	var from io.Reader = s.In
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		from = f
	}
	data, err := io.ReadAll(io.LimitReader(from, maxFile+1))
	if len(data) > maxFile {
		return nil, fmt.Errorf("larger than %d bytes", maxFile)
	}
	return data, err
}

// parseDocuments reads YAML documents or JSON, each an object, a list of
// objects, or what "weft get -o json" prints.
func (s *session) parseDocuments(source string, data []byte) ([]document, error) {
	var docs []document
	for i, part := range splitDocuments(string(data)) {
		where := source
		if i > 0 {
			where = fmt.Sprintf("%s, document %d", source, i+1)
		}
		text, err := yaml.YAMLToJSONStrict([]byte(part))
		if err != nil {
			return nil, failure{what: fmt.Sprintf("%s: %v", where, err)}
		}
		var value any
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		if err := decoder.Decode(&value); err != nil {
			return nil, failure{what: fmt.Sprintf("%s: %v", where, err)}
		}
		found, err := s.documentsOf(where, value)
		if err != nil {
			return nil, err
		}
		docs = append(docs, found...)
	}
	return docs, nil
}

// splitDocuments cuts at YAML's document markers, which stand at the
// beginning of a line and nowhere inside a document.
func splitDocuments(text string) []string {
	var parts []string
	var b strings.Builder
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "---"); ok && strings.TrimLeft(rest, " \t\r\n") != rest || line == "---" {
			parts = append(parts, b.String())
			b.Reset()
			b.WriteString(rest)
			continue
		}
		b.WriteString(line)
	}
	return append(parts, b.String())
}

// documentsOf turns a decoded value into documents.
func (s *session) documentsOf(where string, value any) ([]document, error) {
	switch v := value.(type) {
	case nil:
		return nil, nil
	case []any:
		var docs []document
		for i, item := range v {
			found, err := s.documentsOf(fmt.Sprintf("%s, item %d", where, i+1), item)
			if err != nil {
				return nil, err
			}
			docs = append(docs, found...)
		}
		return docs, nil
	case map[string]any:
		if items, ok := v["items"].([]any); ok && v["kind"] == nil {
			return s.documentsOf(where, items)
		}
		d, err := s.documentOf(where, v)
		return []document{d}, err
	}
	return nil, failure{what: fmt.Sprintf("%s: want an object with kind, meta and spec", where)}
}

// documentOf reads one object and completes its names.
func (s *session) documentOf(where string, raw map[string]any) (document, error) {
	d := document{source: where, raw: raw}
	data, err := json.Marshal(raw)
	if err != nil {
		return d, err
	}
	if d.object, err = api.Decode(data, true); err != nil {
		return d, failure{what: where + ": " + decodeWords(err)}
	}
	forgetReadOnly(d.object)
	if err := s.completeIdentity(d.object, raw); err != nil {
		return d, failure{what: fmt.Sprintf("%s: %v", where, err)}
	}
	if err := s.completeRefs(d.object); err != nil {
		return d, failure{what: fmt.Sprintf("%s: %v", where, err)}
	}
	return d, nil
}

// decodeWords adds to an error of decoding what is known of the file: YAML reads
// an unquoted y, no, 1.20 or 0x1f as something other than text.
func decodeWords(err error) string {
	return strings.Replace(err.Error(), "is not a text", "is not a text (text that looks like something else needs quotes)", 1)
}

// forgetReadOnly clears what only the system writes, so that what was printed
// can be applied.
func forgetReadOnly(o api.Object) {
	m := &o.Head().Meta
	m.FQName, m.Owner, m.Generation, m.Revision = "", "", 0, 0
	m.CreatedAt, m.UpdatedAt = time.Time{}, time.Time{}
	reflect.ValueOf(o.StatusBody()).Elem().SetZero()
}

// completeIdentity fills in parent and name from each other, from a full name,
// and from the project in use.
func (s *session) completeIdentity(o api.Object, raw map[string]any) error {
	h := o.Head()
	m := &h.Meta
	if full := fieldText(raw, "meta", "fqName"); full != "" {
		if m.Name == "" {
			m.Name = api.BaseName(full)
		}
		if m.Parent.IsZero() {
			m.Parent = api.ParseRef(parentName(full))
		}
	}
	if m.Name == "" && m.UUID == "" {
		return fmt.Errorf("%s without meta.name and meta.uuid: one of them is needed to find it again", h.Kind)
	}
	parent := parentOf(h.Kind)
	switch {
	case parent == "":
		return nil
	case m.Parent.IsZero() && parent == api.KindProject:
		m.Parent.Name = s.project
	case m.Parent.IsZero() && parent == api.KindDomain:
		m.Parent.Name = parentName(s.project)
	case m.Parent.IsZero() && m.UUID == "":
		return fmt.Errorf("%s %s: meta.parent is required: it belongs to a %s", h.Kind, m.Name, parent)
	case m.Parent.UUID == "" && m.Parent.Name != "":
		name, err := completeName(s.project, parent, m.Parent.Name)
		m.Parent.Name = name
		return err
	}
	return nil
}

// completeRefs completes the names an object refers to.
func (s *session) completeRefs(o api.Object) error {
	for _, r := range o.Refs() {
		if r.Ref.UUID != "" || r.Ref.Name == "" {
			continue
		}
		name, err := completeName(s.project, r.Kind, r.Ref.Name)
		if err != nil {
			return fmt.Errorf("%s: %w", r.Field, err)
		}
		r.Ref.Name = name
	}
	return nil
}

// identity is how the object of a document is found.
func (d document) identity() api.Ref {
	m := d.object.Head().Meta
	if m.UUID != "" {
		return api.Ref{UUID: m.UUID, Name: fullName(d.object)}
	}
	if m.Parent.Name == "" && !m.Parent.IsZero() {
		return api.Ref{} // known by its parent's UUID only
	}
	return api.Ref{Name: fullName(d.object)}
}

// order is the place of an object in a transaction: after all that it may
// refer to, and a binding that ends being active before one that begins.
func order(o api.Object) int {
	place := 2 * slices.IndexFunc(api.Kinds(), func(i api.Info) bool { return i.Kind == o.Head().Kind })
	if b, ok := o.(*api.Binding); ok && b.Spec.Active {
		place++
	}
	return place
}

// fieldText is a text field of a decoded object, "" if there is none.
func fieldText(value map[string]any, path ...string) string {
	var v any = value
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return ""
		}
		v = m[p]
	}
	text, _ := v.(string)
	return text
}
