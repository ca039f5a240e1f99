// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"testing"
)

// FuzzUnwrap: what is taken apart has a label of 20 bits and something under it, and
// wrapped again it is taken apart into the same.
func FuzzUnwrap(f *testing.F) {
	f.Add(Wrap(1<<20-1, []byte("packet")))
	f.Add(Wrap(1, nil))
	f.Add([]byte{0, 0, 0x10, 0x40, 1}) // not the bottom
	f.Fuzz(func(t *testing.T, payload []byte) {
		label, packet, err := Unwrap(payload)
		if err != nil {
			return
		}
		again, same, err := Unwrap(Wrap(label, packet))
		if err != nil || label >= 1<<20 || again != label || len(packet) == 0 || !bytes.Equal(same, packet) {
			t.Errorf("%x is label %d and %x, and that is %d and %x (%v)", payload, label, packet, again, same, err)
		}
	})
}
