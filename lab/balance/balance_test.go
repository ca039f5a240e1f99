// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/weft-network/weft/lab/probe"
)

// Virtual addresses are served, from the command line to the packets of real
// clients and members on three hosts.
func TestBalance(t *testing.T) {
	s := start(t)
	s.balance(t)
	eventually(t, func() error { // it serves as it says
		out, err := s.lab.Weft(t.Context(), "load-balancer", "-p", "red:shop", "web")
		if err != nil || strings.Count(out, "active") != 9 {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
	for _, f := range Families {
		t.Run(f.Name, func(t *testing.T) {
			t.Run("served", func(t *testing.T) { s.served(t, f) })
			t.Run("from the host", func(t *testing.T) { s.fromHost(t, f) })
			t.Run("pinged", func(t *testing.T) { s.pinged(t, f) })
			t.Run("refused", func(t *testing.T) { s.refused(t, f) })
			t.Run("hairpin", func(t *testing.T) { s.hairpin(t, f) })
			t.Run("tenants", func(t *testing.T) { s.tenants(t, f) })
			t.Run("traced", func(t *testing.T) { s.traced(t, f) })
		})
	}
	t.Run("weighed", s.weighed)
	t.Run("stays", s.stays)
	t.Run("drained", s.drained)
	t.Run("monitored", s.monitored)
	t.Run("agents restart", s.agentsRestart)
	t.Run("host dies", s.hostDies)
	t.Run("replaced", s.replaced)
}

// clients are those of the addresses' own network, and those of a network that is
// joined with it.
func clients() (all []Workload) {
	for _, name := range []string{"c1", "c2", "c3", "m1", "m2", "m3"} {
		all = append(all, Find("red", name))
	}
	return all
}

// served: each client reaches each member through each listener, at another port
// than the members listen on, and is seen with its own address.
func (s *system) served(t *testing.T, f Family) {
	for _, c := range clients() {
		ns, http := s.namespace(c), browser(s.namespace(c), false, patience)
		for what, one := range map[string]func() (answer, error){
			"tcp/80":   func() (answer, error) { return get(http, netip.AddrPortFrom(f.Virtual, 80)) },
			"tcp/8000": func() (answer, error) { return get(http, netip.AddrPortFrom(f.Virtual, 8000)) },
			"udp/53":   func() (answer, error) { return ask(ns, netip.AddrPortFrom(f.Virtual, 53), patience) },
		} {
			eventually(t, func() error { _, err := one(); return err }) // hosts may be behind what was written
			met := map[string]int{}
			for range 30 {
				a, err := one()
				if err != nil {
					t.Fatalf("%s calls %s: %v", c.Short(), what, err)
				}
				met[a.who]++
				want := c.Address(f)
				if a.who == c.Short() {
					want = f.Hairpin
				}
				if a.client.Addr() != want {
					t.Errorf("%s calls %s: %s sees %v, not %v", c.Short(), what, a.who, a.client, want)
				}
			}
			if met["red-m1"] == 0 || met["red-m2"] == 0 || met["red-m3"] == 0 || len(met) != 3 {
				t.Errorf("%s calls %s: served by %v, not by red's three", c.Short(), what, met)
			}
		}
	}
}

func (s *system) pinged(t *testing.T, f Family) {
	for _, c := range clients() {
		if out, err := s.run(t, c, "ping", "-n", "-c", "2", "-i", "0.2", "-W", "5", f.Virtual.String()); err != nil || !strings.Contains(out, "from "+f.Virtual.String()) {
			t.Errorf("%s pings: %v\n%s", c.Short(), err, out)
		}
	}
}

// refused: a port that nobody listens to says so at once.
func (s *system) refused(t *testing.T, f Family) {
	for _, c := range clients() {
		found, err := probe.Sweep(s.namespace(c), []probe.Attempt{
			{To: f.Virtual, Protocol: probe.ProtocolTCP, Port: 81}, {To: f.Virtual, Protocol: probe.ProtocolUDP, Port: 54},
		}, patience)
		if err != nil {
			t.Fatal(err)
		}
		for i, what := range []string{"tcp/81", "udp/54"} {
			if found[i].Finding != probe.Refused {
				t.Errorf("%s calls %s: %v", c.Short(), what, found[i])
			}
		}
		if _, err := get(browser(s.namespace(c), false, patience), netip.AddrPortFrom(f.Virtual, 81)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s calls tcp/81: %v", c.Short(), err)
		}
	}
}

// hairpin: a member that is given itself sees the hairpin address, and its own
// addresses go on being seen when it calls another one.
func (s *system) hairpin(t *testing.T, f Family) {
	m := Find("red", "m1")
	seen := false
	for range 100 {
		a, err := ask(s.namespace(m), netip.AddrPortFrom(f.Virtual, 53), patience)
		if err != nil {
			t.Fatal(err)
		}
		if seen = a.who == m.Short(); seen {
			if a.client.Addr() != f.Hairpin {
				t.Errorf("a member that calls itself sees %v, not %v", a.client, f.Hairpin)
			}
			break
		}
	}
	if !seen {
		t.Error("a member was never given itself")
	}
}

// tenants: equal virtual addresses of another tenant, whose members have the same
// addresses, too, lead to that tenant's own.
func (s *system) tenants(t *testing.T, f Family) {
	met := map[string]int{}
	http := browser(s.namespace(Find("blue", "c1")), false, patience)
	for range 30 {
		var a answer
		eventually(t, func() (err error) { a, err = get(http, netip.AddrPortFrom(f.Virtual, 80)); return err })
		met[a.who]++
	}
	if met["blue-m1"] == 0 || met["blue-m2"] == 0 || len(met) != 2 {
		t.Errorf("blue's client is served by %v", met)
	}
}
