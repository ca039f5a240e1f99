// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/routing"
)

func subnetBody(vrf uint32, s *routing.Subnet) *hoststream.Subnet {
	body := &hoststream.Subnet{
		Vrf: vrf, Subnet: s.Ref.UUID, SubnetName: s.Ref.Name, PrefixAddress: s.CIDR.Addr().AsSlice(), PrefixLength: uint32(s.CIDR.Bits()),
		Gateway: s.Gateway.AsSlice(), SearchDomains: s.Services.SearchDomains,
		LeaseSeconds: uint32(s.Services.Lease()), Options: options(s.Services.DHCPOptions), ConditionalOptions: conditional(s.Services.DHCPOptions),
	}
	if s.CIDR.Addr().Is4() {
		body.Dhcp = s.Services.Answers()
	} else {
		body.AddressMode = string(s.Services.Mode())
	}
	for _, a := range s.Services.DNSServers {
		body.DnsServers = append(body.DnsServers, a.Unmap().AsSlice())
	}
	for _, r := range s.Services.HostRoutes {
		body.HostRoutes = append(body.HostRoutes, &hoststream.HostRoute{
			PrefixAddress: r.Destination.Masked().Addr().AsSlice(), PrefixLength: uint32(r.Destination.Bits()), NextHop: r.NextHop.AsSlice(),
		})
	}
	return body
}

// nameRow says what a port's workload is called.
func nameRow(p *routing.Port) Row {
	n := &hoststream.Name{Project: p.Project, Port: p.Ref.UUID, Name: p.HostName + "." + p.Domain}
	for _, a := range p.Addresses {
		n.Addresses = append(n.Addresses, a.IP.AsSlice())
	}
	return encode(NameKey(p.Project, p.Ref.UUID), &hoststream.Row{Body: &hoststream.Row_Name{Name: n}})
}

// namesTable encodes the names of projects that have one table, sorted by
// UUID: nearly always one. What an earlier table has is kept.
func namesTable(number uint32, projects []*routing.Project, old *Table) *Table {
	t := &Table{VRF: number, projects: projects}
	known := map[*routing.Port]Row{}
	if old != nil {
		for i, p := range old.named {
			known[p] = old.facts[i]
		}
	}
	for _, project := range projects {
		for _, p := range project.Ports {
			if len(p.Addresses) == 0 {
				continue
			}
			row, ok := known[p]
			if !ok {
				row = nameRow(p)
			}
			t.named, t.facts = append(t.named, p), append(t.facts, row)
			t.sum += row.sum()
		}
	}
	return t
}

// addNames makes the tables of names and returns those that are not the
// earlier plan's.
func (p *Plan) addNames(earlier *Plan) []*Table {
	projects := map[uint32][]*routing.Project{}
	for project := range p.Derived.Projects {
		number := hoststream.NamesOf(project.UUID)
		projects[number] = append(projects[number], project)
	}
	var changed []*Table
	p.names = make(map[uint32]*Table, len(projects))
	for number, of := range projects {
		slices.SortFunc(of, func(a, b *routing.Project) int { return strings.Compare(a.UUID, b.UUID) })
		old := earlier.names[number]
		if old != nil && slices.EqualFunc(old.projects, of, sameProject) {
			p.names[number] = old
			continue
		}
		p.names[number] = namesTable(number, of, old)
		changed = append(changed, p.names[number])
	}
	return changed
}

// sameProject tells that two projects' names are the same.
func sameProject(a, b *routing.Project) bool {
	return a == b || a.UUID == b.UUID && slices.EqualFunc(a.Ports, b.Ports, func(p, q *routing.Port) bool { return p == q || p.Equal(q) })
}

// namesFor are the tables of names that a host needs: those of the projects of
// its own ports, by number.
func (p *Plan) namesFor(h *routing.Host) (tables []*Table) {
	seen := map[uint32]bool{}
	for _, port := range h.Ports {
		number := hoststream.NamesOf(port.Project)
		if t := p.names[number]; t != nil && !seen[number] {
			seen[number] = true
			tables = append(tables, t)
		}
	}
	slices.SortFunc(tables, func(a, b *Table) int { return cmp.Compare(a.VRF, b.VRF) })
	return tables
}

// options leaves out what cannot be encoded, which the API admits none of.
func options(asked []api.DHCPOption) (encoded []*hoststream.DhcpOption) {
	for _, o := range asked {
		if code, value, err := o.Encode(); err == nil && !o.Conditional() {
			encoded = append(encoded, &hoststream.DhcpOption{Six: o.Family == api.IPv6, Code: uint32(code), Value: value})
		}
	}
	return encoded
}

// conditional are the options that only some clients are told.
func conditional(asked []api.DHCPOption) (encoded []*hoststream.ConditionalOption) {
	for _, o := range asked {
		code, value, err := o.Encode()
		if err != nil || !o.Conditional() {
			continue
		}
		c := &hoststream.ConditionalOption{Option: &hoststream.DhcpOption{Six: o.Family == api.IPv6, Code: uint32(code), Value: value}, UserClass: o.UserClass}
		for _, n := range o.ClientArchitecture.Numbers() {
			c.Architectures = append(c.Architectures, uint32(n))
		}
		encoded = append(encoded, c)
	}
	return encoded
}

func describeSubnet(s *hoststream.Subnet) string {
	words := []string{s.SubnetName, fmt.Sprintf("%s/%d", ipText(s.PrefixAddress), s.PrefixLength)}
	if len(s.Gateway) > 0 {
		words = append(words, "via "+ipText(s.Gateway))
	}
	if s.Dhcp {
		words = append(words, "dhcp")
	}
	if s.AddressMode != "" {
		words = append(words, s.AddressMode)
	}
	for _, a := range s.DnsServers {
		words = append(words, "dns "+ipText(a))
	}
	for _, d := range s.SearchDomains {
		words = append(words, "search "+d)
	}
	for _, r := range s.HostRoutes {
		words = append(words, fmt.Sprintf("route %s/%d via %s", ipText(r.PrefixAddress), r.PrefixLength, ipText(r.NextHop)))
	}
	words = append(words, fmt.Sprintf("lease %d", s.LeaseSeconds))
	return strings.Join(append(append(words, describeConditional(s.ConditionalOptions)...), describeOptions(s.Options)...), "\t")
}

func describeConditional(options []*hoststream.ConditionalOption) (words []string) {
	for _, c := range options {
		word := describeOptions([]*hoststream.DhcpOption{c.Option})[0]
		if len(c.Architectures) > 0 {
			word += fmt.Sprintf(" for architectures %v", c.Architectures)
		}
		if c.UserClass != "" {
			word += " for class " + c.UserClass
		}
		words = append(words, word)
	}
	return words
}

func describeOptions(options []*hoststream.DhcpOption) (words []string) {
	for _, o := range options {
		family := map[bool]string{false: "IPv4", true: "IPv6"}[o.Six]
		words = append(words, fmt.Sprintf("option %s %d %x", family, o.Code, o.Value))
	}
	return words
}
