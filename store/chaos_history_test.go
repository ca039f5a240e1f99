// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/weft-network/weft/api"
)

// A register is a domain whose description is its value. Values are never
// used twice, so a value stands for the revision it was written at.
type registerInput struct {
	register string
	op       string // create, write, compare (and write), read, delete
	expect   int    // of compare
	value    int    // that is written
}

type registerOutput struct {
	unknown bool // no answer: done at any time later, or never
	refused bool // there is none; there is one already; the value is another
	value   int  // that was read; 0 if there is none
}

// registerModel says what one register does. Its state is the value, 0 when
// there is none.
func registerModel() porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			by := map[string][]porcupine.Operation{}
			for _, o := range history {
				name := o.Input.(registerInput).register
				by[name] = append(by[name], o)
			}
			var parts [][]porcupine.Operation
			for _, part := range by {
				parts = append(parts, part)
			}
			return parts
		},
		Init: func() any { return 0 },
		Step: func(state, input, output any) (bool, any) {
			now, in, out := state.(int), input.(registerInput), output.(registerOutput)
			if in.op == "read" {
				return out.value == now, now
			}
			possible := now != 0
			switch in.op {
			case "create":
				possible = now == 0
			case "compare":
				possible = now == in.expect
			}
			next := in.value
			switch {
			case !possible:
				return out.unknown || out.refused, now
			case out.refused:
				return false, now
			}
			return true, next
		},
		DescribeOperation: func(input, output any) string {
			return fmt.Sprintf("%+v -> %+v", input, output)
		},
	}
}

// history is what all writers did to registers.
type chaosHistory struct {
	start time.Time

	mu         sync.Mutex // guards everything that follows
	operations []porcupine.Operation
}

func (h *chaosHistory) now() int64 { return int64(time.Since(h.start)) }

func (h *chaosHistory) add(writer int, in registerInput, called int64, out registerOutput) {
	o := porcupine.Operation{ClientId: writer, Input: in, Call: called, Output: out, Return: h.now()}
	if out.unknown {
		o.Return = math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations = append(h.operations, o)
}

// enoughOperations with a known outcome are wanted of a history.
const enoughOperations = 100

// known is how many operations have a known outcome.
func (h *chaosHistory) known() (n int) {
	for _, o := range h.operations {
		if !o.Output.(registerOutput).unknown {
			n++
		}
	}
	return n
}

// goesOn tells whether writers write: until the deadline, and on a slow machine
// until they have done enough to show something.
func (h *chaosHistory) goesOn(deadline time.Time) bool {
	late := time.Since(deadline)
	if late < 0 {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.known() < enoughOperations && late < 2*time.Minute
}

// check tells whether all that was seen can have happened in some order that
// agrees with time.
func (h *chaosHistory) check(t *testing.T) {
	t.Helper()
	t.Logf("registers: %d operations, %d without a known outcome", len(h.operations), len(h.operations)-h.known())
	if h.known() < enoughOperations {
		t.Errorf("only %d operations with a known outcome: the test shows nothing", h.known())
	}
	model := registerModel()
	for _, part := range model.Partition(h.operations) {
		switch porcupine.CheckOperationsTimeout(model, part, time.Minute) {
		case porcupine.Illegal:
			t.Errorf("register %s: what was seen can have happened in no order:", part[0].Input.(registerInput).register)
			for _, o := range part {
				t.Logf("  %12d .. %20d  writer %2d  %s", o.Call, o.Return, o.ClientId, model.DescribeOperation(o.Input, o.Output))
			}
		case porcupine.Unknown:
			t.Errorf("register %s: %d operations could not be checked within a minute", part[0].Input.(registerInput).register, len(part))
		}
	}
}

// A checker that finds nothing wrong must find what is.
func TestChaosCheckerSeesFaults(t *testing.T) {
	operation := func(call, end int64, in registerInput, out registerOutput) porcupine.Operation {
		in.register = "r"
		return porcupine.Operation{Call: call, Return: end, Input: in, Output: out}
	}
	create := operation(0, 1, registerInput{op: "create", value: 1}, registerOutput{})
	write := operation(2, 3, registerInput{op: "write", value: 2}, registerOutput{})
	lost := operation(2, math.MaxInt64, registerInput{op: "write", value: 2}, registerOutput{unknown: true})
	read := func(at int64, value int) porcupine.Operation {
		return operation(at, at+1, registerInput{op: "read"}, registerOutput{value: value})
	}
	for _, c := range []struct {
		name    string
		history []porcupine.Operation
		want    bool
	}{
		{"in order", []porcupine.Operation{create, write, read(4, 2)}, true},
		{"a stale read", []porcupine.Operation{create, write, read(4, 1)}, false},
		{"a lost write", []porcupine.Operation{create, write, read(4, 0)}, false},
		{"an unknown write that was done later", []porcupine.Operation{create, lost, read(4, 1), read(6, 2)}, true},
		{"an unknown write that was undone", []porcupine.Operation{create, lost, read(4, 2), read(6, 1)}, false},
		{"two writers compared the same", []porcupine.Operation{create,
			operation(2, 9, registerInput{op: "compare", expect: 1, value: 2}, registerOutput{}),
			operation(2, 9, registerInput{op: "compare", expect: 1, value: 3}, registerOutput{})}, false},
		{"a refusal without a reason", []porcupine.Operation{create,
			operation(2, 3, registerInput{op: "write", value: 2}, registerOutput{refused: true})}, false},
	} {
		if got := porcupine.CheckOperations(registerModel(), c.history); got != c.want {
			t.Errorf("%s: possible %v, want %v", c.name, got, c.want)
		}
	}
}

// valueOf reads the value of a register's object.
func valueOf(objects []json.RawMessage) (value int, revision int64) {
	if len(objects) == 0 {
		return 0, 0
	}
	o, err := api.Decode(objects[0], false)
	if err != nil {
		panic(err)
	}
	value, err = strconv.Atoi(o.Head().Meta.Description)
	if err != nil {
		panic(err)
	}
	return value, o.Head().Meta.Revision
}
