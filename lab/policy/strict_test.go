// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/lab/probe"
	"github.com/weft-network/weft/lab/topology"
)

// strictHold is how long a strict change of a test may last: it takes tenths of a second.
const strictHold = 60 * time.Second

// longHold is for one that outlives a controller.
const longHold = 4 * time.Minute

// strictly does operations as one change that holds at all hosts at once, and
// waits until it does.
func (s *system) strictly(t *testing.T, operations ...api.Operation) {
	t.Helper()
	s.hold(t, strictHold, operations...)
	s.released(t, strictHold)
}

// hold begins a strict change.
func (s *system) hold(t *testing.T, lasts time.Duration, operations ...api.Operation) {
	t.Helper()
	d := &api.Draft{Header: header(api.KindDraft, "red:shop", "strict")}
	d.Spec.Hold = &api.Hold{Seconds: int(lasts / time.Second)}
	if _, err := s.client.Transaction(t.Context(), append(slices.Clone(operations), create(d)), false); err != nil {
		t.Fatal(err)
	}
}

// held is the draft that holds a change, nil once it is gone.
func (s *system) held(t *testing.T) *api.Draft {
	t.Helper()
	d, err := client.Get[*api.Draft](t.Context(), s.client, api.Ref{Name: "red:shop:strict"})
	var e *api.Error
	switch {
	case errors.As(err, &e) && e.Code == api.CodeNotFound:
		return nil
	case err != nil && !errors.As(err, &e): // one that is of the API passes, as when the controller starts again
		t.Fatal(err)
	case err != nil:
		return &api.Draft{}
	}
	return d
}

// released waits until a hold ends, with all hosts.
func (s *system) released(t *testing.T, lasts time.Duration) {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for d := s.held(t); d != nil; d = s.held(t) {
		if d.Status.Expired || time.Since(began) >= lasts {
			t.Fatalf("after %v not all hosts ask both policies: %v", time.Since(began), d.Status.Waiting)
		}
		<-tick.C
	}
	s.settled(t)
}

// hearing are datagrams that must not come.
type hearing struct {
	flows []*probe.Flowing
	names []string
}

// shouting sends datagrams between hosts all the time.
func (s *system) shouting(t *testing.T) *hearing {
	t.Helper()
	h := &hearing{}
	for _, way := range [][2]string{{"red-w3", "red-w4"}, {"red-w2", "red-w4"}, {"red-w3", "red-w1"}} {
		from, to := find(t, way[0]), find(t, way[1])
		for _, a := range to.Addresses() {
			name := fmt.Sprintf("%s to %v", from.Short(), a)
			f, err := probe.Flow{Name: name, From: s.namespace(from), To: s.namespace(to), Address: a, Rate: 2000}.Start()
			if err != nil {
				t.Fatal(err)
			}
			h.flows, h.names = append(h.flows, f), append(h.names, name)
		}
	}
	return h
}

// end stops it and returns how many came, by flow.
func (h *hearing) end(t *testing.T) (came []string, sent uint64) {
	t.Helper()
	for i, f := range h.flows {
		count, err := f.Stop()
		if err != nil {
			t.Fatal(err)
		}
		if sent += count.Sent; count.Received > 0 {
			came = append(came, fmt.Sprintf("%s: %d", h.names[i], count.Received))
		}
	}
	return came, sent
}

// strict changes policy across hosts: the former one forbids datagrams where they
// are sent and nowhere else, the new one where they are heard and nowhere else. So
// neither passes them, and none may come; without strict some may.
func (s *system) strict(t *testing.T, m *Model) {
	const turns = 20
	for _, name := range []string{"sender", "hearer"} {
		s.write(t, create(&api.SecurityGroup{Header: header(api.KindSecurityGroup, "red:shop", name)}))
	}
	defer func() {
		s.write(t, slices.Concat(s.withGroups(t, m, []string{"run"}, "w1", "w4"), s.withGroups(t, m, []string{"run", "old"}, "w2", "w3"))...)
	}()
	s.write(t, slices.Concat(allow("sender", "tcp", api.Egress, tcp()), allow("hearer", "tcp", api.Ingress, tcp(80)), allow("hearer", "udp", api.Ingress, udp),
		s.withGroups(t, m, []string{"sender"}, "w2", "w3"), s.withGroups(t, m, []string{"hearer"}, "w1", "w4"))...)
	atHearer := slices.Concat(allow("sender", "udp", api.Egress, udp), disallow("hearer", "udp"))
	atSender := slices.Concat(disallow("sender", "udp"), allow("hearer", "udp", api.Ingress, udp))
	for _, way := range []struct {
		name  string
		write func(*testing.T, ...api.Operation)
	}{{"without strict", s.write}, {"strict", s.strictly}} {
		h := s.shouting(t)
		passes := s.probing(find(t, "red-w3"), probe.Connected, 900*time.Millisecond, both(find(t, "red-w4"), probe.ProtocolTCP, 80))
		began := time.Now()
		for turn := range turns {
			if turn%2 == 0 {
				way.write(t, atHearer...)
			} else {
				way.write(t, atSender...)
			}
			wait(t, 20*time.Millisecond)
		}
		took := time.Since(began)
		passes.end(t, way.name)
		came, sent := h.end(t)
		t.Logf("%s: %d changes of %v each, %d datagrams that neither policy passes, of which came: %v", way.name, turns, took/turns, sent, came)
		if way.name == "strict" && (len(came) > 0 || sent < 1000) {
			t.Errorf("of %d datagrams that neither policy passes there came: %v", sent, came)
		}
	}
	s.strictFromFile(t)
	s.strictWithoutHost(t)
}

