// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/weft-network/weft/lab/namespace"
)

const (
	// readyTimeout bounds the start of a process, with a loaded machine in mind.
	readyTimeout = 2 * time.Minute
	// stopTimeout is how long a process may take to end after SIGTERM.
	stopTimeout = 10 * time.Second
	// poll is how often files and processes are looked at.
	poll = 20 * time.Millisecond
	// tailLines of a log are shown when something fails.
	tailLines = 25
)

// Process is a process of the run as its record on disk says. A pid alone
// could be anybody's after a while; with its start time it cannot.
type Process struct {
	Name    string   `json:"name"`
	PID     int      `json:"pid"`
	Started uint64   `json:"started"` // clock ticks since boot, as in /proc/<pid>/stat
	Argv    []string `json:"argv"`
}

// child is a process that this one started and must wait for.
type child struct {
	done chan struct{}
}

// spec is what to start.
type spec struct {
	name      string
	namespace string
	argv      []string
	files     []*os.File // inherited from fd 3 on
}

// start runs a process in the background, its output in the run's logs.
func (l *Lab) start(s spec) error {
	stdout, err := os.Create(l.LogFile(s.name, "out"))
	if err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	defer stdout.Close()
	stderr, err := os.OpenFile(l.LogFile(s.name, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	defer stderr.Close()
	cmd := exec.Command(s.argv[0], s.argv[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = stdout, stderr, s.files
	cmd.Dir = l.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // lives on when the caller's terminal goes
	if err := namespace.Start(s.namespace, cmd); err != nil {
		return fmt.Errorf("start %s in %s: %w", s.name, s.namespace, err)
	}
	c := &child{done: make(chan struct{})}
	go func() { // ends with the process, which Down or Stop ends
		defer close(c.done)
		cmd.Wait() // how it ended is in its log
	}()
	l.mu.Lock()
	l.children[s.name] = c
	l.mu.Unlock()
	return l.record(s, cmd.Process.Pid)
}

func (l *Lab) record(s spec, pid int) error {
	st, err := readStat(pid)
	if err != nil {
		return fmt.Errorf("%s ended at once: %w\n%s", s.name, err, l.Tail(s.name))
	}
	data, err := json.Marshal(Process{Name: s.name, PID: pid, Started: st.started, Argv: s.argv})
	if err != nil {
		return fmt.Errorf("encode process %s: %w", s.name, err)
	}
	if err := os.WriteFile(l.recordFile(s.name), data, 0o600); err != nil {
		return fmt.Errorf("record process %s: %w", s.name, err)
	}
	return nil
}

func (l *Lab) recordFile(name string) string {
	return filepath.Join(l.Dir, "processes", name+".json")
}

// LogFile is where a process writes: its stdout to kind "out", stderr to "log".
func (l *Lab) LogFile(name, kind string) string {
	return filepath.Join(l.Dir, "logs", name+"."+kind)
}

// TailHeading begins the line above the end of a log.
const TailHeading = "--- end of"

// Tail returns the end of a process's log with a heading.
func (l *Lab) Tail(name string) string {
	data, err := os.ReadFile(l.LogFile(name, "log"))
	if err != nil {
		return fmt.Sprintf("(no log of %s: %v)", name, err)
	}
	var lines []string
	for line := range strings.Lines(string(data)) {
		// Writes that went well are most of a controller's log and never the cause.
		if !strings.Contains(line, "msg=audit") || !strings.Contains(line, "outcome=done") {
			lines = append(lines, strings.TrimRight(line, "\n"))
		}
	}
	if len(lines) > tailLines {
		lines = lines[len(lines)-tailLines:]
	}
	return fmt.Sprintf(TailHeading+" %s\n%s", l.LogFile(name, "log"), strings.Join(lines, "\n"))
}

// waitReady waits until a process printed the line "ready".
func (l *Lab) waitReady(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		out, err := os.ReadFile(l.LogFile(name, "out"))
		if err == nil && slices.Contains(strings.Split(string(out), "\n"), "ready") {
			return nil
		}
		p, err := l.Process(name)
		if err != nil {
			return err
		}
		if !p.Alive() {
			return fmt.Errorf("%s ended before it was ready\n%s", name, l.Tail(name))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w\n%s", name, ctx.Err(), l.Tail(name))
		case <-time.After(poll):
		}
	}
}

// Processes returns what is recorded, sorted by name, alive or not.
func (l *Lab) Processes() ([]Process, error) {
	files, err := filepath.Glob(filepath.Join(l.Dir, "processes", "*.json"))
	if err != nil {
		return nil, fmt.Errorf("list processes of run %s: %w", l.Run, err)
	}
	var all []Process
	for _, f := range files {
		p, err := l.Process(strings.TrimSuffix(filepath.Base(f), ".json"))
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// Process returns the record of one process.
func (l *Lab) Process(name string) (Process, error) {
	var p Process
	data, err := os.ReadFile(l.recordFile(name))
	if err != nil {
		return p, fmt.Errorf("find process %s: %w", name, err)
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return p, fmt.Errorf("read record of process %s: %w", name, err)
	}
	return p, nil
}

// Alive tells whether this very process still runs.
func (p Process) Alive() bool {
	st, err := readStat(p.PID)
	return err == nil && st.started == p.Started && st.state != "Z" && st.state != "X"
}

// RSS returns the memory the process has resident, in bytes.
func (p Process) RSS() int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.PID))
	if err != nil {
		return 0
	}
	fields := bytes.Fields(data)
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(string(fields[1]), 10, 64)
	return pages * int64(os.Getpagesize())
}

// Signal sends a signal to a process of the run, if it is still that one.
func (l *Lab) Signal(name string, sig syscall.Signal) error {
	p, err := l.Process(name)
	if err != nil {
		return err
	}
	if !p.Alive() {
		return fmt.Errorf("signal %s: process %d has ended\n%s", name, p.PID, l.Tail(name))
	}
	if err := syscall.Kill(p.PID, sig); err != nil {
		return fmt.Errorf("signal %s (process %d): %w", name, p.PID, err)
	}
	return nil
}

// stop ends a process and forgets its record: SIGTERM, and SIGKILL if that
// does not help within stopTimeout. One that has ended is no error.
func (l *Lab) stop(p Process) error {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if !p.Alive() {
			break
		}
		if err := syscall.Kill(p.PID, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop %s (process %d): %w", p.Name, p.PID, err)
		}
		until := time.Now().Add(stopTimeout)
		for p.Alive() && time.Now().Before(until) {
			time.Sleep(poll)
		}
	}
	if p.Alive() {
		return fmt.Errorf("stop %s: process %d is still there after SIGKILL", p.Name, p.PID)
	}
	l.mu.Lock()
	c := l.children[p.Name]
	delete(l.children, p.Name)
	l.mu.Unlock()
	if c != nil {
		<-c.done
	}
	if err := os.Remove(l.recordFile(p.Name)); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("forget process %s: %w", p.Name, err)
	}
	return nil
}

