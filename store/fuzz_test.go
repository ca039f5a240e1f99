// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
)

// FuzzRecord: whatever etcd holds as an object is read or refused, and what is read is
// written so that the same is read again, whatever is in it that this version does not know.
func FuzzRecord(f *testing.F) {
	for _, s := range []string{
		`{"schema":1,"object":{"kind":"network","meta":{"uuid":"u","name":"a","parent":{"uuid":"p"}},"spec":{}}}`,
		`{"schema":9,"orchestrator":"o","shares":{"spec.network":"s"},"new":1,"object":{"kind":"port","meta":{"name":"a"},"spec":{"network":{"uuid":"n"},"new":[1]}}}`,
		`{"schema":1,"object":{"kind":"network-policy","spec":{"rules":[{"action":"pass","new":1},{"action":"pass"}]}}}`,
		`{"object":{"kind":"foreign-document","spec":{"body":{"a":[1,null]}}}}`,
		`{"oBjeCt":{"kind":"network-policy","spec":{}},"object":{"kind":"network-policy"},"new":1}`, `{"object":null}`, `{}`, `{"object":{"kind":"none"}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if bytes.ContainsAny(data, "\\\u017f\u212a") { // names that are the same but for their letters' form: nobody writes them
			return
		}
		i := idOf(api.KindNetwork, "u")
		r, err := decodeRecord(i, data, 7)
		if err != nil {
			return
		}
		written, err := r.encodeWhole()
		if err != nil {
			t.Fatalf("write what was read: %v", err)
		}
		again, err := decodeRecord(i, written, 7)
		if err != nil {
			t.Fatalf("read what was written: %v\n%s", err, written)
		}
		if was, is := r.encodeKnown(), again.encodeKnown(); !bytes.Equal(was, is) {
			t.Errorf("%s became %s", was, is)
		}
	})
}

// FuzzToken: a stored token is read or refused, and is written so that it is read as the same.
func FuzzToken(f *testing.F) {
	f.Add([]byte(`{"id":"a","identity":{"role":"admin"},"expiresAt":"2026-01-02T03:04:05Z","secretHash":"00ff","orchestrator":"o"}`))
	f.Add([]byte(`{"expiresAt":"x"}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, data []byte) {
		read, err := decodeToken(data)
		if err != nil {
			return
		}
		written, err := json.Marshal(read)
		if err != nil {
			t.Fatalf("write what was read: %v", err)
		}
		again, err := decodeToken(written)
		if err != nil || !bytes.Equal(mustJSON(again), written) || !again.ExpiresAt.Equal(read.ExpiresAt) {
			t.Errorf("%s is read as %+v, %v", written, again, err)
		}
	})
}

// FuzzHeld: a key that holds a value is one of a claim or a rest, of a pool of its own.
func FuzzHeld(f *testing.F) {
	for _, rest := range []string{claimsVNI + "1001", claimsVNI + "4294967296", claimsAddress + "s/10.0.0.1", claimsAddress + "s/", claimsAddress + "fd00::1", "name/a"} {
		f.Add(prefixClaim + rest)
	}
	f.Add(prefixRest + "s/fd00::1")
	f.Add("")
	f.Fuzz(func(t *testing.T, key string) {
		claims, v, ok := parseHeld(key)
		if ok && (!v.IsValid() || claims != claimsVNI && !strings.HasPrefix(claims, claimsAddress) || !strings.HasSuffix(claims, "/") ||
			!strings.HasPrefix(key, prefixClaim) && !strings.HasPrefix(key, prefixRest)) {
			t.Errorf("%q holds %v of %q", key, v, claims)
		}
	})
}
