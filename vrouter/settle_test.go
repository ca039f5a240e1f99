// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"errors"
	"testing"
)

// Memory that an entry left is not used again before packets have left it.
func TestMemoryOfEntriesSettles(t *testing.T) {
	entries, waits, refuse := map[int]int{}, 0, error(nil)
	table := (&Table[int, int]{
		name: "ports",
		put:  func(k, v int) error { entries[k] = v; return nil },
		del:  func(k int) error { delete(entries, k); return nil },
		get:  func(k int) (int, bool, error) { v, there := entries[k]; return v, there, nil },
	}).settle(func() error {
		if refuse == nil {
			waits++
		}
		return refuse
	})
	put := func(k, v int) {
		t.Helper()
		if err := table.Put(k, v); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(what string, want int) {
		t.Helper()
		if waits != want {
			t.Errorf("%s: waited %d times, want %d", what, waits, want)
		}
	}
	put(1, 1)
	put(2, 1)
	expect("new entries take memory that nobody had", 0)
	put(1, 2)
	expect("one that replaces another takes new memory, too", 0)
	put(2, 2)
	expect("the next may take what was replaced", 1)
	put(3, 1)
	put(4, 1)
	expect("and what was replaced by that; then nothing is free", 2)
	if err := table.Delete(3); err != nil {
		t.Fatal(err)
	}
	expect("removing takes no memory", 2)
	refuse = errors.New("refused")
	if err := table.Put(5, 1); !errors.Is(err, refuse) {
		t.Errorf("an entry was written although the kernel does not wait: %v", err)
	}
	refuse = nil
	put(5, 1)
	expect("what was removed", 3)
}

// The tables whose values programs hold while they do other things.
func TestHeldTablesSettle(t *testing.T) {
	d := tablesForTest(t, smallSizes)
	remembers(t, d.Ports, 1, Port{})
	remembers(t, d.PortPolicies, 1, PortPolicy{})
	remembers(t, d.NextHops, 1, NextHop{Kind: NextHopPort, Ifindex: 1})
	remembers(t, d.Groups, 1, Group{})
	remembers(t, d.VNIs, 1, VNI{})
}

func remembers[K comparable, V any](t *testing.T, table *Table[K, V], key K, value V) {
	t.Helper()
	check(t, table.Put(key, value))
	if table.freed {
		t.Errorf("table %s: the memory of a new entry was nobody's", table.name)
	}
	check(t, table.Put(key, value))
	if !table.freed {
		t.Errorf("table %s does not remember that a value was replaced", table.name)
	}
	check(t, table.Put(key, value))
	check(t, table.Delete(key))
	if !table.freed {
		t.Errorf("table %s does not remember that an entry was removed", table.name)
	}
}
