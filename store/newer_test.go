// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
)

// rawKey reads one key of etcd as JSON.
func (w *world) rawKey(key string) map[string]any {
	w.t.Helper()
	r, err := w.client.Get(w.t.Context(), key)
	check(w.t, err)
	if len(r.Kvs) != 1 {
		w.t.Fatalf("there is no key %s", key)
	}
	var value map[string]any
	check(w.t, json.Unmarshal(r.Kvs[0].Value, &value))
	return value
}

// asNewer changes a key of etcd as a newer controller would, past the store,
// and waits until the store has it.
func (w *world) asNewer(key string, change func(map[string]any)) {
	w.t.Helper()
	value := w.rawKey(key)
	change(value)
	w.putRaw(key, string(mustJSON(value)))
}

func (w *world) putRaw(key, value string) {
	w.t.Helper()
	r, err := w.client.Put(w.t.Context(), key, value)
	check(w.t, err)
	_, err = w.at(w.t.Context(), r.Header.Revision)
	check(w.t, err)
}

func at(value map[string]any, path ...string) map[string]any {
	for _, p := range path {
		value = value[p].(map[string]any)
	}
	return value
}

func services(protocols ...api.Protocol) []api.Match {
	var all []api.Match
	for _, p := range protocols {
		all = append(all, api.Match{Protocol: p})
	}
	return all
}

// What a newer controller wrote beside what this one knows is still there after
// this one has written the object, whatever it changed: in the record, the
// object, its header, its spec, in elements of lists, and in the status.
func TestUnknownFieldsOutliveAWrite(t *testing.T) {
	w := newWorld(t)
	made := w.create(admin, &api.ServiceGroup{Header: head(api.KindServiceGroup, "g", project), Spec: api.ServiceGroupSpec{Services: services("tcp", "udp")}}).(*api.ServiceGroup)
	i := idOf(api.KindServiceGroup, made.Meta.UUID)
	w.asNewer(i.objectKey(), func(v map[string]any) {
		v["record"] = "r"
		at(v, "object")["object"] = []any{1.0, "x"}
		at(v, "object", "meta")["header"] = map[string]any{"deep": true}
		at(v, "object", "spec")["spec"] = "s"
		at(v, "object", "spec")["services"].([]any)[1].(map[string]any)["element"] = "e"
		at(v, "object", "meta")["foreign"] = map[string]any{"orchestrator": "weft", "kind": "k", "id": "i", "inner": "n"}
	})
	// The store's own keys of the foreign identity, as the newer one would put them.
	w.putRaw(foreignKey(api.AdministratorsName, &api.Foreign{Kind: "k", ID: "i"}), string(i))
	expect := func(step string, rules int) {
		t.Helper()
		v := w.rawKey(i.objectKey())
		for what, got := range map[string]any{
			"r": v["record"], "s": at(v, "object", "spec")["spec"], "n": at(v, "object", "meta", "foreign")["inner"],
		} {
			if got != what {
				t.Errorf("%s: of %q is left %v in %v", step, what, got, v)
			}
		}
		if !reflect.DeepEqual(at(v, "object")["object"], []any{1.0, "x"}) || !reflect.DeepEqual(at(v, "object", "meta")["header"], map[string]any{"deep": true}) {
			t.Errorf("%s: object and header are %v", step, v)
		}
		list := at(v, "object", "spec")["services"].([]any)
		found := 0
		for _, e := range list {
			if e := e.(map[string]any); e["element"] == "e" {
				found++
				if e["protocol"] != "udp" {
					t.Errorf("%s: the unknown field went to another rule: %v", step, e)
				}
			}
		}
		if len(list) != rules || found != 1 {
			t.Errorf("%s: the rules are %v", step, list)
		}
	}
	get := func() *api.ServiceGroup { return api.Clone(w.Latest().Get(i.kind(), i.uuid()).(*api.ServiceGroup)) }

	p := get()
	p.Meta.DisplayName = "new"
	w.update(admin, p)
	expect("display name", 2)
	p = get()
	p.Spec.Services = append(services("icmp"), p.Spec.Services...)
	w.update(admin, p)
	expect("a rule before", 3)
	p = get()
	p.Spec.Services = []api.Match{p.Spec.Services[2], p.Spec.Services[0]}
	w.update(admin, p)
	expect("one rule gone, two turned round", 2)
	p = get()
	p.Spec.Services[0].Protocol = "tcp"
	w.refused(api.CodeUnavailable, "newer controller", admin, api.OpUpdate, p)
	expect("refused", 2)
	p = get()
	p.Spec.Services = p.Spec.Services[1:]
	w.update(admin, p) // to remove it is no misunderstanding
	if list := at(w.rawKey(i.objectKey()), "object", "spec")["services"].([]any); len(list) != 1 {
		t.Errorf("the removed rule is there: %v", list)
	}
	w.remove(admin, get())
}

