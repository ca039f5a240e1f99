// SPDX-License-Identifier: Apache-2.0

package spine

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/lab/probe"
	"github.com/weft-network/weft/lab/tenants"
	"github.com/weft-network/weft/lab/topology"
)

// Bounds of the tests, generous because other tests share the machine.
const (
	buildTimeout = 10 * time.Minute
	upTimeout    = 2 * time.Minute
	settle       = time.Minute // for a change to arrive in the kernel
	pollEvery    = 20 * time.Millisecond
)

const (
	ttlInside  = 64
	ttlBetween = 63
)

// binaries is the folder with the programs under test.
var binaries string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "lab/spine: network namespaces and eBPF need root; run the tests as root")
		return 1
	}
	dir, err := os.MkdirTemp("", "weft-spine-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "build", "-o", dir+string(filepath.Separator), "../../cmd/...")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the programs: %v\n%s", err, out)
		return 1
	}
	binaries = dir
	return m.Run()
}

// system is a running system under test.
type system struct {
	lab    *topology.Lab
	client *client.Client
}

// start brings a system up and takes it down with the test. What it logged is
// printed if the test failed.
func start(t *testing.T, suffix string, family topology.Family) *system {
	t.Helper()
	id := fmt.Sprintf("t%d%s", os.Getpid(), suffix)
	lab, err := topology.New(topology.Options{
		Run: id, Dir: topology.RunDir("", id), Bin: binaries, Hosts: tenants.Hosts, Tunnel: family,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			logTails(t, lab)
		}
		if err := lab.Down(); err != nil {
			t.Errorf("take the system down: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), upTimeout)
	defer cancel()
	if err := lab.Up(ctx); err != nil {
		t.Fatal(err)
	}
	c, err := lab.Client()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &system{lab: lab, client: c}
}

func logTails(t *testing.T, lab *topology.Lab) {
	processes, err := lab.Processes()
	if err != nil {
		t.Log(err)
	}
	for _, p := range processes {
		t.Log(lab.Tail(p.Name))
	}
}

// weft runs the CLI and expects it to succeed.
func (s *system) weft(t *testing.T, args ...string) string {
	t.Helper()
	out, err := s.lab.Weft(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// apply applies a file's text with the CLI.
func (s *system) apply(t *testing.T, text string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "objects.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.weft(t, "apply", "-f", file)
}

func (s *system) plug(t *testing.T, workloads ...tenants.Workload) {
	t.Helper()
	if err := tenants.Plug(t.Context(), s.lab, workloads); err != nil {
		t.Fatal(err)
	}
}

func (s *system) namespace(w tenants.Workload) string { return tenants.Namespace(s.lab, w) }

// ping sends some requests and returns what came back.
func (s *system) ping(t *testing.T, p probe.Ping, from tenants.Workload) probe.Answer {
	t.Helper()
	p.Namespace = s.namespace(from)
	if p.Count == 0 {
		p.Count = 2
	}
	if p.Interval == 0 {
		p.Interval = 20 * time.Millisecond
	}
	if p.Limit == 0 {
		p.Limit = 3 * time.Second
	}
	answer, err := p.Run()
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// wantAnswers expects every request answered, all with one hop limit.
func (s *system) wantAnswers(t *testing.T, from tenants.Workload, to netip.Addr, ttl int) {
	t.Helper()
	answer := s.ping(t, probe.Ping{To: to}, from)
	if answer.Received != answer.Sent || answer.Received == 0 || !slices.Equal(answer.TTLs(), []int{ttl}) {
		t.Errorf("%s on %s pings %v: %d of %d answered with TTLs %v, want all with %d\n%s",
			from.Title(), from.HostName(), to, answer.Received, answer.Sent, answer.TTLs(), ttl, answer.Output)
	}
}

// wantSilence expects no answer.
func (s *system) wantSilence(t *testing.T, from tenants.Workload, to netip.Addr) {
	t.Helper()
	answer := s.ping(t, probe.Ping{To: to, Limit: time.Second}, from)
	if answer.Received != 0 {
		t.Errorf("%s on %s pings %v: %d answers, want none\n%s", from.Title(), from.HostName(), to, answer.Received, answer.Output)
	}
}

// begin starts a fast ping that the test stops.
func (s *system) begin(t *testing.T, from tenants.Workload, to netip.Addr) *probe.Running {
	t.Helper()
	p, err := probe.Ping{Namespace: s.namespace(from), To: to, Interval: 10 * time.Millisecond, Limit: time.Minute}.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop() })
	return p
}

// waitMore waits until each of some running pings is answered some more times.
func waitMore(t *testing.T, more int, pings ...*probe.Running) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), settle)
	defer cancel()
	last := make([]int, len(pings))
	for i, p := range pings {
		if replies := p.Replies(); len(replies) > 0 {
			last[i] = replies[len(replies)-1].Seq
		}
	}
	for i, p := range pings {
		if _, err := p.WaitReply(ctx, func(r probe.Reply) bool { return r.Seq >= last[i]+more }); err != nil {
			t.Fatal(err)
		}
	}
}

// wantNoLoss stops a ping and expects that every request was answered.
func wantNoLoss(t *testing.T, p *probe.Running, during string) {
	t.Helper()
	answer, err := p.Stop()
	if err != nil {
		t.Fatal(err)
	}
	// The request sent at the moment of the end may be under way.
	last := 0
	if n := len(answer.Replies); n > 0 {
		last = answer.Replies[n-1].Seq
	}
	if answer.Received != last || answer.Sent-last > 1 {
		t.Errorf("%s: %d of %d requests answered, want all\n%s", during, answer.Received, answer.Sent, lost(answer))
	}
}

// lost lists the numbers of the requests without an answer.
func lost(a probe.Answer) string {
	seen := map[int]bool{}
	for _, r := range a.Replies {
		seen[r.Seq] = true
	}
	var missing []string
	for i := 1; i <= a.Sent; i++ {
		if !seen[i] {
			missing = append(missing, fmt.Sprint(i))
		}
	}
	return "without answer: " + strings.Join(missing, " ")
}

// eventually waits for a fact.
func eventually(t *testing.T, what string, holds func() (bool, string)) {
	t.Helper()
	until := time.Now().Add(settle)
	for {
		ok, seen := holds()
		if ok {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("not within %v: %s; last seen: %s", settle, what, seen)
		}
		time.Sleep(pollEvery)
	}
}

// table reads a live table of a host.
func (s *system) table(t *testing.T, host, name string) api.Table {
	t.Helper()
	table, err := s.client.HostTable(t.Context(), api.ParseRef(host), name)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// column finds a column by its name, whatever its case.
func column(t *testing.T, table api.Table, name string) int {
	t.Helper()
	i := slices.IndexFunc(table.Columns, func(c string) bool { return strings.EqualFold(c, name) })
	if i < 0 {
		t.Fatalf("no column %q in %v", name, table.Columns)
	}
	return i
}
