// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/routing"
)

// Row is one row as it is sent: hosts that need the same row share its bytes.
type Row struct {
	Key  string
	Hash uint64 // of Body
	Body []byte // an encoded hoststream.Row; never modified
}

// sum is what the row adds to the sum of its table.
func (r Row) sum() uint64 { return hoststream.SumOf(r.Key, r.Hash) }

// The keys of rows, as hoststream.proto defines them.
func VRFKey(vrf uint32) string       { return "vrf/" + strconv.FormatUint(uint64(vrf), 10) }
func EndpointKey(host string) string { return "tunnel-endpoint/" + host }
func SourceKey(vni uint32, host string) string {
	return "tunnel-source/" + strconv.FormatUint(uint64(vni), 10) + "/" + host
}
func NameKey(project, port string) string { return "name/" + project + "/" + port }
func SubnetKey(vrf uint32, subnet string) string {
	return "subnet/" + strconv.FormatUint(uint64(vrf), 10) + "/" + subnet
}
func MACKey(vrf uint32, mac api.MAC) string {
	return "mac/" + strconv.FormatUint(uint64(vrf), 10) + "/" + string(mac)
}
func PortKey(port string) string { return "port/" + port }
func RouteKey(vrf uint32, prefix netip.Prefix) string {
	return RouteKeyPrefix(vrf) + prefix.String()
}

// RouteKeyPrefix begins the keys of all routes of a VRF.
func RouteKeyPrefix(vrf uint32) string {
	return "route/" + strconv.FormatUint(uint64(vrf), 10) + "/"
}

// PartOf tells which part of which table a key belongs to, if to any.
func PartOf(key string) (vrf uint32, of Part, ok bool) {
	if vrf = hoststream.TableOf(key); vrf != 0 && strings.HasPrefix(key, "route/") {
		of = Routes
	}
	return vrf, of, vrf != 0
}

// encode makes a row. Equal rows have equal bytes within one build; between
// builds a difference only costs sending the row again.
func encode(key string, body *hoststream.Row) Row {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(body)
	if err != nil {
		panic(fmt.Sprintf("placement: encode row %s: %v", key, err))
	}
	return Row{Key: key, Hash: xxhash.Sum64(data), Body: data}
}

func vrfRow(n *routing.Network, managed []netip.Prefix) Row {
	vrf := &hoststream.Vrf{Vrf: n.VRF, Vni: n.VRF, Network: n.Ref.UUID, NetworkName: n.Ref.Name, SourcesListed: true, Fabric: n.Underlay.Fabric, HostVisible: n.Underlay.Visible, Disabled: n.Disabled, Labelled: n.Labelled(), Forwarding: n.Forwarding, Flooding: n.Flooding}
	for _, s := range n.Services {
		vrf.Services = append(vrf.Services, &hoststream.FabricService{Name: s.Name, Address: s.Address.Unmap().AsSlice(), Port: uint32(s.Port), Udp: s.UDP()})
	}
	for _, m := range managed {
		vrf.Managed = append(vrf.Managed, prefixOf(m))
	}
	if n.Segment.Physical != "" {
		vrf.Segment = segmentOf(n)
	}
	return encode(VRFKey(n.VRF), &hoststream.Row{Body: &hoststream.Row_Vrf{Vrf: vrf}})
}

func segmentOf(n *routing.Network) *hoststream.Segment {
	segment := &hoststream.Segment{PhysicalNetwork: n.Segment.Physical, Vlan: uint32(n.Segment.VLAN)}
	for _, router := range n.Routers() {
		segment.Gateways = append(segment.Gateways, router.AsSlice())
	}
	for _, h := range n.Connected() {
		segment.Hosts = append(segment.Hosts, h.UUID)
	}
	return segment
}

func endpointRow(h *routing.Host) Row { return encodeEndpoint(endpointOf(h)) }

// ownRow is the endpoint of a host as the host itself is told.
func ownRow(h *routing.Host) Row {
	endpoint := endpointOf(h)
	endpoint.Own = true
	for _, n := range h.Physical {
		endpoint.PhysicalNetworks = append(endpoint.PhysicalNetworks, &hoststream.PhysicalNetwork{Name: n.Name, Interface: n.Interface})
	}
	return encodeEndpoint(endpoint)
}

