// SPDX-License-Identifier: Apache-2.0

package records

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

// at is an end with a client's port, in a state, that has sent so many packets.
func at(port uint16, state vrouter.ConnectionState, sent, heard uint64) end {
	return end{
		vrouter.ConnectionKey{Ifindex: 1, Protocol: protocolTCP, Local: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port), Remote: netip.MustParseAddrPort("10.0.0.2:80")},
		vrouter.Connection{Port: 7, State: state, Sent: vrouter.ConnectionCount{Packets: sent, Bytes: 100 * sent}, Heard: vrouter.ConnectionCount{Packets: heard, Bytes: 100 * heard}},
	}
}

const (
	opening     = vrouter.ConnectionSent
	established = vrouter.ConnectionSent | vrouter.ConnectionHeard | vrouter.ConnectionProven
	closing     = established | vrouter.ConnectionFinSent
	closed      = closing | vrouter.ConnectionFinHeard
)

// TestSessions: each conversation is told when it begins, now and then, and when
// it is over, with what was counted since; what comes on the ports of one that
// was over is another.
func TestSessions(t *testing.T) {
	s := newSessions(func(uint8, vrouter.ConnectionState) time.Duration { return time.Hour }, time.Minute, 3)
	now := time.Unix(1_000_000, 0)
	for i, step := range []struct {
		after time.Duration
		ends  []end
		want  string
	}{
		{0, []end{at(1, opening, 1, 0)}, "start 1: 1/0 of 1/0"},
		{5 * time.Second, []end{at(1, established, 3, 2)}, ""},
		{55 * time.Second, []end{at(1, established, 10, 8)}, "update 1: 9/8 of 10/8"},
		{5 * time.Second, []end{at(1, closed, 12, 10), at(2, opening, 1, 0)}, "start 2: 1/0 of 1/0"},
		{5 * time.Second, []end{at(1, opening, 13, 10), at(2, opening, 1, 0)}, "end 1 closed: 2/2 of 12/10, start 1: 1/0 of 1/0"},
		{5 * time.Second, []end{at(1, established, 20, 15), at(2, opening, 1, 0), at(3, opening, 1, 0), at(4, opening, 1, 0)}, "start 3: 1/0 of 1/0"},
		{5 * time.Second, []end{at(1, opening, 1, 0)}, "end 1 gone: 7/5 of 8/5, end 2 gone: 0/0 of 1/0, end 3 gone: 0/0 of 1/0, start 1: 1/0 of 1/0"},
	} {
		now = now.Add(step.after)
		var got []string
		for _, c := range s.look(step.ends, now) {
			got = append(got, fmt.Sprintf("%s: %d/%d of %d/%d", strings.TrimSpace(fmt.Sprint(c.record, " ", c.key.Local.Port(), " ", c.why)),
				c.added.sent.Packets, c.added.heard.Packets, c.total.sent.Packets, c.total.heard.Packets))
		}
		slices.Sort(got)
		if strings.Join(got, ", ") != step.want {
			t.Errorf("look %d tells\n %s\nwant\n %s", i, strings.Join(got, ", "), step.want)
		}
	}
	if s.over != 1 {
		t.Errorf("%d ends found no room, want 1", s.over)
	}
}

// TestFileIsBounded: the file and those kept of it stay within their bounds, no
// line is lost or cut at the change, and what a crash cut is ended.
func TestFileIsBounded(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "records")
	if err := os.WriteFile(path, []byte(`{"cut`), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := openFile(path, 2000, 2)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		if _, err := f.write(t.Context(), []api.Record{{Sequence: uint64(i), Record: api.RecordDrop}, {Sequence: uint64(i), Record: api.RecordFirst}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 3 {
		t.Fatalf("%d files, %v; want 3", len(files), err)
	}
	next := uint64(40)
	for _, name := range []string{"records", "records.1", "records.2"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || len(text) > 2000 || len(text) == 0 || text[len(text)-1] != '\n' {
			t.Fatalf("%s: %d bytes, %v", name, len(text), err)
		}
		lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
		for i := len(lines) - 1; i >= 0; i -= 2 {
			var r api.Record
			if next--; json.Unmarshal(lines[i], &r) != nil || r.Sequence != next {
				t.Fatalf("%s: line %d is %s, want sequence %d", name, i, lines[i], next)
			}
		}
	}
}
