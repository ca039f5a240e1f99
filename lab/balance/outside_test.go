// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"net/netip"
	"testing"

	"github.com/weft-network/weft/lab/topology"
)

// fromHost: a process of each host itself reaches each member through each listener,
// of the tenant whose network its hosts see, and is seen with the host's address.
func (s *system) fromHost(t *testing.T, f Family) {
	for n := 1; n <= Hosts; n++ {
		ns := s.lab.Namespace(topology.HostName(n))
		want, v6 := topology.HostAddresses(n)
		if f.Virtual.Is6() {
			want = v6
		}
		http := browser(ns, false, patience)
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
					t.Fatalf("host %d calls %s: %v", n, what, err)
				}
				met[a.who]++
				if a.client.Addr() != want {
					t.Errorf("host %d calls %s: %s sees %v, not %v", n, what, a.who, a.client, want)
				}
			}
			if met["red-m1"] == 0 || met["red-m2"] == 0 || met["red-m3"] == 0 || len(met) != 3 {
				t.Errorf("host %d calls %s: served by %v, not by red's three", n, what, met)
			}
		}
	}
}
