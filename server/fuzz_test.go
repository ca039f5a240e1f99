// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-network/weft/api"
	examples "github.com/weft-network/weft/api/reference"
)

const (
	// fuzzTime and fuzzRequests bound the test that runs with the others.
	fuzzTime     = 20 * time.Second
	fuzzRequests = 12_000
	// fuzzGlance is how long a watch is looked at.
	fuzzGlance = 30 * time.Millisecond
)

// quietViews answers as a controller without hosts does.
type quietViews struct{ fakeViews }

func (quietViews) HostTable(_ context.Context, host, table string, _ bool) (api.Table, error) {
	if table == api.HostTableDrops {
		return api.Table{Columns: []string{"host"}, Rows: [][]string{{host}}}, nil
	}
	return api.Table{}, api.Errorf(api.CodeNotFound, "host %s has no table %q", host, table)
}

// arena is a server with something in it, and those who ask.
type arena struct {
	*world
	d      *apiDescription
	csr    string
	actors map[string]*actor
	// done counts outcomes by operation.
	done, refused map[string]int
	codes         map[api.Code]int
}

type actor struct {
	transport *http.Transport
	token     string
}

func newArena(t testing.TB) *arena {
	w := newWorldWith(t, quietViews{}, nil)
	a := &arena{world: w, csr: csr(t), actors: map[string]*actor{}, done: map[string]int{}, refused: map[string]int{}, codes: map[api.Code]int{}}
	data, err := w.server.OpenAPI()
	check(t, err)
	a.d, err = readDescription(data)
	check(t, err)
	for _, info := range api.Kinds() {
		all, err := examples.Examples(info.Kind)
		check(t, err)
		for _, o := range all {
			_, err := w.admin.Create(t.Context(), o)
			check(t, err)
		}
	}
	certificates := map[string]api.Identity{
		"admin":   {Name: "admin", Orchestrator: api.AdministratorsName, Role: api.RoleAdmin},
		"foreign": {Name: "foreign", Orchestrator: "k8s1", Role: api.RoleAdmin},
		"reader":  {Name: "reader", Orchestrator: "k8s1", Role: api.RoleReader},
	}
	for name, who := range certificates {
		certificate, key, err := w.ca.IssueClient(who)
		check(t, err)
		pair, err := tls.X509KeyPair(certificate, key)
		check(t, err)
		a.actors[name] = &actor{transport: w.transport(pair)}
	}
	tokens := map[string]api.TokenRequest{
		"tenant": {Name: "tenant", Role: api.RoleMember, Scope: &api.Scope{Projects: []api.Ref{{Name: "default-domain:default-project"}}}},
		"joiner": {Name: "joiner", Role: api.RoleJoin},
	}
	for name, request := range tokens {
		_, token := w.with(request)
		a.actors[name] = &actor{w.transport(), "Bearer " + token.Secret}
	}
	a.actors["nobody"] = &actor{transport: w.transport()}
	a.actors["stranger"] = &actor{w.transport(), "Bearer weft1.x.y.z"}
	return a
}

func (w *world) transport(pairs ...tls.Certificate) *http.Transport {
	t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: w.ca.Pool(), Certificates: pairs}}
	w.t.Cleanup(t.CloseIdleConnections)
	return t
}

// answer is what came back.
type answer struct {
	status int
	sends  string
	body   []byte
}

func (a *arena) ask(m *madeUp) (*answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, m.method, a.url, bytes.NewReader(m.body))
	if err != nil {
		return nil, err
	}
	path, query, _ := strings.Cut(m.path, "?")
	r.URL.Opaque, r.URL.RawQuery = path, query // as it is, however odd
	if m.path == "*" || strings.HasPrefix(m.path, "//") {
		r.URL.Opaque, r.URL.Path = "", "/*"
	}
	if m.media != "" {
		r.Header.Set("Content-Type", m.media)
	}
	who := a.actors[m.actor]
	if who.token != "" {
		r.Header.Set("Authorization", who.token)
	}
	reply, err := who.transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer reply.Body.Close()
	got := &answer{status: reply.StatusCode, sends: reply.Header.Get("Content-Type")}
	if got.sends == mediaEvents {
		glance := time.AfterFunc(fuzzGlance, cancel)
		defer glance.Stop()
		got.body, _ = io.ReadAll(reply.Body) // a watch has no end
		whole := bytes.LastIndexByte(got.body, '\n')
		got.body = got.body[:whole+1]
		return got, nil
	}
	got.body, err = io.ReadAll(reply.Body)
	return got, err
}

