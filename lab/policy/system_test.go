// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/probe"
	"github.com/weft-network/weft/lab/topology"
)

// Bounds of the tests, generous because other tests share the machine.
const (
	buildTimeout = 10 * time.Minute
	upTimeout    = 10 * time.Minute
	settle       = 30 * time.Second
	// patience is how long an attempt waits that gets no answer.
	patience = 600 * time.Millisecond
	// slowPatience is for one that should have had an answer, on a busy machine.
	slowPatience = 3 * time.Second
	maxRetries   = 10
	metricsAt    = "127.0.0.1:9600"
)

// system is the real programs and all workloads.
type system struct {
	lab    *topology.Lab
	client *client.Client
}

func start(t *testing.T) *system {
	t.Helper()
	bin := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), buildTimeout)
	defer cancel()
	c := exec.CommandContext(ctx, "go", "build", "-o", bin+"/", "./cmd/...")
	c.Dir, c.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build the programs: %v\n%s", err, out)
	}
	id := fmt.Sprintf("p%d", os.Getpid())
	l, err := topology.New(topology.Options{Run: id, Dir: topology.RunDir("", id), Bin: bin, Hosts: Hosts,
		ControllerArguments: []string{"--metrics-listen", metricsAt}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, name := range []string{topology.Controller, "h1", "h2", "h3"} {
				t.Log(l.Tail(name))
			}
		}
		if err := l.Down(); err != nil {
			t.Errorf("take the system down: %v", err)
		}
	})
	up, stop := context.WithTimeout(t.Context(), upTimeout)
	defer stop()
	if err := l.Up(up); err != nil {
		t.Fatal(err)
	}
	s := &system{lab: l}
	if s.client, err = l.Client(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.client.Close)
	s.populate(t, up)
	return s
}

// populate plugs all workloads, which answer on their ports.
func (s *system) populate(t *testing.T, ctx context.Context) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "world.yaml")
	if err := os.WriteFile(file, []byte(WorldYAML()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := s.lab.Weft(ctx, "apply", "-f", file); err != nil {
		t.Fatal(err, out)
	}
	var wait sync.WaitGroup
	failed := make([]error, len(Workloads))
	for i, w := range Workloads {
		wait.Go(func() {
			if failed[i] = s.lab.AddWorkload(w.Short()); failed[i] == nil {
				failed[i] = s.lab.Plug(ctx, w.Host, w.Port(), w.Short())
			}
		})
	}
	wait.Wait()
	for _, err := range failed {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, w := range Workloads {
		r, err := probe.Answering(s.namespace(w), w.Short(), ports...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Close)
	}
	if err := s.lab.WaitPortsUp(ctx); err != nil {
		t.Fatal(err)
	}
}

func (s *system) namespace(w Workload) string { return s.lab.Namespace(w.Short()) }

// run runs a program in a workload.
func (s *system) run(t *testing.T, w Workload, argv ...string) string {
	t.Helper()
	out, err := namespace.Run(s.namespace(w), argv...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// write does operations as one and waits until all hosts have acknowledged what
// follows from them.
func (s *system) write(t *testing.T, operations ...api.Operation) {
	t.Helper()
	result, err := s.client.Transaction(t.Context(), operations, false)
	if err != nil {
		t.Fatal(err)
	}
	s.acknowledged(t, result.Revision)
}

// acknowledged waits until the hosts have all that follows from a revision.
func (s *system) acknowledged(t *testing.T, revision int64) {
	t.Helper()
	deadline := time.After(settle)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	derived := false
	for {
		values, err := s.metrics(t.Context())
		// Which hosts are behind is counted after the plan is seen, never before.
		if err == nil && derived && values["weft_stream_hosts_behind"] == 0 && values["weft_stream_sessions"] == Hosts {
			return
		}
		derived = derived || err == nil && values["weft_control_revision"] >= float64(revision)
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("hosts have not acknowledged revision %d: %v %v", revision, values, err)
		}
	}
}

// settled waits until the hosts have all that was written until now.
func (s *system) settled(t *testing.T) {
	t.Helper()
	list, err := s.client.List(t.Context(), api.KindHost, client.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.acknowledged(t, list.Revision)
}

// metrics are those of the controller that have no labels.
func (s *system) metrics(ctx context.Context) (map[string]float64, error) {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (c net.Conn, err error) {
		err = namespace.Do(s.lab.Namespace(topology.Controller), func() error {
			c, err = (&net.Dialer{}).DialContext(ctx, network, address)
			return err
		})
		return c, err
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+metricsAt+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := (&http.Client{Transport: transport, Timeout: settle}).Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	values := map[string]float64{}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if name, text, is := strings.Cut(lines.Text(), " "); is && !strings.HasPrefix(name, "#") {
			values[name], _ = strconv.ParseFloat(text, 64)
		}
	}
	return values, lines.Err()
}

// compare has every workload try everything, and reports what is not as the
// model says.
func (s *system) compare(t *testing.T, counts tally, during string) {
	t.Helper()
	m := s.model(t)
	tries := table(m)
	found := s.sweep(t, tries)
	wrong, retried := 0, 0
	for w, list := range tries {
		for i, one := range list {
			counts.note(one)
			why := one.wrong(m, found[w][i])
			if why == "" {
				continue
			}
			f := found[w][i]
			// A machine that was busy for a moment is no fault of policy; if it is many, it is none.
			if retried++; !one.leak(f) && retried <= maxRetries {
				again, err := probe.Sweep(s.namespace(w), []probe.Attempt{one.attempt}, slowPatience)
				if err != nil {
					t.Fatal(err)
				}
				if one.wrong(m, again[0]) == "" {
					t.Logf("%s: %s, %v: %v at first, right the second time", during, w.Short(), one.attempt, f)
					continue
				}
				f = again[0]
			}
			if wrong++; wrong <= 10 {
				t.Errorf("%s: %s, %v: %v; the model says: %s%s", during, w.Short(), one.attempt, f, why, s.explain(t, one, wrong))
			}
		}
	}
	if wrong > 0 {
		t.Fatalf("%s: %d attempts went otherwise than the model says", during, wrong)
	}
}

// explain is what weft says of the first attempts that went wrong.
func (s *system) explain(t *testing.T, one try, number int) string {
	if number > 2 {
		return ""
	}
	a := one.attempt
	argv := []string{"trace", "--port", one.from.Port(), "--to", a.To.String(), "--proto", strconv.Itoa(a.Protocol)}
	if a.Protocol == probe.ProtocolTCP || a.Protocol == probe.ProtocolUDP {
		argv = append(argv, "--dport", strconv.Itoa(int(a.Port)))
	}
	out, err := s.lab.Weft(t.Context(), argv...)
	return fmt.Sprintf("\nweft %s: %v\n%s", strings.Join(argv, " "), err, out)
}

// sweep makes all tries, the workloads side by side.
func (s *system) sweep(t *testing.T, tries map[Workload][]try) map[Workload][]probe.Found {
	t.Helper()
	var mu sync.Mutex
	var wait sync.WaitGroup
	found, failed := map[Workload][]probe.Found{}, []error(nil)
	for w, list := range tries {
		wait.Go(func() {
			var attempts []probe.Attempt
			for _, one := range list {
				attempts = append(attempts, one.attempt)
			}
			f, err := probe.Sweep(s.namespace(w), attempts, patience)
			mu.Lock()
			defer mu.Unlock()
			if found[w] = f; err != nil {
				failed = append(failed, err)
			}
		})
	}
	wait.Wait()
	if len(failed) > 0 {
		t.Fatal(failed[0])
	}
	return found
}
