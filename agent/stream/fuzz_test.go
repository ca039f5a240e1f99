// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/weft-network/weft/api/hoststream"
)

// FuzzRecall: whatever the file of controllers holds, it is read or an error,
// and what is kept of it is read as the same.
func FuzzRecall(f *testing.F) {
	f.Add([]byte(`{"streams":["a:1","[::1]:2"]}`))
	f.Add([]byte(`{"streams":[null]}`))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "streams.json")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		known, err := Recall(path)
		if err != nil {
			return
		}
		if err := Keep(path, known); err != nil {
			t.Fatalf("keep what was recalled: %v", err)
		}
		again, err := Recall(path)
		if err != nil || !slices.Equal(known, again) {
			t.Errorf("%q became %q (%v)", known, again, err)
		}
		d := newDirectory(known, false)
		d.learn([]*hoststream.Controller{{Streams: known}})
		if n := len(d.addresses()); n > max(maxAddresses, len(known)) {
			t.Errorf("%d addresses are remembered", n)
		}
	})
}
