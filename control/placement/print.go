// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"text/tabwriter"

	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/api/hoststream"
)

// Print writes rows as text, one a line, from what their bytes say.
func Print(rows []Row) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	class := ""
	for _, r := range rows {
		if c, _, _ := strings.Cut(r.Key, "/"); c != class {
			w.Flush() // columns line up within a kind of row
			class = c
		}
		fmt.Fprintf(w, "%s\t%s\n", r.Key, Describe(r.Body))
	}
	w.Flush()
	return b.String()
}

// Describe says in words what an encoded row says; its cells are separated by tabs.
func Describe(body []byte) string {
	var row hoststream.Row
	if err := proto.Unmarshal(body, &row); err != nil {
		return "unreadable: " + err.Error()
	}
	switch row := row.Body.(type) {
	case *hoststream.Row_Vrf:
		return describeVRF(row.Vrf)
	case *hoststream.Row_TunnelSource:
		return fmt.Sprintf("host %s may send\tvni %d", row.TunnelSource.Host, row.TunnelSource.Vni)
	case *hoststream.Row_TunnelEndpoint:
		words := []string{row.TunnelEndpoint.HostName}
		for _, a := range row.TunnelEndpoint.Addresses {
			words = append(words, ipText(a))
		}
		if e := row.TunnelEndpoint.Encapsulations; len(e) > 0 {
			words = append(words, "can "+strings.Join(e, ", "))
		}
		if m := row.TunnelEndpoint.UnderlayMtu; m != 0 {
			words = append(words, fmt.Sprintf("underlay mtu %d", m))
		}
		if row.TunnelEndpoint.Own {
			words = append(words, "this host")
		}
		return strings.Join(words, "\t")
	case *hoststream.Row_Hold:
		return fmt.Sprintf("at most %d s", row.Hold.Seconds)
	case *hoststream.Row_Mac:
		return fmt.Sprintf("host %s\tport %s", row.Mac.Host, row.Mac.Port)
	case *hoststream.Row_Subnet:
		return describeSubnet(row.Subnet)
	case *hoststream.Row_Proxy:
		return describeProxy(row.Proxy)
	case *hoststream.Row_Listener:
		return describeListener(row.Listener)
	case *hoststream.Row_Member:
		return describeMember(row.Member)
	case *hoststream.Row_Ruleset:
		return describeRuleset(row.Ruleset)
	case *hoststream.Row_Selector:
		return describeSelector(row.Selector)
	case *hoststream.Row_Name:
		words := []string{row.Name.Name}
		for _, a := range row.Name.Addresses {
			words = append(words, ipText(a))
		}
		return strings.Join(words, "\t")
	case *hoststream.Row_Port:
		return describePort(row.Port)
	case *hoststream.Row_Reservation:
		r := row.Reservation
		words := fmt.Sprintf("%s\t%s/%d\tmac %s", r.NetworkName, ipText(r.Ip.GetIp()), r.Ip.GetPrefixLength(), net.HardwareAddr(r.Mac))
		if r.Releasing {
			words += "\treleasing"
		}
		return strings.Join(append([]string{words}, describePolicy(&hoststream.Port{Identity: r.Identity, Rulesets: r.Rulesets})...), "\t")
	case *hoststream.Row_Check:
		return describeCheck(row.Check)
	case *hoststream.Row_Route:
		return describeRoute(row.Route)
	}
	return "empty"
}

func describeVRF(v *hoststream.Vrf) string {
	words := fmt.Sprintf("%s\tvni %d", v.NetworkName, v.Vni)
	if v.SourcesListed {
		words += "\tsources listed"
	}
	if v.Labelled {
		words += "\tlabelled"
	}
	if v.Fabric {
		words += "\tfabric"
	} else if v.HostVisible {
		words += "\tvisible"
	}
	if v.Disabled {
		words += "\tdisabled"
	}
	words += describeBridging(v)
	if s := v.Segment; s != nil {
		words += fmt.Sprintf("\tVLAN %d of %s at hosts %s", s.Vlan, s.PhysicalNetwork, strings.Join(s.Hosts, ", "))
	}
	for _, m := range v.Managed {
		words += fmt.Sprintf("\tmanages %s/%d", ipText(m.Address), m.Length)
	}
	for _, s := range v.Services {
		words += fmt.Sprintf("\tservice %s at %s port %d", s.Name, ipText(s.Address), s.Port)
		if s.Udp {
			words += " udp"
		}
	}
	return words
}