// Stop ends one process of the run by name, as an operator would.
func (l *Lab) Stop(name string) error {
	p, err := l.Process(name)
	if err != nil {
		return err
	}
	return l.stop(p)
}

// Kill ends one process of the run at once, as a crash would.
func (l *Lab) Kill(name string) error {
	if err := l.Signal(name, syscall.SIGKILL); err != nil {
		return err
	}
	return l.Stop(name)
}

type stat struct {
	state   string
	started uint64
}

// readStat reads /proc/<pid>/stat; the name in it may hold blanks and brackets.
func readStat(pid int) (stat, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, fmt.Errorf("read state of process %d: %w", pid, err)
	}
	rest := string(data[bytes.LastIndexByte(data, ')')+1:])
	fields := strings.Fields(rest)
	const stateField, startField = 0, 19 // counted after the name
	if len(fields) <= startField {
		return stat{}, fmt.Errorf("read state of process %d: %d fields are too few", pid, len(fields))
	}
	started, err := strconv.ParseUint(fields[startField], 10, 64)
	if err != nil {
		return stat{}, fmt.Errorf("read start time of process %d: %w", pid, err)
	}
	return stat{state: fields[stateField], started: started}, nil
}

// StartIn starts any program in one of the run's namespaces; Down ends it.
func (l *Lab) StartIn(ns, name string, argv ...string) error {
	return l.start(spec{name: name, namespace: l.Namespace(ns), argv: argv})
}
