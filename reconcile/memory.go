// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
)

// FaultProbability is how often an operation of a Memory with faults fails.
const FaultProbability = 0.1

// ErrInjected is the failure that a Memory with faults returns.
var ErrInjected = errors.New("injected fault")

// Memory is a Target in memory: the twin of a kernel table for tests. With a
// random source it fails one operation in ten, half of those after having
// done the work, as a crash or a lost answer would.
type Memory[K comparable, V any] struct {
	Rows   map[K]V
	Faults *rand.Rand // nil: none
	Ops    int        // operations performed, to show that nothing is done twice
}

// NewMemory returns an empty table; faults may be nil.
func NewMemory[K comparable, V any](faults *rand.Rand) *Memory[K, V] {
	return &Memory[K, V]{Rows: map[K]V{}, Faults: faults}
}

func (m *Memory[K, V]) fault() (before, after error) {
	m.Ops++
	if m.Faults == nil || m.Faults.Float64() >= FaultProbability {
		return nil, nil
	}
	if m.Faults.IntN(2) == 0 {
		return ErrInjected, nil
	}
	return nil, ErrInjected
}

// Update implements Target.
func (m *Memory[K, V]) Update(_ context.Context, key K, value V) error {
	before, after := m.fault()
	if before != nil {
		return before
	}
	m.Rows[key] = value
	return after
}

// Delete implements Target.
func (m *Memory[K, V]) Delete(_ context.Context, key K) error {
	before, after := m.fault()
	if before != nil {
		return before
	}
	delete(m.Rows, key)
	return after
}

// Owned implements Target. It does not fail: the caller would only repeat it.
func (m *Memory[K, V]) Owned(context.Context) (map[K]V, error) {
	return maps.Clone(m.Rows), nil
}

func (m *Memory[K, V]) String() string { return fmt.Sprint(m.Rows) }
