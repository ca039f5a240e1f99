// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/api/client/cache"
)

const (
	compositeNetwork = "default-domain:default-project:chaos"
	// registers are written at once; after registerLife come others, so that no
	// history gets too long to check.
	registers    = 6
	registerLife = 2 * time.Second
	// requestTimeout is above what a controller takes to say that etcd does not
	// answer; a paused one says nothing.
	requestTimeout = 15 * time.Second
)

// registerOp is what was asked of a register, a domain whose description is its
// value: create, write, compare (and write), read.
type registerOp struct {
	register, op  string
	expect, value int
}

// registerSeen is what came of it.
type registerSeen struct {
	unknown, refused bool
	value            int
}

// registerStep says what one register may do; its state is the value, 0 when
// there is none.
func registerStep(state, input, output any) (bool, any) {
	now, in, out := state.(int), input.(registerOp), output.(registerSeen)
	if in.op == "read" {
		return out.value == now, now
	}
	possible := now != 0 && (in.op != "compare" || now == in.expect)
	if in.op == "create" {
		possible = now == 0
	}
	switch {
	case !possible:
		return out.unknown || out.refused, now
	case out.refused:
		return false, now
	}
	return true, in.value
}

// chaosHistory is what all writers did to registers.
type chaosHistory struct {
	start time.Time

	mu sync.Mutex
	by map[string][]porcupine.Operation
	n  int // with a known outcome
}

func (h *chaosHistory) now() int64 { return int64(time.Since(h.start)) }

func (h *chaosHistory) add(writer int, in registerOp, called int64, out registerSeen) {
	o := porcupine.Operation{ClientId: writer, Input: in, Call: called, Output: out, Return: h.now()}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.by == nil {
		h.by = map[string][]porcupine.Operation{}
	}
	if out.unknown {
		o.Return = math.MaxInt64
	} else {
		h.n++
	}
	h.by[in.register] = append(h.by[in.register], o)
}

// enoughOperations with a known outcome are wanted of a history.
const enoughOperations = 100

// goesOn tells whether writers write: until the deadline, and on a slow machine
// until they have done enough to show something.
func (h *chaosHistory) goesOn(deadline time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	late := time.Since(deadline)
	return late < 0 || h.n < enoughOperations && late < 2*time.Minute
}

func (h *chaosHistory) check(t *testing.T) {
	t.Helper()
	t.Logf("%d operations on %d registers with a known outcome", h.n, len(h.by))
	if h.n < enoughOperations {
		t.Errorf("only %d operations with a known outcome: the test shows nothing", h.n)
	}
	model := porcupine.Model{Init: func() any { return 0 }, Step: registerStep}
	for name, part := range h.by {
		switch porcupine.CheckOperationsTimeout(model, part, time.Minute) {
		case porcupine.Illegal:
			t.Errorf("register %s: what was seen can have happened in no order:", name)
			for _, o := range part {
				t.Logf("  %12d .. %20d  writer %2d  %+v -> %+v", o.Call, o.Return, o.ClientId, o.Input, o.Output)
			}
		case porcupine.Unknown:
			t.Errorf("register %s: %d operations could not be checked within a minute", name, len(part))
		}
	}
}

// chaosWriter is one of those that write, one request after another.
type chaosWriter struct {
	*chaos
	number   int
	random   *rand.Rand
	deadline time.Time
	made     []*composite
}

// composite is a port, its address and its binding, made in one transaction
// and deleted in one.
type composite struct {
	name            string
	address         string // as acknowledged
	exists, unknown bool
}

func (w *chaosWriter) run() {
	for w.history.goesOn(w.deadline) {
		if w.random.IntN(2) == 0 {
			w.useRegister()
		} else {
			w.useComposite()
		}
	}
}