func TestUnknownFieldsOfAStatusOutliveAWrite(t *testing.T) {
	w := newWorld(t)
	w.create(admin, network("n", project))
	n := w.create(admin, subnet("s", "10.0.0.0/24", named("default-domain:default-project:n")))
	i := idOf(api.KindSubnet, n.Head().Meta.UUID)
	check(t, w.PutStatus(t.Context(), i.kind(), i.uuid(), api.SubnetStatus{Used: 1}))
	w.asNewer(i.statusKey(), func(v map[string]any) { v["future"] = map[string]any{"a": 1.0} })
	check(t, w.PutStatus(t.Context(), i.kind(), i.uuid(), api.SubnetStatus{Used: 2}))
	if v := w.rawKey(i.statusKey()); v["used"] != 2.0 || !reflect.DeepEqual(v["future"], map[string]any{"a": 1.0}) {
		t.Errorf("the status is %v", v)
	}
	revision := w.rawRevision(i.statusKey())
	_, err := w.at(t.Context(), revision)
	check(t, err)
	check(t, w.PutStatus(t.Context(), i.kind(), i.uuid(), api.SubnetStatus{Used: 2}))
	if now := w.rawRevision(i.statusKey()); now != revision {
		t.Errorf("the same status was written again: revision %d, then %d", revision, now)
	}
}

func (w *world) rawRevision(key string) int64 {
	w.t.Helper()
	r, err := w.client.Get(w.t.Context(), key)
	check(w.t, err)
	return r.Kvs[0].ModRevision
}

// An object of a newer schema is read, and neither written, deleted nor built
// upon; what is unknown of a share grants nothing.
func TestNewerSchemaIsReadOnly(t *testing.T) {
	w := newWorld(t)
	w.orchestrators()
	made := w.create(admin, network("n", project)).(*api.Network)
	w.create(admin, subnet("s", "10.0.0.0/24", api.RefTo(made)))
	a := w.create(admin, address("a", api.RefTo(made), ""))
	mine := w.create(blue, network("mine", projectOf(blue)))
	given := w.create(blue, share("s", projectOf(blue), api.KindNetwork, api.RefTo(mine), api.GranteeAll, api.Ref{}, api.VerbAttach))
	schema := func(i id, version int) {
		t.Helper()
		w.asNewer(i.objectKey(), func(v map[string]any) { v["schema"] = version })
	}
	i := idOf(api.KindNetwork, made.Meta.UUID)
	schema(i, schemaVersion+1)
	if o := w.Latest().Get(i.kind(), i.uuid()); o == nil || o.Head().Meta.Name != "n" {
		t.Errorf("it is read as %v", o)
	}
	n := api.Clone(made)
	n.Meta.Revision, n.Meta.DisplayName = 0, "x"
	w.refused(api.CodeUnavailable, "schema", admin, api.OpUpdate, n)
	w.refused(api.CodeUnavailable, "schema", admin, api.OpDelete, n)
	w.refused(api.CodeUnavailable, "schema", admin, api.OpCreate, address("b", api.RefTo(made), ""))
	changed := api.Clone(a)
	changed.Head().Meta.DisplayName = "what was there already may go on"
	w.update(admin, changed)

	w.create(green, port("before", projectOf(green), api.RefTo(mine)))
	of := idOf(api.KindShare, given.Head().Meta.UUID)
	schema(of, schemaVersion+1)
	w.refused(api.CodeInvalid, "there is no network", green, api.OpCreate, port("after", projectOf(green), api.RefTo(mine)))
	schema(of, schemaVersion)
	schema(i, schemaVersion)
	w.create(green, port("after", projectOf(green), api.RefTo(mine)))
	w.create(admin, address("b", api.RefTo(made), ""))
}

