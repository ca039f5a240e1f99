// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"text/template"

	"github.com/weft-network/weft/lab/topology"
)

// Hosts is how many hosts the workloads are on.
const Hosts = 3

// Workload is a namespace plugged into a port, with an address of each family.
type Workload struct {
	Name    string
	Network Network
	Host    int
	Number  int // last part of its addresses
}

// Network is one with a subnet of each family.
type Network struct {
	Project, Name string // red:shop, web
	Third         int    // part of its subnets
}

// The networks. Red's web and blue's have the same subnets, and their workloads
// the same addresses.
var (
	redWeb  = Network{"red:shop", "web", 1}
	redDB   = Network{"red:shop", "db", 2}
	redTest = Network{"red:test", "lab", 3}
	blueWeb = Network{"blue:shop", "web", 1}
)

// Workloads are all of them, on all hosts.
var Workloads = []Workload{
	{"w1", redWeb, 1, 11}, {"w2", redWeb, 1, 12}, {"w3", redWeb, 2, 13}, {"w4", redWeb, 3, 14},
	{"d1", redDB, 2, 21}, {"d2", redDB, 3, 22},
	{"t1", redTest, 1, 31}, {"t2", redTest, 3, 32},
	{"w1", blueWeb, 1, 11}, {"w2", blueWeb, 2, 12}, {"w3", blueWeb, 3, 13},
}

// FQName is the fully qualified name of the network.
func (n Network) FQName() string { return n.Project + ":" + n.Name }

// V4 and V6 are its subnets.
func (n Network) V4() string { return fmt.Sprintf("10.0.%d.0/24", n.Third) }

// V6 is its other subnet.
func (n Network) V6() string { return fmt.Sprintf("fd00:%d::/64", n.Third) }

// Domain is the first part of its names.
func (w Workload) Domain() string { d, _, _ := strings.Cut(w.Network.Project, ":"); return d }

// Port is the fully qualified name of its port.
func (w Workload) Port() string { return w.Network.Project + ":" + w.Name }

// Short names its namespace in a lab.
func (w Workload) Short() string { return w.Domain() + "-" + w.Name }

// HostName is the name of its host.
func (w Workload) HostName() string { return topology.HostName(w.Host) }

// V4 is its address of IPv4.
func (w Workload) V4() netip.Addr {
	return netip.AddrFrom4([4]byte{10, 0, byte(w.Network.Third), byte(w.Number)})
}

// V6 is its address of IPv6; the digits read like those of the other one.
func (w Workload) V6() netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("fd00:%d::%d", w.Network.Third, w.Number))
}

// Machine is the fully qualified name of its virtual-machine, which it shares with
// others of its project.
func (w Workload) Machine() string { return fmt.Sprintf("%s:m%d", w.Network.Project, w.Number%2) }

// Named are its names for ports, as a list of YAML: of some workloads the same name
// is another port, and some have none.
func (w Workload) Named() string {
	if w.Number%3 == 0 {
		return "[]"
	}
	return fmt.Sprintf("[{name: web, protocol: tcp, port: %d}, {name: ask, protocol: udp, port: %d}]", []int{80, 443}[w.Number%2], []int{443, 53}[w.Number%2])
}

// Addresses are both.
func (w Workload) Addresses() []netip.Addr { return []netip.Addr{w.V4(), w.V6()} }

var worldTemplate = template.Must(template.New("world").Parse(`
{{- range .Domains}}---
kind: domain
meta: {name: {{.}}}
{{end}}
{{- range .Projects}}---
kind: project
meta: {name: {{index . 1}}, parent: {{index . 0}}}
{{end}}
{{- range .Networks}}---
kind: network
meta: {name: {{.Name}}, parent: "{{.Project}}"}
---
kind: subnet
meta: {name: v4, parent: "{{.FQName}}"}
spec: {cidr: {{.V4}}}
---
kind: subnet
meta: {name: v6, parent: "{{.FQName}}"}
spec: {cidr: "{{.V6}}"}
{{end}}
{{- range .Machines}}---
kind: virtual-machine
meta: {name: {{index . 1}}, parent: "{{index . 0}}"}
{{end}}
{{- range .Workloads}}---
kind: port
meta: {name: {{.Name}}, parent: "{{.Network.Project}}"}
spec: {network: "{{.Network.FQName}}", virtualMachine: "{{.Machine}}", namedPorts: {{.Named}}}
---
kind: address
meta: {name: {{.Name}}-v4, parent: "{{.Network.FQName}}"}
spec: {subnet: "{{.Network.FQName}}:v4", ip: {{.V4}}, port: "{{.Port}}"}
---
kind: address
meta: {name: {{.Name}}-v6, parent: "{{.Network.FQName}}"}
spec: {subnet: "{{.Network.FQName}}:v6", ip: "{{.V6}}", port: "{{.Port}}"}
---
kind: binding
meta: {name: {{.HostName}}, parent: "{{.Port}}"}
spec: {host: {{.HostName}}, active: true}
{{end}}`))

// WorldYAML is the workloads and their networks without any policy, for weft apply.
func WorldYAML() string {
	var b strings.Builder
	var machines [][2]string
	for _, p := range projects {
		machines = append(machines, [2]string{p, "m0"}, [2]string{p, "m1"})
	}
	err := worldTemplate.Execute(&b, map[string]any{
		"Domains":   []string{"red", "blue"},
		"Projects":  [][2]string{{"red", "shop"}, {"red", "test"}, {"blue", "shop"}},
		"Networks":  []Network{redWeb, redDB, redTest, blueWeb},
		"Machines":  machines,
		"Workloads": Workloads,
	})
	if err != nil {
		panic(fmt.Sprintf("policy: own template: %v", err))
	}
	return b.String()
}
