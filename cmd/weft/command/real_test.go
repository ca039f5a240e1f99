// SPDX-License-Identifier: Apache-2.0

package command_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/reach"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/server"
	"github.com/weft-network/weft/server/audit"
	"github.com/weft-network/weft/server/oidc"
	"github.com/weft-network/weft/server/pki"
	"github.com/weft-network/weft/store"
	"github.com/weft-network/weft/store/embedded"
)

// real is the real server on the real store with an etcd of its own. What
// controllers and hosts say is that of a fake.
type real struct {
	etcd   *embedded.Server
	store  *store.Store
	fake   *fakeServer
	config string // path of the administrators' client configuration
	judges bool   // assertions are checked by what follows from the objects
	asked  func() // called when a check is answered; may be nil
	people *oidc.People
	others server.Colleagues
}

func startReal(t *testing.T, change ...func(*real)) real {
	t.Helper()
	etcd, err := embedded.Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
	log := slog.New(slog.DiscardHandler)
	s, err := store.Open(t.Context(), etcd.Client(), store.Options{MaxTxnOps: embedded.MaxTxnOps, Local: etcd, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	fake, _ := startFake(t)
	fake.furnish(t)
	r := real{etcd: etcd, store: s, fake: fake, config: filepath.Join(t.TempDir(), "admin.yaml")}
	for _, c := range change {
		c(&r)
	}
	r.serve(t, log)
	r.addHosts(t)
	return r
}

// serve starts the server and writes the administrators' configuration.
func (r real) serve(t *testing.T, log *slog.Logger) {
	t.Helper()
	ca, err := pki.Open(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := ca.ServerCertificate([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	kept, err := audit.Open(filepath.Join(t.TempDir(), "audit"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := kept.Close(); err != nil {
			t.Error(err)
		}
	})
	keeper := r.keep(t, ca, log)
	s := server.New(server.Options{Audit: kept, Store: r.store, Views: r, CA: ca, Certificate: certificate, Authority: keeper, People: r.people, Colleagues: r.others, Log: log})
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(listener) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	if err := ca.WriteAdminConfig(r.config, "https://"+listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
}

// addHosts makes the hosts of the fake, as if their agents had joined.
func (r real) addHosts(t *testing.T) {
	t.Helper()
	hosts, err := r.fake.store.list(api.KindHost, api.Selection{})
	if err != nil {
		t.Fatal(err)
	}
	admin := api.Identity{Name: "admin", Orchestrator: api.AdministratorsName, Role: api.RoleAdmin}
	for _, h := range hosts {
		made, err := r.store.Commit(t.Context(), admin, []api.Operation{{Op: api.OpCreate, Object: h}}, store.CommitOptions{})
		if err == nil {
			err = r.store.PutStatus(t.Context(), api.KindHost, made.Objects[0].Head().Meta.UUID, h.(*api.Host).Status)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Routes, HostTable and Why are the server's views.
func (r real) Routes(context.Context, string, string) (int64, []api.Route, error) {
	return 1, r.fake.routes, nil
}

func (r real) HostTable(_ context.Context, uuid, table string, _ bool) (api.Table, error) {
	name := r.store.Latest().Get(api.KindHost, uuid).Head().Meta.Name
	t, ok := r.fake.drops[name]
	if !ok {
		return t, api.Errorf(api.CodeUnavailable, "get table %s of host %s: its agent is not connected", table, name)
	}
	return t, nil
}

func (r real) Reach(context.Context, api.Snapshot, string, string) (api.Reach, error) {
	return r.fake.reach, nil
}

func (r real) Check(ctx context.Context, seen api.Snapshot, assertions []api.Assertion, _ *api.Changes) (answer api.Check, err error) {
	if r.asked != nil {
		defer r.asked()
	}
	if !r.judges {
		return r.fake.check, nil
	}
	m := reach.New(policy.Derive(routing.Derive(seen)))
	for _, a := range assertions {
		checked, err := m.Check(ctx, seen, a)
		if err != nil {
			return answer, err
		}
		answer.Verdicts = append(answer.Verdicts, checked)
	}
	return answer, nil
}

func (r real) Judge(context.Context, api.Snapshot, []api.Conversation, *api.Changes) (api.Judgements, error) {
	return r.fake.judged, nil
}

func (r real) Why(context.Context, api.Snapshot, api.Object) ([]api.WhyRow, error) {
	return r.fake.why, nil
}

// varying is what the real server chooses otherwise than the fake: identities,
// MACs, times, revisions.
var varying = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}|"?\b02(:[0-9a-f]{2}){5}\b"?|"?20\d\d-\d\d-\d\dT[0-9:.]+Z"?( \(\w+ ago\))?|\b(revision|generation|base)\W+\d+`)

// essence is a transcript without what may vary: the words of errors, how
// wide columns are, and how rows are ordered that hold a chosen identity.
func essence(transcript string) string {
	var lines []string
	for line := range strings.Lines(transcript) {
		if strings.HasPrefix(line, "2| ") {
			continue
		}
		line = varying.ReplaceAllString(line, "#")
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(lines, "\n")
}

// TestRealServer replays transcripts against the real server: the fake that
// the others run on does what the real one does.
func TestRealServer(t *testing.T) {
	for _, name := range []string{"create", "describe", "apply", "delete", "errors", "live", "see"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile("testdata/" + name + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			got := replay(t, startReal(t).config, string(want))
			if essence(got) != essence(string(want)) {
				t.Errorf("the real server differs from the transcript:\n%s", firstDifference(essence(string(want)), essence(got)))
			}
		})
	}
}

func TestRealWatch(t *testing.T) { watchStory(t, startReal(t).config) }

// TestRealToken: a token alone, with the CA pinned in it, is enough to be
// known, until it is revoked.
func TestRealToken(t *testing.T) {
	r := startReal(t)
	var file client.Config
	if err := yaml.Unmarshal([]byte(must(t, r.config, "", "token", "create", "reader", "--role", "reader", "-o", "config")), &file); err != nil {
		t.Fatal(err)
	}
	file.CA = ""
	data, err := yaml.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "reader.yaml")
	if err := os.WriteFile(config, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if out := must(t, config, "", "whoami", "-o", "yaml"); out != "name: reader\norchestrator: weft\nrole: reader\n" {
		t.Errorf("whoami:\n%s", out)
	}
	if _, errOut, code := run(t, config, nil, "create", "network", "n"); code != 1 || !strings.Contains(errOut, "reader") {
		t.Errorf("a reader writes: exit %d, %s", code, errOut)
	}
	id := strings.TrimSpace(must(t, r.config, "", "token", "list", "-o", "name"))
	must(t, r.config, "", "token", "delete", id)
	if _, errOut, code := run(t, config, nil, "whoami"); code != 1 || !strings.Contains(errOut, "check token or certificate") {
		t.Errorf("revoked: exit %d, %s", code, errOut)
	}
}

// TestRealOrchestrator: one joins, works with the configuration that was
// printed, and is retired after what it owns was listed.
func TestRealOrchestrator(t *testing.T) {
	r := startReal(t)
	config := filepath.Join(t.TempDir(), "cloud.yaml")
	text := must(t, r.config, "", "orchestrator", "join", "cloud-1", "--platform", "openstack", "--identity", "c1")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, config, "", "create", "project", "cloud-1:web")
	must(t, config, "", "create", "network", "cloud-1:web:n")
	must(t, r.config, "", "orchestrator", "join", "k8s-1", "--platform", "kubernetes")
	list := must(t, r.config, "", "orchestrator", "list")
	for _, want := range []string{`cloud-1 +openstack +c1 +cloud-1 +\S+ +2 `, `k8s-1 +kubernetes +- +default-domain +\S+ +0 `} {
		if !regexp.MustCompile(want).MatchString(list) {
			t.Errorf("the list has no line %q:\n%s", want, list)
		}
	}
	tenant := filepath.Join(t.TempDir(), "tenant.yaml")
	text = must(t, r.config, "", "token", "create", "web", "--role", "member", "--orchestrator", "cloud-1", "--scope", "project/cloud-1:web", "-o", "config")
	if err := os.WriteFile(tenant, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, tenant, "", "create", "network", "cloud-1:web:m")
	if tokens := must(t, r.config, "", "token", "list"); !strings.Contains(tokens, "project cloud-1:web") {
		t.Errorf("the tokens do not say what they are for:\n%s", tokens)
	}
	if _, errOut, code := run(t, r.config, bytes.NewBufferString("no\n"), "orchestrator", "retire", "cloud-1"); code != 1 || !strings.Contains(errOut, "nothing was deleted") {
		t.Errorf("retired without being confirmed: exit %d, %s", code, errOut)
	}
	out := must(t, r.config, "cloud-1\n", "orchestrator", "retire", "cloud-1")
	if !strings.Contains(out, "owns 3 objects") || !strings.Contains(out, "orchestrator/cloud-1 deleted") {
		t.Errorf("retired:\n%s", out)
	}
	if left := must(t, r.config, "", "get", "domains", "-o", "name"); strings.Contains(left, "cloud-1") {
		t.Errorf("its domain is left: %s", left)
	}
}
