// SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// page is a reply to a list, as far as these tests look.
type page struct {
	Revision  int64
	Continue  string
	Remaining int
	Count     *int
	Items     []struct {
		Meta api.Meta
		Spec map[string]any
	}
}

func (p page) names() string {
	var names []string
	for _, i := range p.Items {
		names = append(names, i.Meta.Name)
	}
	return strings.Join(names, " ")
}

func (w *world) list(path string) page {
	w.t.Helper()
	status, body := w.raw(http.MethodGet, path, "")
	var p page
	if err := json.Unmarshal([]byte(body), &p); err != nil || status != http.StatusOK {
		w.t.Fatalf("GET %s: %d %s, %v", path, status, body, err)
	}
	return p
}

// furnish makes two projects with networks and ports of the same names.
func (w *world) furnish() {
	w.t.Helper()
	const defaults = "default-domain:default-project"
	second := &api.Project{Header: api.Header{Kind: api.KindProject, Meta: api.Meta{Name: "second", Parent: api.Ref{Name: "default-domain"}}}}
	_, err := client.Create(w.t.Context(), w.admin, second)
	check(w.t, err)
	for _, project := range []string{defaults, "default-domain:second"} {
		var ops []api.Operation
		for _, name := range []string{"web", "db"} {
			n := network(name)
			n.Meta.Parent.Name = project
			ops = append(ops, api.Operation{Op: api.OpCreate, Object: n})
			for i := range 2 {
				p := &api.Port{Header: api.Header{Kind: api.KindPort, Meta: api.Meta{
					Name: fmt.Sprintf("%s-%d", name, i), Parent: api.Ref{Name: project}, Labels: map[string]string{"tier": name, fmt.Sprint("n", i): ""}}},
					Spec: api.PortSpec{Network: api.Ref{Name: project + ":" + name}}}
				ops = append(ops, api.Operation{Op: api.OpCreate, Object: p})
			}
		}
		_, err := w.admin.Transaction(w.t.Context(), ops, false)
		check(w.t, err)
	}
}