// outcome sorts what a request came to. What was not even sent, or says itself
// that nothing was written, is known not to be done.
func (w *chaosWriter) outcome(err error) (done, known bool) {
	var e *api.Error
	switch {
	case err == nil:
		w.acked.Add(1)
		return true, true
	case !errors.As(err, &e):
		w.t.Errorf("writer %d: %v is no error of the API", w.number, err)
	case e.Code == api.CodeUnavailable || e.Code == api.CodeTimeout:
		<-time.After(time.Duration(20+w.random.IntN(100)) * time.Millisecond) // as a client would
		if strings.Contains(e.Message, "nothing was written") || strings.Contains(e.Message, "cannot reach") && !strings.Contains(e.Message, "not known") {
			return false, true
		}
	case e.Code == api.CodeNotFound, e.Code == api.CodeConflict, e.Code == api.CodePrecondition:
		return false, true
	default:
		w.t.Errorf("writer %d: %s: %s", w.number, e.Code, e.Message)
	}
	w.unknown.Add(1)
	return false, false
}

func (w *chaosWriter) any() *client.Client { return w.admins[w.random.IntN(chaosControllers)] }

func (w *chaosWriter) useRegister() {
	ctx, cancel := context.WithTimeout(w.t.Context(), requestTimeout)
	defer cancel()
	in := registerOp{
		register: fmt.Sprintf("register-%d-%d", w.random.IntN(registers), time.Since(w.history.start)/registerLife),
		op:       []string{"create", "write", "compare", "compare", "read", "read"}[w.random.IntN(6)],
	}
	var revision int64
	if in.op == "read" || in.op == "compare" {
		called := w.history.now()
		o, err := w.any().Get(ctx, api.KindDomain, api.Ref{Name: in.register})
		var e *api.Error
		if absent := errors.As(err, &e) && e.Code == api.CodeNotFound; err != nil && !absent {
			return // a read that failed says nothing
		}
		value := 0
		if err == nil {
			value, _ = strconv.Atoi(o.Head().Meta.Description)
			revision = o.Head().Meta.Revision
		}
		w.history.add(w.number, registerOp{register: in.register, op: "read"}, called, registerSeen{value: value})
		if in.op == "read" || value == 0 {
			return
		}
		in.expect = value
	}
	w.change(ctx, in, revision)
}

func (w *chaosWriter) change(ctx context.Context, in registerOp, revision int64) {
	in.value = int(w.value.Add(1))
	d := &api.Domain{Header: header(api.KindDomain, in.register, api.Ref{})}
	d.Meta.Description, d.Meta.Revision = strconv.Itoa(in.value), revision
	op := api.OpUpdate
	if in.op == "create" {
		op = api.OpCreate
	}
	called := w.history.now()
	_, err := w.any().Transaction(ctx, []api.Operation{{Op: op, Object: d}}, false)
	done, known := w.outcome(err)
	var e *api.Error
	switch {
	case done:
		w.history.add(w.number, in, called, registerSeen{})
	case !known:
		w.history.add(w.number, in, called, registerSeen{unknown: true})
	case errors.As(err, &e) && e.Code != api.CodeUnavailable && e.Code != api.CodeTimeout && !strings.Contains(e.Message, "given up"):
		w.history.add(w.number, in, called, registerSeen{refused: true})
	}
}

// useComposite makes or deletes a port with all that belongs to it.
func (w *chaosWriter) useComposite() {
	ctx, cancel := context.WithTimeout(w.t.Context(), requestTimeout)
	defer cancel()
	if len(w.made) > 0 && w.random.IntN(3) == 0 {
		if m := w.made[w.random.IntN(len(w.made))]; m.exists && !m.unknown {
			_, err := w.any().Transaction(ctx, m.operations(api.OpDelete), false)
			done, known := w.outcome(err)
			m.exists, m.unknown = !done, !known
			return
		}
	}
	m := &composite{name: fmt.Sprintf("w%d-%d", w.number, len(w.made))}
	result, err := w.any().Transaction(ctx, m.operations(api.OpCreate), false)
	done, known := w.outcome(err)
	m.exists, m.unknown = done, !known
	if done {
		m.address = result.Objects[2].(*api.Address).Spec.IP.String()
	}
	w.made = append(w.made, m)
}