// strictFromFile makes a strict change with weft.
func (s *system) strictFromFile(t *testing.T) {
	out, err := s.applyStrictly(t, 81, "--strict-timeout", strictHold.String())
	if err != nil || !strings.Contains(out, "created") || !strings.Contains(out, "all hosts have it") {
		t.Errorf("weft apply --strict: %v\n%s", err, out)
	}
}

// applyStrictly allows one more port with weft, as one strict change.
func (s *system) applyStrictly(t *testing.T, port int, flags ...string) (string, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "change.yaml")
	text := fmt.Sprintf("kind: security-group-rule\nmeta: {name: more-%d, parent: 'red:shop:hearer'}\nspec: {direction: ingress, family: IPv4, match: {protocol: tcp, ports: {from: %d}}}\n", port, port)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return s.lab.Weft(t.Context(), append([]string{"apply", "--strict", "--project", "red:shop", "-f", file}, flags...)...)
}

// strictWithoutHost makes strict changes while a host hangs, or is down, and while
// the controller starts again.
func (s *system) strictWithoutHost(t *testing.T) {
	third := topology.HostName(3)
	t.Run("a host hangs", func(t *testing.T) {
		s.signal(t, third, syscall.SIGSTOP)
		_, err := s.applyStrictly(t, 82, "--strict-timeout", "2s")
		s.signal(t, third, syscall.SIGCONT)
		if err == nil || !strings.Contains(err.Error(), "the change is made, but not all hosts confirmed") || !strings.Contains(err.Error(), third+" (") {
			t.Errorf("a host that hangs does not confirm a change, and weft says: %v", err)
		}
		drafts, err := client.ListOf[*api.Draft](t.Context(), s.client, client.ListOptions{})
		if err != nil || len(drafts.Items) > 0 {
			t.Errorf("still held: %+v, %v", drafts.Items, err)
		}
		s.settled(t)
	})
	t.Run("a host is down", func(t *testing.T) {
		if err := s.lab.Kill(third); err != nil {
			t.Fatal(err)
		}
		s.until(t, "the host not to be connected", func() bool {
			h, err := client.Get[*api.Host](t.Context(), s.client, api.Ref{Name: third})
			return err == nil && !h.Status.Connected
		})
		if _, err := s.applyStrictly(t, 83); err == nil || !strings.Contains(err.Error(), "not connected: "+third) {
			t.Errorf("a host is down, and weft says: %v", err)
		}
		out, err := s.applyStrictly(t, 83, "--without-absent-hosts")
		if err != nil || !strings.Contains(out, "created") || !strings.Contains(out, "all hosts have it") {
			t.Errorf("without the host that is down: %v\n%s", err, out)
		}
		if err := s.lab.StartAgent(t.Context(), 3); err != nil {
			t.Fatal(err)
		}
		s.settled(t)
	})
	t.Run("the controller dies", func(t *testing.T) {
		s.signal(t, third, syscall.SIGSTOP)
		s.hold(t, longHold, allow("hearer", "late", api.Ingress, tcp(84))...)
		s.until(t, "whom the change waits for", func() bool { d := s.held(t); return d != nil && d.Status.Behind == 1 })
		err := s.lab.Kill(topology.Controller)
		if err == nil {
			err = s.lab.StartController(t.Context())
		}
		s.signal(t, third, syscall.SIGCONT)
		if err != nil {
			t.Fatal(err)
		}
		s.released(t, longHold)
	})
}

func (s *system) signal(t *testing.T, name string, sig syscall.Signal) {
	t.Helper()
	if err := s.lab.Signal(name, sig); err != nil {
		t.Fatal(err)
	}
}

// until waits until something is so.
func (s *system) until(t *testing.T, what string, so func() bool) {
	t.Helper()
	deadline := time.After(settle)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited %v for %s", settle, what)
		}
	}
}
