// SPDX-License-Identifier: Apache-2.0

package reach_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/reach"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/world"
)

// A question about all pairs of many ports costs little for each.
func BenchmarkRows(b *testing.B) {
	const ports = 300
	lines := []string{"host h1 192.0.2.1", "network blue 10", "subnet blue 10.0.0.0/16", "security-group web", "security-group db",
		"allow web out egress IPv4", "allow db in ingress IPv4 tcp/5432 group=web", "allow db far ingress IPv4 udp/53 10.0.1.0/24"}
	for i := range ports {
		group := []string{"web", "db"}[i%2]
		lines = append(lines, fmt.Sprintf("port blue p%d\naddress blue 10.0.%d.%d p%d\nbind p%d h1\nsecured p%d %s", i, 1+i/200, 2+i%200, i, i, i, group))
	}
	d := policy.Derive(routing.Derive(world.New(strings.Join(lines, "\n"))))
	all := d.Routing.Ports()
	for b.Loop() {
		rows, err := reach.New(d).Rows(b.Context(), all, all)
		if err != nil || len(rows) < 2 {
			b.Fatal(rows, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/ports/ports, "ns/pair")
}
