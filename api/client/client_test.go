// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// serve starts a TLS server with one handler and returns a client of it.
func serve(t *testing.T, handler http.HandlerFunc) *client.Client {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	c, err := client.New(client.Config{Server: server.URL, CA: string(ca), Token: "weft1.a.b."})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// recorded is a request as the server saw it.
type recorded struct{ method, path, query, media, token, body string }

// answering makes a client of a server that records requests and gives one answer.
func answering(t *testing.T, status int, answer string) (*client.Client, *recorded) {
	var r recorded
	c := serve(t, func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		r = recorded{q.Method, q.URL.EscapedPath(), q.URL.RawQuery, q.Header.Get("Content-Type"), q.Header.Get("Authorization"), string(body)}
		w.WriteHeader(status)
		io.WriteString(w, answer)
	})
	return c, &r
}

const networkJSON = `{"kind":"network","meta":{"uuid":"6d1b3c5e-0f5a-4c55-9d3e-0123456789ab","name":"n","fqName":"d:p:n","revision":7},"spec":{"vni":5},"newer":1}`

// request is one call: what it sends, and a part of what it returns.
type request struct {
	name   string
	answer string
	call   func(c *client.Client) (any, error)
	method string
	path   string
	body   string
	got    string // part of the JSON of what the call returns
}

// objectRequests are the calls about objects.
func objectRequests(ctx context.Context) []request {
	name := api.ParseRef("d:p:n/x")
	uuid := api.ParseRef("6d1b3c5e-0f5a-4c55-9d3e-0123456789ab")
	network := api.New(api.KindNetwork).(*api.Network)
	network.Meta = api.Meta{UUID: uuid.UUID, Name: "n", Parent: api.ParseRef("d:p")}
	return []request{
		{"get by name", networkJSON, func(c *client.Client) (any, error) { return client.Get[*api.Network](ctx, c, name) },
			"GET", "/v1/networks/d:p:n%2Fx", "", `"vni":5`},
		{"get by uuid", networkJSON, func(c *client.Client) (any, error) { return c.Get(ctx, api.KindNetwork, uuid) },
			"GET", "/v1/networks/" + uuid.UUID, "", `"fqName":"d:p:n"`},
		{"list", `{"revision":9,"items":[` + networkJSON + `]}`, func(c *client.Client) (any, error) {
			return client.ListOf[*api.Network](ctx, c, client.ListOptions{Parent: api.ParseRef("d:p")})
		}, "GET", "/v1/networks?parent=d%3Ap", "", `"revision":9`},
		{"list a selection", `{"revision":9,"continue":"x.1","remaining":4,"items":[` + networkJSON + `]}`, func(c *client.Client) (any, error) {
			return client.ListOf[*api.Network](ctx, c, client.ListOptions{
				Labels: []string{"a=b", "!c"}, Name: "n*", Owner: "blue", References: map[string]api.Ref{"spec.x": uuid},
				Fields: []string{"meta.name", "spec.vni"}, Sort: "-name", Limit: 1, Continue: "w.0", MinRevision: 3, Stale: true,
			})
		}, "GET", "/v1/networks?consistency=stale&continue=w.0&fields=meta.name%2Cspec.vni&label=a%3Db&label=%21c&limit=1&minRevision=3&name=n%2A&owner=blue&sort=-name&spec.x=" + uuid.UUID, "", `"continue":"x.1","remaining":4`},
		{"count", `{"revision":9,"items":[],"count":7}`, func(c *client.Client) (any, error) {
			return c.Count(ctx, api.KindNetwork, client.ListOptions{Owner: "blue"})
		}, "GET", "/v1/networks?count=true&owner=blue", "", "7"},
		{"list of none", `{"revision":9,"items":null}`, func(c *client.Client) (any, error) {
			return c.List(ctx, api.KindPort, client.ListOptions{})
		}, "GET", "/v1/ports", "", `{"revision":9,"items":[]}`},
		{"create", networkJSON, func(c *client.Client) (any, error) { return client.Create(ctx, c, network) },
			"POST", "/v1/networks", `"kind":"network"`, `"vni":5`},
		{"update", networkJSON, func(c *client.Client) (any, error) { return client.Update(ctx, c, network) },
			"PUT", "/v1/networks/" + uuid.UUID, `"name":"n"`, `"vni":5`},
		{"patch", networkJSON, func(c *client.Client) (any, error) {
			return client.Patch[*api.Network](ctx, c, uuid, map[string]any{"spec": map[string]any{"mtu": 1400}})
		}, "PATCH", "/v1/networks/" + uuid.UUID, `{"spec":{"mtu":1400}}`, `"vni":5`},
		{"delete", ``, func(c *client.Client) (any, error) { return nil, c.Delete(ctx, api.KindNetwork, uuid, 7) },
			"DELETE", "/v1/networks/" + uuid.UUID + "?revision=7", "", `null`},
		{"transaction", `{"revision":8,"objects":[` + networkJSON + `]}`, func(c *client.Client) (any, error) {
			return c.Transaction(ctx, []api.Operation{{Op: api.OpCreate, Object: network}}, true)
		}, "POST", "/v1/transactions", `"dryRun":true`, `"Revision":8`},
	}
}

