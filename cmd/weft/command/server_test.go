// SPDX-License-Identifier: Apache-2.0

package command_test

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// fakeToken is what the fake server lets in.
const fakeToken = "weft1.admin.secret."

// fakeServer is the HTTP side of the fake: the REST contract, TLS, one token.
type fakeServer struct {
	mu     sync.Mutex // guards everything below
	store  *fakeStore
	drops  map[string]api.Table // by host name; a host without a table does not answer
	tokens []api.Token
	why    []api.WhyRow
	routes []api.Route
	reach  api.Reach
	check  api.Check
	judged api.Judgements
	state  api.StoreState
}

// startFake serves a fake and returns it with the path of a client configuration.
func startFake(t *testing.T) (*fakeServer, string) {
	t.Helper()
	f := &fakeServer{store: newFakeStore(), drops: map[string]api.Table{}}
	server := httptest.NewUnstartedServer(f.handler())
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	data, err := yaml.Marshal(client.Config{Server: server.URL, CA: string(ca), Token: fakeToken})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return f, path
}

func (f *fakeServer) handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, h func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			f.mu.Lock()
			answer, err := h(r)
			f.mu.Unlock()
			if r.Header.Get("Authorization") != "Bearer "+fakeToken {
				answer, err = nil, api.Errorf(api.CodeUnauthenticated, "%s %s: the token is not known", r.Method, r.URL.Path)
			}
			respond(w, answer, err)
		})
	}
	handle("GET /v1/{plural}", f.list)
	handle("GET /v1/{plural}/{ref}", f.get)
	handle("POST /v1/transactions", f.transaction)
	handle("GET /v1/networks/{ref}/routes", func(*http.Request) (any, error) {
		return client.RouteList{Revision: f.store.revision, Items: f.routes}, nil
	})
	handle("GET /v1/hosts/{ref}/tables/{table}", f.table)
	handle("GET /v1/why/{kind}/{ref}", func(*http.Request) (any, error) { return map[string]any{"rows": f.why}, nil })
	handle("GET /v1/reach", func(*http.Request) (any, error) { return f.reach, nil })
	handle("POST /v1/check", func(*http.Request) (any, error) { return f.check, nil })
	handle("POST /v1/judge", func(*http.Request) (any, error) { return f.judged, nil })
	handle("GET /v1/whoami", func(*http.Request) (any, error) {
		return api.Identity{Name: "admin", Orchestrator: "weft", Role: api.RoleAdmin}, nil
	})
	handle("GET /v1/store", func(*http.Request) (any, error) { return f.state, nil })
	handle("GET /v1/tokens", func(*http.Request) (any, error) { return map[string]any{"items": f.tokens}, nil })
	handle("POST /v1/tokens", f.createToken)
	handle("DELETE /v1/tokens/{id}", f.deleteToken)
	mux.HandleFunc("GET /v1/watch", f.watch)
	return mux
}

func respond(w http.ResponseWriter, answer any, err error) {
	w.Header().Set("Content-Type", "application/json")
	var e *api.Error
	if errors.As(err, &e) {
		answer = e
		w.WriteHeader(map[api.Code]int{
			api.CodeInvalid: 400, api.CodeUnauthenticated: 401, api.CodeForbidden: 403, api.CodeNotFound: 404, api.CodeConflict: 409,
			api.CodeExhausted: 409, api.CodeGone: 410, api.CodePrecondition: 412, api.CodeUnavailable: 503,
		}[e.Code])
	}
	json.NewEncoder(w).Encode(answer)
}

func pluralKind(r *http.Request) (api.Info, error) {
	for _, i := range api.Kinds() {
		if i.Plural == r.PathValue("plural") {
			return i, nil
		}
	}
	return api.Info{}, api.Errorf(api.CodeNotFound, "no such collection")
}

func (f *fakeServer) list(r *http.Request) (any, error) {
	info, err := pluralKind(r)
	if err != nil {
		return nil, err
	}
	selection, err := fakeSelection(r.URL.Query())
	if err != nil {
		return nil, err
	}
	items, err := f.store.list(info.Kind, selection)
	if err == nil && r.URL.Query().Has("count") {
		return map[string]any{"revision": f.store.revision, "items": []any{}, "count": len(items)}, nil
	}
	return map[string]any{"revision": f.store.revision, "items": items}, err
}

// fakeSelection reads what a list or a watch is about.
func fakeSelection(query url.Values) (api.Selection, error) {
	s := api.Selection{Parent: api.ParseRef(query.Get("parent")), Name: query.Get("name"), Owner: query.Get("owner"), References: map[string]api.Ref{}}
	for _, text := range query["label"] {
		r, err := api.ParseLabelRequirement(text)
		if err != nil {
			return s, err
		}
		s.Labels = append(s.Labels, r)
	}
	for field, values := range query {
		if strings.HasPrefix(field, "spec.") {
			s.References[field] = api.ParseRef(values[0])
		}
	}
	return s, nil
}

