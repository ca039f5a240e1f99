// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/lab/probe"
)

// strictHold is how long a strict change of a test may last: it takes tenths of a second.
const strictHold = 60 * time.Second

// strictly does operations as one change that holds at all hosts at once, and
// waits until it does.
func (s *system) strictly(t *testing.T, operations ...api.Operation) {
	t.Helper()
	d := &api.Draft{Header: header(api.KindDraft, "red:shop", "strict")}
	d.Spec.Hold = &api.Hold{Seconds: int(strictHold / time.Second)}
	began := time.Now()
	if _, err := s.client.Transaction(t.Context(), append(slices.Clone(operations), create(d)), false); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := client.Get[*api.Draft](t.Context(), s.client, api.Ref{Name: "red:shop:strict"})
		var e *api.Error
		switch took := time.Since(began); {
		case errors.As(err, &e) && e.Code == api.CodeNotFound && took < strictHold:
			s.settled(t)
			return
		case took >= strictHold:
			t.Fatalf("after %v not all hosts ask both policies: %v", took, err)
		case err != nil && !errors.As(err, &e):
			t.Fatal(err)
		}
		<-tick.C
	}
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
}

// strictFromFile makes a strict change with weft.
func (s *system) strictFromFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "change.yaml")
	text := "kind: security-group-rule\nmeta: {name: more, parent: 'red:shop:hearer'}\nspec: {direction: ingress, family: IPv4, match: {protocol: tcp, ports: {from: 81}}}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := s.lab.Weft(t.Context(), "apply", "--strict", "--strict-timeout", strictHold.String(), "--project", "red:shop", "-f", file)
	if err != nil || !strings.Contains(out, "created") || !strings.Contains(out, "all hosts have it") {
		t.Errorf("weft apply --strict: %v\n%s", err, out)
	}
}
