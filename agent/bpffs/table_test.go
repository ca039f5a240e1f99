// SPDX-License-Identifier: Apache-2.0

package bpffs

import "testing"

func TestOwnMount(t *testing.T) {
	table := "proc /proc proc rw 0 0\nbpf /sys/fs/bpf bpf rw 0 0\nweft-bpf /var/a\\040b bpf rw 0 0\nweft-bpf /var/c tmpfs rw 0 0\n"
	for path, want := range map[string]bool{"/var/a b": true, "/sys/fs/bpf": false, "/var/c": false, "/var": false} {
		if got := ownMount(table, path); got != want {
			t.Errorf("mount of ours at %s: %v", path, got)
		}
	}
}
