// SPDX-License-Identifier: Apache-2.0

package api

import "slices"

// The kinds of addresses that move between workloads.
const (
	KindFloatingIPPool        Kind = "floating-ip-pool"
	KindFloatingIP            Kind = "floating-ip"
	KindFloatingIPAssociation Kind = "floating-ip-association"
	KindPortForwarding        Kind = "port-forwarding"
)

var floatingKinds = []Info{
	{KindFloatingIPPool, "floating-ip-pools", "fpool", KindProject, "Subnets of a network from which floating addresses are taken.", func() Object { return &FloatingIPPool{} }},
	{KindFloatingIP, "floating-ips", "fip", KindProject, "An address of a pool that workloads of other networks are reached by.", func() Object { return &FloatingIP{} }},
	{KindFloatingIPAssociation, "floating-ip-associations", "fipa", KindProject, "Gives a floating-ip to a port or a load-balancer.", func() Object { return &FloatingIPAssociation{} }},
	{KindPortForwarding, "port-forwardings", "pf", KindFloatingIP, "Gives some transport ports of a floating-ip to a port.", func() Object { return &PortForwarding{} }},
}

// FloatingIPPool offers addresses of a network. Whom it is shared with by verb
// attach may take some.
type FloatingIPPool struct {
	Header
	Spec   FloatingIPPoolSpec `json:"spec"`
	Status Reported           `json:"status,omitzero"`
}

// FloatingIPPoolSpec says which addresses.
type FloatingIPPoolSpec struct {
	Network Ref   `json:"network" doc:"Network of the addresses; fixed."`
	Subnets []Ref `json:"subnets,omitempty" doc:"Subnets of the network; all when absent. A change is for addresses taken later."`
}

func (f *FloatingIPPool) Refs() []FieldRef {
	return append(refList("spec.subnets", KindSubnet, f.Spec.Subnets, VerbAttach),
		FieldRef{"spec.network", KindNetwork, &f.Spec.Network, VerbAttach})
}

func (f *FloatingIPPool) Validate() Problems {
	p := checkFields(f.Spec)
	distinct(&p, "spec.subnets", f.Spec.Subnets)
	return p
}

func (f *FloatingIPPool) ValidateUpdate(old Object) Problems {
	var p Problems
	immutable(&p, "spec.network", old.(*FloatingIPPool).Spec.Network, f.Spec.Network)
	return p
}

// Offers tells whether an address is one of the pool's.
func (f *FloatingIPPool) Offers(a *Address) bool {
	return a.Meta.Parent.UUID == f.Spec.Network.UUID && (len(f.Spec.Subnets) == 0 ||
		slices.ContainsFunc(f.Spec.Subnets, func(s Ref) bool { return s.UUID == a.Spec.Subnet.UUID }))
}

func (f *FloatingIPPool) StatusBody() any { return &f.Status }

// FloatingIP is an address that can be given to one workload after another.
// The address itself is an object of the pool's network, made in the same
// transaction: it is allocated, claimed and counted as every address is.
type FloatingIP struct {
	Header
	Spec   FloatingIPSpec `json:"spec"`
	Status Reported       `json:"status,omitzero"`
}

// FloatingIPSpec says which address.
type FloatingIPSpec struct {
	Pool      Ref    `json:"pool" doc:"The pool; fixed."`
	Address   Ref    `json:"address" doc:"The address, of the pool's network and free of any port; fixed. It serves this floating-ip alone."`
	QoSPolicy Ref    `json:"qosPolicy,omitzero" effect:"none" doc:"Limits of what passes the address."`
	DNSName   string `json:"dnsName,omitempty" effect:"none" doc:"Name under which the address is published."`
	DNSDomain string `json:"dnsDomain,omitempty" effect:"none" doc:"Domain of the name; the network's when absent."`
}

func (f *FloatingIP) Refs() []FieldRef {
	return []FieldRef{
		{"spec.pool", KindFloatingIPPool, &f.Spec.Pool, VerbAttach},
		{"spec.address", KindAddress, &f.Spec.Address, VerbAttach},
		{"spec.qosPolicy", KindQoSPolicy, &f.Spec.QoSPolicy, VerbAttach},
	}
}

// Claims holds the use of the address.
func (f *FloatingIP) Claims() []Claim {
	return []Claim{{"address-use/" + f.Spec.Address.UUID, "spec.address", "the use of address " + f.Spec.Address.String()}}
}

func (f *FloatingIP) Validate() Problems { return checkFields(f.Spec) }

func (f *FloatingIP) ValidateUpdate(old Object) Problems {
	var p Problems
	was := old.(*FloatingIP).Spec
	immutable(&p, "spec.pool", was.Pool, f.Spec.Pool)
	immutable(&p, "spec.address", was.Address, f.Spec.Address)
	return p
}

func (f *FloatingIP) StatusBody() any { return &f.Status }