func endpointOf(h *routing.Host) *hoststream.TunnelEndpoint {
	endpoint := &hoststream.TunnelEndpoint{Host: h.Ref.UUID, HostName: h.Ref.Name, UnderlayMtu: uint32(h.UnderlayMTU), Encapsulations: h.Encapsulations}
	for _, a := range h.TunnelAddresses {
		endpoint.Addresses = append(endpoint.Addresses, a.AsSlice())
	}
	return endpoint
}

func encodeEndpoint(e *hoststream.TunnelEndpoint) Row {
	return encode(EndpointKey(e.Host), &hoststream.Row{Body: &hoststream.Row_TunnelEndpoint{TunnelEndpoint: e}})
}

func sourceRow(vni uint32, host api.Ref) Row {
	return encode(SourceKey(vni, host.UUID), &hoststream.Row{Body: &hoststream.Row_TunnelSource{TunnelSource: &hoststream.TunnelSource{
		Vni: vni, Host: host.UUID,
	}}})
}

func subnetRow(vrf uint32, s *routing.Subnet) Row {
	return encode(SubnetKey(vrf, s.Ref.UUID), &hoststream.Row{Body: &hoststream.Row_Subnet{Subnet: subnetBody(vrf, s)}})
}

func portRow(p *routing.Port, asked *policy.Port) Row {
	port := &hoststream.Port{
		Port: p.Ref.UUID, PortName: p.Ref.Name, Vrf: p.Network.VRF, Mac: macBytes(p.MAC),
		Mtu: uint32(p.Network.MTU), Binding: p.Binding.UUID, BindingRevision: p.BindingRevision,
		HostName: p.HostName, Domain: p.Domain, Options: options(p.Options), Project: p.Project, Machine: p.Machine, Disabled: p.Disabled,
		Trunk: p.Trunk.UUID, Vlan: uint32(p.VLAN), ConditionalOptions: conditional(p.Options),
		MacLimit: uint32(p.MACLimit), Unchecked: p.Unchecked,
		EgressLimit: limitOf(p.Limits.Egress), IngressLimit: limitOf(p.Limits.Ingress),
	}
	addPolicy(port, asked)
	for _, a := range p.Addresses {
		port.Addresses = append(port.Addresses, &hoststream.PortAddress{
			Ip: a.IP.AsSlice(), PrefixLength: uint32(a.PrefixLength), Gateway: a.Gateway.AsSlice(), Subnet: a.Subnet,
		})
	}
	for _, c := range p.Sources {
		port.Sources = append(port.Sources, prefixOf(c))
	}
	for _, c := range p.Pairs {
		port.Pairs = append(port.Pairs, &hoststream.AllowedPair{
			Range: prefixOf(c.Range), Mac: macBytes(c.MAC), Standby: c.Standby,
		})
	}
	for _, a := range p.Announced {
		port.Announced = append(port.Announced, a.AsSlice())
	}
	return encode(PortKey(p.Ref.UUID), &hoststream.Row{Body: &hoststream.Row_Port{Port: port}})
}