func describePort(p *hoststream.Port) string {
	words := []string{p.PortName, fmt.Sprintf("vrf %d", p.Vrf), net.HardwareAddr(p.Mac).String(), fmt.Sprintf("mtu %d", p.Mtu), fmt.Sprintf("binding revision %d", p.BindingRevision)}
	for _, a := range p.Addresses {
		address := fmt.Sprintf("%s/%d", ipText(a.Ip), a.PrefixLength)
		if len(a.Gateway) > 0 {
			address += " via " + ipText(a.Gateway)
		}
		words = append(words, address)
	}
	for _, c := range p.Sources {
		words = append(words, fmt.Sprintf("sends from %s/%d", ipText(c.Address), c.Length))
	}
	for _, c := range p.Pairs {
		words = append(words, fmt.Sprintf("sends from %s/%d with %s", ipText(c.Range.GetAddress()), c.Range.GetLength(), net.HardwareAddr(c.Mac)))
		if !c.Standby {
			words[len(words)-1] += " shared"
		}
	}
	for _, a := range p.Announced {
		words = append(words, "asked for "+ipText(a))
	}
	if p.Vlan != 0 {
		words = append(words, fmt.Sprintf("VLAN %d of port %s", p.Vlan, p.Trunk))
	}
	words = append(words, describeLearning(p)...)
	words = append(words, p.HostName+"."+p.Domain)
	if p.Disabled {
		words = append(words, "disabled")
	}
	words = append(words, describePolicy(p)...)
	words = append(words, describeConditional(p.ConditionalOptions)...)
	return strings.Join(append(words, describeOptions(p.Options)...), "\t")
}

func describeRoute(r *hoststream.Route) string {
	var words []string
	switch hop := r.NextHop.(type) {
	case *hoststream.Route_Port:
		words = append(words, "port "+hop.Port)
	case *hoststream.Route_Remote:
		words = append(words, fmt.Sprintf("host %s vni %d", hop.Remote.Host, hop.Remote.Vni))
		if len(hop.Remote.Encapsulations) > 0 {
			words = append(words, "by "+strings.Join(hop.Remote.Encapsulations, ", "))
		}
	case *hoststream.Route_Outside:
		words = append(words, fmt.Sprintf("outside %s by %s label %d", ipText(hop.Outside.Address), hop.Outside.Encapsulation, hop.Outside.Label))
	case *hoststream.Route_External:
		words = append(words, fmt.Sprintf("router %s outside of vni %d at hosts %s", ipText(hop.External.Gateway), hop.External.Vni, strings.Join(hop.External.Hosts, ", ")))
	case *hoststream.Route_Gateway:
		words = append(words, "gateway")
	case *hoststream.Route_Discard:
		words = append(words, "discard")
	case *hoststream.Route_Mapped:
		kind := "mapped to "
		if hop.Mapped.Alias {
			kind = "alias "
		}
		words = append(words, kind+ipText(hop.Mapped.Internal)+" of port "+hop.Mapped.Port)
		if hop.Mapped.Vrf != r.Vrf {
			words = append(words, fmt.Sprintf("of VRF %d", hop.Mapped.Vrf))
		}
	case *hoststream.Route_Shared:
		words = append(words, describeShared(hop.Shared)...)
	case *hoststream.Route_Balancer:
		words = append(words, fmt.Sprintf("balancer of VRF %d", hop.Balancer.Vrf))
	}
	words = append(words, net.HardwareAddr(r.Mac).String(), "from "+r.Origin)
	if r.PortName != "" {
		words = append(words, "of "+r.PortName)
	}
	if r.Mtu != 0 {
		words = append(words, fmt.Sprintf("mtu %d", r.Mtu))
	}
	for _, e := range r.Equal {
		if port := e.GetPort(); port != "" {
			words = append(words, "or port "+port)
		} else {
			words = append(words, fmt.Sprintf("or host %s vni %d", e.GetRemote().GetHost(), e.GetRemote().GetVni()))
		}
		words = append(words, net.HardwareAddr(e.Mac).String())
	}
	if len(r.EcmpFields) > 0 {
		words = append(words, "by "+strings.Join(r.EcmpFields, ", "))
	}
	if r.Proxied {
		words = append(words, "proxied")
	}
	if r.Announced != 0 {
		words = append(words, "announced")
	}
	if r.Workload != 0 {
		words = append(words, fmt.Sprintf("workload %016x", r.Workload))
	}
	for _, tag := range r.Tags {
		words = append(words, "tag "+tag)
	}
	switch {
	case r.LeakedBy != "":
		words = append(words, "routed, leaked by "+r.LeakedBy)
	case r.Routed:
		words = append(words, "routed")
	}
	return strings.Join(words, "\t")
}

func describeShared(s *hoststream.Shared) []string {
	words := []string{fmt.Sprintf("shared for VRF %d in VRF %d", s.Inside, s.External)}
	for _, b := range s.Blocks {
		word := fmt.Sprintf("%d-%d on host %s", b.First, b.Last, b.Host)
		if b.Releasing {
			word += " releasing"
		}
		words = append(words, word)
	}
	return words
}

func ipText(raw []byte) string {
	a, ok := netip.AddrFromSlice(raw)
	if !ok {
		return fmt.Sprintf("%x", raw)
	}
	return a.String()
}
