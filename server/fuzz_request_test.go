// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/weft-network/weft/api"
	examples "github.com/weft-network/weft/api/reference"
)

// madeUp is one request that was made up from the description.
type madeUp struct {
	of      *describedOperation // nil: of no operation
	actor   string
	method  string
	path    string // escaped, with the query
	media   string
	body    []byte
	oddness string // what is odd about it beyond its fields
}

func (m *madeUp) String() string {
	return fmt.Sprintf("%s: %s %.300s [%s] %s %.1500q", m.actor, m.method, m.path, m.media, m.oddness, m.body)
}

// inventor makes requests up: some right, some nearly so, some absurd.
type inventor struct {
	*choices
	d        *apiDescription
	objects  func() api.Snapshot
	examples map[api.Kind][]map[string]any
	csr      string
	made     int
}

func newInventor(d *apiDescription, objects func() api.Snapshot, csr string) (*inventor, error) {
	v := &inventor{d: d, objects: objects, csr: csr, examples: map[api.Kind][]map[string]any{}}
	for _, info := range api.Kinds() {
		all, err := examples.Examples(info.Kind)
		if err != nil {
			return nil, err
		}
		for _, o := range all {
			v.examples[info.Kind] = append(v.examples[info.Kind], plain(o))
		}
	}
	return v, nil
}

// plain is an object as a tree that can be changed.
func plain(o any) map[string]any {
	data, err := encode(o)
	if err != nil {
		panic(err)
	}
	var m map[string]any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&m); err != nil {
		panic(err)
	}
	return m
}

var fuzzActors = []string{"admin", "admin", "admin", "admin", "admin", "admin", "admin", "tenant", "tenant", "foreign", "foreign", "reader", "joiner", "nobody", "stranger"}

func (v *inventor) request() madeUp {
	v.made++
	o := v.operation()
	m := madeUp{of: o, actor: choose(v.choices, fuzzActors), method: o.method, media: o.media}
	m.path = v.path(o) + v.query(o)
	if o.body != nil {
		m.body = v.body(o)
		if v.once(15) {
			m.body, m.oddness = v.garble(m.body)
		}
		if strings.HasSuffix(m.path, "/authority/finish") {
			m.body = bytes.ReplaceAll(m.body, []byte("true"), []byte("false")) // by force it locks everybody out who asks here
		}
		if v.once(20) {
			m.media = choose(v.choices, []string{"", "text/plain", "application/xml", "application/json; charset=utf-16", "*/*;;", "application/merge-patch+json", "application/json"})
		}
	}
	switch v.below(60) {
	case 57:
		m.of, m.method, m.oddness = nil, choose(v.choices, []string{"HEAD", "OPTIONS", "PROPFIND", "PUT", "DELETE", "POST", "PATCH", "GET", "TRACE", "WEFT"}), "method"
	case 58:
		m.of, m.path, m.oddness = nil, choose(v.choices, []string{"/", "//v1/networks", "/v1", "/v1/", "/v1/networks/", "/v1/../healthz", "/v2/networks", "/v1/networks/%2e%2e/x", "/v1/%00", "/%ff%fe", "/v1/networks/a/b/c", "*"}), "path"
	case 59:
		m.body, m.oddness = []byte(`{"not":"expected"}`), "a body, expected or not"
	}
	return m
}

// operation chooses what to ask: seldom what is slow and changes nothing, and
// less to delete than to make, so that there is always something.
func (v *inventor) operation() *describedOperation {
	for range 16 {
		o := &v.d.operations[v.below(len(v.d.operations))]
		slow := o.id == "backup" || o.id == "watch"
		if slow && v.below(4) > 0 || o.method == http.MethodDelete && v.below(4) > 0 || o.method == http.MethodGet && v.below(2) > 0 {
			continue
		}
		return o
	}
	return &v.d.operations[0]
}

// reference is the text of a reference: mostly to something of the kind.
func (v *inventor) reference(kind api.Kind) string {
	if v.once(10) {
		kind = choose(v.choices, api.Kinds()).Kind
	}
	all := v.objects().List(kind)
	if len(all) == 0 || v.once(20) {
		return v.text()
	}
	m := &choose(v.choices, all).Head().Meta
	if v.once(2) {
		return m.UUID
	}
	return m.FQName
}

func (v *inventor) path(o *describedOperation) string {
	info, _ := api.ParseKind(strings.Split(o.path, "/")[2%len(strings.Split(o.path, "/"))])
	path := o.path
	for _, p := range o.parameters {
		if p.in != "path" {
			continue
		}
		var value string
		switch p.name {
		case "ref":
			value = v.reference(info.Kind)
		case "kind":
			value = choose(v.choices, []string{"network", "ports", "addr", "nonsense", ""})
		case "table":
			value = choose(v.choices, []string{"drops", "routes", "nonsense", "../x"})
		default:
			value = v.text()
		}
		path = strings.Replace(path, "{"+p.name+"}", url.PathEscape(value), 1)
	}
	return path
}

