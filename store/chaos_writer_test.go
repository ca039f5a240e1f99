// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-network/weft/api"
)

const (
	// registers are written at once; after registerLife come others, so that no
	// history gets too long to check.
	registers    = 6
	registerLife = 2 * time.Second
)

// chaosWriter is one of those that write, one request after another.
type chaosWriter struct {
	*chaos
	number   int
	random   *rand.Rand
	deadline time.Time
	made     []*composite
	acked    int
	unknown  int
}

// composite is a port, its address and its binding, made in one transaction
// and deleted in one.
type composite struct {
	name    string
	address string // as acknowledged
	exists  bool   // as acknowledged
	unknown bool   // a request about it was not answered: all of it is there or nothing
}

const compositeNetwork = "default-domain:default-project:chaos"

// prepare makes what the writers need.
func (c *chaos) prepare() {
	c.t.Helper()
	must := func(by api.Identity, objects ...api.Object) {
		c.t.Helper()
		if a, _, answered := c.controllers[0].ask(request(by, api.OpCreate, objects...)); !answered || a.Code != "" {
			c.t.Fatalf("prepare: %s %s", a.Code, a.Message)
		}
	}
	must(admin, host("h1", "192.0.2.1"), host("h2", "192.0.2.2"), network("chaos", project), subnet("s", "10.0.0.0/20", named(compositeNetwork)))
	for _, name := range []string{"blue", "green"} {
		must(admin, domain(name), &api.Orchestrator{Header: head(api.KindOrchestrator, name, api.Ref{}),
			Spec: api.OrchestratorSpec{Platform: api.PlatformKubernetes, Domain: api.Ref{Name: name}}})
		by := api.Identity{Name: name, Orchestrator: name, Role: api.RoleMember}
		must(by, domain(name+"-own"), &api.Project{Header: head(api.KindProject, "p", api.Ref{Name: name + "-own"})})
	}
}

func request(by api.Identity, op string, objects ...api.Object) chaosRequest {
	q := chaosRequest{By: by}
	for _, o := range objects {
		q.Ops = append(q.Ops, chaosOp{op, mustJSON(o)})
	}
	return q
}

func (w *chaosWriter) run() {
	for w.history.goesOn(w.deadline) {
		known := true
		switch n := w.random.IntN(10); {
		case n < 5:
			known = w.useRegister()
		case n < 8:
			known = w.useComposite()
		default:
			by, ops := randomWrite(w.random)
			q := chaosRequest{By: by}
			for _, o := range ops {
				q.Ops = append(q.Ops, chaosOp{o.Op, mustJSON(o.Object)})
			}
			_, _, known = w.ask(q)
		}
		if !known { // as a client would: wait a little, then go on
			w.unknown++
			<-time.After(time.Duration(50+w.random.IntN(200)) * time.Millisecond)
		}
	}
}

// ask sends a request to some controller. done says that it was done, known
// whether that is certain.
func (w *chaosWriter) ask(q chaosRequest) (a chaosReply, done, known bool) {
	a, sent, answered := w.controllers[w.random.IntN(chaosControllers)].ask(q)
	switch {
	case !sent:
		a.Code = api.CodeUnavailable
		<-time.After(10 * time.Millisecond)
		return a, false, true
	case !answered:
		a.Code = api.CodeUnavailable
		return a, false, false
	case a.Code == "":
		w.acked++
		return a, true, true
	}
	switch a.Code {
	case api.CodeUnavailable, api.CodeTimeout:
		return a, false, strings.Contains(a.Message, "nothing was written")
	case api.CodeInvalid, api.CodeForbidden, api.CodeNotFound, api.CodeConflict, api.CodePrecondition, api.CodeExhausted:
		return a, false, true
	}
	w.t.Errorf("writer %d: %s: %s", w.number, a.Code, a.Message)
	return a, false, false
}

// useRegister does one thing to one register and notes what was seen.
func (w *chaosWriter) useRegister() (known bool) {
	in := registerInput{
		register: fmt.Sprintf("register-%d-%d", w.random.IntN(registers), time.Since(w.history.start)/registerLife),
		op:       []string{"create", "write", "write", "compare", "compare", "read", "read", "delete"}[w.random.IntN(8)],
	}
	if in.op == "read" || in.op == "compare" {
		called := w.history.now()
		a, done, known := w.ask(chaosRequest{Kind: api.KindDomain, Name: in.register})
		if !done {
			return known // a read that failed says nothing
		}
		value, revision := valueOf(a.Objects)
		w.history.add(w.number, registerInput{register: in.register, op: "read"}, called, registerOutput{value: value})
		if in.op == "read" || value == 0 {
			return true
		}
		in.expect = value
		return w.change(in, revision)
	}
	return w.change(in, 0)
}

