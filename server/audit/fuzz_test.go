// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"testing"

	"github.com/weft-network/weft/api"
)

// FuzzSearch: whatever a file of the audit holds after a machine ended within a
// line, what is found is selected, in bounds, and never an error.
func FuzzSearch(f *testing.F) {
	f.Add([]byte(`{"time":"2026-01-02T03:04:05Z","identity":{"name":"a"}}`+"\n"+`{"time":"2026-01-02T03:04:0`), 1)
	f.Add(bytes.Repeat([]byte("{}\n"), 9), 2)
	f.Add(append(bytes.Repeat([]byte("x"), lineMax+5), []byte("\n{}\n")...), 3)
	f.Fuzz(func(t *testing.T, file []byte, limit int) {
		q := api.AuditQuery{Limit: 1 + limit&7}
		found, _, err := search(bytes.NewReader(file), q)
		if err != nil {
			t.Fatalf("search: %v", err)
		}
		if most := min(2*q.Limit, bytes.Count(file, []byte("\n"))+1); len(found) > most {
			t.Errorf("found %d entries, at most %d can be", len(found), most)
		}
		for _, e := range found {
			if !q.Matches(e) {
				t.Errorf("found %+v, which is not selected", e)
			}
		}
	})
}