// routeRow encodes a route of a VRF with those that are as good, as a host reads it
// that has one of their ports, or as all others do (""). A remote route carries
// the VNI of the destination's network. The owner is the identity of who has the
// prefix, and these are its tags, which a host with the port has from its row.
func routeRow(vrf uint32, r *routing.Route, equal []routing.Route, owner uint64, tags []string, host string) Row {
	route := &hoststream.Route{
		Vrf: vrf, PrefixAddress: r.Prefix.Addr().AsSlice(), PrefixLength: uint32(r.Prefix.Bits()),
		Routed: r.Routed, Origin: r.Origin.Name, LeakedBy: r.LeakedBy.Name, Proxied: r.Proxied, Announced: r.Announced,
		Workload: owner, Tags: tags,
	}
	switch {
	case r.Gateway:
		route.NextHop = &hoststream.Route_Gateway{Gateway: &hoststream.Gateway{}}
	case r.Outside.Address.IsValid():
		route.NextHop = &hoststream.Route_Outside{Outside: &hoststream.Outside{
			Address: r.Outside.Address.AsSlice(), Encapsulation: r.Outside.Encapsulation, Label: r.Outside.Label,
		}}
	case r.Shared.Is():
		route.NextHop = &hoststream.Route_Shared{Shared: sharedOf(r)}
	case r.External.Is():
		route.NextHop = &hoststream.Route_External{External: &hoststream.External{
			Vni: r.OriginVRF, Hosts: r.External.Hosts(), Encapsulations: strings.Fields(r.Encapsulations), Gateway: r.External.Gateway.AsSlice(),
		}}
	case r.Balancer:
		route.NextHop = &hoststream.Route_Balancer{Balancer: &hoststream.Balancer{Vrf: r.OriginVRF}}
	case r.Mapped.Is() && r.Host.UUID == host:
		route.NextHop = &hoststream.Route_Mapped{Mapped: &hoststream.Mapped{Port: r.Mapped.Port.UUID, Internal: r.Mapped.Internal.AsSlice(), Alias: r.Mapped.Alias, Vrf: r.OriginVRF}}
		route.Mac = macBytes(r.MAC)
	case r.Discard:
		route.NextHop = &hoststream.Route_Discard{Discard: &hoststream.Discard{}}
	case !r.Port.IsZero() && r.Host.UUID == host:
		route.NextHop = &hoststream.Route_Port{Port: r.Port.UUID}
		route.Mac = macBytes(r.MAC)
	default:
		route.NextHop = &hoststream.Route_Remote{Remote: remoteOf(r)}
		route.Mac, route.Mtu = macBytes(r.MAC), uint32(r.MTU)
		if len(equal) == 0 && !r.Via.IsValid() {
			route.PortName = r.Port.Name
		}
	}
	if r.Outside.Address.IsValid() {
		equal = nil // of gateways outside the first is used
	}
	if len(equal) > 0 {
		// Proxied: they have several Ethernet addresses, and had one, or will have.
		route.Identity, route.Proxied = r.Port.UUID, true
		if r.ECMPFields != "" {
			route.EcmpFields = strings.Fields(r.ECMPFields)
		}
	}
	for i := range equal {
		q := &equal[i]
		if q.Outside.Address.IsValid() || q.Port.IsZero() && q.Host.UUID == host {
			continue // reserved, and nobody there has it
		}
		hop := &hoststream.EqualHop{Mac: macBytes(q.MAC), Identity: q.Port.UUID}
		if q.Host.UUID == host {
			hop.NextHop = &hoststream.EqualHop_Port{Port: q.Port.UUID}
		} else {
			hop.NextHop, hop.Mtu = &hoststream.EqualHop_Remote{Remote: remoteOf(q)}, uint32(q.MTU)
		}
		route.Equal = append(route.Equal, hop)
	}
	return encode(RouteKey(vrf, r.Prefix), &hoststream.Row{Body: &hoststream.Row_Route{Route: route}})
}

func remoteOf(r *routing.Route) *hoststream.Remote {
	return &hoststream.Remote{Host: r.Host.UUID, Vni: r.OriginVRF, Encapsulations: strings.Fields(r.Encapsulations)}
}

func sharedOf(r *routing.Route) *hoststream.Shared {
	shared := &hoststream.Shared{Inside: r.Shared.VRF, External: r.OriginVRF}
	for b := range r.Shared.Hosts {
		shared.Blocks = append(shared.Blocks, &hoststream.PortBlock{First: uint32(b.Ports.From), Last: uint32(b.Ports.Last()), Host: b.Host.UUID, Releasing: b.Releasing})
	}
	return shared
}

func prefixOf(p netip.Prefix) *hoststream.Prefix {
	return &hoststream.Prefix{Address: p.Addr().AsSlice(), Length: uint32(p.Bits())}
}

func macBytes(m api.MAC) []byte {
	b, err := m.Bytes()
	if err != nil {
		panic(fmt.Sprintf("placement: a derived port has MAC %q: %v", m, err)) // Derive admits none
	}
	return b[:]
}
