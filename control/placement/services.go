// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/routing"
)

func subnetBody(s *routing.Subnet) *hoststream.Subnet {
	body := &hoststream.Subnet{
		Subnet: s.Ref.UUID, SubnetName: s.Ref.Name, PrefixAddress: s.CIDR.Addr().AsSlice(), PrefixLength: uint32(s.CIDR.Bits()),
		Gateway: s.Gateway.AsSlice(), SearchDomains: s.Services.SearchDomains,
		LeaseSeconds: uint32(s.Services.Lease()), Options: options(s.Services.DHCPOptions),
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

// project is the names of a project, by the names of their ports.
type project struct {
	rows []Row
	hash uint64 // of all rows
}

func projectsOf(ports []*routing.Port) map[string]*project {
	all := map[string]*project{}
	hashes := map[string]*xxhash.Digest{}
	for _, p := range ports {
		if len(p.Addresses) == 0 {
			continue
		}
		if all[p.Project] == nil {
			all[p.Project], hashes[p.Project] = &project{}, xxhash.New()
		}
		row := nameRow(p)
		all[p.Project].rows = append(all[p.Project].rows, row)
		hashes[p.Project].Write(row.Body)
	}
	for id, h := range hashes {
		all[id].hash = h.Sum64()
	}
	return all
}

// Projects returns the projects of a host's own ports, sorted.
func (p *Plan) Projects(host string) []string {
	h := p.Derived.Host(host)
	if h == nil {
		return nil
	}
	var projects []string
	for _, port := range h.Ports {
		projects = append(projects, port.Project)
	}
	slices.Sort(projects)
	return slices.Compact(projects)
}

// names returns the names that a host needs.
func (p *Plan) names(host string) (rows []Row) {
	for _, id := range p.Projects(host) {
		if all := p.projects[id]; all != nil {
			rows = append(rows, all.rows...)
		}
	}
	return rows
}

// sameNames tells that a host needs the same names as under an earlier plan.
func (p *Plan) sameNames(host string, earlier *Plan) bool {
	for _, id := range p.Projects(host) {
		now, then := p.projects[id], earlier.projects[id]
		if (now == nil) != (then == nil) || now != nil && now.hash != then.hash {
			return false
		}
	}
	return true
}

// options leaves out what cannot be encoded, which the API admits none of.
func options(asked []api.DHCPOption) (encoded []*hoststream.DhcpOption) {
	for _, o := range asked {
		if code, value, err := o.Encode(); err == nil {
			encoded = append(encoded, &hoststream.DhcpOption{Six: o.Family == api.IPv6, Code: uint32(code), Value: value})
		}
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
	return strings.Join(append(words, describeOptions(s.Options)...), "\t")
}

func describeOptions(options []*hoststream.DhcpOption) (words []string) {
	for _, o := range options {
		family := map[bool]string{false: "IPv4", true: "IPv6"}[o.Six]
		words = append(words, fmt.Sprintf("option %s %d %x", family, o.Code, o.Value))
	}
	return words
}