func TestListSelects(t *testing.T) {
	w := newWorld(t)
	w.furnish()
	for query, want := range map[string]string{
		"":                             "db-0 db-1 web-0 web-1 db-0 db-1 web-0 web-1",
		"parent=default-domain:second": "db-0 db-1 web-0 web-1",
		"parent=default-domain:second&label=tier%3Dweb":                "web-0 web-1",
		"label=tier%3Dweb&label=n1":                                    "web-1 web-1",
		"label=tier!%3Dweb&label=!n1":                                  "db-0 db-0",
		"label=tier+in+(web,x)&label=n0&parent=default-domain:second":  "web-0",
		"spec.network=default-domain:second:web":                       "web-0 web-1",
		"spec.network=default-domain:second:web&sort=-name":            "web-1 web-0",
		"spec.network=default-domain:second:web&name=web-1":            "web-1",
		"name=web*&parent=default-domain:second":                       "web-0 web-1",
		"name=default-domain:second:d*":                                "db-0 db-1",
		"owner=weft&label=n0":                                          "db-0 web-0 db-0 web-0",
		"owner=nobody":                                                 "",
		"sort=createdAt&label=n0":                                      "db-0 web-0 db-0 web-0",
		"sort=-createdAt&parent=default-domain:second&label=tier%3Ddb": "db-1 db-0",
		"limit=2": "db-0 db-1",
		"fields=spec.network&name=web-0&parent=default-domain:second": "", // names are not asked for
	} {
		p := w.list("/v1/ports?" + query)
		if got := strings.TrimSpace(p.names()); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	if p := w.list("/v1/ports?count=true&label=n0"); p.Count == nil || *p.Count != 4 || len(p.Items) != 0 {
		t.Errorf("count: %+v", p)
	}
	m := w.list("/v1/ports?name=default-domain:second:web-0&fields=meta.labels.tier,spec.network").Items[0]
	if m.Meta.FQName != "default-domain:second:web-0" || m.Meta.UUID == "" || m.Meta.Owner != "" || m.Meta.Labels["tier"] != "web" || len(m.Meta.Labels) != 1 || m.Spec["network"] == nil || m.Spec["mac"] != nil {
		t.Errorf("fields: %+v", m)
	}
	for path, text := range map[string]string{
		"/v1/ports?label=%3Dx": `read label condition "=x"`,
		"/v1/ports?" + strings.Repeat("label=a&", selectionMax+1): "33 conditions",
		"/v1/ports?sort=age":                                       "not name, -name",
		"/v1/ports?limit=0":                                        "count=true",
		"/v1/ports?limit=20000":                                    "between 1 and 10000",
		"/v1/ports?count=yes":                                      "may be true",
		"/v1/ports?continue=x":                                     "not a token",
		"/v1/ports?fields=meta.nam":                                `no field "meta.nam"`,
		"/v1/ports/x?fields=spec.mtu":                              `no field "spec.mtu"`,
		"/v1/networks?spec.network=x":                              `"spec.network" is not known`,
		"/v1/watch?kind=network&spec.network=x":                    "networks have no such reference",
		"/v1/watch?kind=network&kind=domain&parent=default-domain": "domains have no parent",
		"/v1/watch?kind=network&kind=binding&parent=x":             "watch them apart",
		"/v1/watch?kind=port&fields=spec.vni":                      `no field "spec.vni"`,
		"/v1/watch?bookmarks=often":                                "may be soon",
	} {
		status, body := w.raw(http.MethodGet, path, "")
		isError(t, path, status, body, 400, api.CodeInvalid, text)
		if !strings.Contains(body, `"field":"query.`) {
			t.Errorf("%s: the error names no field: %s", path, body)
		}
	}
	status, body := w.raw(http.MethodGet, "/v1/ports?spec.network=none", "")
	isError(t, "ports of no network", status, body, 404, api.CodeNotFound, `no network "none"`)
}

// All pages are of the revision of the first, whatever is written meanwhile.
func TestPages(t *testing.T) {
	w := newWorld(t)
	w.furnish()
	const path = "/v1/ports?sort=-name&limit=3"
	whole := w.list("/v1/ports?sort=-name")
	p := w.list(path)
	var names []string
	first := p
	for n := 0; ; n++ {
		names = append(names, strings.Fields(p.names())...)
		if p.Revision != first.Revision || p.Remaining != len(whole.Items)-len(names) {
			t.Errorf("page %d: revision %d, remaining %d", n, p.Revision, p.Remaining)
		}
		if p.Continue == "" {
			break
		}
		extra := &api.Port{Header: api.Header{Kind: api.KindPort, Meta: api.Meta{Name: fmt.Sprint("a", n), Parent: api.Ref{Name: "default-domain:second"}}}, Spec: api.PortSpec{Network: api.Ref{Name: "default-domain:second:web"}}}
		_, err := client.Create(t.Context(), w.admin, extra)
		check(t, err)
		check(t, w.admin.Delete(t.Context(), api.KindPort, api.Ref{Name: fmt.Sprint("default-domain:default-project:db-", n)}, 0))
		p = w.list(path + "&continue=" + url.QueryEscape(p.Continue))
	}
	if strings.Join(names, " ") != whole.names() {
		t.Errorf("pages %v, whole %s", names, whole.names())
	}
	again := w.list(path + "&continue=" + url.QueryEscape(first.Continue)) // a page whose reply was lost
	if again.names() != strings.Join(strings.Fields(whole.names())[3:6], " ") {
		t.Errorf("the second page again: %s", again.names())
	}
	var paged []string
	for o, err := range w.admin.Pages(t.Context(), api.KindPort, client.ListOptions{Limit: 2, Labels: []string{"tier=web"}, Sort: "-name"}) {
		check(t, err)
		paged = append(paged, o.Head().Meta.Name)
	}
	if n, err := w.admin.Count(t.Context(), api.KindPort, client.ListOptions{Labels: []string{"tier=web"}}); err != nil || n != len(paged) || strings.Join(paged, " ") != "web-1 web-0 web-1 web-0" {
		t.Errorf("paged %v, counted %d, %v", paged, n, err)
	}
	status, body := w.raw(http.MethodGet, "/v1/ports?limit=3&continue="+first.Continue, "")
	isError(t, "another order", status, body, 400, api.CodeInvalid, "belongs to another list")
	reader, _ := w.with(api.TokenRequest{Name: "r", Role: api.RoleReader})
	_, err := reader.List(t.Context(), api.KindPort, client.ListOptions{Sort: "-name", Limit: 3, Continue: first.Continue})
	hasCode(t, "somebody else's list", err, api.CodeGone)
	w.server.listings.all = nil // as after a restart
	status, body = w.raw(http.MethodGet, path+"&continue="+first.Continue, "")
	isError(t, "a list of before the restart", status, body, 410, api.CodeGone, "begin again")
}

// Lists that nobody reads on are forgotten, the oldest first.
func TestListingsAreBounded(t *testing.T) {
	var l listings
	now := time.Unix(0, 0)
	var ids []string
	for range listingsMax {
		n := &listing{}
		l.begin(n, now)
		ids = append(ids, n.id)
	}
	if _, ok := l.resume(ids[0], now); !ok {
		t.Error("the first is gone before there are too many")
	}
	l.begin(&listing{}, now.Add(listingLife))
	if _, ok := l.resume(ids[1], now); ok || len(l.all) != listingsMax {
		t.Errorf("%d are kept, the least recently used of them %v", len(l.all), ok)
	}
	if _, ok := l.resume(ids[0], now.Add(listingLife)); !ok {
		t.Error("one that was used is gone")
	}
	if _, ok := l.resume(ids[2], now.Add(listingLife+1)); ok {
		t.Error("one that was not used for long is still there")
	}
}

// A watch of a selection: entering is a put, leaving a delete.
func TestWatchSelects(t *testing.T) {
	w := newWorld(t)
	w.furnish()
	label := func(name, tier string) {
		_, err := w.admin.Patch(t.Context(), api.KindPort, api.Ref{Name: "default-domain:second:" + name}, map[string]any{"meta": map[string]any{"labels": map[string]any{"tier": tier}}})
		check(t, err)
	}
	options := client.WatchOptions{Kinds: []api.Kind{api.KindPort}, Select: client.Selection{
		Labels: []string{"tier=web"}, References: map[string]api.Ref{"spec.network": {Name: "default-domain:second:web"}}}}
	var got []string
	for e, err := range w.admin.Watch(t.Context(), options) {
		check(t, err)
		word := e.Type
		if e.Object != nil {
			word += " " + e.Object.Head().Meta.Name
		}
		got = append(got, word)
		if e.Type == api.EventBookmark {
			label("web-0", "cache")
			label("db-0", "web") // of another network
			label("web-0", "web")
			check(t, w.admin.Delete(t.Context(), api.KindPort, api.Ref{Name: "default-domain:second:web-1"}, 0))
		}
		if word == "delete web-1" {
			break
		}
	}
	want := []string{"put web-0", "put web-1", "bookmark", "delete web-0", "put web-0", "delete web-1"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
