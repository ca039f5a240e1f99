// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bytes"
	"testing"
)

// FuzzFrame: a question may bring any frame. What is read of it is in it, and of one family.
func FuzzFrame(f *testing.F) {
	for _, ip := range [][]byte{{12: 8, 13: 0, 14: 0x45, 33: 0}, {12: 0x86, 13: 0xdd, 14: 0x60, 53: 0}} {
		f.Add(append(ip, 0, 0, 0x19, 0xeb, 0, 0, 0, 0, 0, 1, 1, 64, ip[14], 0)) // UDP and a label
	}
	f.Add([]byte{12: 8, 13: 0, 14: 0x4f, 33: 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		from, to := endsOf(b)
		if from.IsValid() != to.IsValid() || from.Is4() != to.Is4() {
			t.Errorf("%x is from %v to %v", b, from, to)
		}
		source, label, packet, ok := labelled(b)
		if ok && (source != from || label >= 1<<20 || !bytes.HasSuffix(b, packet)) {
			t.Errorf("%x is from %v, label %d, %x", b, source, label, packet)
		}
		for _, six := range []bool{false, true} {
			if mac, ok := answeredMAC(b, six); ok && !bytes.Contains(b, mac[:]) {
				t.Errorf("%x answers with %x", b, mac)
			}
		}
	})
}
