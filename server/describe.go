// SPDX-License-Identifier: Apache-2.0

package server

import (
	"net/http"
	"net/netip"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weft-network/weft/api"
)

// apiVersion is the version of the paths; it changes when a client must.
const apiVersion = "v1"

// The names of the security schemes in the description.
const (
	schemeBearer      = "token"
	schemeCertificate = "certificate"
)

// description is the OpenAPI document before any operation.
func description() huma.Config {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	registry.RegisterTypeAlias(reflect.TypeFor[api.Ref](), reflect.TypeFor[reference]())
	registry.RegisterTypeAlias(reflect.TypeFor[netip.Prefix](), reflect.TypeFor[prefix]())
	registry.RegisterTypeAlias(reflect.TypeFor[api.Document](), reflect.TypeFor[document]())
	registry.RegisterTypeAlias(reflect.TypeFor[api.Event](), reflect.TypeFor[event]())
	registry.RegisterTypeAlias(reflect.TypeFor[api.Operation](), reflect.TypeFor[operationBody]())
	return huma.Config{OpenAPI: &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "Weft", Version: apiVersion,
			Description: "One virtual network for everything in a data centre. A reference in a path ({ref}) is a UUID or a fully qualified name.",
		},
		Components: &huma.Components{
			Schemas: registry,
			SecuritySchemes: map[string]*huma.SecurityScheme{
				schemeBearer:      {Type: "http", Scheme: "bearer", Description: "Token: " + tokenVersion + ".<id>.<secret>.<SHA-256 of the CA certificate in hex>"},
				schemeCertificate: {Type: "mutualTLS", Description: "Client certificate of Weft's CA: CN name, O weft:<role>, OU orchestrator."},
			},
		},
	}}
}

// reference describes api.Ref as it is accepted: text or object.
type reference struct{}

// Schema says what is read and what is written.
func (reference) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Description: "Reference to another object. Accepted as a string (UUID or fully qualified name) or as an object with uuid, name or both; always returned as an object with both.",
		OneOf: []*huma.Schema{
			{Type: huma.TypeString, Description: "Accepted: a UUID or a fully qualified name."},
			{Type: huma.TypeObject, Description: "Accepted with either or both; always returned with both.", AdditionalProperties: false, Properties: map[string]*huma.Schema{
				"uuid": {Type: huma.TypeString, Format: "uuid", Description: "UUID of the object."},
				"name": {Type: huma.TypeString, Description: "Fully qualified name of the object."},
			}},
		},
	}
}

// prefix describes netip.Prefix.
type prefix struct{}

// Schema says how ranges are written.
func (prefix) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Description: "Range of addresses, e.g. 10.0.1.0/24 or 2001:db8::/64."}
}

// document describes api.Document.
type document struct{}

// Schema says that anything may be in it.
func (document) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true, Description: "A JSON object that Weft stores and does not read."}
}

// event describes api.Event, whose object is of any kind.
type event struct{}

// Schema describes one line of a watch.
func (event) Schema(r huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeObject, Required: []string{"type", "revision"},
		Description: "One change. To miss nothing after a lost connection, resume from the last bookmark, or from one less than the last event's revision.",
		Properties: map[string]*huma.Schema{
			"type":     {Type: huma.TypeString, Enum: []any{api.EventPut, api.EventDelete, api.EventBookmark}},
			"revision": {Type: huma.TypeInteger, Format: "int64"},
			"kind":     {Type: huma.TypeString, Enum: kindNames()},
			"object":   anyObject(r),
		},
	}
}

// operationBody describes api.Operation, whose object is of any kind.
type operationBody struct{}

// Schema describes one operation of a transaction.
func (operationBody) Schema(r huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeObject, Required: []string{"op", "object"}, AdditionalProperties: false,
		Properties: map[string]*huma.Schema{
			"op":     {Type: huma.TypeString, Enum: []any{api.OpCreate, api.OpUpdate, api.OpDelete}},
			"object": anyObject(r),
		},
	}
}

// anyObject is the schema of an object of any kind, told apart by its kind.
func anyObject(r huma.Registry) *huma.Schema {
	any := &huma.Schema{Discriminator: &huma.Discriminator{PropertyName: "kind", Mapping: map[string]string{}}}
	for _, info := range api.Kinds() {
		ref := kindSchema(r, info)
		any.OneOf = append(any.OneOf, ref)
		any.Discriminator.Mapping[string(info.Kind)] = ref.Ref
	}
	return any
}