func (m *composite) operations(op string) []api.Operation {
	port := api.Ref{Name: "default-domain:default-project:" + m.name}
	p := &api.Port{Header: header(api.KindPort, m.name, api.Ref{Name: "default-domain:default-project"}), Spec: api.PortSpec{Network: api.Ref{Name: compositeNetwork}}}
	b := &api.Binding{Header: header(api.KindBinding, "b", port), Spec: api.BindingSpec{Host: api.Ref{Name: "h1"}, Active: true}}
	a := &api.Address{Header: header(api.KindAddress, m.name, api.Ref{Name: compositeNetwork}), Spec: api.AddressSpec{Port: port}}
	return []api.Operation{{Op: op, Object: p}, {Op: op, Object: b}, {Op: op, Object: a}}
}

// checkComposites checks that what was acknowledged is there and whole, and
// what was refused or deleted is not.
func (c *chaos) checkComposites(writers []*chaosWriter) {
	t := c.t
	t.Helper()
	there, count := map[string]int{}, 0
	addresses := map[string]string{}
	for _, kind := range []api.Kind{api.KindPort, api.KindBinding, api.KindAddress} {
		list, err := c.admins[0].List(t.Context(), kind, client.ListOptions{})
		check(t, err)
		for _, o := range list.Items {
			name := strings.TrimSuffix(o.Head().Meta.FQName, ":b")
			there[name[strings.LastIndex(name, ":")+1:]]++
			if a, ok := o.(*api.Address); ok {
				addresses[a.Meta.Name] = a.Spec.IP.String()
			}
		}
	}
	for _, w := range writers {
		for _, m := range w.made {
			n := there[m.name]
			switch {
			case n != 0 && n != 3:
				t.Errorf("composite %s: %d of its 3 objects are there", m.name, n)
			case !m.unknown && m.exists != (n == 3):
				t.Errorf("composite %s: acknowledged as there: %v, and %d of its objects are", m.name, m.exists, n)
			case n == 3 && m.address != "" && addresses[m.name] != m.address:
				t.Errorf("composite %s has address %s, acknowledged was %s", m.name, addresses[m.name], m.address)
			}
			count++
		}
	}
	t.Logf("%d composites, %d addresses at the end", count, len(addresses))
}

// checkStatuses waits until the leader has written what is so.
func (c *chaos) checkStatuses() {
	c.t.Helper()
	c.await("the subnet's status counts its addresses", func() bool {
		s, err := c.admins[1].Get(c.t.Context(), api.KindSubnet, api.Ref{Name: compositeNetwork + ":s"})
		check(c.t, err)
		n, err := c.admins[1].Count(c.t.Context(), api.KindAddress, client.ListOptions{})
		check(c.t, err)
		return s.(*api.Subnet).Status.Used == uint64(n)
	})
}

// checkCaches waits until each cache has a state that a list has too.
func (c *chaos) checkCaches(caches []*cache.Cache) {
	c.t.Helper()
	want := map[string]string{}
	text := func(o api.Object) string {
		data, err := json.Marshal(o)
		check(c.t, err)
		return string(data)
	}
	for _, info := range api.Kinds() {
		list, err := c.admins[2].List(c.t.Context(), info.Kind, client.ListOptions{})
		check(c.t, err)
		for _, o := range list.Items {
			want[string(info.Kind)+" "+o.Head().Meta.FQName] = text(o)
		}
	}
	for n, one := range caches {
		var differs string
		c.await(fmt.Sprintf("cache %d has the state of a list", n), func() bool {
			got := 0
			differs = ""
			one.Read(func(s api.Snapshot) {
				for _, info := range api.Kinds() {
					for _, o := range s.List(info.Kind) {
						got++
						if name := string(info.Kind) + " " + o.Head().Meta.FQName; want[name] != text(o) {
							differs = name
						}
					}
				}
			})
			return differs == "" && got == len(want)
		})
		if differs != "" {
			c.t.Errorf("cache %d differs in %s", n, differs)
		}
	}
}
