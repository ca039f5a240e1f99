// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// AddressMode is how workloads of an IPv6 subnet get their addresses.
type AddressMode string

// The modes, after RFC 4861's flags M and O and RFC 4862's A.
const (
	ModeStateful  AddressMode = "stateful"  // DHCPv6 gives addresses (M, O)
	ModeStateless AddressMode = "stateless" // advertised prefix (A), DHCPv6 gives the rest (O)
	ModeSLAAC     AddressMode = "slaac"     // advertised prefix (A) and DNS servers
	ModeNone      AddressMode = "none"      // no router advertisements, no DHCPv6
)

// Bounds of leases, in seconds.
const (
	// DefaultLeaseSeconds is a day. The store decides who has an address, not the
	// lease; it only bounds how long a workload keeps options that have changed.
	DefaultLeaseSeconds = 24 * 3600
	minLeaseSeconds     = 60
	maxLeaseSeconds     = 365 * 24 * 3600
)

// SubnetServices is what a workload's own host tells it about a subnet.
type SubnetServices struct {
	DHCP          string       `json:"dhcp,omitempty" enum:"on,off" default:"on" doc:"Whether the workload's host answers DHCP (IPv4)."`
	AddressMode   AddressMode  `json:"addressMode,omitempty" enum:"stateful,stateless,slaac,none" default:"stateful" doc:"IPv6. stateful: DHCPv6 gives addresses; slaac: they follow from the advertised prefix and the MAC, and further ones (at most 16) are the workload's that it probes before use; stateless: the same, and DHCPv6 gives options; none: no router advertisements."`
	DNSServers    []netip.Addr `json:"dnsServers,omitempty" maxItems:"8" doc:"DNS servers to tell. When absent the gateway, where the workload's host answers; none in a subnet without gateway."`
	SearchDomains []string     `json:"searchDomains,omitempty" maxItems:"16" doc:"Domains to search after the port's own."`
	HostRoutes    []HostRoute  `json:"hostRoutes,omitempty" maxItems:"64" doc:"Further routes that workloads get by DHCP (IPv4)."`
	LeaseSeconds  int          `json:"leaseSeconds,omitempty" minimum:"60" maximum:"31536000" default:"86400" doc:"How long a lease lasts."`
	DHCPOptions   []DHCPOption `json:"dhcpOptions,omitempty" doc:"Further options for all workloads; those of a port come before."`
}

// HostRoute is a route of a workload.
type HostRoute struct {
	Destination netip.Prefix `json:"destination" doc:"Where it leads."`
	NextHop     netip.Addr   `json:"nextHop" doc:"Address in the subnet to send to."`
}

// Answers tells whether the host answers DHCP for this subnet.
func (s *SubnetServices) Answers() bool { return s.DHCP != "off" }

// Mode is the address mode in force.
func (s *SubnetServices) Mode() AddressMode {
	if s.AddressMode == "" {
		return ModeStateful
	}
	return s.AddressMode
}

// Lease is how many seconds a lease lasts.
func (s *SubnetServices) Lease() int {
	if s.LeaseSeconds == 0 {
		return DefaultLeaseSeconds
	}
	return s.LeaseSeconds
}

func (s *SubnetServices) check(p *Problems, c netip.Prefix) {
	*p = append(*p, checkFields(*s)...)
	if s.AddressMode != "" && c.Addr().Is4() {
		p.Addf("spec.addressMode", "is for IPv6, and this is %v", c)
	}
	if m := s.Mode(); c.Addr().Is6() && c.Bits() != 64 && (m == ModeSLAAC || m == ModeStateless) {
		p.Addf("spec.addressMode", "%s needs a /64 (RFC 4862), and this is %v", m, c)
	}
	for i, r := range s.HostRoutes {
		at := entry("spec.hostRoutes", i)
		if r.Destination.IsValid() && r.Destination.Addr().Is4() != c.Addr().Is4() || c.Addr().Is6() {
			p.Addf(at+".destination", "%v: routes are told by DHCP, for IPv4 subnets only", r.Destination)
		}
		if r.NextHop.IsValid() && !c.Contains(r.NextHop) {
			p.Addf(at+".nextHop", "%v is not in %v", r.NextHop, c)
		}
	}
	for i, d := range s.SearchDomains {
		checkDomain(p, entry("spec.searchDomains", i), d)
	}
	checkOptions(p, "spec.dhcpOptions", s.DHCPOptions)
}

// checkDomain refuses what cannot be a domain (RFC 1035 section 2.3.4).
func checkDomain(p *Problems, at, domain string) {
	if domain == "" {
		return
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(domain, "."), ".") {
		if label == "" || len(label) > 63 || strings.ContainsAny(label, " /\\") {
			p.Addf(at, "%q is not a domain: it consists of names of 1 to 63 bytes with dots between", domain)
			return
		}
	}
}

func checkOptions(p *Problems, at string, options []DHCPOption) {
	for i, o := range options {
		if _, _, err := o.Encode(); err != nil {
			p.Addf(entry(at, i), "%v", err)
		}
	}
}

// optionForm is how the value of a DHCP option is written.
type optionForm int

const (
	formText optionForm = iota
	formAddresses
	formByte
	formShort
	formLong
)

type optionKind struct {
	code int
	form optionForm
}

