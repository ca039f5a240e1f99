// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

func TestObjects(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	n, err := client.Create(ctx, w.admin, network("n"))
	check(t, err)
	if n.Meta.FQName != "default-domain:default-project:n" || n.Spec.VNI != 1 || n.Meta.Revision == 0 {
		t.Errorf("created %+v", n)
	}
	for _, ref := range []api.Ref{{UUID: n.Meta.UUID}, {Name: n.Meta.FQName}} {
		got, err := client.Get[*api.Network](ctx, w.admin, ref)
		if err != nil || got.Meta.UUID != n.Meta.UUID {
			t.Errorf("get by %v: %v, %v", ref, got, err)
		}
	}
	_, err = client.Create(ctx, w.admin, network("m"))
	check(t, err)
	list, err := client.ListOf[*api.Network](ctx, w.admin, client.ListOptions{Parent: n.Meta.Parent})
	if err != nil || len(list.Items) != 2 || list.Items[0].Meta.Name != "m" || list.Revision < n.Meta.Revision {
		t.Errorf("list: %+v, %v", list, err)
	}

	n.Spec.MTU = 9000
	updated, err := client.Update(ctx, w.admin, n)
	check(t, err)
	n.Spec.MTU = 1500
	_, err = client.Update(ctx, w.admin, n) // with the revision of before
	hasCode(t, "an update of what was changed since", err, api.CodePrecondition)
	patched, err := client.Patch[*api.Network](ctx, w.admin, api.RefTo(n), map[string]any{"meta": map[string]any{"labels": map[string]any{"a": "b"}}})
	if err != nil || patched.Spec.MTU != 9000 || patched.Meta.Labels["a"] != "b" || patched.Meta.Generation != 2 {
		t.Errorf("patched: %+v, %v", patched, err)
	}
	_, err = client.Patch[*api.Network](ctx, w.admin, api.RefTo(n), map[string]any{"meta": map[string]any{"revision": updated.Meta.Revision}})
	hasCode(t, "a patch with an old revision", err, api.CodePrecondition)
	_, err = client.Patch[*api.Network](ctx, w.admin, api.RefTo(n), map[string]any{"spec": map[string]any{"mtoo": 1}})
	hasCode(t, "a patch of no field", err, api.CodeInvalid)

	hasCode(t, "delete with an old revision", w.admin.Delete(ctx, api.KindNetwork, api.RefTo(n), n.Meta.Revision), api.CodePrecondition)
	check(t, w.admin.Delete(ctx, api.KindNetwork, api.RefTo(n), patched.Meta.Revision))
	hasCode(t, "delete again", w.admin.Delete(ctx, api.KindNetwork, api.RefTo(n), 0), api.CodeNotFound)
	for _, text := range []string{
		"msg=audit who=admin orchestrator=weft role=admin op=create kind=network object=default-domain:default-project:n",
		"op=delete kind=network", "outcome=done", "outcome=precondition",
	} {
		if !w.audit.has(text) {
			t.Errorf("the audit has no %q", text)
		}
	}
}

