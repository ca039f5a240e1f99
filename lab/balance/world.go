// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"fmt"
	"net/netip"
	"strings"
	"text/template"

	"github.com/weft-network/weft/lab/topology"
)

// Hosts is how many hosts the workloads are on.
const Hosts = 3

// Workload is a namespace plugged into a port.
type Workload struct {
	Tenant, Name string
	Network      string // services or members, or those of TestFloating
	Host         int
	Number       int // last part of its addresses
}

// Workloads are all of them: clients in the network of the virtual addresses, and
// members in another one, which a network-policy joins with it. Both tenants have
// the same addresses.
var Workloads = []Workload{
	{"red", "c1", "services", 1, 11}, {"red", "c2", "services", 2, 12}, {"red", "c3", "services", 3, 13},
	{"red", "m1", "members", 1, 21}, {"red", "m2", "members", 2, 22}, {"red", "m3", "members", 3, 23},
	{"red", "o1", "outside", 1, 31}, {"red", "o2", "outside", 2, 32}, {"red", "n1", "near", 3, 41},
	{"red", "p1", "private", 1, 51}, {"red", "p2", "private", 2, 52}, {"red", "p3", "private", 2, 53}, {"red", "p4", "private", 1, 54},
	{"blue", "c1", "services", 2, 11}, {"blue", "m1", "members", 3, 21}, {"blue", "m2", "members", 1, 22},
}

// Find returns a workload; one that is not there is our own mistake.
func Find(tenant, name string) Workload {
	for _, w := range Workloads {
		if w.Tenant == tenant && w.Name == name {
			return w
		}
	}
	panic(fmt.Sprintf("balance: no workload %s of %s", name, tenant))
}

// Family is IPv4 or IPv6: where the workloads, and the load-balancer, have their
// addresses.
type Family struct {
	Name    string
	Virtual netip.Addr
	Hairpin netip.Addr // whom a member sees that calls itself
	Subnets map[string]netip.Prefix
	ICMP    string // the protocol of ping
}

// Families are both.
var Families = []Family{
	{"IPv4", netip.MustParseAddr("10.96.0.80"), netip.MustParseAddr("169.254.64.1"), map[string]netip.Prefix{
		"services": netip.MustParsePrefix("10.96.0.0/24"), "members": netip.MustParsePrefix("10.32.0.0/24"),
		"outside": netip.MustParsePrefix("198.51.100.0/24"), "near": netip.MustParsePrefix("10.40.0.0/24"), "private": netip.MustParsePrefix("10.32.0.0/24"),
	}, "icmp"},
	{"IPv6", netip.MustParseAddr("fd00:96::80"), netip.MustParseAddr("fd77:6566:7400::1"), map[string]netip.Prefix{
		"services": netip.MustParsePrefix("fd00:96::/64"), "members": netip.MustParsePrefix("fd00:32::/64"),
		"outside": netip.MustParsePrefix("2001:db8:f::/64"), "near": netip.MustParsePrefix("fd00:40::/64"), "private": netip.MustParsePrefix("fd00:32::/64"),
	}, "icmpv6"},
}

// Address is the workload's of a family.
func (w Workload) Address(f Family) netip.Addr {
	a := f.Subnets[w.Network].Addr().AsSlice()
	a[len(a)-1] = byte(w.Number)
	address, _ := netip.AddrFromSlice(a)
	return address
}

// Project, Port and Short name the tenant's project, the workload's port, and its
// namespace in a lab.
func (w Workload) Project() string { return w.Tenant + ":shop" }

// Port is the fully qualified name of its port.
func (w Workload) Port() string { return w.Project() + ":" + w.Name }

// Short names its namespace in a lab.
func (w Workload) Short() string { return w.Tenant + "-" + w.Name }

// HostName is the name of its host.
func (w Workload) HostName() string { return topology.HostName(w.Host) }

// V4 is its address of IPv4.
func (w Workload) V4() netip.Addr { return w.Address(Families[0]) }

// V6 is its address of IPv6.
func (w Workload) V6() netip.Addr { return w.Address(Families[1]) }

var worldTemplate = template.Must(template.New("world").Parse(`
{{- range $tenant := .Tenants}}---
kind: domain
meta: {name: {{.}}}
---
kind: project
meta: {name: shop, parent: {{.}}}
{{range $name, $v4 := $.V4}}---
kind: network
meta: {name: {{$name}}, parent: "{{$tenant}}:shop"}
{{- if and (eq $tenant "red") (eq $name "services")}}
spec: {hostVisible: true}
{{- end}}
---
kind: subnet
meta: {name: v4, parent: "{{$tenant}}:shop:{{$name}}"}
spec: {cidr: {{$v4}}}
---
kind: subnet
meta: {name: v6, parent: "{{$tenant}}:shop:{{$name}}"}
spec: {cidr: "{{index $.V6 $name}}"}
{{end}}---
kind: network-policy
meta: {name: joined, parent: "{{.}}:shop"}
spec:
  rules:
  - action: pass
    direction: "<>"
    source: {network: "{{.}}:shop:services"}
    destination: {network: "{{.}}:shop:members"}
  - action: pass
    direction: "<>"
    source: {network: "{{.}}:shop:services"}
    destination: {network: "{{.}}:shop:services"}
---
kind: network-policy-attachment
meta: {name: services, parent: "{{.}}:shop"}
spec: {policy: "{{.}}:shop:joined", network: "{{.}}:shop:services"}
---
kind: network-policy-attachment
meta: {name: members, parent: "{{.}}:shop"}
spec: {policy: "{{.}}:shop:joined", network: "{{.}}:shop:members"}
{{end}}
{{- range .Workloads}}---
kind: port
meta: {name: {{.Name}}, parent: "{{.Project}}"}
spec: {network: "{{.Project}}:{{.Network}}"}
---
kind: address
meta: {name: {{.Name}}-v4, parent: "{{.Project}}:{{.Network}}"}
spec: {subnet: "{{.Project}}:{{.Network}}:v4", ip: {{.V4}}, port: "{{.Port}}"}
---
kind: address
meta: {name: {{.Name}}-v6, parent: "{{.Project}}:{{.Network}}"}
spec: {subnet: "{{.Project}}:{{.Network}}:v6", ip: "{{.V6}}", port: "{{.Port}}"}
---
kind: binding
meta: {name: {{.HostName}}, parent: "{{.Port}}"}
spec: {host: {{.HostName}}, active: true}
{{end}}`))

// WorldYAML is the workloads, their networks and what joins these, for weft apply.
func WorldYAML() string {
	var b strings.Builder
	err := worldTemplate.Execute(&b, map[string]any{
		"Tenants": []string{"red", "blue"}, "Workloads": Workloads, "V4": Families[0].Subnets, "V6": Families[1].Subnets,
	})
	if err != nil {
		panic(fmt.Sprintf("balance: own template: %v", err))
	}
	return b.String()
}