func (f *fakeServer) get(r *http.Request) (any, error) {
	info, err := pluralKind(r)
	if err != nil {
		return nil, err
	}
	ref := api.ParseRef(r.PathValue("ref"))
	if o := f.store.find(info.Kind, ref); o != nil {
		return o, nil
	}
	return nil, missing("get", info.Kind, ref)
}

func (f *fakeServer) transaction(r *http.Request) (any, error) {
	var body struct {
		Operations []fakeOperation `json:"operations"`
		DryRun     bool            `json:"dryRun"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return nil, api.Errorf(api.CodeInvalid, "transaction: %v", err)
	}
	objects, err := f.store.transact(body.Operations, body.DryRun)
	return map[string]any{"revision": f.store.revision, "objects": objects}, err
}

func (f *fakeServer) table(r *http.Request) (any, error) {
	ref := api.ParseRef(r.PathValue("ref"))
	h := f.store.find(api.KindHost, ref)
	if h == nil {
		return nil, missing("get table of", api.KindHost, ref)
	}
	name := h.Head().Meta.Name
	if r.PathValue("table") == api.HostTableTrace {
		return f.trace(name, r.URL.Query().Get("question"))
	}
	t, ok := f.drops[name]
	if !ok {
		return nil, api.Errorf(api.CodeUnavailable, "get table %s of host %s: its agent is not connected", r.PathValue("table"), name).About(api.KindHost, name, "")
	}
	return t, nil
}

func (f *fakeServer) createToken(r *http.Request) (any, error) {
	var q api.TokenRequest
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		return nil, api.Errorf(api.CodeInvalid, "create token: %v", err)
	}
	id := "t" + strconv.Itoa(len(f.tokens)+1)
	t := api.Token{ID: id, Identity: api.Identity{Name: q.Name, Role: q.Role, Orchestrator: q.Orchestrator}, ExpiresAt: fakeEpoch}
	f.tokens = append(f.tokens, t)
	t.Secret = "weft1." + id + ".secret." + strings.Repeat("ab", 32)
	return t, nil
}

func (f *fakeServer) deleteToken(r *http.Request) (any, error) {
	for i, t := range f.tokens {
		if t.ID == r.PathValue("id") {
			f.tokens = append(f.tokens[:i:i], f.tokens[i+1:]...)
			return nil, nil
		}
	}
	return nil, api.Errorf(api.CodeNotFound, "delete token %s: it does not exist", r.PathValue("id"))
}

// watch streams the objects, a bookmark, and changes from then on.
func (f *fakeServer) watch(w http.ResponseWriter, r *http.Request) {
	wanted := map[api.Kind]bool{}
	for _, k := range r.URL.Query()["kind"] {
		wanted[api.Kind(k)] = true
	}
	selection, err := fakeSelection(r.URL.Query())
	if err != nil {
		respond(w, nil, err)
		return
	}
	out := json.NewEncoder(w)
	f.mu.Lock()
	for _, info := range api.Kinds() {
		objects, _ := f.store.list(info.Kind, selection)
		for _, o := range objects {
			if wanted[info.Kind] {
				out.Encode(api.Event{Type: api.EventPut, Revision: f.store.revision, Kind: info.Kind, Object: o})
			}
		}
	}
	out.Encode(api.Event{Type: api.EventBookmark, Revision: f.store.revision})
	seen, changed := len(f.store.log), f.store.changed
	f.mu.Unlock()
	for {
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-changed:
		}
		f.mu.Lock()
		for _, e := range f.store.log[seen:] {
			if wanted[e.Kind] && selection.Matches(e.Object) { // none of these tests leaves a selection
				out.Encode(e)
			}
		}
		seen, changed = len(f.store.log), f.store.changed
		f.mu.Unlock()
	}
}

// addHost makes a host as if its agent had joined.
func (f *fakeServer) addHost(t *testing.T, name, address string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	h := api.New(api.KindHost).(*api.Host)
	h.Meta.Name = name
	h.Spec.TunnelAddresses = []netip.Addr{netip.MustParseAddr(address)}
	data, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	made, err := f.store.transact([]fakeOperation{{api.OpCreate, data}}, false)
	if err != nil {
		t.Fatal(err)
	}
	made[0].(*api.Host).Status = api.HostStatus{Connected: true, AgentVersion: "0.1", Kernel: "6.18.5", Ports: 1}
}
