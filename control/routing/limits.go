// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"math"

	"github.com/weft-network/weft/api"
)

// Limit is how much of a port passes in one direction, and how it is marked.
// Zero: all, as it is.
type Limit struct {
	Rate, Burst             uint32 // kbit/s, kbit
	PacketRate, PacketBurst uint32 // 1,000 packets/s, 1,000 packets
	Mark                    bool   // packets get DSCP
	DSCP                    uint8
}

// Limits are those of a port.
type Limits struct {
	Egress, Ingress Limit // what its workload sends, and gets
}

// limitsOf reads the qos-policy that counts for a port: its own, else its
// network's, else the default one of the network's project.
func limitsOf(s api.Snapshot, p *api.Port, standard func(project string) *api.QoSPolicy) Limits {
	named := func(ref api.Ref) *api.QoSPolicy {
		q, _ := s.Get(api.KindQoSPolicy, ref.UUID).(*api.QoSPolicy)
		return q
	}
	if !p.Spec.QoSPolicy.IsZero() {
		return limitsIn(named(p.Spec.QoSPolicy))
	}
	n, ok := s.Get(api.KindNetwork, p.Spec.Network.UUID).(*api.Network)
	switch {
	case !ok:
		return Limits{}
	case !n.Spec.QoSPolicy.IsZero():
		return limitsIn(named(n.Spec.QoSPolicy))
	}
	return limitsIn(standard(n.Meta.Parent.UUID))
}

// limitsIn are the limits that a policy asks for; the minima ask for nothing yet.
func limitsIn(q *api.QoSPolicy) Limits {
	var l Limits
	if q == nil {
		return l
	}
	for _, rule := range q.Spec.Rules {
		of := &l.Egress
		if rule.Direction == api.Ingress {
			of = &l.Ingress
		}
		switch rule.Type {
		case api.QoSBandwidthLimit:
			of.Rate, of.Burst = bounded(rule.Rate), bounded(rule.Burst)
		case api.QoSPacketLimit:
			of.PacketRate, of.PacketBurst = bounded(rule.Rate), bounded(rule.Burst)
		case api.QoSMark:
			if rule.DSCP != nil {
				of.Mark, of.DSCP = true, uint8(*rule.DSCP)
			}
		}
	}
	return l
}

// bounded is a rate as hosts take it: 4 Tbit/s is as good as any.
func bounded(rate int) uint32 { return uint32(min(max(rate, 0), math.MaxUint32)) }

// standardIn picks the default one of a project's policies.
func standardIn(policies []*api.QoSPolicy) *api.QoSPolicy {
	for _, q := range policies {
		if q.Spec.Default {
			return q
		}
	}
	return nil
}

func (i indexes) limits(p *api.Port) Limits {
	return limitsOf(i.s, p, func(project string) *api.QoSPolicy {
		return standardIn(sorted[*api.QoSPolicy](i.s.Children(api.KindQoSPolicy, project)))
	})
}

func (i indexes) limitedBy(q *api.QoSPolicy) []string {
	var networks []string
	for _, o := range i.s.Referrers(api.KindPort, api.KindQoSPolicy, q.Meta.UUID) {
		networks = append(networks, o.(*api.Port).Spec.Network.UUID)
	}
	for _, o := range i.s.Referrers(api.KindNetwork, api.KindQoSPolicy, q.Meta.UUID) {
		networks = append(networks, o.Head().Meta.UUID)
	}
	if q.Spec.Default {
		for _, o := range i.s.Children(api.KindNetwork, q.Meta.Parent.UUID) {
			networks = append(networks, o.Head().Meta.UUID)
		}
	}
	return networks
}

func (l *lists) limits(p *api.Port) Limits {
	return limitsOf(l.s, p, func(project string) *api.QoSPolicy { return standardIn(l.qosOf[project]) })
}

func (l *lists) limitedBy(q *api.QoSPolicy) []string {
	var networks []string
	for network, ports := range l.portsOf {
		for _, p := range ports {
			if p.Spec.QoSPolicy.UUID == q.Meta.UUID {
				networks = append(networks, network)
			}
		}
	}
	for _, n := range api.ListOf[*api.Network](l.s, api.KindNetwork) {
		if n.Spec.QoSPolicy.UUID == q.Meta.UUID || q.Spec.Default && n.Meta.Parent.UUID == q.Meta.Parent.UUID {
			networks = append(networks, n.Meta.UUID)
		}
	}
	return networks
}
