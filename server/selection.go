// SPDX-License-Identifier: Apache-2.0

package server

import (
	"net/url"
	"strings"

	"github.com/weft-network/weft/api"
)

// selectionMax bounds the conditions of one request: each costs a look at
// every object.
const selectionMax = 32

// What a list or a watch may select by, beside the references of its kinds.
var (
	paramLabel  = parameter{name: "label", many: true, doc: "Condition on labels, may be repeated, all must hold: key=value, key!=value, key, !key, key in (a,b), key notin (a,b)."}
	paramName   = parameter{name: "name", doc: "Own name, or fully qualified name; with * at the end, its beginning."}
	paramOwner  = parameter{name: "owner", doc: "Name of the orchestrator that owns the object."}
	paramFields = parameter{name: "fields", doc: "Only these fields, separated by commas, e.g. meta.name,spec.network; kind, meta.uuid and meta.fqName always come along."}
)

// selectionParameters are the parameters that select objects of some kinds.
func selectionParameters(kinds []api.Info) []parameter {
	all := []parameter{paramLabel, paramName, paramOwner}
	seen := map[string]bool{}
	for _, info := range kinds {
		if info.Parent != "" && !seen[paramParent.name] {
			seen[paramParent.name] = true
			all = append(all, paramParent)
		}
		for _, f := range api.ReferenceFields(info.Kind) {
			if seen[f.Field] {
				continue
			}
			seen[f.Field] = true
			doc := "Only objects that refer to this object in the field: UUID or fully qualified name."
			if f.Kind == "" {
				doc = "Only objects whose field refers to an object of this UUID or fully qualified name, of whatever kind."
			}
			all = append(all, parameter{name: f.Field, doc: doc})
		}
	}
	return all
}

// parseSelection reads which objects of some kinds are asked for. References
// are resolved to UUIDs: what they name must exist.
func parseSelection(snapshot api.Snapshot, kinds []api.Info, query url.Values) (api.Selection, error) {
	s := api.Selection{Name: query.Get(paramName.name), Owner: query.Get(paramOwner.name)}
	if n := len(query[paramLabel.name]); n > selectionMax {
		return s, badQuery(paramLabel.name, "%d conditions, at most %d are allowed", n, selectionMax)
	}
	for _, text := range query[paramLabel.name] {
		r, err := api.ParseLabelRequirement(text)
		if err != nil {
			return s, badQuery(paramLabel.name, "%v", err)
		}
		s.Labels = append(s.Labels, r)
	}
	var err error
	if text := query.Get(paramParent.name); text != "" {
		parents := make([]api.Kind, len(kinds))
		for i, info := range kinds {
			if parents[i] = info.Parent; info.Parent == "" {
				return s, badQuery(paramParent.name, "%s have no parent", info.Plural)
			}
		}
		if s.Parent, err = resolve(snapshot, paramParent.name, text, parents); err != nil {
			return s, err
		}
	}
	for field, values := range query {
		if !strings.HasPrefix(field, "spec.") {
			continue
		}
		targets := make([]api.Kind, len(kinds))
		for i, info := range kinds {
			var ok bool
			if targets[i], ok = referenced(info.Kind, field); !ok {
				return s, badQuery(field, "%s have no such reference", info.Plural)
			}
		}
		if s.References == nil {
			s.References = map[string]api.Ref{}
		}
		if s.References[field], err = resolve(snapshot, field, values[0], targets); err != nil {
			return s, err
		}
	}
	return s, nil
}

// referenced is the kind that a field of a kind refers to.
func referenced(kind api.Kind, field string) (api.Kind, bool) {
	for _, f := range api.ReferenceFields(kind) {
		if f.Field == field {
			return f.Kind, true
		}
	}
	return "", false
}

// resolve finds what a parameter names. Where the kind is not known it stays
// as it is written.
func resolve(snapshot api.Snapshot, name, text string, kinds []api.Kind) (api.Ref, error) {
	for _, k := range kinds {
		if k != kinds[0] {
			return api.Ref{}, badQuery(name, "is of kind %s for one of the kinds and %s for another: watch them apart", kinds[0], k)
		}
	}
	if kinds[0] == "" {
		return api.ParseRef(text), nil
	}
	o, err := find(snapshot, kinds[0], text)
	if err != nil {
		return api.Ref{}, err
	}
	return api.RefTo(o), nil
}

// badQuery refuses a query parameter.
func badQuery(name, format string, args ...any) *api.Error {
	return api.Errorf(api.CodeInvalid, "query parameter %q: "+format, append([]any{name}, args...)...).About("", "", "query."+name)
}

// indexed is a snapshot that finds children and referrers without looking at
// every object. The store's do.
type indexed interface {
	Children(kind api.Kind, parent string) []api.Object
	Referrers(kind, target api.Kind, uuid string) []api.Object
}

// candidates are objects of a kind among which all selected ones are, and
// whether they come in the order of their names.
func candidates(snapshot api.Snapshot, kind api.Kind, s api.Selection) ([]api.Object, bool) {
	index, ok := snapshot.(indexed)
	if !ok {
		return snapshot.List(kind), true
	}
	if !s.Parent.IsZero() {
		return index.Children(kind, s.Parent.UUID), false
	}
	for field, ref := range s.References {
		if target, _ := referenced(kind, field); target != "" {
			return index.Referrers(kind, target, ref.UUID), false
		}
	}
	return snapshot.List(kind), true
}