// FloatingIPAssociation gives a floating-ip to a workload. Moving it is one
// transaction that deletes one association and makes another.
type FloatingIPAssociation struct {
	Header
	Spec   FloatingIPAssociationSpec `json:"spec"`
	Status Reported                  `json:"status,omitzero"`
}

// FloatingIPAssociationSpec is fixed at creation.
type FloatingIPAssociationSpec struct {
	FloatingIP   Ref    `json:"floatingIP" doc:"The floating-ip; fixed. It has one association at most, and none while it has port-forwardings."`
	Port         Ref    `json:"port,omitzero" doc:"The port that gets it; fixed. Either this or loadBalancer."`
	Address      Ref    `json:"address,omitzero" doc:"Address of the port that it stands for; the port's only one of the family when absent. Fixed."`
	LoadBalancer Ref    `json:"loadBalancer,omitzero" effect:"none" doc:"The load-balancer that gets it; fixed."`
	Mode         string `json:"mode,omitempty" enum:"nat,alias" default:"nat" doc:"nat: the workload keeps its own address; alias: the workload has the floating address itself. Fixed."`
}

func (f *FloatingIPAssociation) Refs() []FieldRef {
	return []FieldRef{
		{"spec.floatingIP", KindFloatingIP, &f.Spec.FloatingIP, VerbAttach},
		{"spec.port", KindPort, &f.Spec.Port, VerbAttach},
		{"spec.address", KindAddress, &f.Spec.Address, VerbAttach},
		{"spec.loadBalancer", KindLoadBalancer, &f.Spec.LoadBalancer, VerbAttach},
	}
}

// Claims holds the floating-ip.
func (f *FloatingIPAssociation) Claims() []Claim {
	return []Claim{{"floating-ip-association/" + f.Spec.FloatingIP.UUID, "spec.floatingIP", "floating-ip " + f.Spec.FloatingIP.String()}}
}

// Guards are all uses of the floating-ip: as a whole, or by transport port.
func (f *FloatingIPAssociation) Guards() []string {
	return []string{"floating-ip-uses/" + f.Spec.FloatingIP.UUID}
}

func (f *FloatingIPAssociation) Validate() Problems {
	p := checkFields(f.Spec)
	exactlyOne(&p, "spec.port", "port and loadBalancer", !f.Spec.Port.IsZero(), !f.Spec.LoadBalancer.IsZero())
	if !f.Spec.Address.IsZero() && f.Spec.Port.IsZero() {
		p.Addf("spec.address", "is for a port")
	}
	return p
}

func (f *FloatingIPAssociation) ValidateUpdate(old Object) Problems {
	var p Problems
	was := old.(*FloatingIPAssociation).Spec
	immutable(&p, "spec.floatingIP", was.FloatingIP, f.Spec.FloatingIP)
	immutable(&p, "spec.port", was.Port, f.Spec.Port)
	immutable(&p, "spec.address", was.Address, f.Spec.Address)
	immutable(&p, "spec.loadBalancer", was.LoadBalancer, f.Spec.LoadBalancer)
	immutable(&p, "spec.mode", was.Mode, f.Spec.Mode)
	return p
}

func (f *FloatingIPAssociation) StatusBody() any { return &f.Status }

// PortForwarding gives transport ports of a floating-ip to a port.
type PortForwarding struct {
	Header
	Spec   PortForwardingSpec `json:"spec"`
	Status Reported           `json:"status,omitzero"`
}

// PortForwardingSpec says which outside ports lead to which inside ones.
type PortForwardingSpec struct {
	Protocol Protocol  `json:"protocol" doc:"A protocol that has ports."`
	External PortRange `json:"external" doc:"Ports of the floating-ip. Forwardings of one floating-ip and protocol do not overlap."`
	Internal PortRange `json:"internal" doc:"Ports of the workload: one, or as many as external."`
	Port     Ref       `json:"port" doc:"The port of the workload."`
	Address  Ref       `json:"address,omitzero" doc:"Address of the port; the port's only one of the family when absent."`
}

func (f *PortForwarding) Refs() []FieldRef {
	return []FieldRef{
		{"spec.port", KindPort, &f.Spec.Port, VerbAttach},
		{"spec.address", KindAddress, &f.Spec.Address, VerbAttach},
	}
}

// Guards are all uses of the floating-ip.
func (f *PortForwarding) Guards() []string {
	return []string{"floating-ip-uses/" + f.Meta.Parent.UUID}
}

func (f *PortForwarding) Validate() Problems {
	p := checkFields(f.Spec)
	if !f.Spec.Protocol.HasPorts() && f.Spec.Protocol != "" {
		p.Addf("spec.protocol", "%s has no ports", string(f.Spec.Protocol))
	}
	outside, inside := f.Spec.External.Last()-f.Spec.External.From, f.Spec.Internal.Last()-f.Spec.Internal.From
	if inside != 0 && inside != outside {
		p.Addf("spec.internal", "%d ports for %d outside: want one, or as many", inside+1, outside+1)
	}
	return p
}

func (f *PortForwarding) StatusBody() any { return &f.Status }
