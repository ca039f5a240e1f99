// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"testing"

	"github.com/anishathalye/porcupine"
)

// A checker that finds nothing wrong must find what is.
func TestControllerChaosCheckerSeesFaults(t *testing.T) {
	model := porcupine.Model{Init: func() any { return 0 }, Step: registerStep}
	operation := func(call, end int64, in registerOp, out registerSeen) porcupine.Operation {
		return porcupine.Operation{Call: call, Return: end, Input: in, Output: out}
	}
	create := operation(0, 1, registerOp{op: "create", value: 1}, registerSeen{})
	write := operation(2, 3, registerOp{op: "write", value: 2}, registerSeen{})
	maybe := operation(2, math.MaxInt64, registerOp{op: "write", value: 2}, registerSeen{unknown: true})
	read := func(at int64, value int) porcupine.Operation {
		return operation(at, at+1, registerOp{op: "read"}, registerSeen{value: value})
	}
	compare := func(value int) porcupine.Operation {
		return operation(2, 9, registerOp{op: "compare", expect: 1, value: value}, registerSeen{})
	}
	for _, c := range []struct {
		name    string
		history []porcupine.Operation
		want    bool
	}{
		{"in order", []porcupine.Operation{create, write, read(4, 2)}, true},
		{"a stale read", []porcupine.Operation{create, write, read(4, 1)}, false},
		{"a lost write", []porcupine.Operation{create, write, read(4, 0)}, false},
		{"an unknown write, done later", []porcupine.Operation{create, maybe, read(4, 1), read(6, 2)}, true},
		{"an unknown write, undone", []porcupine.Operation{create, maybe, read(4, 2), read(6, 1)}, false},
		{"two compared the same", []porcupine.Operation{create, compare(2), compare(3)}, false},
		{"a refusal without a reason", []porcupine.Operation{create, operation(2, 3, registerOp{op: "write", value: 2}, registerSeen{refused: true})}, false},
	} {
		if got := porcupine.CheckOperations(model, c.history); got != c.want {
			t.Errorf("%s: possible %v, want %v", c.name, got, c.want)
		}
	}
}
