// SPDX-License-Identifier: Apache-2.0

package plug

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const fuzzedPort = "01234567-89ab-4def-8123-456789abcdef"

// FuzzRecord: a file of a plug is read as that port's or is an error, and
// never hides the others.
func FuzzRecord(f *testing.F) {
	good, err := json.Marshal(Record{Port: fuzzedPort, Name: "d:p:n"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		r, err := OpenRecords(dir)
		if err != nil {
			t.Fatal(err)
		}
		other := Record{Port: strings.Replace(fuzzedPort, "0", "1", 1), Name: "other"}
		if err := r.Save(other); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, fuzzedPort+".json"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		all, err := r.All()
		want := 2
		if err != nil {
			want = 1
		}
		found := false
		for _, rec := range all {
			found = found || rec.Port == other.Port && rec.Name == "other"
		}
		if len(all) != want || !found {
			t.Errorf("read %+v and %v", all, err)
		}
	})
}

// FuzzRequest: a request on the socket is read as it was meant or refused with
// 400, and reading one leaves nothing for the next.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"port":"d:p:n"}`))
	f.Add([]byte(`{"port":"d:p:n","unknown":1}`))
	f.Add([]byte(strings.Repeat("[", 5000)))
	f.Fuzz(func(t *testing.T, body []byte) {
		w := httptest.NewRecorder()
		var q, again Request
		if !read(w, httptest.NewRequest(http.MethodPost, "/v1/plug", strings.NewReader(string(body))), &q) {
			if w.Code != http.StatusBadRequest || !json.Valid(w.Body.Bytes()) {
				t.Errorf("refused with %d %s", w.Code, w.Body)
			}
			return
		}
		text, err := json.Marshal(q)
		if err != nil {
			t.Fatalf("write what was read: %v", err)
		}
		if !read(w, httptest.NewRequest(http.MethodPost, "/v1/plug", strings.NewReader(string(text))), &again) {
			t.Errorf("what was read and written is refused: %s", text)
		}
	})
}
