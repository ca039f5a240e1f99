// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/store/embedded"
)

// world is a store on a real etcd of its own, with shorthands for tests. At
// the end of each test all raw keys of etcd are checked.
type world struct {
	t      *testing.T
	etcd   *embedded.Server
	client *clientv3.Client
	*Store
}

var (
	admin   = api.Identity{Name: "admin", Orchestrator: api.AdministratorsName, Role: api.RoleAdmin}
	blue    = api.Identity{Name: "blue", Orchestrator: "blue", Role: api.RoleMember}
	green   = api.Identity{Name: "green", Orchestrator: "green", Role: api.RoleMember}
	project = api.Ref{Name: "default-domain:default-project"}
)

func newWorld(t *testing.T) *world {
	t.Helper()
	etcd, err := embedded.Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
	w := &world{t: t, etcd: etcd, client: etcd.Client()}
	w.Store = w.open()
	t.Cleanup(func() { checkKeys(t, w.client) })
	return w
}

// open opens one more store on the world's etcd.
func (w *world) open() *Store {
	w.t.Helper()
	s, err := Open(w.t.Context(), w.client, Options{MaxTxnOps: embedded.MaxTxnOps, Local: w.etcd, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(s.Close)
	return s
}

func (w *world) commit(by api.Identity, op string, objects ...api.Object) ([]api.Object, error) {
	var ops []api.Operation
	for _, o := range objects {
		ops = append(ops, api.Operation{Op: op, Object: o})
	}
	r, err := w.Commit(w.t.Context(), by, ops, CommitOptions{})
	return r.Objects, err
}

// create commits and returns the last object.
func (w *world) create(by api.Identity, objects ...api.Object) api.Object {
	w.t.Helper()
	made, err := w.commit(by, api.OpCreate, objects...)
	if err != nil {
		w.t.Fatalf("create: %v", err)
	}
	return made[len(made)-1]
}

func (w *world) update(by api.Identity, o api.Object) api.Object {
	w.t.Helper()
	made, err := w.commit(by, api.OpUpdate, o)
	if err != nil {
		w.t.Fatalf("update: %v", err)
	}
	return made[0]
}

func (w *world) remove(by api.Identity, objects ...api.Object) {
	w.t.Helper()
	if _, err := w.commit(by, api.OpDelete, objects...); err != nil {
		w.t.Fatalf("delete: %v", err)
	}
}

// refused checks that an operation fails with a code and a text.
func (w *world) refused(code api.Code, text string, by api.Identity, op string, objects ...api.Object) *api.Error {
	w.t.Helper()
	before := keyCount(w.t, w.client)
	_, err := w.commit(by, op, objects...)
	var e *api.Error
	switch {
	case err == nil:
		w.t.Fatalf("%s %v was allowed, want %s", op, objects[0].Head(), code)
	case !errors.As(err, &e):
		w.t.Fatalf("%s: error %v is not an api.Error", op, err)
	case e.Code != code || !strings.Contains(e.Error(), text):
		w.t.Fatalf("%s: got %s %q, want %s with %q", op, e.Code, e.Error(), code, text)
	}
	if after := keyCount(w.t, w.client); after != before {
		w.t.Fatalf("%s was refused and changed the number of keys from %d to %d", op, before, after)
	}
	return e
}

// orchestrators makes blue and green, each with a domain and a project.
func (w *world) orchestrators() {
	w.t.Helper()
	for _, name := range []string{"blue", "green"} {
		w.create(admin, domain(name), &api.Orchestrator{Header: head(api.KindOrchestrator, name, api.Ref{}),
			Spec: api.OrchestratorSpec{Platform: api.PlatformKubernetes, Domain: api.Ref{Name: name}}})
		by := api.Identity{Name: name, Orchestrator: name, Role: api.RoleMember}
		w.create(by, domain(name+"-own"), &api.Project{Header: head(api.KindProject, "p", api.Ref{Name: name + "-own"})})
	}
}

func projectOf(by api.Identity) api.Ref { return api.Ref{Name: by.Orchestrator + "-own:p"} }

func head(kind api.Kind, name string, parent api.Ref) api.Header {
	return api.Header{Kind: kind, Meta: api.Meta{Name: name, Parent: parent}}
}

func domain(name string) api.Object {
	return &api.Domain{Header: head(api.KindDomain, name, api.Ref{})}
}

func network(name string, parent api.Ref) *api.Network {
	return &api.Network{Header: head(api.KindNetwork, name, parent)}
}

func subnet(name, cidr string, parent api.Ref) *api.Subnet {
	return &api.Subnet{Header: head(api.KindSubnet, name, parent), Spec: api.SubnetSpec{CIDR: netip.MustParsePrefix(cidr)}}
}

func address(name string, parent api.Ref, ip string) *api.Address {
	a := &api.Address{Header: head(api.KindAddress, name, parent)}
	if ip != "" {
		a.Spec.IP = netip.MustParseAddr(ip)
	}
	return a
}

func port(name string, parent, network api.Ref) *api.Port {
	return &api.Port{Header: head(api.KindPort, name, parent), Spec: api.PortSpec{Network: network}}
}

func host(name, ip string) *api.Host {
	return &api.Host{Header: head(api.KindHost, name, api.Ref{}), Spec: api.HostSpec{TunnelAddresses: []netip.Addr{netip.MustParseAddr(ip)}}}
}

func binding(name string, parent, host api.Ref, active bool) *api.Binding {
	return &api.Binding{Header: head(api.KindBinding, name, parent), Spec: api.BindingSpec{Host: host, Active: active}}
}

func share(name string, parent api.Ref, kind api.Kind, target api.Ref, granteeKind api.Kind, grantee api.Ref, verbs ...api.Verb) *api.Share {
	return &api.Share{Header: head(api.KindShare, name, parent),
		Spec: api.ShareSpec{TargetKind: kind, Target: target, GranteeKind: granteeKind, Grantee: grantee, Verbs: verbs}}
}

func named(name string) api.Ref { return api.Ref{Name: name} }

func allKeys(t *testing.T, client *clientv3.Client) map[string]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := client.Get(ctx, "\x00", clientv3.WithFromKey())
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{}
	for _, kv := range r.Kvs {
		keys[string(kv.Key)] = string(kv.Value)
	}
	return keys
}

func keyCount(t *testing.T, client *clientv3.Client) int {
	n := 0
	for k := range allKeys(t, client) {
		if !strings.HasPrefix(k, prefixWrite) && !strings.HasPrefix(k, prefixRest) { // these end by their lease
			n++
		}
	}
	return n
}

// checkKeys checks every key of etcd (Verify).
func checkKeys(t *testing.T, client *clientv3.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	problems, err := Verify(ctx, client)
	check(t, err)
	for _, p := range problems {
		t.Errorf("raw keys: %s", p)
	}
}