// viewRequests are the other calls.
func viewRequests(ctx context.Context) []request {
	uuid := api.ParseRef("6d1b3c5e-0f5a-4c55-9d3e-0123456789ab")
	return []request{
		{"routes", `{"revision":8,"items":[{"prefix":"10.0.0.0/24","nextHop":"gateway"}]}`, func(c *client.Client) (any, error) {
			return c.Routes(ctx, uuid, api.ParseRef("h1"))
		}, "GET", "/v1/networks/" + uuid.UUID + "/routes?host=h1", "", `"prefix":"10.0.0.0/24"`},
		{"host table", `{"columns":["a"],"rows":[["1"]]}`, func(c *client.Client) (any, error) {
			return c.HostTable(ctx, api.ParseRef("h1"), api.HostTableDrops)
		}, "GET", "/v1/hosts/h1/tables/drops", "", `"rows":[["1"]]`},
		{"why", `{"rows":[{"stage":"intent","status":"ok"}]}`, func(c *client.Client) (any, error) { return c.Why(ctx, api.KindPort, uuid) },
			"GET", "/v1/why/port/" + uuid.UUID, "", `"status":"ok"`},
		{"whoami", `{"name":"admin","role":"admin"}`, func(c *client.Client) (any, error) { return c.WhoAmI(ctx) }, "GET", "/v1/whoami", "", `"role":"admin"`},
		{"create token", `{"id":"1","secret":"s"}`, func(c *client.Client) (any, error) {
			return c.CreateToken(ctx, api.TokenRequest{Name: "x", Role: api.RoleJoin})
		}, "POST", "/v1/tokens", `"role":"join"`, `"secret":"s"`},
		{"tokens", `{"items":[{"id":"1"}]}`, func(c *client.Client) (any, error) { return c.Tokens(ctx) }, "GET", "/v1/tokens", "", `"id":"1"`},
		{"delete token", ``, func(c *client.Client) (any, error) { return nil, c.DeleteToken(ctx, "a/b") }, "DELETE", "/v1/tokens/a%2Fb", "", `null`},
		{"join", `{"certificate":"c"}`, func(c *client.Client) (any, error) { return c.Join(ctx, api.JoinRequest{Name: "h"}) }, "POST", "/v1/hosts/join", `"name":"h"`, `"certificate":"c"`},
	}
}

