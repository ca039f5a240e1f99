// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"encoding/pem"
	"testing"
)

// FuzzParse: who is read is in the text, and nobody is read from a text
// without certificates.
func FuzzParse(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := Parse(text)
		if err != nil {
			return
		}
		blocks := 0
		for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
			blocks++
		}
		if len(a.Certificates) == 0 || len(a.Certificates) != blocks || len(a.Pins) != 0 {
			t.Errorf("%d certificates and %d pins of %d blocks", len(a.Certificates), len(a.Pins), blocks)
		}
	})
}
