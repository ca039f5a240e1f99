// SPDX-License-Identifier: Apache-2.0

// Package tenants describes what the lab's systems carry: two tenants with the
// same networks, subnets and addresses, and workloads on all hosts.
package tenants

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"text/template"

	"github.com/weft-network/weft/lab/topology"
)

// Network is a network with one subnet of each family.
type Network struct {
	Name   string
	V4, V6 netip.Prefix
}

// The networks that every tenant has.
var (
	Web = Network{"web", netip.MustParsePrefix("10.0.1.0/24"), netip.MustParsePrefix("fd00:1::/64")}
	DB  = Network{"db", netip.MustParsePrefix("10.0.2.0/24"), netip.MustParsePrefix("fd00:2::/64")}
)

// Workload is a namespace plugged into a port.
type Workload struct {
	Tenant  string // also the name of its domain
	Name    string
	Network Network
	Host    int // from 1
	Number  int // last part of its addresses
}

// V4 is the workload's IPv4 address.
func (w Workload) V4() netip.Addr { return numbered(w.Network.V4, w.Number) }

// V6 is the workload's IPv6 address.
func (w Workload) V6() netip.Addr { return numbered(w.Network.V6, w.Number) }

// Addresses are both, IPv4 first.
func (w Workload) Addresses() []netip.Addr { return []netip.Addr{w.V4(), w.V6()} }

// numbered is the address of a range whose last part reads as n; in IPv6 the
// digits are kept (10.0.1.12 and fd00:1::12), as people do.
func numbered(p netip.Prefix, n int) netip.Addr {
	text := p.Addr().String()
	if p.Addr().Is4() {
		return netip.MustParseAddr(text[:strings.LastIndexByte(text, '.')+1] + fmt.Sprint(n))
	}
	return netip.MustParseAddr(text + fmt.Sprint(n))
}

// Project is the fully qualified name of the tenant's project.
func (w Workload) Project() string { return w.Tenant + ":" + projectName }

// Port is the fully qualified name of the workload's port.
func (w Workload) Port() string { return w.Project() + ":" + w.Name }

// NetworkName is the fully qualified name of the workload's network.
func (w Workload) NetworkName() string { return w.Project() + ":" + w.Network.Name }

// HostName is the name of the workload's host.
func (w Workload) HostName() string { return topology.HostName(w.Host) }

// Short names the workload within the lab: "red-web-1".
func (w Workload) Short() string { return w.Tenant + "-" + w.Name }

// Title names the workload for people: "red web-1".
func (w Workload) Title() string { return w.Tenant + " " + w.Name }

const projectName = "shop"

// The tenants.
const (
	Red  = "red"
	Blue = "blue"
)

// All are the workloads. Where both tenants have one of a name, they have the
// same addresses; only web-9 of blue is alone.
var All = []Workload{
	{Red, "web-1", Web, 1, 11},
	{Red, "web-2", Web, 1, 12},
	{Red, "web-3", Web, 2, 13},
	{Red, "db-1", DB, 3, 21},
	{Blue, "web-1", Web, 1, 11},
	{Blue, "web-2", Web, 2, 12},
	{Blue, "web-3", Web, 3, 13},
	{Blue, "web-9", Web, 2, 19},
	{Blue, "db-1", DB, 1, 21},
}

// Hosts is how many hosts they need.
const Hosts = 3

// Find returns a workload; one that is not there is our own mistake.
func Find(tenant, name string) Workload {
	for _, w := range All {
		if w.Tenant == tenant && w.Name == name {
			return w
		}
	}
	panic(fmt.Sprintf("tenants: no workload %s of %s", name, tenant))
}

// Of returns the workloads of a tenant.
func Of(tenant string) []Workload {
	var own []Workload
	for _, w := range All {
		if w.Tenant == tenant {
			own = append(own, w)
		}
	}
	return own
}