func (v *inventor) query(o *describedOperation) string {
	query := url.Values{}
	for _, p := range o.parameters {
		if p.in != "query" || !v.once(6) {
			continue
		}
		info, _ := api.ParseKind(o.tag)
		value := ""
		switch p.name {
		case "label":
			value = choose(v.choices, []string{"a=b", "a!=b", "a", "!a", "a in (b,c)", "a notin ()", "in in in", "=", "!!", "a=b=c", strings.Repeat("k", 5000)})
		case "minRevision":
			value = choose(v.choices, []string{"0", "1", "5", "-1", "x", "1e3", "99999999999999999999"})
		case "fields":
			value = choose(v.choices, []string{"meta.name", "meta", "spec", "spec.network,meta.labels.x", ".", ",", "meta..name", "status.conditions.type", strings.Repeat("a,", 100)})
		case "consistency", "count", "bookmarks", "sort", "continue", "since", "outcome", "kind":
			value = choose(v.choices, []string{"stale", "true", "soon", "name", "-createdAt", "x.1", "2026-01-01T00:00:00Z", "done", "network", v.text()})
		case "limit":
			value = choose(v.choices, []string{"1", "2", "10000", "0", "10001", "-1", "x"})
		case "revision":
			value = choose(v.choices, []string{"0", "1", strconv.FormatInt(v.objects().Revision(), 10), "9223372036854775807", "-3"})
		default:
			value = v.reference(kindOfField(p.name, info.Parent))
		}
		query.Add(p.name, value)
		if v.once(25) {
			query.Add(p.name, value)
		}
	}
	if v.once(40) {
		query.Add(choose(v.choices, []string{"", "nonsense", "limit[]", "Fields"}), v.text())
	}
	if len(query) == 0 {
		return ""
	}
	if v.once(60) {
		return "?" + query.Encode() + "&%zz=%f;;&="
	}
	return "?" + query.Encode()
}

// kindOfField guesses the kind that a field refers to by its name.
func kindOfField(name string, otherwise api.Kind) api.Kind {
	name = name[strings.LastIndexByte(name, '.')+1:]
	var kebab strings.Builder
	for _, r := range name {
		if r >= 'A' && r <= 'Z' {
			kebab.WriteByte('-')
			r += 'a' - 'A'
		}
		kebab.WriteRune(r)
	}
	if info, ok := api.ParseKind(kebab.String()); ok {
		return info.Kind
	}
	return otherwise
}

// body is what a request of an operation carries.
func (v *inventor) body(o *describedOperation) []byte {
	var value any
	switch kind, isKind := api.ParseKind(o.tag); {
	case o.id == "transact":
		value = v.transaction()
	case isKind && strings.HasPrefix(o.id, "create-"+string(kind.Kind)):
		value = v.object(kind.Kind, false)
	case isKind && o.method == http.MethodPut:
		value = v.object(kind.Kind, true)
	case isKind && o.method == http.MethodPatch:
		value = v.patch(kind.Kind)
	default:
		value = v.value(o.body, "", 0)
		if m, ok := value.(map[string]any); ok && v.once(2) {
			m["csr"] = v.csr
		}
	}
	data, err := encode(value)
	if err != nil {
		return []byte(fmt.Sprint(value))
	}
	return data
}

func (v *inventor) transaction() any {
	var ops []any
	for range 1 + v.below(4) {
		kind := choose(v.choices, api.Kinds()).Kind
		op := choose(v.choices, []string{api.OpCreate, api.OpCreate, api.OpUpdate, api.OpDelete, "upsert"})
		ops = append(ops, map[string]any{"op": op, "object": v.object(kind, op != api.OpCreate)})
	}
	if v.once(30) {
		ops = slices.Repeat(ops, 200)
	}
	return map[string]any{"operations": ops, "dryRun": v.once(3)}
}

// object is an object of a kind, mostly one that could be: a new one after an
// example, or one that exists, with some changes.
func (v *inventor) object(kind api.Kind, existing bool) any {
	s := v.d.follow(v.schemaOf(kind))
	if v.once(12) {
		return v.value(s, "", 0)
	}
	var o map[string]any
	all := v.objects().List(kind)
	if existing && len(all) > 0 {
		o = plain(choose(v.choices, all))
		if v.once(2) {
			delete(o["meta"].(map[string]any), "revision")
		}
	} else {
		o = copied(choose(v.choices, v.examples[kind])).(map[string]any)
		meta := o["meta"].(map[string]any)
		meta["name"] = fmt.Sprintf("made-%d", v.made)
		delete(meta, "foreign")
		v.renumber(o["spec"])
	}
	for range v.below(5) / 2 {
		v.change(o, s)
	}
	return o
}

// renumber gives what must be unique another value.
func (v *inventor) renumber(spec any) {
	m, _ := spec.(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(m)) {
		n := v.below(65536)
		switch name {
		case "cidr":
			m[name] = choose(v.choices, []string{fmt.Sprintf("10.%d.%d.0/24", n>>8, n&255), fmt.Sprintf("2001:db8:%x::/64", n)})
			delete(m, "gateway")
			delete(m, "pools")
			delete(m, "reserved")
		case "ip", "mac", "vni":
			if v.once(2) {
				delete(m, name)
			}
		}
	}
}

func (v *inventor) schemaOf(kind api.Kind) schema {
	for i := range v.d.operations {
		if o := &v.d.operations[i]; o.id == "create-"+string(kind) {
			return o.body
		}
	}
	return nil
}

// patch is a merge patch of one thing or of everything.
func (v *inventor) patch(kind api.Kind) any {
	s := v.d.follow(v.schemaOf(kind))
	switch v.below(8) {
	case 0:
		return choose(v.choices, []any{nil, []any{}, "x", 7, map[string]any{}, map[string]any{"meta": nil}, map[string]any{"spec": nil}, map[string]any{"kind": nil, "meta": nil, "spec": nil, "status": nil}, map[string]any{"status": map[string]any{"conditions": nil}}})
	case 1:
		return v.object(kind, true)
	case 2, 3:
		return map[string]any{"meta": map[string]any{"description": fmt.Sprint("changed ", v.made), "labels": map[string]any{"a": v.text()}}}
	}
	o := map[string]any{"spec": v.value(child(s, "properties", "spec").(schema), "", 0)}
	if spec, ok := o["spec"].(map[string]any); ok { // only some of it
		for _, name := range slices.Sorted(maps.Keys(spec)) {
			if v.below(3) > 0 {
				delete(spec, name)
			}
		}
	}
	return o
}
