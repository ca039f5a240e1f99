// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/lab/namespace"
)

// wrk is a benchmark of HTTP under way.
type wrk struct {
	cmd *exec.Cmd
	out strings.Builder
}

// wrk asks from a workload for so long, by several conversations at a time.
func (s *system) wrk(t *testing.T, from Workload, f Family, during time.Duration) *wrk {
	t.Helper()
	host := f.Virtual.String()
	if f.Virtual.Is6() {
		host = "[" + host + "]"
	}
	w := &wrk{cmd: exec.Command("wrk", "-t", "1", "-c", "8", "-d", strconv.Itoa(int(during.Seconds())), "--timeout", "10", "http://"+host+"/")}
	w.cmd.Stdout, w.cmd.Stderr = &w.out, &w.out
	if err := namespace.Start(s.namespace(from), w.cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.cmd.Process.Kill() }) // harmless when it has ended
	return w
}

var requests = regexp.MustCompile(`(\d+) requests in`)

// replaced: every member is replaced by a new one under load; whoever is drained
// first, and ends when its conversations have, loses nothing.
func (s *system) replaced(t *testing.T) {
	const during = 12 * time.Second
	began := time.Now()
	var loads []*wrk
	for _, f := range Families {
		loads = append(loads, s.wrk(t, Find("red", "c1"), f, during))
	}
	for _, name := range []string{"m1", "m2", "m3"} {
		was := Find("red", name)
		now := was
		now.Name, now.Number = name+"b", was.Number+10
		s.newcomer(t, now)
		s.member(t, "tcp-80", name, 1, "draining", "up")
		s.servers[was.Short()].drain()
		eventually(t, func() error {
			if n := s.servers[was.Short()].conversations.Load(); n > 0 {
				return fmt.Errorf("%s has %d conversations", name, n)
			}
			return nil
		})
		s.weft(t, "delete", "member", "red:shop:web:tcp-80:"+name)
		s.servers[was.Short()].close()
		if err := s.lab.Unplug(t.Context(), was.Host, was.Port()); err != nil {
			t.Fatal(err)
		}
	}
	took := time.Since(began)
	for i, w := range loads {
		err := w.cmd.Wait()
		out := w.out.String()
		m := requests.FindStringSubmatch(out)
		if err != nil || m == nil || m[1] == "0" || strings.Contains(out, "Socket errors") || strings.Contains(out, "Non-2xx") {
			t.Errorf("%s: %v\n%s", Families[i].Name, err, out)
			continue
		}
		t.Logf("%s: %s requests, none failed, all members replaced within %v of %v", Families[i].Name, m[1], took, during)
	}
	if took > during {
		t.Errorf("the members were replaced within %v, after the load had ended", took)
	}
	if out, err := s.run(t, Find("red", "c2"), "curl", "-sS", "--max-time", "10", "http://"+Families[0].Virtual.String()+"/"); err != nil || !strings.HasPrefix(out, "red-m") || !strings.Contains(out, "b ") {
		t.Errorf("curl: %v %q", err, out)
	}
}

// newcomer plugs another workload of red's, which serves, and makes it a member.
func (s *system) newcomer(t *testing.T, w Workload) {
	t.Helper()
	s.weft(t, "create", "port", w.Name, "-p", w.Project(), "--network", w.Network, "--host", w.HostName(), "--ip", w.V4().String(), "--ip", w.V6().String())
	if err := s.lab.AddWorkload(w.Short()); err != nil {
		t.Fatal(err)
	}
	if err := s.lab.Plug(t.Context(), w.Host, w.Port(), w.Short()); err != nil {
		t.Fatal(err)
	}
	s.serve(t, w)
	s.weft(t, "create", "member", "web:tcp-80:"+w.Name, "-p", w.Project(), "--port", w.Name, "--target", "8080")
	eventually(t, func() error {
		out, err := s.lab.Weft(t.Context(), "get", "member", "red:shop:web:tcp-80:"+w.Name, "-o", "yaml")
		if err == nil && !strings.Contains(out, "reason: online") {
			err = fmt.Errorf("not online:\n%s", out)
		}
		return err
	})
}
