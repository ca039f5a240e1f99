// SPDX-License-Identifier: Apache-2.0

package api

import "net/netip"

// The kinds that limit, copy and steer traffic.
const (
	KindQoSPolicy    Kind = "qos-policy"
	KindQuota        Kind = "quota"
	KindMirror       Kind = "mirror"
	KindServiceChain Kind = "service-chain"
)

var qosKinds = []Info{
	{KindQoSPolicy, "qos-policies", "qos", KindProject, "Limits and marks for the traffic of what names it.", func() Object { return &QoSPolicy{} }},
}

var trafficKinds = []Info{
	{KindMirror, "mirrors", "mir", KindProject, "Copies packets of ports to an analyzer.", func() Object { return &Mirror{} }},
	{KindServiceChain, "service-chains", "chain", KindProject, "Leads traffic between two networks through workloads.", func() Object { return &ServiceChain{} }},
	{KindQuota, "quotas", "quota", KindProject, "How many objects of a kind a project may have.", func() Object { return &Quota{} }},
}

// QoSPolicy limits and marks traffic. A rule is known by what it limits and
// its direction; of each there is one.
type QoSPolicy struct {
	Header
	Spec   QoSPolicySpec `json:"spec"`
	Status Reported      `json:"status,omitzero"`
}

// QoSPolicySpec lists the rules.
type QoSPolicySpec struct {
	Rules   []QoSRule `json:"rules,omitempty" doc:"One at most of each type and direction."`
	Default bool      `json:"default,omitempty" doc:"Whether networks of the project that name no policy get this one; at most one of a project."`
}

// The types of rules from which something follows.
const (
	QoSBandwidthLimit = "bandwidth-limit"
	QoSPacketLimit    = "packet-limit"
	QoSMark           = "dscp-mark"
)

// QoSRule is one limit or mark.
type QoSRule struct {
	ID        string `json:"id,omitempty" doc:"Identity of the rule in its orchestrator."`
	Type      string `json:"type" enum:"bandwidth-limit,bandwidth-minimum,packet-limit,packet-minimum,dscp-mark" doc:"What the rule does; the minima are stored only."`
	Direction Side   `json:"direction,omitempty" enum:"ingress,egress" default:"egress" doc:"ingress: towards the workload; egress: from it. dscp-mark is for egress."`
	Rate      int    `json:"rate,omitempty" minimum:"1" doc:"Limit or minimum: kbit/s of bandwidth, with Ethernet headers; 1,000 packets/s of packets."`
	Burst     int    `json:"burst,omitempty" minimum:"1" doc:"What may pass at once above a limit: kbit, 1,000 packets; what passes in 0.8 s when absent."`
	DSCP      *int   `json:"dscp,omitempty" minimum:"0" maximum:"63" doc:"For dscp-mark: the value, written into each IP packet that the workload sends."`
}

// Claims holds being the project's default.
func (q *QoSPolicy) Claims() []Claim {
	if !q.Spec.Default {
		return nil
	}
	return []Claim{{"default-qos-policy/" + q.Meta.Parent.UUID, "spec.default", "the default qos-policy of " + q.Meta.Parent.String()}}
}

func (q *QoSPolicy) Validate() Problems {
	p := checkFields(q.Spec)
	seen := map[string]bool{}
	for i, r := range q.Spec.Rules {
		at := entry("spec.rules", i)
		direction := r.Direction
		if direction == "" {
			direction = Egress
		}
		if seen[r.Type+string(direction)] {
			p.Addf(at+".type", "there is another %s rule of direction %s", r.Type, direction)
		}
		seen[r.Type+string(direction)] = true
		mark := r.Type == QoSMark
		if mark != (r.DSCP != nil) {
			p.Addf(at+".dscp", "is for dscp-mark, and required there")
		}
		if mark == (r.Rate != 0) {
			p.Addf(at+".rate", "is for limits and minima, and required there")
		}
		if mark && direction == Ingress {
			p.Addf(at+".direction", "packets are marked in direction egress")
		}
	}
	return p
}

func (q *QoSPolicy) StatusBody() any { return &q.Status }

// Quota bounds how many objects of a kind a project has.
type Quota struct {
	Header
	Spec   QuotaSpec `json:"spec"`
	Status Reported  `json:"status,omitzero"`
}