var tenantTemplate = template.Must(template.New("tenant").Parse(`# Tenant {{.Tenant}}: everything it has, for "weft apply -f". The other tenant's
# file differs in the names only: subnets and addresses are the same.
kind: domain
meta: {name: {{.Tenant}}}
---
kind: project
meta: {name: {{.Project}}, parent: {{.Tenant}}}
{{- range .Networks}}
---
kind: network
meta: {name: {{.Name}}, parent: "{{$.Path}}"}
spec: {mtu: 1500}
---
kind: subnet
meta: {name: v4, parent: "{{$.Path}}:{{.Name}}"}
spec: {cidr: {{.V4}}}
---
kind: subnet
meta: {name: v6, parent: "{{$.Path}}:{{.Name}}"}
spec: {cidr: "{{.V6}}"}
{{- end}}
{{- range .Workloads}}
---
kind: port
meta: {name: {{.Name}}, parent: "{{$.Path}}"}
spec: {network: "{{.NetworkName}}"}
---
kind: address
meta: {name: {{.Name}}-v4, parent: "{{.NetworkName}}"}
spec: {subnet: "{{.NetworkName}}:v4", ip: {{.V4}}, port: "{{.Port}}"}
---
kind: address
meta: {name: {{.Name}}-v6, parent: "{{.NetworkName}}"}
spec: {subnet: "{{.NetworkName}}:v6", ip: "{{.V6}}", port: "{{.Port}}"}
---
kind: binding
meta: {name: {{.HostName}}, parent: "{{.Port}}"}
spec: {host: {{.HostName}}, active: true}
{{- end}}
`))

// YAML is a tenant as a file for "weft apply -f".
func YAML(tenant string) string {
	var b strings.Builder
	err := tenantTemplate.Execute(&b, map[string]any{
		"Tenant": tenant, "Project": projectName, "Path": tenant + ":" + projectName,
		"Networks": []Network{Web, DB}, "Workloads": Of(tenant),
	})
	if err != nil {
		panic(fmt.Sprintf("tenants: own template: %v", err))
	}
	return b.String()
}

// PolicyName is the policy that joins the networks of a tenant.
const PolicyName = "web-and-db"

// PolicyYAML joins a tenant's two networks, as a file for "weft apply -f".
func PolicyYAML(tenant string) string {
	project := tenant + ":" + projectName
	return strings.NewReplacer("PROJECT", project, "POLICY", PolicyName).Replace(`# Joins the networks web and db of one tenant.
kind: network-policy
meta: {name: POLICY, parent: "PROJECT"}
spec:
  rules:
  - action: pass
    direction: "<>"
    source: {network: "PROJECT:web"}
    destination: {network: "PROJECT:db"}
---
kind: network-policy-attachment
meta: {name: POLICY-web, parent: "PROJECT"}
spec: {policy: "PROJECT:POLICY", network: "PROJECT:web"}
---
kind: network-policy-attachment
meta: {name: POLICY-db, parent: "PROJECT"}
spec: {policy: "PROJECT:POLICY", network: "PROJECT:db"}
`)
}

// Attachment is the fully qualified name of the attachment of a network to the policy.
func Attachment(tenant string, n Network) string {
	return tenant + ":" + projectName + ":" + PolicyName + "-" + n.Name
}

// Plug makes the namespaces of workloads and plugs them in, hosts side by side.
func Plug(ctx context.Context, l *topology.Lab, workloads []Workload) error {
	for _, w := range workloads {
		if err := l.AddWorkload(w.Short()); err != nil {
			return err
		}
	}
	errs := make([]error, Hosts+1)
	var wait sync.WaitGroup
	for host := 1; host <= Hosts; host++ {
		wait.Go(func() {
			for _, w := range workloads {
				if w.Host == host && errs[host] == nil {
					errs[host] = l.Plug(ctx, host, w.Port(), w.Short())
				}
			}
		})
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Namespace is the full name of a workload's namespace.
func Namespace(l *topology.Lab, w Workload) string { return l.Namespace(w.Short()) }

// Commands are the command lines of the CLI that make a tenant, each as the
// arguments of "weft"; they make the same as its file.
func Commands(tenant string) [][]string {
	project := tenant + ":" + projectName
	commands := [][]string{
		{"create", "domain", tenant},
		{"create", "project", project},
	}
	for _, n := range []Network{Web, DB} {
		commands = append(commands, []string{
			"create", "network", n.Name, "-p", project, "--subnet", n.V4.String(), "--subnet", n.V6.String(), "--mtu", "1500",
		})
	}
	for _, w := range Of(tenant) {
		commands = append(commands, []string{
			"create", "port", w.Name, "-p", project, "--network", w.Network.Name, "--host", w.HostName(),
			"--ip", w.V4().String(), "--ip", w.V6().String(),
		})
	}
	return commands
}

// PolicyCommand is the command line that joins a tenant's two networks.
func PolicyCommand(tenant string) []string {
	return []string{
		"create", "network-policy", PolicyName, "-p", tenant + ":" + projectName,
		"--rule", "pass " + Web.Name + " <> " + DB.Name, "--attach", Web.Name, "--attach", DB.Name,
	}
}