// Patches without a revision all apply, whoever is faster.
func TestPatchesAtOnce(t *testing.T) {
	w := newWorld(t)
	n, err := client.Create(t.Context(), w.admin, network("n"))
	check(t, err)
	const writers = 8
	var wait sync.WaitGroup
	for i := range writers {
		wait.Go(func() {
			patch := map[string]any{"meta": map[string]any{"labels": map[string]any{fmt.Sprint("l", i): "x"}}}
			if _, err := client.Patch[*api.Network](t.Context(), w.admin, api.RefTo(n), patch); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	got, err := client.Get[*api.Network](t.Context(), w.admin, api.RefTo(n))
	if err != nil || len(got.Meta.Labels) != writers {
		t.Errorf("labels %v, %v", got.Meta.Labels, err)
	}
}

func TestTransaction(t *testing.T) {
	w := newWorld(t)
	body := `{"dryRun":%v,"operations":[
		{"op":"create","object":{"kind":"network","meta":{"name":"n","parent":"default-domain:default-project"},"spec":{}}},
		{"op":"create","object":{"kind":"subnet","meta":{"name":"s","parent":{"name":"default-domain:default-project:n"}},"spec":{"cidr":"10.0.0.0/24"}}},
		{"op":"create","object":{"kind":"address","meta":{"parent":"default-domain:default-project:n"},"spec":{}}}]}`
	for _, dry := range []bool{true, false} {
		status, reply := w.raw(http.MethodPost, "/v1/transactions", fmt.Sprintf(body, dry))
		if status != http.StatusOK || !strings.Contains(reply, `"ip":"10.0.0.2"`) {
			t.Errorf("dry run %v: %d %s", dry, status, reply)
		}
		list, err := client.ListOf[*api.Address](t.Context(), w.admin, client.ListOptions{})
		if err != nil || len(list.Items) != map[bool]int{true: 0, false: 1}[dry] {
			t.Errorf("dry run %v: addresses %v, %v", dry, list.Items, err)
		}
	}
}

func TestErrors(t *testing.T) {
	w := newWorld(t)
	if _, err := client.Create(t.Context(), w.admin, network("n")); err != nil {
		t.Fatal(err)
	}
	big := `{"kind":"network","meta":{"description":"` + strings.Repeat("x", bodyMax) + `"}}`
	for _, c := range []struct {
		method, path, body string
		status             int
		code               api.Code
		text               string
	}{
		{"GET", "/", "", 404, api.CodeNotFound, "no such path"},
		{"GET", "/v1/nets", "", 404, api.CodeNotFound, "no such path"},
		{"GET", "/v1/networks/none", "", 404, api.CodeNotFound, `there is no network "none"`},
		{"GET", "/v1/networks?parent=none", "", 404, api.CodeNotFound, `there is no project "none"`},
		{"GET", "/v1/networks?parnet=x", "", 400, api.CodeInvalid, `"parnet" is not known`},
		{"GET", "/v1/networks?minRevision=x", "", 400, api.CodeInvalid, "not a whole number"},
		{"GET", "/v1/networks?minRevision=999999", "", 504, api.CodeTimeout, "wait for revision 999999"},
		{"GET", "/v1/domains?parent=x", "", 400, api.CodeInvalid, "\"parent\" is not known: want one of"},
		{"POST", "/v1/networks/none", "", 405, api.CodeInvalid, "GET"},
		{"PATCH", "/healthz", "", 405, api.CodeInvalid, "GET"},
		{"POST", "/v1/networks", "", 400, api.CodeInvalid, "empty"},
		{"POST", "/v1/networks", "{", 400, api.CodeInvalid, "read the body"},
		{"POST", "/v1/networks", "{}{}", 400, api.CodeInvalid, "more than one"},
		{"POST", "/v1/networks", `{"kind":"subnet"}`, 400, api.CodeInvalid, "the path is for a network"},
		{"POST", "/v1/networks", `{"meta":{"nam":"x"}}`, 400, api.CodeInvalid, `unknown field "nam"`},
		{"POST", "/v1/networks", `{"meta":{"name":"x","parent":{"nome":"y"}}}`, 400, api.CodeInvalid, `unknown field "nome"`},
		{"POST", "/v1/networks", `{"meta":{"name":"x"}}`, 400, api.CodeInvalid, "meta.parent: is required"},
		{"POST", "/v1/networks", `{"meta":{"name":"n","parent":"default-domain:default-project"}}`, 409, api.CodeConflict, "is held by network"},
		{"POST", "/v1/networks", big, 413, api.CodeTooLarge, "larger than"},
		{"PUT", "/v1/networks/none", `{"meta":{}}`, 404, api.CodeNotFound, "no network"},
		{"PUT", "/v1/networks/default-domain:default-project:n", `{"meta":{"uuid":"00000000-0000-0000-0000-000000000000"}}`, 400, api.CodeInvalid, "the body has UUID"},
		{"PATCH", "/v1/networks/default-domain:default-project:n", `[`, 400, api.CodeInvalid, "read the body"},
		{"PATCH", "/v1/networks/default-domain:default-project:n", `null`, 400, api.CodeInvalid, "is null, want an object"},
		{"PUT", "/v1/networks/default-domain:default-project:n", `null`, 400, api.CodeInvalid, "is null, want an object"},
		{"PATCH", "/v1/networks/default-domain:default-project:n", `[]`, 400, api.CodeInvalid, "want an object"},
		{"PATCH", "/v1/networks/default-domain:default-project:n", `{"meta":{"revision":"x"}}`, 400, api.CodeInvalid, "meta.revision"},
		{"PATCH", "/v1/networks/default-domain:default-project:n", `{"meta":{"labels":{"a":"1","a":"2"}}}`, 400, api.CodeInvalid, "meta.labels.a: is given twice"},
		{"GET", "/v1/../healthz", "", 404, api.CodeNotFound, "no such path"},
		{"GET", "/v1//networks", "", 404, api.CodeNotFound, "no such path"},
		{"GET", "/v1/networks?consistency=x", "", 400, api.CodeInvalid, "may be stale"},
		{"DELETE", "/v1/projects/default-domain:default-project", "", 409, api.CodeConflict, "still refer"},
		{"DELETE", "/v1/networks/default-domain:default-project:n?revision=1", "", 412, api.CodePrecondition, "read it again"},
		{"POST", "/v1/transactions", `{"operations":[]}`, 400, api.CodeInvalid, "want 1 to 100"},
		{"POST", "/v1/transactions", `{"operations":[{"op":"upsert","object":{"kind":"domain","meta":{"name":"x"}}}]}`, 400, api.CodeInvalid, `"upsert" is not an operation`},
		{"POST", "/v1/transactions", `{"operations":[{"op":"create"}]}`, 400, api.CodeInvalid, "read"},
		{"GET", "/v1/watch?kind=nothing", "", 400, api.CodeInvalid, "not a kind"},
		{"GET", "/v1/watch?revision=999999", "", 400, api.CodeInvalid, "in the future"},
		{"GET", "/v1/why/nothing/x", "", 404, api.CodeNotFound, "not a kind"},
		{"GET", "/v1/hosts/none/tables/drops", "", 404, api.CodeNotFound, "no host"},
		{"POST", "/v1/tokens", `{"name":"x","role":"host"}`, 400, api.CodeInvalid, "is not one of admin"},
		{"DELETE", "/v1/tokens/x", "", 404, api.CodeNotFound, "no such token"},
		{"POST", "/v1/hosts/join", "{}", 403, api.CodeForbidden, "role admin"},
	} {
		status, body := w.raw(c.method, c.path, c.body)
		isError(t, c.method+" "+c.path, status, body, c.status, c.code, c.text)
	}
}

func TestViews(t *testing.T) {
	w := newWorld(t)
	n, err := client.Create(t.Context(), w.admin, network("n"))
	check(t, err)
	join, _ := w.with(api.TokenRequest{Name: "j", Role: api.RoleJoin})
	joined, err := join.Join(t.Context(), joinRequest(t, "h1", "192.0.2.1"))
	check(t, err)
	routes, err := w.admin.Routes(t.Context(), api.RefTo(n), api.Ref{Name: "h1"})
	if err != nil || routes.Revision != 7 || routes.Items[0].Network.UUID != n.Meta.UUID || routes.Items[0].Host.UUID != joined.Host.UUID {
		t.Errorf("routes %+v, %v", routes, err)
	}
	table, err := w.admin.HostTable(t.Context(), joined.Host, api.HostTableDrops)
	if _, err := w.admin.HostTable(t.Context(), joined.Host, api.HostTableRoutes); err == nil || err.Error() != "host h1 is not connected" {
		t.Errorf("a host that is not connected: %v", err)
	}
	if err != nil || table.Rows[0][0] != joined.Host.UUID {
		t.Errorf("table %+v, %v", table, err)
	}
	rows, err := w.admin.Why(t.Context(), api.KindNetwork, api.RefTo(n))
	if err != nil || len(rows) != 1 || rows[0].What != n.Meta.FQName {
		t.Errorf("why %+v, %v", rows, err)
	}
	// An error of ours is logged and not told.
	status, body := w.raw("GET", "/v1/hosts/h1/tables/other", "")
	isError(t, "an error without a code", status, body, 500, api.CodeInternal, "a fault of ours")
	if strings.Contains(body, "secret") || !w.audit.has("secret of ours") {
		t.Errorf("the fault was sent or not logged: %s", body)
	}
}

func TestCredentials(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	// No credentials, wrong ones, ones of another CA.
	anonymous := &tls.Config{RootCAs: w.ca.Pool()}
	for what, header := range map[string]string{
		"none": "", "another scheme": "Basic eDp5", "not a token": "Bearer x",
		"unknown": "Bearer weft1.00000000-0000-0000-0000-000000000000.x.y",
	} {
		status, body := w.send(anonymous, header, "GET", "/v1/whoami", "")
		isError(t, what, status, body, 401, api.CodeUnauthenticated, "")
	}
	for _, path := range []string{"/healthz", "/v1/openapi.json"} {
		if status, body := w.send(anonymous, "", "GET", path, ""); status != 200 {
			t.Errorf("%s without credentials: %d %s", path, status, body)
		}
	}
	bad := w.connect(client.Config{Server: w.url, Token: "weft1.a.b." + strings.Repeat("0", 64)})
	if _, err := bad.WhoAmI(ctx); err == nil {
		t.Error("a client that pins another CA connected")
	}

	who, err := w.admin.WhoAmI(ctx)
	if err != nil || who != (api.Identity{Name: "admin", Orchestrator: "weft", Role: api.RoleAdmin}) {
		t.Errorf("the certificate stands for %+v, %v", who, err)
	}
	reader, readerToken := w.with(api.TokenRequest{Name: "r", Role: api.RoleReader})
	if _, err := reader.List(ctx, api.KindDomain, client.ListOptions{}); err != nil {
		t.Errorf("a reader reads: %v", err)
	}
	_, err = client.Create(ctx, reader, network("n"))
	hasCode(t, "a reader writes", err, api.CodeForbidden)
	if !w.audit.has("op=create-network") {
		t.Error("the refused write is not in the audit")
	}
	_, err = reader.Tokens(ctx)
	hasCode(t, "a reader lists tokens", err, api.CodeForbidden)
	join, _ := w.with(api.TokenRequest{Name: "j", Role: api.RoleJoin})
	_, err = join.List(ctx, api.KindDomain, client.ListOptions{})
	hasCode(t, "a join token reads", err, api.CodeForbidden)
	host := w.as(api.Identity{Name: "h", Role: api.RoleHost})
	_, err = host.WhoAmI(ctx)
	hasCode(t, "a host reads", err, api.CodeForbidden)

	tokens, err := w.admin.Tokens(ctx)
	if err != nil || len(tokens) != 2 || tokens[0].Secret != "" {
		t.Errorf("tokens %+v, %v", tokens, err)
	}
	check(t, w.admin.DeleteToken(ctx, readerToken.ID))
	_, err = reader.WhoAmI(ctx)
	hasCode(t, "a deleted token", err, api.CodeUnauthenticated)
}

// What a member makes belongs to its orchestrator, and no other may write it.
func TestMembersWriteAsTheirOrchestrator(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	_, err := client.Create(ctx, w.admin, &api.Orchestrator{Header: api.Header{Kind: api.KindOrchestrator, Meta: api.Meta{Name: "k"}},
		Spec: api.OrchestratorSpec{Platform: api.PlatformKubernetes}})
	check(t, err)
	member, _ := w.with(api.TokenRequest{Name: "adapter", Role: api.RoleMember, Orchestrator: "k"})
	d, err := client.Create(ctx, member, &api.Domain{Header: api.Header{Kind: api.KindDomain, Meta: api.Meta{Name: "k"}}})
	if err != nil || d.Meta.Owner != "k" {
		t.Fatalf("created %+v, %v", d, err)
	}
	hasCode(t, "an administrator deletes it", w.admin.Delete(ctx, api.KindDomain, api.RefTo(d), 0), api.CodeForbidden)
	_, err = client.Create(ctx, member, network("n"))
	hasCode(t, "a member writes into a project it may not see", err, api.CodeInvalid)
}

func TestJoin(t *testing.T) {
	w := newWorld(t)
	join, _ := w.with(api.TokenRequest{Name: "rollout", Role: api.RoleJoin})
	first, err := join.Join(t.Context(), joinRequest(t, "h1", "192.0.2.1"))
	check(t, err)
	_, err = join.Join(t.Context(), joinRequest(t, "h1", "192.0.2.7"))
	hasCode(t, "a token for any host joins as one that exists", err, api.CodeForbidden)
	if !w.audit.has("op=join kind=host object=h1") {
		t.Error("the refused take-over is not in the audit")
	}
	mine, _ := w.with(api.TokenRequest{Name: "h1 again", Role: api.RoleJoin, Host: "h1"})
	again, err := mine.Join(t.Context(), joinRequest(t, "h1", "192.0.2.7"))
	check(t, err)
	_, err = mine.Join(t.Context(), joinRequest(t, "h2", "192.0.2.8"))
	hasCode(t, "a token for h1 joins as h2", err, api.CodeForbidden)
	h, err := client.Get[*api.Host](t.Context(), w.admin, api.Ref{Name: "h1"})
	if err != nil || first.Host.UUID != again.Host.UUID || h.Meta.UUID != first.Host.UUID || h.Spec.TunnelAddresses[0].String() != "192.0.2.7" || h.Meta.Owner != "weft" {
		t.Errorf("joined %+v and %+v as %+v, %v", first.Host, again.Host, h, err)
	}
	block, _ := pem.Decode([]byte(again.Certificate))
	cert, err := x509.ParseCertificate(block.Bytes)
	check(t, err)
	_, err = cert.Verify(x509.VerifyOptions{Roots: w.ca.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil || cert.Subject.CommonName != "h1" || cert.Subject.Organization[0] != "weft:host" || cert.URIs[0].String() != "weft:host:"+h.Meta.UUID {
		t.Errorf("certificate of %v with %v, %v", cert.Subject, cert.URIs, err)
	}
	if again.CA != string(w.ca.Bundle()) || strings.Join(again.Streams, " ") != "c:7444" {
		t.Errorf("reply %+v", again)
	}
	_, err = join.Join(t.Context(), joinRequest(t, "h2", "192.0.2.7"))
	hasCode(t, "two hosts with one tunnel address", err, api.CodeConflict)
	request := joinRequest(t, "h3", "192.0.2.3")
	request.CSR = "x"
	_, err = join.Join(t.Context(), request)
	hasCode(t, "no request for a certificate", err, api.CodeInvalid)
}

func TestWatch(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := client.Create(ctx, w.admin, network("n1"))
	check(t, err)
	var got []string
	revision := int64(0)
	for e, err := range w.admin.Watch(ctx, client.WatchOptions{Kinds: []api.Kind{api.KindNetwork}}) {
		check(t, err)
		line := e.Type
		if e.Object != nil {
			line += " " + e.Object.Head().Meta.Name
		}
		got = append(got, line)
		switch line {
		case "bookmark":
			revision = e.Revision
			_, err := client.Create(ctx, w.admin, network("n2"))
			check(t, err)
		case "put n2":
			check(t, w.admin.Delete(ctx, api.KindNetwork, api.RefTo(e.Object), 0))
		}
		if line == "delete n2" {
			break
		}
	}
	if text := strings.Join(got, ", "); text != "put n1, bookmark, put n2, delete n2" {
		t.Errorf("watched %s", text)
	}
	for e, err := range w.admin.Watch(ctx, client.WatchOptions{Revision: revision}) {
		check(t, err)
		if e.Type != api.EventPut || e.Object.Head().Meta.Name != "n2" {
			t.Errorf("after revision %d came %+v", revision, e)
		}
		break
	}
}

// doc/openapi.json is what the server serves.
func TestDescriptionIsCurrent(t *testing.T) {
	text, err := New(Options{}).OpenAPI()
	check(t, err)
	again, err := New(Options{}).OpenAPI()
	check(t, err)
	if string(text) != string(again) {
		t.Error("two runs give two descriptions")
	}
	file, err := os.ReadFile("../doc/openapi.json")
	check(t, err)
	var a, b any
	check(t, json.Unmarshal(text, &a))
	check(t, json.Unmarshal(file, &b))
	if fmt.Sprint(a) != fmt.Sprint(b) {
		t.Error("doc/openapi.json is not current: run go generate ./server")
	}
	for _, info := range api.Kinds() {
		if !strings.Contains(string(text), `"/v1/`+info.Plural+`/{ref}"`) {
			t.Errorf("%s are not described", info.Plural)
		}
	}
}