// Objects of kinds that only newer controllers have stay, what they refer to
// stays with a reason, and what they hold is not given away.
func TestUnknownKindsAreLeftAlone(t *testing.T) {
	w := newWorld(t)
	made := w.create(admin, network("n", project))
	w.create(admin, subnet("s", "10.0.0.0/29", api.RefTo(made)))
	other := w.create(admin, network("other", project))
	future := id("wormhole/11111111-1111-4111-8111-111111111111")
	claim := prefixClaim + claimsAddress + made.Head().Meta.UUID + "/10.0.0.2"
	raw := map[string]string{
		future.objectKey():           `{"schema":7,"object":{"kind":"wormhole","meta":{"name":"w"},"spec":[1,2]}}`,
		future.statusKey():           `{"open":true}`,
		nameKey("wormhole", "", "w"): string(future),
		refKey(idOf(api.KindNetwork, other.Head().Meta.UUID), future, "spec.network"): "",
		claim: string(future),
	}
	for key, value := range raw {
		w.putRaw(key, value)
	}
	w.refused(api.CodeConflict, "a wormhole refers to it, which only newer controllers know", admin, api.OpDelete, other)
	w.refused(api.CodeConflict, "is held", admin, api.OpCreate, address("fixed", api.RefTo(made), "10.0.0.2"))
	for n := range 4 {
		if ip := w.create(admin, address(fmt.Sprint("a", n), api.RefTo(made), "")).(*api.Address).Spec.IP.String(); ip == "10.0.0.2" {
			t.Error("an address that a newer kind holds was given away")
		}
	}
	again := w.open()
	if list := again.Latest().List(api.KindNetwork); len(list) != 2 {
		t.Errorf("a controller that starts sees %d networks", len(list))
	}
	checkKeys(t, w.client)
	keys := allKeys(t, w.client)
	for key, value := range raw {
		if keys[key] != value {
			t.Errorf("%s is %q, was %q", key, keys[key], value)
		}
		_, err := w.client.Delete(t.Context(), key) // the end of the world has only known kinds
		check(t, err)
	}
	w.remove(admin, other)
}

