// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/probe"
)

// underlay makes a run without Weft in it.
func underlay(t *testing.T, suffix string, hosts int) *Lab {
	t.Helper()
	id := fmt.Sprintf("u%d%s", os.Getpid(), suffix)
	l, err := New(Options{Run: id, Dir: RunDir("", id), Hosts: hosts})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(); err != nil {
			t.Error(err)
		}
	})
	if err := l.WireUnderlay(); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestUnderlayCarriesBothFamilies(t *testing.T) {
	l := underlay(t, "", 2)
	v4, v6 := HostAddresses(2)
	c4, c6 := ControllerAddresses()
	for _, to := range []probe.Ping{{To: v4}, {To: v6}, {To: c4}, {To: c6}} {
		to.Namespace, to.Count, to.Interval = l.Namespace("h1"), 2, 10*time.Millisecond
		to.Size, to.DontFrag = 1500, true // more than 1500 in all: the underlay has room for tunnels
		answer, err := to.Run()
		if err != nil || answer.Received != 2 || len(answer.Replies) != 2 || answer.Replies[0].TTL != 64 {
			t.Errorf("h1 pings %v: %d of 2 answered (%v)\n%s", to.To, answer.Received, err, answer.Output)
		}
	}
}

func TestRunsCoexist(t *testing.T) {
	a, b := underlay(t, "a", 1), underlay(t, "b", 1)
	if _, err := New(a.Options); !errors.Is(err, ErrExists) {
		t.Errorf("the same run a second time: %v, want ErrExists", err)
	}
	if err := a.Down(); err != nil {
		t.Fatal(err)
	}
	if names, _ := namespace.List(prefix(a.Run)); len(names) != 0 {
		t.Errorf("left of the first run: %v", names)
	}
	if names, _ := namespace.List(prefix(b.Run)); len(names) != 3 {
		t.Errorf("of the second run there are %v, want its three namespaces", names)
	}
	if _, err := os.Stat(b.Dir); err != nil {
		t.Error(err)
	}
}

// Another process than the one that made the run takes it down, and again.
func TestDownFindsEverythingByItsName(t *testing.T) {
	l := underlay(t, "", 1)
	if err := l.StartIn("h1", "sleeper", "sleep", "60"); err != nil {
		t.Fatal(err)
	}
	p, err := l.Process("sleeper")
	if err != nil || !p.Alive() {
		t.Fatalf("sleeper: %+v, %v", p, err)
	}
	mounted := filepath.Join(l.Dir, "a mount")
	if err := os.Mkdir(mounted, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("bpffs", mounted, "bpf", 0, ""); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Down(l.Run, l.Dir); err != nil {
			t.Fatal(err)
		}
	}
	if p.Alive() {
		t.Error("the process still runs")
	}
	if names, _ := namespace.List(prefix(l.Run)); len(names) != 0 {
		t.Errorf("namespaces left: %v", names)
	}
	if mounts, _ := mountsBelow(l.Dir); len(mounts) != 0 {
		t.Errorf("mounts left: %v", mounts)
	}
	if _, err := os.Stat(l.Dir); !os.IsNotExist(err) {
		t.Errorf("directory left: %v", err)
	}
}

// A pid in an old record may be somebody else's by now.
func TestDownSparesStrangers(t *testing.T) {
	stranger := exec.Command("sleep", "60")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		stranger.Process.Kill()
		stranger.Wait()
	}()
	l := underlay(t, "", 1)
	st, err := readStat(stranger.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	record := Process{Name: "old", PID: stranger.Process.Pid, Started: st.started - 1}
	data, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(l.recordFile("old"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Down(); err != nil {
		t.Fatal(err)
	}
	record.Started = st.started
	if !record.Alive() {
		t.Error("a process that was not of the run was ended")
	}
}

func TestDownKeepsADirectoryThatIsNotALabs(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "letter"), []byte("keep me"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Down("nosuchrun", dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "letter")); err != nil {
		t.Error(err)
	}
}

func TestFailedStartShowsTheLog(t *testing.T) {
	l := underlay(t, "", 1)
	if err := l.StartIn("h1", "failing", "sh", "-c", "echo the reason >&2; exit 1"); err != nil {
		// It may have ended before its record was written, which is an error too.
		if !strings.Contains(err.Error(), "ended at once") {
			t.Fatal(err)
		}
		return
	}
	err := l.waitReady(t.Context(), "failing")
	if err == nil || !strings.Contains(err.Error(), "the reason") {
		t.Errorf("error is %v, want one with the end of the log", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	good := Options{Run: "x", Dir: "/tmp/x", Hosts: 1}
	for name, spoil := range map[string]func(*Options){
		"run id":    func(o *Options) { o.Run = "a-b" },
		"hosts":     func(o *Options) { o.Hosts = 0 },
		"directory": func(o *Options) { o.Dir = "relative" },
		"programs":  func(o *Options) { o.Bin = t.TempDir() },
	} {
		o := good
		spoil(&o)
		if err := o.check(); err == nil {
			t.Errorf("a wrong %s is accepted: %+v", name, o)
		}
	}
}
