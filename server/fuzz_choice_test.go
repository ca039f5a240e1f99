// SPDX-License-Identifier: Apache-2.0

package server

import "math/rand/v2"

// choices decide everything that a made-up request depends on: first the bytes
// of a tape, which the fuzzing engine changes, then a seeded source, if any.
type choices struct {
	tape   []byte
	random *rand.Rand
}

// below chooses a number from 0 to n-1.
func (c *choices) below(n int) int {
	switch {
	case n <= 1:
		return 0
	case len(c.tape) > 0 && n <= 256:
		b := int(c.tape[0])
		c.tape = c.tape[1:]
		return b % n
	case len(c.tape) > 1:
		b := int(c.tape[0])<<8 | int(c.tape[1])
		c.tape = c.tape[2:]
		return b % n
	case c.random != nil:
		return c.random.IntN(n)
	}
	return 0
}

// once is true once in n times.
func (c *choices) once(n int) bool { return c.below(n) == n-1 }

// ended tells whether there is nothing left to decide by.
func (c *choices) ended() bool { return len(c.tape) == 0 && c.random == nil }

func choose[T any](c *choices, from []T) T { return from[c.below(len(from))] }