// try makes a request and tells what is wrong with the answer.
func (a *arena) try(m *madeUp) error {
	before, err := a.revision()
	if err != nil {
		return err
	}
	got, err := a.ask(m)
	if err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	id := "(none)"
	if m.of != nil {
		id = m.of.id
	}
	if logged := a.audit.take(); strings.Contains(logged, "level=ERROR") {
		return fmt.Errorf("answer %d %.300s: a fault of ours is in the log: %s", got.status, got.body, logged)
	}
	if got.status >= 300 {
		a.refused[id]++
		err = a.checkRefusal(m, got)
	} else {
		a.done[id]++
		err = a.checkDone(m, got)
	}
	if err != nil {
		return fmt.Errorf("answer %d %.1000s: %w", got.status, got.body, err)
	}
	if got.status >= 300 || m.method == http.MethodGet || bytes.Contains(m.body, []byte(`"dryRun":true`)) {
		if err := a.unchangedSince(before); err != nil {
			return fmt.Errorf("answer %d %.300s: %w", got.status, got.body, err)
		}
	}
	return nil
}

// checkRefusal looks at an answer that is an error.
func (a *arena) checkRefusal(m *madeUp, got *answer) error {
	if got.status >= 500 && got.status != http.StatusGatewayTimeout {
		return fmt.Errorf("a fault of the server")
	}
	if m.method == http.MethodHead || got.status == http.StatusRequestHeaderFieldsTooLarge && len(m.path) > 1<<15 {
		return nil // no body; net/http's own
	}
	var value any
	var e api.Error
	if json.Unmarshal(got.body, &value) != nil || json.Unmarshal(got.body, &e) != nil {
		return fmt.Errorf("it is no JSON of ours")
	}
	a.codes[e.Code]++
	if err := a.d.fits(value, schema{"$ref": "#/components/schemas/Error"}, "error"); err != nil {
		return err
	}
	if want := statusOf(e.Code); want != got.status && !(got.status == http.StatusMethodNotAllowed && e.Code == api.CodeInvalid) {
		return fmt.Errorf("code %q is sent with %d", e.Code, want)
	}
	if e.Message == "" || len(e.Message) > 2*messageMax || len(got.body) > 1<<19 {
		return fmt.Errorf("a message of %d bytes in %d", len(e.Message), len(got.body))
	}
	// What is no JSON object at all, or of another method, has no field.
	object := len(m.body) > 0 && m.body[0] == '{' && json.Valid(m.body)
	whole := m.oddness != "" || got.status == http.StatusMethodNotAllowed || m.of.body != nil && !object
	if (e.Code == api.CodeInvalid || e.Code == api.CodeExhausted) && !whole && e.Field == "" && len(e.Problems) == 0 {
		return fmt.Errorf("it names no field")
	}
	if (e.Code == api.CodeConflict || e.Code == api.CodePrecondition) && (e.Kind == "" || e.Object == "") {
		return fmt.Errorf("it names no object")
	}
	return nil
}

// checkDone looks at an answer that says that something was done.
func (a *arena) checkDone(m *madeUp, got *answer) error {
	if m.of == nil {
		return nil // an odd method that the path has after all
	}
	if got := strconv.Itoa(got.status); got != m.of.status {
		return fmt.Errorf("the description says %s", m.of.status)
	}
	if m.of.reply == nil || m.of.sends == mediaBackup {
		return a.checkGone(m)
	}
	if m.of.sends != got.sends {
		return fmt.Errorf("it is %s, the description says %s", got.sends, m.of.sends)
	}
	d := json.NewDecoder(bytes.NewReader(got.body))
	for d.More() {
		var value any
		if err := d.Decode(&value); err != nil {
			return err
		}
		if err := a.d.fits(value, m.of.reply, "reply"); err != nil && !strings.Contains(m.path, "fields=") {
			return err // with fields what is required elsewhere may be left out
		}
		if err := a.checkWritten(m, value); err != nil {
			return err
		}
	}
	return nil
}

// checkGone: what was deleted is not there.
func (a *arena) checkGone(m *madeUp) error {
	if m.method != http.MethodDelete || m.of.tag == "tokens" {
		return nil
	}
	path, _, _ := strings.Cut(m.path, "?")
	got, err := a.ask(&madeUp{actor: m.actor, method: http.MethodGet, path: path})
	if err == nil && got.status != http.StatusNotFound {
		err = fmt.Errorf("deleted, but a later read gives %d %.200s", got.status, got.body)
	}
	return err
}