// TestRequests: what each call sends, and that its answer is understood.
func TestRequests(t *testing.T) {
	for _, x := range append(objectRequests(t.Context()), viewRequests(t.Context())...) {
		t.Run(x.name, func(t *testing.T) {
			c, sent := answering(t, http.StatusOK, x.answer)
			value, err := x.call(c)
			if err != nil {
				t.Fatal(err)
			}
			path := sent.path
			if sent.query != "" {
				path += "?" + sent.query
			}
			if sent.method != x.method || path != x.path || !strings.Contains(sent.body, x.body) || sent.token != "Bearer weft1.a.b." {
				t.Errorf("sent %+v", *sent)
			}
			if got, _ := json.Marshal(value); !strings.Contains(string(got), x.got) {
				t.Errorf("want %s in %s", x.got, got)
			}
			if media := "application/merge-patch+json"; (sent.media == media) != (x.method == "PATCH") {
				t.Errorf("media type %q", sent.media)
			}
		})
	}
}

// TestErrors: every failure is an *api.Error that says what was tried.
func TestErrors(t *testing.T) {
	ref := api.ParseRef("d:p:n")
	for _, x := range []struct {
		name   string
		status int
		answer string
		code   api.Code
		text   string
	}{
		{"the server's own", 409, `{"code":"conflict","message":"delete network d:p:n: in use","kind":"network","referrers":["port x"]}`, api.CodeConflict, "delete network d:p:n: in use"},
		{"a proxy's", 502, `<html>`, api.CodeUnavailable, "get network d:p:n: the server at"},
		{"a redirect", 302, ``, api.CodeInternal, "302 Found"},
		{"not JSON", 200, `<html>`, api.CodeInternal, "not what this client expects"},
		{"another kind", 200, `{"kind":"port"}`, api.CodeInternal, "sent a port in place of a network"},
	} {
		t.Run(x.name, func(t *testing.T) {
			c, _ := answering(t, x.status, x.answer)
			_, err := client.Get[*api.Network](t.Context(), c, ref)
			var e *api.Error
			if !errors.As(err, &e) || e.Code != x.code || !strings.Contains(e.Error(), x.text) {
				t.Errorf("got %#v", err)
			}
			if x.code == api.CodeConflict && (len(e.Referrers) != 1 || e.Kind != api.KindNetwork) {
				t.Errorf("details are lost: %#v", e)
			}
		})
	}
}

// TestWritesAreNotRepeated: a write whose connection breaks is sent once, and
// the error says that its fate is unknown.
func TestWritesAreNotRepeated(t *testing.T) {
	for _, method := range []string{"transaction", "delete", "update"} {
		t.Run(method, func(t *testing.T) {
			count := 0
			c := serve(t, func(http.ResponseWriter, *http.Request) {
				count++
				panic(http.ErrAbortHandler)
			})
			network := api.New(api.KindNetwork).(*api.Network)
			network.Meta.FQName = "d:p:n"
			var err error
			switch method {
			case "transaction":
				_, err = c.Transaction(t.Context(), []api.Operation{{Op: api.OpCreate, Object: network}}, false)
			case "delete":
				err = c.Delete(t.Context(), api.KindNetwork, api.ParseRef("d:p:n"), 0)
			case "update":
				_, err = c.Update(t.Context(), network)
			}
			var e *api.Error
			if !errors.As(err, &e) || e.Code != api.CodeUnavailable || !strings.Contains(e.Message, "is not known") || count != 1 {
				t.Errorf("sent %d times, %v", count, err)
			}
		})
	}
}

func TestEndedContext(t *testing.T) {
	entered := make(chan struct{})
	c := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-entered
		cancel()
	}()
	if _, err := c.WhoAmI(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 1)
	defer cancel()
	var e *api.Error
	if _, err := c.WhoAmI(ctx); !errors.As(err, &e) || e.Code != api.CodeTimeout {
		t.Errorf("timed out: %v", err)
	}
}

func TestRefusedBeforeSending(t *testing.T) {
	c := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a request was sent") })
	if _, err := c.Get(t.Context(), "nothing", api.ParseRef("x")); err == nil {
		t.Error("unknown kind: no error")
	}
	if err := c.Delete(t.Context(), api.KindNetwork, api.Ref{}, 0); err == nil {
		t.Error("delete without a name: no error")
	}
	if _, err := c.Transaction(t.Context(), make([]api.Operation, client.MaxOperations+1), false); err == nil {
		t.Error("too many operations: no error")
	}
}