// change writes a register.
func (w *chaosWriter) change(in registerInput, revision int64) (known bool) {
	d := &api.Domain{Header: head(api.KindDomain, in.register, api.Ref{})}
	op := map[string]string{"create": api.OpCreate, "write": api.OpUpdate, "compare": api.OpUpdate, "delete": api.OpDelete}[in.op]
	if in.op != "delete" {
		in.value = int(w.value.Add(1))
		d.Meta.Description = strconv.Itoa(in.value)
	}
	d.Meta.Revision = revision
	called := w.history.now()
	a, done, known := w.ask(request(admin, op, d))
	refused := a.Code == api.CodeNotFound || a.Code == api.CodePrecondition || a.Code == api.CodeConflict && !strings.Contains(a.Message, "given up")
	switch {
	case done:
		w.history.add(w.number, in, called, registerOutput{})
	case !known:
		w.history.add(w.number, in, called, registerOutput{unknown: true})
	case refused:
		w.history.add(w.number, in, called, registerOutput{refused: true})
	}
	return known
}

// useComposite makes, moves or deletes a port with all that belongs to it.
func (w *chaosWriter) useComposite() (known bool) {
	if len(w.made) > 0 && w.random.IntN(3) == 0 {
		c := w.made[w.random.IntN(len(w.made))]
		if !c.exists || c.unknown {
			return true
		}
		_, done, known := w.ask(request(admin, api.OpDelete, c.objects("")...))
		c.exists, c.unknown = !done, !known
		return known
	}
	c := &composite{name: fmt.Sprintf("w%d-%d", w.number, len(w.made))}
	a, done, known := w.ask(request(admin, api.OpCreate, c.objects("")...))
	c.exists, c.unknown = done, !known
	if done {
		c.address = addressOf(w.t.Errorf, a.Objects[2])
	}
	w.made = append(w.made, c)
	return known
}

// objects are those of a composite, in the order in which they are made; they
// are deleted in the opposite one, which a transaction does not mind.
func (c *composite) objects(ip string) []api.Object {
	p := port(c.name, project, named(compositeNetwork))
	a := address(c.name, named(compositeNetwork), ip)
	a.Spec.Port = named("default-domain:default-project:" + c.name)
	return []api.Object{p, binding("b", a.Spec.Port, named("h1"), true), a}
}

func addressOf(fail func(string, ...any), text json.RawMessage) string {
	o, err := api.Decode(text, false)
	if err != nil {
		fail("decode address: %v", err)
		return ""
	}
	return o.(*api.Address).Spec.IP.String()
}

// checkEnd checks, with everything whole again, that what was acknowledged is
// there and nothing else, that all controllers see the same, and all raw keys.
func (c *chaos) checkEnd(writers []*chaosWriter) {
	t := c.t
	t.Helper()
	var seen []map[string]string
	for _, p := range c.controllers {
		a, _, answered := p.ask(chaosRequest{})
		if !answered || a.Code != "" {
			t.Fatalf("controller %s does not recover by itself: %s %s", p.role.Name, a.Code, a.Message)
		}
		objects := map[string]string{}
		for _, text := range a.Objects {
			o, err := api.Decode(text, false)
			check(t, err)
			objects[string(o.Head().Kind)+" "+o.Head().Meta.FQName] = string(text)
		}
		seen = append(seen, objects)
	}
	for n := 1; n < len(seen); n++ {
		if len(seen[n]) != len(seen[0]) {
			t.Errorf("controllers see %d and %d objects", len(seen[0]), len(seen[n]))
		}
		for name, text := range seen[0] {
			if seen[n][name] != text {
				t.Errorf("controllers see different states of %s:\n%s\n%s", name, text, seen[n][name])
			}
		}
	}
	acked, unknown, composites := 0, 0, 0
	for _, w := range writers {
		acked, unknown, composites = acked+w.acked, unknown+w.unknown, composites+len(w.made)
		for _, m := range w.made {
			c.checkComposite(m, seen[0])
		}
	}
	t.Logf("%d requests acknowledged, %d without a known outcome, %d composites", acked, unknown, composites)
	checkKeys(t, c.client)
	c.checkWriteKeys()
}

func (c *chaos) checkComposite(m *composite, seen map[string]string) {
	c.t.Helper()
	port := "default-domain:default-project:" + m.name
	there := 0
	for _, name := range []string{"port " + port, "binding " + port + ":b", "address " + compositeNetwork + ":" + m.name} {
		if seen[name] != "" {
			there++
		}
	}
	switch {
	case there != 0 && there != 3:
		c.t.Errorf("composite %s: %d of its 3 objects are there", m.name, there)
	case !m.unknown && m.exists && there == 0:
		c.t.Errorf("composite %s was acknowledged and is lost", m.name)
	case !m.unknown && !m.exists && there == 3:
		c.t.Errorf("composite %s was refused or deleted and is there", m.name)
	case there == 3 && m.address != "":
		text := seen["address "+compositeNetwork+":"+m.name]
		if ip := addressOf(c.t.Errorf, json.RawMessage(text)); ip != m.address {
			c.t.Errorf("composite %s has address %s, acknowledged was %s", m.name, ip, m.address)
		}
	}
}

// checkWriteKeys checks that no key of a write stays for ever.
func (c *chaos) checkWriteKeys() {
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	reply, err := c.client.Get(ctx, prefixWrite, clientv3.WithPrefix())
	check(c.t, err)
	for _, kv := range reply.Kvs {
		if kv.Lease == 0 {
			c.t.Errorf("%s has no lease and would stay for ever", kv.Key)
		}
	}
}