// checkWritten: what a write says it made is what a later read shows.
func (a *arena) checkWritten(m *madeUp, said any) error {
	kind, isKind := api.ParseKind(m.of.tag)
	if !isKind || m.method == http.MethodGet || !strings.HasSuffix(m.of.id, "-"+string(kind.Kind)) || strings.HasPrefix(m.of.id, "retire") || m.of.id == "commit-draft" {
		return nil
	}
	got, err := a.ask(&madeUp{actor: m.actor, method: http.MethodGet, path: "/v1/" + kind.Plural + "/" + text(child(said, "meta", "uuid"))})
	if err != nil {
		return err
	}
	var read any
	if err := json.Unmarshal(got.body, &read); err != nil {
		return err
	}
	if !reflect.DeepEqual(read, said) {
		return fmt.Errorf("a later read gives %d %.1000s", got.status, got.body)
	}
	return nil
}

func (a *arena) revision() (int64, error) {
	reply, err := a.etcd.Get(context.Background(), "\x00", clientv3.WithFromKey(), clientv3.WithCountOnly())
	if err != nil {
		return 0, err
	}
	return reply.Header.Revision, nil
}

// unchangedSince reports keys that changed since a revision, but for those that
// end with their lease, and notes of whose certificate was seen.
func (a *arena) unchangedSince(before int64) error {
	after, err := a.revision()
	if err != nil || after == before {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for reply := range a.etcd.Watch(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(before+1)) {
		for _, e := range reply.Events {
			leased := strings.HasPrefix(string(e.Kv.Key), "write/") || strings.HasPrefix(string(e.Kv.Key), "rest/")
			noted := strings.HasPrefix(string(e.Kv.Key), "authority/") || string(e.Kv.Key) == "meta/authority" // who uses which certificate, and which controllers there are
			if !(leased && e.Type == clientv3.EventTypeDelete || noted) {
				return fmt.Errorf("it changed %s of %s", e.Type, e.Kv.Key)
			}
			if e.Kv.ModRevision >= after {
				return nil
			}
		}
	}
	return ctx.Err()
}

// TestFuzzFromDescription asks everything that the API's own description has,
// rightly, nearly rightly and absurdly, as all kinds of senders.
func TestFuzzFromDescription(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("WEFT_TEST_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		check(t, err)
	}
	a := newArena(t)
	v, err := newInventor(a.d, a.store.Latest, a.csr)
	check(t, err)
	v.choices = &choices{random: rand.New(rand.NewPCG(seed, 0))}
	faults, begun := 0, time.Now()
	for n := 0; n < fuzzRequests && time.Since(begun) < fuzzTime && faults < 20; n++ {
		m := v.request()
		if err := a.try(&m); err != nil {
			faults++
			t.Errorf("seed %d (WEFT_TEST_SEED), request %d: %v\n%v", seed, n, err, &m)
		}
	}
	a.report(t, seed)
}

// report says what was tried, and fails where the requests were not worth much.
func (a *arena) report(t *testing.T, seed uint64) {
	done, refused, idle := 0, 0, 0
	for _, o := range a.d.operations {
		done, refused = done+a.done[o.id], refused+a.refused[o.id]
		if a.done[o.id]+a.refused[o.id] == 0 {
			idle++
		}
	}
	t.Logf("seed %d (WEFT_TEST_SEED): %d requests were done and %d refused, of %d operations, %d of which were not tried; %v", seed, done, refused, len(a.d.operations), idle, a.codes)
	if done+refused > 1000 && (done < refused/10 || refused < done/10 || idle > len(a.d.operations)/10) {
		t.Error("the requests made up do not try the API: too few are right, or wrong, or of all operations")
	}
}

// FuzzRequests lets the fuzzing engine make requests up. The world lives as
// long as the process; what an input does depends on those before it, so a
// fault prints the request itself.
func FuzzRequests(f *testing.F) {
	a := newArena(f)
	for n := range 32 {
		seed := make([]byte, 64)
		random := rand.New(rand.NewPCG(uint64(n), 1))
		for i := range seed {
			seed[i] = byte(random.Uint32())
		}
		f.Add(seed)
	}
	v, err := newInventor(a.d, a.store.Latest, a.csr)
	check(f, err)
	f.Fuzz(func(t *testing.T, tape []byte) {
		hash := fnv.New64a()
		hash.Write(tape)
		v.choices = &choices{tape: tape, random: rand.New(rand.NewPCG(hash.Sum64(), 0))}
		for range 4 {
			m := v.request()
			if err := a.try(&m); err != nil {
				t.Errorf("%v\n%v", err, &m)
			}
		}
	})
}
