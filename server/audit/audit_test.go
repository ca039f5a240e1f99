// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func entry(n int) api.AuditEntry {
	return api.AuditEntry{Time: time.Unix(int64(n), 0), Who: fmt.Sprint("w", n%2), Orchestrator: "weft", Op: api.OpCreate,
		Kind: api.KindNetwork, Object: fmt.Sprint("d:p:n", n), UUID: fmt.Sprint("u", n), Outcome: "done", Cause: strings.Repeat("x", n%3*causeMax)}
}

func objects(t *testing.T, l *Log, q api.AuditQuery) string {
	t.Helper()
	if q.Limit == 0 {
		q.Limit = 1000
	}
	found, err := l.Find(q)
	check(t, err)
	var names []string
	for _, e := range found {
		names = append(names, strings.TrimPrefix(e.Object, "d:p:n"))
	}
	return strings.Join(names, " ")
}

// The newest entries that fit are there, over files, restarts and a line that
// was cut off; the size is bounded.
func TestLog(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	const size, files = 8000, 3
	l, err := open(dir, size, files)
	check(t, err)
	for n := range 40 {
		check(t, l.Add(entry(n)))
		if n%7 == 6 {
			check(t, l.Close())
			f, err := os.OpenFile(filepath.Join(dir, current), os.O_WRONLY|os.O_APPEND, 0)
			check(t, err)
			_, err = f.WriteString(`{"time":"cut`)
			check(t, err)
			check(t, f.Close())
			l, err = open(dir, size, files)
			check(t, err)
		}
	}
	defer func() { check(t, l.Close()) }()
	kept, err := os.ReadDir(dir)
	check(t, err)
	if len(kept) != files {
		t.Errorf("%d files, want %d", len(kept), files)
	}
	for _, k := range kept {
		if info, err := k.Info(); err != nil || info.Size() > size || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %d bytes, %v, %v", k.Name(), info.Size(), info.Mode(), err)
		}
	}
	all := objects(t, l, api.AuditQuery{})
	if !strings.HasSuffix(all, " 36 37 38 39") || strings.HasPrefix(all, "0 ") || strings.Count(all, " ") < 10 {
		t.Errorf("all: %s", all)
	}
	for want, q := range map[string]api.AuditQuery{
		"38 39":    {Limit: 2},
		"36 37":    {Since: time.Unix(36, 0), Until: time.Unix(38, 0)},
		"35 37 39": {Who: "w1", Since: time.Unix(34, 0)},
		"39":       {Object: "d:p:n39"},
		"38":       {Object: "u38"},
		"37 38 39": {Object: "d:p:n3*", Who: "weft", Kind: api.KindNetwork, Outcome: "done", Since: time.Unix(37, 0)},
		"":         {Kind: api.KindPort},
	} {
		if got := objects(t, l, q); got != want {
			t.Errorf("%+v: %q, want %q", q, got, want)
		}
	}
}

// Many write and read at once; nothing is lost or torn.
func TestLogAtOnce(t *testing.T) {
	l, err := open(t.TempDir(), 4000, 100)
	check(t, err)
	defer func() { check(t, l.Close()) }()
	var wait sync.WaitGroup
	for w := range 4 {
		wait.Go(func() {
			for n := range 50 {
				e := entry(3 * (w*50 + n))
				if err := l.Add(e); err != nil {
					t.Error(err)
				}
				if _, err := l.Find(api.AuditQuery{Limit: 5}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	if n := len(strings.Fields(objects(t, l, api.AuditQuery{}))); n != 200 {
		t.Errorf("%d entries, want 200", n)
	}
}

// Senders choose names. However long one is, what was tried is kept and the
// rest can be read, also where a longer line stands already.
func TestLogOfLongNames(t *testing.T) {
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, current), []byte(strings.Repeat("x", 3*lineMax)+"\n"), 0o600))
	l, err := open(dir, 1<<20, 2)
	check(t, err)
	defer func() { check(t, l.Close()) }()
	for n, long := range []string{strings.Repeat("\x01", 2*lineMax), strings.Repeat("é", lineMax)} {
		e := entry(n)
		e.Who, e.Orchestrator, e.Op, e.Object, e.UUID, e.Outcome, e.Cause, e.Kind = long, long, long, long, long, long, long, api.Kind(long)
		check(t, l.Add(e))
	}
	check(t, l.Add(entry(2)))
	found, err := l.Find(api.AuditQuery{Limit: 10})
	if err != nil || len(found) != 3 || !strings.HasPrefix(found[1].Object, "éé") {
		t.Errorf("%d entries, %v; want 3, the second with the beginning of its name", len(found), err)
	}
}
