// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// The kinds of routing.
const (
	KindRouteTarget     Kind = "route-target"
	KindRouteTable      Kind = "route-table"
	KindRouter          Kind = "router"
	KindRouterInterface Kind = "router-interface"
	KindBGPPeer         Kind = "bgp-peer"
)

var routeKinds = []Info{
	{KindRouteTarget, "route-targets", "rt", KindProject, "A BGP route target that networks export to and import from.", func() Object { return &RouteTarget{} }},
	{KindRouteTable, "route-tables", "rtab", KindProject, "Static routes, for networks and ports that name it.", func() Object { return &RouteTable{} }},
}

var routerKinds = []Info{
	{KindRouter, "routers", "rtr", KindProject, "Joins subnets, and them with an external network.", func() Object { return &Router{} }},
	{KindRouterInterface, "router-interfaces", "rif", KindProject, "Puts a subnet under a router.", func() Object { return &RouterInterface{} }},
	{KindBGPPeer, "bgp-peers", "peer", KindProject, "A BGP speaker outside: gateway, leaf switch, or a workload.", func() Object { return &BGPPeer{} }},
}

// RouteTarget is an extended community that marks routes (RFC 4360). Importing
// or exporting another owner's needs its share with verb route.
type RouteTarget struct {
	Header
	Spec   RouteTargetSpec `json:"spec"`
	Status Reported        `json:"status,omitzero"`
}

// RouteTargetSpec is fixed at creation.
type RouteTargetSpec struct {
	Target TargetCommunity `json:"target" doc:"AS:NUMBER or IPV4:NUMBER, e.g. 64512:100; fixed, and unique."`
}

// TargetCommunity is a route target as people write it: 64512:100.
type TargetCommunity string

// Parts returns the administrator and the number of a target in canonical form.
// Two-byte AS numbers go with four-byte numbers and the other way round (RFC
// 4360, RFC 5668).
func (t TargetCommunity) Parts() (administrator string, number uint32, ok bool) {
	left, right, found := strings.Cut(string(t), ":")
	n, err := strconv.ParseUint(right, 10, 32)
	if !found || err != nil || strconv.FormatUint(n, 10) != right {
		return "", 0, false
	}
	if a, err := netip.ParseAddr(left); err == nil {
		return a.String(), uint32(n), a.Is4() && n <= 0xffff
	}
	as, err := strconv.ParseUint(left, 10, 32)
	canonical := err == nil && as > 0 && strconv.FormatUint(as, 10) == left
	return left, uint32(n), canonical && (as <= 0xffff || n <= 0xffff)
}

// automaticAS is the AS of automatic route targets: the first for private use (RFC 6996).
const automaticAS = "64512"

// AutomaticTarget is the route target that every network has beside those it
// names, from its VNI (RFC 8365, section 5.1.2.1, type 1). Within Weft nothing
// is matched by it; it is what the network goes by in BGP.
func AutomaticTarget(vni uint32) TargetCommunity {
	return TargetCommunity(fmt.Sprintf("%s:%d", automaticAS, 1<<28|vni))
}

func (t TargetCommunity) problem() string {
	administrator, number, ok := t.Parts()
	if ok && administrator == automaticAS && number>>24 == 1<<4 {
		return fmt.Sprintf("%q is the automatic route target of VNI %d: choose another number", string(t), number&MaxVNI)
	}
	if ok {
		return ""
	}
	return fmt.Sprintf("%q is not AS:NUMBER or IPV4:NUMBER that fits into six bytes, e.g. 64512:100", string(t))
}

// Claims holds the target.
func (r *RouteTarget) Claims() []Claim {
	return []Claim{{"route-target/" + string(r.Spec.Target), "spec.target", "route target " + string(r.Spec.Target)}}
}

func (r *RouteTarget) Validate() Problems { return checkFields(r.Spec) }

func (r *RouteTarget) ValidateUpdate(old Object) Problems {
	var p Problems
	immutable(&p, "spec.target", old.(*RouteTarget).Spec.Target, r.Spec.Target)
	return p
}

func (r *RouteTarget) StatusBody() any { return &r.Status }

