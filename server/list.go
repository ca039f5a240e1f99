// SPDX-License-Identifier: Apache-2.0

package server

import (
	"cmp"
	"context"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/weft-network/weft/api"
)

var (
	paramLimit    = parameter{name: "limit", number: true, doc: "At most so many objects, 1 to 10000; the reply's continue fetches the next."}
	paramContinue = parameter{name: "continue", doc: "Token of the page before; the other parameters must be the same. All pages are of one revision; 410 if that is no longer here."}
	paramSort     = parameter{name: "sort", doc: "name (default: the fully qualified one) or createdAt; with - before it, backwards."}
	paramCount    = parameter{name: "count", doc: "true: only how many there are."}
)

// objects is the reply to a list.
type objects struct {
	Revision  int64  `json:"revision"`
	Items     []any  `json:"items"`
	Continue  string `json:"continue,omitempty"`
	Remaining int    `json:"remaining,omitempty"`
	Count     *int   `json:"count,omitempty"`
}

// listSchema describes the reply to a list.
func listSchema(items *schemaT) *schemaT {
	return object(map[string]*schemaT{
		"revision":  revisionSchema(),
		"items":     list(items),
		"continue":  {Type: "string", Description: "Fetches the next page; absent on the last."},
		"remaining": {Type: "integer", Description: "How many objects come after this page."},
		"count":     {Type: "integer", Description: "How many objects there are, where count was asked for; then items is empty."},
	}, "revision", "items")
}

// listParameters are all that a list of a kind takes.
func listParameters(info api.Info) []parameter {
	return append(selectionParameters([]api.Info{info}), paramSort, paramLimit, paramContinue, paramCount, paramFields, paramConsistency, paramMinRevision)
}

func (s *Server) list(ctx context.Context, r *request, info api.Info) (any, error) {
	query := r.URL.Query()
	show, err := projectionOf(info.Kind, query)
	if err != nil {
		return nil, err
	}
	limit, err := pageLimit(r, query)
	if err != nil {
		return nil, err
	}
	var n *listing
	from := 0
	if token := query.Get(paramContinue.name); token != "" {
		n, from, err = s.resume(r, token, query)
	} else {
		n, err = s.selected(ctx, r, info, query)
	}
	if err != nil {
		return nil, err
	}
	reply := objects{Revision: n.revision, Items: []any{}}
	if query.Get(paramCount.name) != "" {
		count := len(n.items)
		reply.Count = &count
		return reply, nil
	}
	if limit == 0 {
		limit = len(n.items)
	}
	if n.id == "" && limit < len(n.items) {
		s.listings.begin(n, time.Now())
	}
	page, next := n.page(from, limit)
	if err := s.hold(ctx, r, len(page)<<10); err != nil {
		return nil, err
	}
	reply.Continue, reply.Remaining = next, len(n.items)-from-len(page)
	reply.Items, err = show.objects(s.silentOwners().onAll(page))
	return reply, err
}

func pageLimit(r *request, query url.Values) (int, error) {
	if text := query.Get(paramCount.name); text != "" && text != "true" {
		return 0, badQuery(paramCount.name, "may be true or absent")
	}
	if !query.Has(paramLimit.name) {
		return 0, nil
	}
	limit := r.number(paramLimit.name)
	if limit < 1 || limit > pageMax {
		return 0, badQuery(paramLimit.name, "%d is not between 1 and %d; only to count, ask for count=true", limit, pageMax)
	}
	return int(limit), nil
}

// samePages is what may not change between pages, as text.
func samePages(r *request, query url.Values) string {
	same := url.Values{}
	for name, values := range query {
		switch name {
		case paramContinue.name, paramLimit.name, paramFields.name, paramMinRevision.name:
		default:
			same[name] = values
		}
	}
	return r.URL.Path + "?" + same.Encode()
}

// resume finds the listing that a token goes on with.
func (s *Server) resume(r *request, token string, query url.Values) (*listing, int, error) {
	id, from, ok := parseContinue(token)
	if !ok {
		return nil, 0, badQuery(paramContinue.name, "is not a token of a page")
	}
	n, ok := s.listings.resume(id, time.Now())
	if !ok || !reflect.DeepEqual(n.who, r.who) {
		return nil, 0, api.Errorf(api.CodeGone, "list: the pages of this list are no longer here: begin again without continue").About("", "", "query."+paramContinue.name)
	}
	if n.query != samePages(r, query) || from > len(n.items) {
		return nil, 0, badQuery(paramContinue.name, "belongs to another list: the other parameters must be those of the first page")
	}
	return n, from, nil
}

// selected finds what a list asks for.
func (s *Server) selected(ctx context.Context, r *request, info api.Info, query url.Values) (*listing, error) {
	less, err := sortOrder(query.Get(paramSort.name))
	if err != nil {
		return nil, err
	}
	snapshot, err := s.snapshot(ctx, r)
	if err != nil {
		return nil, err
	}
	selection, err := parseSelection(snapshot, []api.Info{info}, query)
	if err != nil {
		return nil, err
	}
	n := &listing{who: r.who, query: samePages(r, query), revision: snapshot.Revision()}
	all, sorted := candidates(snapshot, info.Kind, selection)
	for _, o := range all {
		if selection.Matches(o) {
			n.items = append(n.items, o)
		}
	}
	if !sorted || query.Get(paramSort.name) != "" {
		slices.SortFunc(n.items, less)
	}
	return n, nil
}

// sortOrder reads the order of a list. Names are unique, so it is a total one.
func sortOrder(text string) (func(a, b api.Object) int, error) {
	key, backwards := strings.CutPrefix(text, "-")
	byName := func(a, b api.Object) int { return strings.Compare(a.Head().Meta.FQName, b.Head().Meta.FQName) }
	less := byName
	switch {
	case key == "name", text == "":
	case key == "createdAt":
		less = func(a, b api.Object) int {
			return cmp.Or(a.Head().Meta.CreatedAt.Compare(b.Head().Meta.CreatedAt), byName(a, b))
		}
	default:
		return nil, badQuery(paramSort.name, "%q is not name, -name, createdAt or -createdAt", text)
	}
	if backwards {
		return func(a, b api.Object) int { return less(b, a) }, nil
	}
	return less, nil
}
