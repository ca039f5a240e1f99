// SPDX-License-Identifier: Apache-2.0

package authority

import (
	"encoding/json"
	"testing"
)

// FuzzHolder: a stored note of a certificate is read or refused, and is written so that
// it is read as the same.
func FuzzHolder(f *testing.F) {
	f.Add([]byte(`{"kind":"host","name":"h","uuid":"u","serial":"0a","authority":"ff","notAfter":"2026-01-02T03:04:05Z"}`))
	f.Add([]byte(`{"notAfter":"x"}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, text []byte) {
		h, err := decodeHolder(text)
		if err != nil {
			return
		}
		written, err := json.Marshal(h)
		if err != nil {
			t.Fatalf("write what was read: %v", err)
		}
		again, err := decodeHolder(written)
		if err != nil || !again.NotAfter.Equal(h.NotAfter) || !again.Noted.Equal(h.Noted) {
			t.Fatalf("%s is read as %+v, %v", written, again, err)
		}
		again.NotAfter, again.Noted = h.NotAfter, h.Noted // the same moments may be written in other zones
		if again != h {
			t.Errorf("%+v became %+v", h, again)
		}
	})
}
