// SPDX-License-Identifier: Apache-2.0

package world

import (
	"strings"

	"github.com/weft-network/weft/api"
)

// putQoS puts the qos-policy of a line.
func (w *World) putQoS(f []string) {
	q := &api.QoSPolicy{}
	q.Meta.Parent = projectOf(f[2:])
	for _, word := range f[2:] {
		name, value, _ := strings.Cut(word, "=")
		rate, burst, bursts := strings.Cut(value, "/")
		rule := api.QoSRule{Type: api.QoSBandwidthLimit}
		switch name {
		case "egress", "ingress":
			rule.Direction = api.Side(name)
		case "packets":
			rule.Type = api.QoSPacketLimit
		case "dscp":
			value := int(number(rate))
			rule.Type, rule.DSCP = api.QoSMark, &value
		case "default":
			q.Spec.Default = true
			continue
		default:
			continue
		}
		if rule.DSCP == nil {
			rule.Rate = int(number(rate))
		}
		if bursts {
			rule.Burst = int(number(burst))
		}
		q.Spec.Rules = append(q.Spec.Rules, rule)
	}
	w.Put(q, api.KindQoSPolicy, f[1])
}
