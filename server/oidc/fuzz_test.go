// SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzRead: a configuration that is taken names issuers over TLS, audiences and
// mappings, without which everybody or nobody would be let in.
func FuzzRead(f *testing.F) {
	f.Add([]byte("issuers:\n- issuer: https://a\n  audience: weft\n  mappings:\n  - {group: g, role: admin}\n"))
	f.Add([]byte("issuers: [{issuer: 'http://a'}]"))
	f.Add([]byte("issuers: [null]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if strings.Contains(string(text), "caFile") {
			return // would read files of this machine
		}
		path := filepath.Join(t.TempDir(), "oidc.yaml")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Read(path)
		if err != nil {
			return
		}
		if len(c.Issuers) == 0 {
			t.Error("a configuration without issuers is taken")
		}
		for _, i := range c.Issuers {
			if !strings.HasPrefix(strings.ToLower(i.Issuer), "https://") || i.Audience == "" || len(i.Mappings) == 0 {
				t.Errorf("taken: %+v", i)
			}
		}
	})
}
