// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"fmt"
	"strings"

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