// QuotaSpec is the kind and the bound.
type QuotaSpec struct {
	Of    Kind `json:"of" doc:"Kind that is counted; fixed. One quota of a project and kind."`
	Limit int  `json:"limit,omitempty" minimum:"0" doc:"How many there may be; 0 or absent means none."`
}

// Claims holds being the quota of the kind.
func (q *Quota) Claims() []Claim {
	return []Claim{{"quota/" + q.Meta.Parent.UUID + "/" + string(q.Spec.Of), "spec.of", "the quota of " + q.Meta.Parent.String() + " for " + string(q.Spec.Of)}}
}

func (q *Quota) Validate() Problems {
	p := checkFields(q.Spec)
	if _, ok := KindInfo(q.Spec.Of); q.Spec.Of != "" && !ok {
		p.Addf("spec.of", "%q is not a kind of object", q.Spec.Of)
	}
	return p
}

func (q *Quota) ValidateUpdate(old Object) Problems {
	var p Problems
	immutable(&p, "spec.of", old.(*Quota).Spec.Of, q.Spec.Of)
	return p
}

func (q *Quota) StatusBody() any { return &q.Status }

// Mirror copies packets. The original is never held up.
type Mirror struct {
	Header
	Spec   MirrorSpec `json:"spec"`
	Status Reported   `json:"status,omitzero"`
}

// MirrorSpec says what is copied and where to.
type MirrorSpec struct {
	Ports      []Ref        `json:"ports,omitempty" doc:"Ports whose packets are copied."`
	Rules      []Ref        `json:"rules,omitempty" doc:"Firewall-rules whose packets are copied."`
	Directions []Side       `json:"directions,omitempty" enum:"ingress,egress" doc:"Of the ports; both when absent."`
	Filter     []Match      `json:"filter,omitempty" doc:"Packets that match one of them; all when absent."`
	SampleOne  int          `json:"sampleOneOf,omitempty" minimum:"1" maximum:"1000000" default:"1" doc:"Copy one packet of so many."`
	SnapLength int          `json:"snapLength,omitempty" minimum:"64" maximum:"65535" doc:"Most bytes of a packet that are copied; all when absent."`
	To         MirrorTarget `json:"to" doc:"Where the copies go."`
}

// MirrorTarget is where copies go: exactly one of a port or an address.
type MirrorTarget struct {
	Port          Ref        `json:"port,omitzero" doc:"Port of the analyzer."`
	Address       netip.Addr `json:"address,omitzero" doc:"Address of the analyzer in the underlay, or in network."`
	Network       Ref        `json:"network,omitzero" doc:"Network in which address is; the underlay when absent."`
	Encapsulation string     `json:"encapsulation,omitempty" enum:"vxlan,erspan,gre" default:"vxlan" doc:"How copies travel to an address."`
	ID            int        `json:"id,omitempty" minimum:"0" maximum:"16777215" doc:"VNI or session id that copies carry."`
	TransportPort int        `json:"transportPort,omitempty" minimum:"1" maximum:"65535" default:"4789" doc:"UDP port of vxlan."`
}

// maxERSPANSession is the largest session id that the header of ERSPAN type II has room for.
const maxERSPANSession = 1023

func (m *Mirror) Refs() []FieldRef {
	refs := append(refList("spec.ports", KindPort, m.Spec.Ports, VerbEdit), refList("spec.rules", KindFirewallRule, m.Spec.Rules, VerbEdit)...)
	return append(refs,
		FieldRef{"spec.to.port", KindPort, &m.Spec.To.Port, VerbAttach},
		FieldRef{"spec.to.network", KindNetwork, &m.Spec.To.Network, VerbAttach})
}

func (m *Mirror) Validate() Problems {
	p := checkFields(m.Spec)
	distinct(&p, "spec.ports", m.Spec.Ports)
	distinct(&p, "spec.rules", m.Spec.Rules)
	for i := range m.Spec.Filter {
		m.Spec.Filter[i].check(&p, entry("spec.filter", i))
	}
	exactlyOne(&p, "spec.to", "port and address", !m.Spec.To.Port.IsZero(), m.Spec.To.Address.IsValid())
	if m.Spec.To.Encapsulation == "erspan" && m.Spec.To.ID > maxERSPANSession {
		p.Addf("spec.to.id", "%d is too large: an ERSPAN session is %d at most", m.Spec.To.ID, maxERSPANSession)
	}
	for i, port := range m.Spec.Ports {
		if port == m.Spec.To.Port {
			p.Addf(entry("spec.ports", i), "the analyzer's own port would be copied to itself")
		}
	}
	return p
}