// StaticRoute says where packets for a range go.
type StaticRoute struct {
	Prefix      netip.Prefix  `json:"prefix" doc:"Destination."`
	NextHop     netip.Addr    `json:"nextHop,omitzero" doc:"Address of the next hop: one that a port of the network has. In a port's table absent: the port itself."`
	Discard     bool          `json:"discard,omitempty" doc:"Drop the packets, counted; excludes nextHop. Not in a port's table."`
	Tunnel      *StaticTunnel `json:"tunnel,omitempty" doc:"A gateway outside of Weft as the next hop, at the other end of a tunnel; excludes nextHop and discard. Not in a port's table. Only in tables of Weft's own administrators, who may share them (verb attach): it sends into the underlay."`
	Communities []string      `json:"communities,omitempty" doc:"BGP communities the route is exported with; stored only until there is BGP."`
}

// StaticTunnel is a gateway outside of Weft, such as the edge router of an L3VPN
// (RFC 4364). It reaches the network by the same encapsulation, with the network's
// VNI as the label, at any host that has a port of it.
type StaticTunnel struct {
	Address       netip.Addr `json:"address" doc:"Of the gateway in the underlay, from which its own packets come, too."`
	Encapsulation string     `json:"encapsulation,omitempty" enum:"mplsudp" default:"mplsudp" doc:"How packets travel to it and from it."`
	Label         uint32     `json:"label" minimum:"16" maximum:"1048575" doc:"MPLS label that the gateway gave to the network."`
}

func (t *StaticTunnel) check(p *Problems, field string, r StaticRoute) {
	switch a := t.Address; {
	case !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.Zone() != "":
		p.Addf(field+".address", "%v is not an address of a gateway", a)
	case r.NextHop.IsValid() || r.Discard:
		p.Addf(field, "excludes nextHop and discard")
	}
}

func checkRoutes(p *Problems, field string, routes []StaticRoute) {
	for i, r := range routes {
		at := entry(field, i)
		if r.Tunnel != nil {
			r.Tunnel.check(p, at+".tunnel", r)
		}
		if r.NextHop.IsValid() && r.Discard {
			p.Addf(at+".nextHop", "excludes discard")
		}
		if r.NextHop.IsValid() && r.NextHop.Is4() != r.Prefix.Addr().Is4() {
			p.Addf(at+".nextHop", "%v is not of the family of %v", r.NextHop, r.Prefix)
		}
	}
}

// RouteTable is static routes. Named by a network they are routes of the
// network; named by a port they are routes to that port (interface routes).
type RouteTable struct {
	Header
	Spec   RouteTableSpec `json:"spec"`
	Status Reported       `json:"status,omitzero"`
}

// RouteTableSpec lists the routes.
type RouteTableSpec struct {
	Routes []StaticRoute `json:"routes,omitempty" maxItems:"1000" doc:"The routes. Several of one prefix are equal paths: each connection takes one and keeps it."`
}

func (r *RouteTable) Validate() Problems {
	p := checkFields(r.Spec)
	checkRoutes(&p, "spec.routes", r.Spec.Routes)
	return p
}

func (r *RouteTable) StatusBody() any { return &r.Status }

// Router joins the subnets of its interfaces.
type Router struct {
	Header
	Spec   RouterSpec `json:"spec"`
	Status Reported   `json:"status,omitzero"`
}

// RouterSpec says how the router reaches the outside.
type RouterSpec struct {
	AdminState AdminState     `json:"adminState,omitempty" enum:"up,down" default:"up" doc:"down: nothing is routed."`
	Gateway    *RouterGateway `json:"gateway,omitempty" doc:"The external network; none when absent."`
	Routes     []StaticRoute  `json:"routes,omitempty" doc:"Static routes beside those of its subnets."`
	QoSPolicy  Ref            `json:"qosPolicy,omitzero" doc:"Limits of what passes the gateway."`
}

// RouterGateway is a router's place in its external network.
type RouterGateway struct {
	Network   Ref   `json:"network" doc:"The external network."`
	Addresses []Ref `json:"addresses,omitempty" doc:"Addresses of the external network that the router has, free of any port."`
	NoSNAT    bool  `json:"noSNAT,omitempty" doc:"Whether addresses go out as they are, without source NAT."`
}