// The options that have a name here, by RFC 2132 and the names that dnsmasq
// and Neutron use. Every other may be given by its number.
var (
	options4 = map[string]optionKind{
		"time-offset": {2, formLong}, "ntp-server": {42, formAddresses}, "log-server": {7, formAddresses}, "root-path": {17, formText},
		"domain-name": {15, formText}, "mtu": {26, formShort}, "nis-domain": {40, formText}, "nis-server": {41, formAddresses},
		"netbios-ns": {44, formAddresses}, "netbios-nodetype": {46, formByte}, "vendor-class": {60, formText}, "tftp-server": {66, formText},
		"tftp-server-name": {66, formText}, "bootfile-name": {67, formText}, "user-class": {77, formText}, "server-ip-address": {150, formAddresses},
		"tftp-server-address": {150, formAddresses}, "path-prefix": {210, formText}, "config-file": {209, formText}, "sip-server": {120, formText},
		"ipxe-with-bootfile": {175, formText}, "captive-portal": {114, formText}, "wpad": {252, formText},
	}
	options6 = map[string]optionKind{
		"ntp-server": {31, formAddresses}, "sntp-server": {31, formAddresses}, "bootfile-url": {59, formText}, "bootfile-param": {60, formText},
		"nis-server": {27, formAddresses}, "captive-portal": {103, formText},
	}
)

// decided are the options that follow from other fields: two writers of one
// would contradict each other.
var (
	decided4 = map[int]string{0: "padding", 1: "the subnet mask", 3: "the gateway", 6: "dnsServers", 12: "dnsName", 50: "the client's", 51: "leaseSeconds",
		52: "the server's", 53: "the server's", 54: "the server's", 55: "the client's", 57: "the client's", 58: "leaseSeconds", 59: "leaseSeconds",
		61: "the client's", 82: "the server's", 119: "searchDomains", 121: "hostRoutes", 249: "hostRoutes", 255: "the end"}
	decided6 = map[int]string{0: "reserved", 1: "the client's", 2: "the server's", 3: "the address", 4: "the address", 5: "the address", 6: "the client's",
		7: "the server's", 8: "the client's", 9: "the relay's", 11: "the server's", 12: "the server's", 13: "the server's", 14: "the server's", 23: "dnsServers", 24: "searchDomains",
		25: "the address", 26: "the address"}
)

// Encode returns the number of an option and the bytes of its value. A value
// that begins with hex: is written in hexadecimal.
func (o DHCPOption) Encode() (code int, value []byte, err error) {
	named, decided, most := options4, decided4, 254
	if o.Family == IPv6 {
		named, decided, most = options6, decided6, 65535
	}
	kind, known := named[strings.ToLower(o.Option)]
	if !known {
		code, err := strconv.Atoi(o.Option)
		if err != nil || code < 0 || code > most {
			return 0, nil, fmt.Errorf("option %q is neither the name of an option nor a number from 1 to %d", o.Option, most)
		}
		kind = optionKind{code: code}
		for _, k := range named {
			if k.code == code {
				kind = k
			}
		}
	}
	if whose, ours := decided[kind.code]; ours {
		return 0, nil, fmt.Errorf("option %s is %s", o.Option, whose)
	}
	if raw, isHex := strings.CutPrefix(o.Value, "hex:"); isHex {
		value, err = hex.DecodeString(strings.ReplaceAll(raw, ":", ""))
	} else {
		value, err = kind.form.encode(o.Value, o.Family == IPv6)
	}
	if err == nil && (len(value) == 0 || len(value) > 255) {
		err = fmt.Errorf("a value has 1 to 255 bytes, not %d", len(value))
	}
	if err != nil {
		return 0, nil, fmt.Errorf("option %s, value %q: %w", o.Option, o.Value, err)
	}
	return kind.code, value, nil
}

func (f optionForm) encode(text string, six bool) ([]byte, error) {
	bits := map[optionForm]int{formByte: 8, formShort: 16, formLong: 32}[f]
	switch {
	case f == formText:
		return []byte(text), nil
	case f == formAddresses:
		var all []byte
		for part := range strings.SplitSeq(text, ",") {
			a, err := netip.ParseAddr(strings.TrimSpace(part))
			if err != nil || a.Is4() == six || a.Zone() != "" {
				return nil, fmt.Errorf("%q is not an address of the option's family", part)
			}
			all = append(all, a.AsSlice()...)
		}
		return all, nil
	}
	n, err := strconv.ParseUint(text, 10, bits)
	if err != nil {
		return nil, fmt.Errorf("is not a number below 2^%d", bits)
	}
	return binary.BigEndian.AppendUint64(nil, n)[8-bits/8:], nil
}

// NetworkService is a service of the fabric at an address of a network.
type NetworkService struct {
	Name     string     `json:"name" doc:"Name by which hosts know the service (weft-agent run --service name=address:port)."`
	Address  netip.Addr `json:"address" doc:"Address at which workloads reach it: link-local, or outside the network's subnets."`
	Port     int        `json:"port" minimum:"1" maximum:"65535" doc:"Port at that address."`
	Protocol string     `json:"protocol,omitempty" enum:"tcp,udp" default:"tcp" doc:"Transport of the service. One that has both is two entries."`
}

// UDP tells whether the service is asked by UDP.
func (s *NetworkService) UDP() bool { return s.Protocol == "udp" }

func checkNetworkServices(p *Problems, services []NetworkService) {
	type place struct {
		at  netip.AddrPort
		udp bool
	}
	seen := map[place]bool{}
	for i, s := range services {
		at := entry("spec.services", i)
		where := place{netip.AddrPortFrom(s.Address.Unmap(), uint16(s.Port)), s.UDP()}
		if seen[where] {
			p.Addf(at, "%v is another service's", where.at)
		}
		seen[where] = true
		if a := s.Address; a.IsMulticast() || a.IsUnspecified() || a.IsLoopback() {
			p.Addf(at+".address", "%v is no address of one machine", a)
		}
	}
}
