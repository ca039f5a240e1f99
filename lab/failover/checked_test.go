// SPDX-License-Identifier: Apache-2.0

package failover

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/lab/topology"
)

const checks = `kind: health-check
meta: {name: alive, parent: "red:prod"}
spec:
  probe: {type: ping, intervalMilliseconds: 200, rise: 2, fall: 3}
  onFault: withdraw
`

// leads waits until the routes say of a prefix that it leads through the router
// or not.
func leads(t *testing.T, l *topology.Lab, prefix, router string, want bool) {
	t.Helper()
	eventually(t, func() error {
		out, found := weft(t, l, "routes", "red:prod:web"), false
		for line := range strings.Lines(out) {
			found = found || strings.Contains(line, prefix) && strings.Contains(line, "port "+router+" on")
		}
		if found != want {
			return fmt.Errorf("%s leads through %s: %t\n%s\n%s", prefix, router, found, out, weft(t, l, "get", "ports", "-A", "-o", "wide"))
		}
		return nil
	})
}

// A workload that answers its health-check no more loses the routes that lead
// through it, here to another host's, and keeps its own address; it gets them
// back when it answers again.
func TestHealthChecks(t *testing.T) {
	l := start(t)
	const names = "  healthChecks: [\"red:prod:alive\"]\n"
	apply(t, l, checks+port("r1", 1, 11, pairs+names)+port("r2", 2, 12, pairs+names))
	have := func(router, change string) {
		t.Helper()
		for _, a := range []string{"10.0.0.50/32", "fd00:b::50/128", "192.168.9.1/32"} {
			run(t, l, router, "ip", "address", change, a, "dev", "lo")
		}
	}
	for _, router := range []string{"r1", "r2"} {
		have(router, "add")
		eventually(t, func() error {
			if out := weft(t, l, "get", "port", "red:prod:"+router, "-o", "wide"); !strings.Contains(out, "alive online") {
				return fmt.Errorf("%s is not online:\n%s", router, out)
			}
			return nil
		})
	}
	prefixes := []string{"192.168.9.0/24", "10.0.0.50/32", "fd00:b::50/128"}
	destinations := []string{"192.168.9.1", "10.0.0.50", "fd00:b::50"}
	for _, p := range prefixes {
		leads(t, l, p, "r1", true)
	}
	have("r1", "del") // from now on only the other one answers for them
	run(t, l, "r1", "sysctl", "-qw", "net.ipv4.icmp_echo_ignore_all=1")
	began := time.Now()
	for _, p := range prefixes {
		leads(t, l, p, "r1", false)
		leads(t, l, p, "r2", true)
	}
	t.Logf("no routes through r1 %v after it fell silent", time.Since(began))
	leads(t, l, "10.0.0.11/32", "r1", true)
	for _, to := range destinations {
		answers(t, l, to, 20)
	}
	run(t, l, "client", "ping", "-n", "-c", "1", "-W", "5", "fd00:b::ff:fe00:b")
	out := weft(t, l, "describe", "port", "red:prod:r1")
	if !strings.Contains(out, "no answer within 200 ms") || !strings.Contains(out, "withdrawn") {
		t.Errorf("the port says\n%s", out)
	}
	if why, err := l.Weft(t.Context(), "why", "port", "red:prod:r1"); !strings.Contains(why, "own addresses only") {
		t.Errorf("why says %v\n%s", err, why)
	}
	run(t, l, "r1", "sysctl", "-qw", "net.ipv4.icmp_echo_ignore_all=0")
	for _, p := range prefixes {
		leads(t, l, p, "r1", true)
	}
	have("r1", "add")
	have("r2", "del") // which goes on being online: some flows are lost, and others find the first one
	for _, to := range destinations {
		answers(t, l, to, 1)
	}
	t.Run("bfd", func(t *testing.T) { sessions(t, l) })
}

// answers waits until so many single echoes in a row, each a connection of its
// own, are answered: hosts may be a moment behind what was derived.
func answers(t *testing.T, l *topology.Lab, to string, row int) {
	t.Helper()
	eventually(t, func() error {
		for range row {
			if out, err := try(t, l, "client", "ping", "-n", "-c", "1", "-W", "1", to); err != nil {
				return fmt.Errorf("%s: %w\n%s", to, err, out)
			}
		}
		return nil
	})
}
