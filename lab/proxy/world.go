// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/weft-network/weft/lab/topology"
)

// Hosts is how many hosts the workloads are on.
const Hosts = 3

// Virtual are the addresses of the load-balancer.
var Virtual = []netip.Addr{netip.MustParseAddr("10.60.0.80"), netip.MustParseAddr("fd00:60::80")}

// Workload is a namespace plugged into a port: a client (c) or a member (m).
type Workload struct {
	Name string
	Host int
}

// Workloads are a client and a member on each host.
var Workloads = []Workload{{"c1", 1}, {"c2", 2}, {"c3", 3}, {"m1", 1}, {"m2", 2}, {"m3", 3}}

// Member tells whether it serves.
func (w Workload) Member() bool { return w.Name[0] == 'm' }

// Port is the fully qualified name of its port.
func (w Workload) Port() string { return "red:shop:" + w.Name }

// WorldYAML is the workloads and their network, for weft apply.
func WorldYAML() string {
	var b strings.Builder
	b.WriteString(`kind: domain
meta: {name: red}
---
kind: project
meta: {name: shop, parent: red}
---
kind: network
meta: {name: web, parent: "red:shop"}
---
kind: subnet
meta: {name: v4, parent: "red:shop:web"}
spec: {cidr: 10.60.0.0/24}
---
kind: subnet
meta: {name: v6, parent: "red:shop:web"}
spec: {cidr: "fd00:60::/64"}
`)
	for i, w := range Workloads {
		fmt.Fprintf(&b, `---
kind: port
meta: {name: %[1]s, parent: "red:shop"}
spec: {network: "red:shop:web"}
---
kind: address
meta: {name: %[1]s-v4, parent: "red:shop:web"}
spec: {subnet: "red:shop:web:v4", ip: 10.60.0.%[2]d, port: "red:shop:%[1]s"}
---
kind: address
meta: {name: %[1]s-v6, parent: "red:shop:web"}
spec: {subnet: "red:shop:web:v6", ip: "fd00:60::%[2]d", port: "red:shop:%[1]s"}
---
kind: binding
meta: {name: %[3]s, parent: "red:shop:%[1]s"}
spec: {host: %[3]s, active: true}
`, w.Name, 20+i, topology.HostName(w.Host))
	}
	return b.String()
}
