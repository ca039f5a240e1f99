// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"encoding/json"
	"strings"
	"testing"
)

// traced: weft trace tells the way to a member, on this host or another one, and why
// there is none.
func (s *system) traced(t *testing.T, f Family) {
	trace := func(from, port string) (arrived bool, text string) {
		t.Helper()
		var v struct {
			Ways []struct {
				Arrived, Translated bool
				Remedy              string
			}
		}
		argv := []string{"trace", "--from", "red:shop:" + from, "--to", f.Virtual.String(), "--proto", "tcp", "--dport", port}
		out, err := s.lab.Weft(t.Context(), append(argv, "-o", "json")...)
		if broken := json.Unmarshal([]byte(out), &v); broken != nil || len(v.Ways) != 1 || v.Ways[0].Arrived != v.Ways[0].Translated {
			t.Fatalf("weft %v: %v %v\n%s", argv, err, broken, out)
		}
		text, _ = s.lab.Weft(t.Context(), argv...)
		return v.Ways[0].Arrived, text
	}
	members := map[string]bool{}
	for _, from := range []string{"c1", "c2", "c3", "m1"} {
		arrived, text := trace(from, "80")
		_, who, named := strings.Cut(text, "=> it arrives at red:shop:m")
		if !arrived || !named || !strings.Contains(text, "stage map") || !strings.Contains(text, "balancer, ") || !strings.Contains(text, "from red:shop:web") {
			t.Errorf("from %s:\n%s", from, text)
			continue
		}
		members["m"+who[:1]] = true
		if again, text := trace(from, "80"); !again || !strings.Contains(text, "red:shop:m"+who[:1]) {
			t.Errorf("from %s to another member than before:\n%s", from, text)
		}
	}
	t.Logf("members: %v", members)
	if arrived, text := trace("c1", "81"); arrived || !strings.Contains(text, "no-listener, and the sender is told by a TCP reset") {
		t.Errorf("a closed port:\n%s", text)
	}
}
