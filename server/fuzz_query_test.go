// SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/json"
	"net/url"
	"testing"

	"github.com/weft-network/weft/api"
)

// nothing is a store without objects.
type nothing struct{}

func (nothing) Revision() int64                     { return 1 }
func (nothing) Get(api.Kind, string) api.Object     { return nil }
func (nothing) Lookup(api.Kind, api.Ref) api.Object { return nil }
func (nothing) List(api.Kind) []api.Object          { return nil }

// FuzzQuery: of any query and any kind, the selection and the fields are read
// or refused with an error for the caller, and what is taken can be used.
func FuzzQuery(f *testing.F) {
	for n, q := range []string{
		"label=a%3Db&label=!c&name=x*&owner=o", "spec.network=a:b:c", "parent=d:p", "fields=meta.name,spec", "fields=,.,meta.", "fields=meta.labels.a.b.c", "fields=kind.x,status.",
	} {
		f.Add(q, byte(n))
	}
	kinds := api.Kinds()
	f.Fuzz(func(t *testing.T, text string, n byte) {
		query, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		info := kinds[int(n)%len(kinds)]
		s, err := parseSelection(nothing{}, []api.Info{info}, query)
		mustBeForTheCaller(t, err)
		o := api.New(info.Kind)
		if err == nil {
			s.Matches(o)
		}
		p, err := projectionOf(info.Kind, query)
		mustBeForTheCaller(t, err)
		if err != nil {
			return
		}
		shown, err := p.object(o)
		if err != nil {
			t.Fatalf("show %q of a %s: %v", query.Get("fields"), info.Kind, err)
		}
		if _, err := json.Marshal(shown); err != nil {
			t.Errorf("write %q of a %s: %v", query.Get("fields"), info.Kind, err)
		}
	})
}

func mustBeForTheCaller(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if e, ok := err.(*api.Error); !ok || e.Code == api.CodeInternal {
		t.Errorf("the caller is told %v", err)
	}
}

// FuzzContinue: a token that is taken leads into a listing, not before it.
func FuzzContinue(f *testing.F) {
	f.Add("abc.100")
	f.Add(".1")
	f.Add("a.-1")
	f.Add("a.99999999999999999999")
	f.Fuzz(func(t *testing.T, token string) {
		if id, from, ok := parseContinue(token); ok && (from <= 0 || len(id) >= len(token)) {
			t.Errorf("%q is %q from %d", token, id, from)
		}
	})
}
