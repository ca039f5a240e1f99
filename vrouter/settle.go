// SPDX-License-Identifier: Apache-2.0

package vrouter

import "sync"

// settle makes a table wait, before it writes an entry, until no packet is on
// its way that may have a value which was replaced or removed before. The kernel
// gives the memory of such a value to the next entry of the table at once (all
// hash tables do, see bpf_mem_alloc in kernel/bpf/memalloc.c), so a packet that
// holds it would read another port's rules or another tunnel's end. It is for
// tables whose values a program holds while it does other things.
func (t *Table[K, V]) settle(wait func() error) *Table[K, V] {
	var mutex sync.Mutex
	put, del, get := t.put, t.del, t.get
	t.put = func(k K, v V) error {
		mutex.Lock()
		defer mutex.Unlock()
		if t.freed {
			if err := wait(); err != nil {
				return err
			}
			t.freed = false
		}
		_, there, err := get(k)
		if err != nil {
			return err
		}
		t.freed = there
		return put(k, v)
	}
	t.del = func(k K) error {
		mutex.Lock()
		defer mutex.Unlock()
		t.freed = true
		return del(k)
	}
	return t
}