func (r *Router) Refs() []FieldRef {
	refs := []FieldRef{{"spec.qosPolicy", KindQoSPolicy, &r.Spec.QoSPolicy, VerbAttach}}
	if g := r.Spec.Gateway; g != nil {
		refs = append(refs, FieldRef{"spec.gateway.network", KindNetwork, &g.Network, VerbRoute})
		refs = append(refs, refList("spec.gateway.addresses", KindAddress, g.Addresses, VerbAttach)...)
	}
	return refs
}

// Claims holds the use of the gateway's addresses.
func (r *Router) Claims() []Claim {
	if r.Spec.Gateway == nil {
		return nil
	}
	return addressUses("spec.gateway.addresses", r.Spec.Gateway.Addresses)
}

func (r *Router) Validate() Problems {
	p := checkFields(r.Spec)
	checkRoutes(&p, "spec.routes", r.Spec.Routes)
	for i, x := range r.Spec.Routes {
		if x.Tunnel != nil {
			p.Addf(entry("spec.routes", i)+".tunnel", "is for a route-table that a network names")
		}
		if !x.NextHop.IsValid() && !x.Discard {
			p.Addf(entry("spec.routes", i)+".nextHop", "is required unless the route discards")
		}
	}
	if g := r.Spec.Gateway; g != nil {
		distinct(&p, "spec.gateway.addresses", g.Addresses)
	}
	return p
}

func (r *Router) StatusBody() any { return &r.Status }

// addressUses is the use of address objects by something that is not a port.
// An address serves one thing.
func addressUses(field string, addresses []Ref) []Claim {
	var claims []Claim
	for i, a := range addresses {
		claims = append(claims, Claim{"address-use/" + a.UUID, entry(field, i), "the use of address " + a.String()})
	}
	return claims
}

// RouterInterface puts a subnet under a router. It belongs to whoever makes
// it; a foreign subnet or router must be shared with the verb route.
type RouterInterface struct {
	Header
	Spec   RouterInterfaceSpec `json:"spec"`
	Status Reported            `json:"status,omitzero"`
}

// RouterInterfaceSpec is fixed at creation.
type RouterInterfaceSpec struct {
	Router  Ref `json:"router" doc:"The router; fixed."`
	Subnet  Ref `json:"subnet" doc:"The subnet; fixed. Subnets of one router do not overlap."`
	Address Ref `json:"address,omitzero" doc:"Address of the subnet that the router has there, free of any port; the subnet's gateway when absent. Fixed."`
}

func (r *RouterInterface) Refs() []FieldRef {
	return []FieldRef{
		{"spec.router", KindRouter, &r.Spec.Router, VerbRoute},
		{"spec.subnet", KindSubnet, &r.Spec.Subnet, VerbRoute},
		{"spec.address", KindAddress, &r.Spec.Address, VerbAttach},
	}
}

// Claims holds the subnet's place in the router, and the address the router
// has there: its own, or the subnet's gateway.
func (r *RouterInterface) Claims() []Claim {
	claims := []Claim{{"router-subnet/" + r.Spec.Router.UUID + "/" + r.Spec.Subnet.UUID, "spec.subnet", "subnet " + r.Spec.Subnet.String() + " in router " + r.Spec.Router.String()}}
	if r.Spec.Address.IsZero() {
		return append(claims, Claim{"gateway-use/" + r.Spec.Subnet.UUID, "spec.address", "the gateway of subnet " + r.Spec.Subnet.String()})
	}
	return append(claims, addressUses("spec.address", []Ref{r.Spec.Address})...)
}

// Guards are the subnets of the router, which must not overlap.
func (r *RouterInterface) Guards() []string { return []string{"router-subnets/" + r.Spec.Router.UUID} }

func (r *RouterInterface) Validate() Problems { return checkFields(r.Spec) }

func (r *RouterInterface) ValidateUpdate(old Object) Problems {
	var p Problems
	was := old.(*RouterInterface).Spec
	immutable(&p, "spec.router", was.Router, r.Spec.Router)
	immutable(&p, "spec.subnet", was.Subnet, r.Spec.Subnet)
	immutable(&p, "spec.address", was.Address, r.Spec.Address)
	return p
}

func (r *RouterInterface) StatusBody() any { return &r.Status }