func kindNames() []any {
	var names []any
	for _, info := range api.Kinds() {
		names = append(names, string(info.Kind))
	}
	return names
}

// kindSchema returns a reference to the schema of a kind. What a client may
// leave out is not required: only what validation asks for is.
func kindSchema(r huma.Registry, info api.Info) *huma.Schema {
	ref := r.Schema(reflect.TypeOf(info.New()), true, "")
	full := r.SchemaFromRef(ref.Ref)
	full.Description = info.Doc
	if effect := info.Effect(); effect != "" {
		full.Description += " " + strings.ToUpper(effect[:1]) + effect[1:] + "."
	}
	spec, _ := reflect.TypeOf(info.New()).Elem().FieldByName("Spec")
	describeStoredOnly(r.SchemaFromRef(r.Schema(spec.Type, true, "").Ref), info)
	full.Required = []string{"meta"}
	full.Properties["kind"] = &huma.Schema{Type: huma.TypeString, Enum: []any{string(info.Kind)}, Description: "Kind of the object; may be left out where the path says it."}
	return ref
}

// describeStoredOnly says of fields without effect that they have none.
func describeStoredOnly(spec *huma.Schema, info api.Info) {
	const words = " Stored only: nothing follows from it yet."
	for _, name := range api.StoredOnlyFields(info) {
		if field := spec.Properties[name]; field != nil && !strings.HasSuffix(field.Description, words) {
			field.Description += words
		}
	}
}

var pathParameter = regexp.MustCompile(`\{([a-z]+)\}`)

var parameterDocs = map[string]string{
	"ref":   "UUID or fully qualified name, escaped.",
	"table": "Name of a table of the host, e.g. drops.",
	"kind":  "Kind: singular, plural or short.",
	"id":    "UUID of the token.",
}

// describe is an operation's part of the OpenAPI document.
func (s *Server) describe(o operation) *huma.Operation {
	d := &huma.Operation{
		OperationID: o.id, Method: o.method, Path: o.path, Summary: o.summary, Tags: []string{o.tag},
		Responses: map[string]*huma.Response{
			"default": {Description: "Error, with the status that belongs to its code.", Content: media("", s.schemaOf(api.Error{}))},
		},
	}
	for _, m := range pathParameter.FindAllStringSubmatch(o.path, -1) {
		d.Parameters = append(d.Parameters, &huma.Param{Name: m[1], In: "path", Required: true, Description: parameterDocs[m[1]], Schema: &huma.Schema{Type: huma.TypeString}})
	}
	for _, q := range o.query {
		schema := &huma.Schema{Type: huma.TypeString}
		if q.number {
			schema = &huma.Schema{Type: huma.TypeInteger, Format: "int64"}
		}
		if q.many {
			schema = &huma.Schema{Type: huma.TypeArray, Items: schema}
		}
		d.Parameters = append(d.Parameters, &huma.Param{Name: q.name, In: "query", Description: q.doc, Schema: schema})
	}
	if o.body != nil {
		d.RequestBody = &huma.RequestBody{Required: true, Content: media(o.media, o.body)}
	}
	success := &huma.Response{Description: http.StatusText(o.status)}
	if o.reply != nil {
		success.Content = media(o.sends, o.reply)
	}
	d.Responses[strconv.Itoa(o.status)] = success
	if o.roles != nil {
		d.Security = []map[string][]string{{schemeBearer: {}}, {schemeCertificate: {}}}
	}
	return d
}

func media(kind string, schema *huma.Schema) map[string]*huma.MediaType {
	if kind == "" {
		kind = "application/json"
	}
	return map[string]*huma.MediaType{kind: {Schema: schema}}
}

// object describes an object with these fields, all required.
func object(properties map[string]*huma.Schema, required ...string) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, Properties: properties, Required: required}
}

func list(items *huma.Schema) *huma.Schema { return &huma.Schema{Type: huma.TypeArray, Items: items} }

func revisionSchema() *huma.Schema {
	return &huma.Schema{Type: huma.TypeInteger, Format: "int64", Description: "Revision of the store."}
}
