// SPDX-License-Identifier: Apache-2.0

package routing

import "github.com/weft-network/weft/api"

func (i indexes) sourceNATsOf(address string) []*api.SourceNAT {
	return sorted[*api.SourceNAT](i.s.Referrers(api.KindSourceNAT, api.KindAddress, address))
}

func (i indexes) sourceNATsOn(network string) []*api.SourceNAT {
	return sorted[*api.SourceNAT](i.s.Referrers(api.KindSourceNAT, api.KindNetwork, network))
}

func (i indexes) portBlocks(address string) []*api.PortBlock {
	return sorted[*api.PortBlock](i.s.Children(api.KindPortBlock, address))
}

func (i indexes) blocksOn(host string) []*api.PortBlock {
	return sorted[*api.PortBlock](i.s.Referrers(api.KindPortBlock, api.KindHost, host))
}

func (l *lists) addSourceNATs() {
	for _, o := range api.ListOf[*api.SourceNAT](l.s, api.KindSourceNAT) {
		l.nats[o.Spec.Network.UUID] = append(l.nats[o.Spec.Network.UUID], o)
		for _, a := range o.Spec.Addresses {
			l.nats[a.UUID] = append(l.nats[a.UUID], o)
		}
	}
	for _, o := range api.ListOf[*api.PortBlock](l.s, api.KindPortBlock) {
		l.blocks[o.Meta.Parent.UUID] = append(l.blocks[o.Meta.Parent.UUID], o)
		l.blocks[o.Spec.Host.UUID] = append(l.blocks[o.Spec.Host.UUID], o)
	}
}

func (l *lists) sourceNATsOf(address string) []*api.SourceNAT { return l.nats[address] }
func (l *lists) sourceNATsOn(network string) []*api.SourceNAT { return l.nats[network] }
func (l *lists) portBlocks(address string) []*api.PortBlock   { return l.blocks[address] }
func (l *lists) blocksOn(host string) []*api.PortBlock        { return l.blocks[host] }