func (m *Mirror) StatusBody() any { return &m.Status }

// ServiceChain leads traffic between two networks through services in turn.
type ServiceChain struct {
	Header
	Spec   ServiceChainSpec `json:"spec"`
	Status Reported         `json:"status,omitzero"`
}

// ServiceChainSpec says which traffic goes through which services.
type ServiceChainSpec struct {
	Left        Ref       `json:"left" doc:"Network on the side of the first service; fixed."`
	Right       Ref       `json:"right" doc:"Network on the side of the last; fixed."`
	Direction   Direction `json:"direction,omitempty" enum:"<>,>" default:"<>" doc:"> (left begins) or <> (either side)."`
	Sources     []Ref     `json:"sources,omitempty" doc:"Only traffic from these ports of left; from all when absent."`
	Traffic     []Match   `json:"traffic,omitempty" doc:"Only packets that match one of them; all when absent."`
	Services    []Service `json:"services" maxItems:"16" doc:"Services in the order from left to right."`
	Correlation string    `json:"correlation,omitempty" enum:"none,mpls,nsh" default:"none" doc:"How packets carry the chain they are on."`
	Symmetric   bool      `json:"symmetric,omitempty" doc:"Whether replies go through the same instances in reverse."`
}

// Service is one step of a chain.
type Service struct {
	Name        string            `json:"name" doc:"Name of the step, unique in the chain."`
	Mode        string            `json:"mode" enum:"in-network,in-network-nat,transparent" doc:"in-network: it routes; in-network-nat: it routes and translates; transparent: it is a wire."`
	Instances   []ServiceInstance `json:"instances,omitempty" doc:"Workloads that share the step."`
	HealthCheck Ref               `json:"healthCheck,omitzero" doc:"health-check of the instances."`
	OnFault     string            `json:"onFault,omitempty" enum:"drop,bypass" default:"drop" doc:"When no instance is good: drop, or leave the step out."`
}

// ServiceInstance is one workload of a step.
type ServiceInstance struct {
	Left    Ref  `json:"left" doc:"Port that faces left."`
	Right   Ref  `json:"right,omitzero" doc:"Port that faces right; the same as left when absent."`
	Standby bool `json:"standby,omitempty" doc:"Used only when no other is good."`
	Weight  *int `json:"weight,omitempty" minimum:"0" maximum:"256" default:"1" doc:"Share of new connections."`
}

func (s *ServiceChain) Refs() []FieldRef {
	refs := []FieldRef{
		{"spec.left", KindNetwork, &s.Spec.Left, VerbJoin},
		{"spec.right", KindNetwork, &s.Spec.Right, VerbJoin},
	}
	refs = append(refs, refList("spec.sources", KindPort, s.Spec.Sources, VerbAttach)...)
	for i := range s.Spec.Services {
		step, at := &s.Spec.Services[i], entry("spec.services", i)
		refs = append(refs, FieldRef{at + ".healthCheck", KindHealthCheck, &step.HealthCheck, VerbSee})
		for j := range step.Instances {
			instance, at := &step.Instances[j], entry(at+".instances", j)
			refs = append(refs,
				FieldRef{at + ".left", KindPort, &instance.Left, VerbAttach},
				FieldRef{at + ".right", KindPort, &instance.Right, VerbAttach})
		}
	}
	return refs
}

func (s *ServiceChain) Validate() Problems {
	p := checkFields(s.Spec)
	distinct(&p, "spec.sources", s.Spec.Sources)
	for i := range s.Spec.Traffic {
		s.Spec.Traffic[i].check(&p, entry("spec.traffic", i))
	}
	seen := map[string]bool{}
	for i, step := range s.Spec.Services {
		if seen[step.Name] {
			p.Addf(entry("spec.services", i)+".name", "%q is the name of another step", step.Name)
		}
		seen[step.Name] = true
	}
	return p
}

func (s *ServiceChain) ValidateUpdate(old Object) Problems {
	var p Problems
	was := old.(*ServiceChain).Spec
	immutable(&p, "spec.left", was.Left, s.Spec.Left)
	immutable(&p, "spec.right", was.Right, s.Spec.Right)
	return p
}

func (s *ServiceChain) StatusBody() any { return &s.Status }
