// SPDX-License-Identifier: Apache-2.0

package join

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// FuzzIdentity: whatever the files of an identity hold, it is read or an
// error, and none of them makes a host that has joined one that has not.
func FuzzIdentity(f *testing.F) {
	f.Add([]byte(`{"host":{"uuid":"u","name":"h"},"streams":["a:1"]}`), []byte("-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n"), []byte(""))
	f.Add([]byte(`{"host":"h"}`), []byte("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"), []byte("x"))
	f.Fuzz(func(t *testing.T, identity, key, ca []byte) {
		dir := t.TempDir()
		for name, data := range map[string][]byte{identityFile: identity, keyFile: key, certificateFile: key, caFile: ca} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		id, err := Load(dir)
		if errors.Is(err, ErrNotJoined) {
			t.Error("the host is said not to have joined")
		}
		if err == nil {
			_, _ = id.TLS("host") // refuses or not, and comes to an end
		}
	})
}
