// SPDX-License-Identifier: Apache-2.0

package bpffs

import "strings"

// ownMount tells whether the mount table (the format of /proc/mounts) has a
// mount of ours at an absolute path.
func ownMount(table, path string) bool {
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) >= 3 && fields[0] == source && unescape.Replace(fields[1]) == path && fields[2] == "bpf" {
			return true
		}
	}
	return false
}

// unescape undoes what the kernel does to blanks in the table.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