// A store that newer controllers have raised takes no writes of an older one,
// also of one that has not heard of it yet, and tells it to end.
func TestRaisedStoreRefusesOlderControllers(t *testing.T) {
	w := newWorld(t)
	n := w.create(admin, network("n", project))
	late := w.open()
	late.cancel() // it hears of nothing any more
	late.wait.Wait()
	w.putRaw(keySchema, fmt.Sprint(schemaVersion+1))
	w.refused(api.CodeUnavailable, "upgrade it", admin, api.OpDelete, n)
	if err := w.PutStatus(t.Context(), api.KindNetwork, n.Head().Meta.UUID, api.NetworkStatus{Conditions: []api.Condition{{Type: "t"}}}); err == nil || !strings.Contains(err.Error(), "upgrade it") {
		t.Errorf("a status: %v", err)
	}
	select {
	case err := <-w.Failed():
		if !strings.Contains(err.Error(), "upgrade it") {
			t.Errorf("it fails with %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("it does not say that it cannot go on")
	}
	if r, err := late.Commit(t.Context(), admin, []api.Operation{{Op: api.OpDelete, Object: n}}, CommitOptions{}); err == nil {
		t.Errorf("a controller that is behind wrote %v", r)
	}
	if _, err := Open(t.Context(), w.client, Options{}); err == nil || !strings.Contains(err.Error(), "upgrade it") {
		t.Errorf("a new start: %v", err)
	}
	w.putRaw(keySchema, fmt.Sprint(schemaVersion))
	w.remove(admin, n)
}

// What cannot even be read is no reason for a wrong answer: reads wait and then
// say which object it is, and go on when it can be read again.
func TestUnreadableObjectIsNamed(t *testing.T) {
	w := newWorld(t)
	n := w.create(admin, network("n", project))
	i := idOf(api.KindNetwork, n.Head().Meta.UUID)
	whole := string(mustJSON(w.rawKey(i.objectKey())))
	_, err := w.client.Put(t.Context(), i.objectKey(), strings.Replace(whole, `"spec":{`, `"spec":{"vni":"soon a text",`, 1))
	check(t, err)
	_, err = w.Snapshot(t.Context(), 0)
	var e *api.Error
	if !errors.As(err, &e) || e.Code != api.CodeTimeout || !strings.Contains(e.Message, string(i)) {
		t.Errorf("a read: %v, want %s and the name of the object", err, api.CodeTimeout)
	}
	r, err := w.client.Put(t.Context(), i.objectKey(), whole)
	check(t, err)
	deadline := time.After(30 * time.Second)
	for tick := time.Tick(20 * time.Millisecond); w.latest().revision < r.Header.Revision; {
		select {
		case <-tick:
		case <-deadline:
			t.Fatal("it does not go on")
		}
	}
}

// Random JSON: what a known part does not have is there after any change of the
// known part that touches no list, and the known part is as it was changed.
func TestRemainsOfRandomValues(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 500 {
		known, whole := randomValue(r, 3)
		left := unknownIn(mustJSON(whole), mustJSON(known))
		merged, err := left.into(mustJSON(known), "value")
		check(t, err)
		var got any
		check(t, json.Unmarshal(merged, &got))
		var want any
		check(t, json.Unmarshal(mustJSON(whole), &want))
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("known %s of %s gives back %s", mustJSON(known), mustJSON(whole), merged)
		}
		if again := unknownIn(merged, mustJSON(known)); (again == nil) != (left == nil) {
			t.Fatalf("%s has unknown fields: %v, and then %v", merged, left, again)
		}
	}
}

// randomValue returns an object as an older and as a newer controller know it.
func randomValue(r *rand.Rand, depth int) (known, whole map[string]any) {
	known, whole = map[string]any{}, map[string]any{}
	for n := range r.IntN(5) {
		name := fmt.Sprint("k", n)
		switch c := r.IntN(6); {
		case c < 2 || depth == 0:
			known[name] = r.IntN(3)
			whole[name] = known[name]
		case c < 4:
			known[name], whole[name] = randomValue(r, depth-1)
		default:
			var few, all []any
			for range r.IntN(4) {
				k, a := randomValue(r, depth-1)
				few, all = append(few, k), append(all, a)
			}
			known[name], whole[name] = few, all
		}
	}
	for n := range r.IntN(3) {
		whole[fmt.Sprint("u", n)] = map[string]any{"x": r.IntN(3)}
	}
	return known, whole
}

// Verify sees what is wrong with the keys, which no other test makes wrong.
func TestVerifySeesFaults(t *testing.T) {
	w := newWorld(t)
	n := w.create(admin, network("n", project))
	name := nameKey(api.KindNetwork, n.Head().Meta.Parent.UUID, "n")
	for _, c := range []struct{ key, value, want string }{
		{name, "", name + " is missing"},
		{prefixClaim + "x", "network/none", "belongs to no object"},
		{prefixStatus + "network/none", "{}", "is the status of no object"},
		{"odd", "x", "unknown key odd"},
	} {
		before := allKeys(t, w.client)[c.key]
		put := func(value string) {
			t.Helper()
			var err error
			if value == "" {
				_, err = w.client.Delete(t.Context(), c.key)
			} else {
				_, err = w.client.Put(t.Context(), c.key, value)
			}
			check(t, err)
		}
		put(c.value)
		problems, err := Verify(t.Context(), w.client)
		check(t, err)
		if got := strings.Join(problems, "\n"); len(problems) == 0 || !strings.Contains(got, c.want) {
			t.Errorf("%s = %q: %q, want %q", c.key, c.value, got, c.want)
		}
		put(before)
	}
}
