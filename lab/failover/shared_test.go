// SPDX-License-Identifier: Apache-2.0

package failover

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/weft-network/weft/lab/topology"
)

var echoes = regexp.MustCompile(`Icmp6InEchos\s+(\d+)`)

// heard is how many echo requests a workload has heard.
func heard(t *testing.T, l *topology.Lab, workload string) int {
	t.Helper()
	sum, at := 0, 0
	var names []string
	for line := range strings.Lines(run(t, l, workload, "cat", "/proc/net/snmp")) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != "Icmp:" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for i, name := range names {
			if name == "InEchos" {
				at, _ = strconv.Atoi(f[i])
				sum += at
			}
		}
	}
	if m := echoes.FindStringSubmatch(run(t, l, workload, "cat", "/proc/net/snmp6")); m != nil {
		six, _ := strconv.Atoi(m[1])
		sum += six
	}
	return sum
}

// shared tries what several ports have at one time, on two hosts: the range of an
// active-active pair, and a static route through two of them. Each ping is a
// connection of its own.
func shared(t *testing.T, l *topology.Lab) {
	const flows = 60
	destinations := []string{"10.0.0.50", "fd00:b::50", "192.168.9.1"}
	for _, router := range []string{"r1", "r2"} {
		for _, a := range []string{"10.0.0.50/32", "fd00:b::50/128", "192.168.9.1/32"} {
			run(t, l, router, "ip", "address", "add", a, "dev", "lo")
		}
	}
	for _, to := range destinations {
		eventually(t, func() error {
			out, err := try(t, l, "client", "ping", "-n", "-c", "1", "-W", "1", to)
			if err != nil {
				return fmt.Errorf("ping %s: %w\n%s\n%s", to, err, out, weft(t, l, "routes", "red:prod:web"))
			}
			return nil
		})
		before := map[string]int{"r1": heard(t, l, "r1"), "r2": heard(t, l, "r2")}
		for range flows {
			run(t, l, "client", "ping", "-n", "-c", "1", "-W", "2", to)
		}
		one, two := heard(t, l, "r1")-before["r1"], heard(t, l, "r2")-before["r2"]
		t.Logf("%d flows to %s: %d to r1, %d to r2", flows, to, one, two)
		if one+two < flows || min(one, two) < flows/5 {
			t.Errorf("%d flows to %s: %d came to r1 and %d to r2", flows, to, one, two)
		}
	}
}
