// SPDX-License-Identifier: Apache-2.0

package rules

// End is all that one port asks in one direction: a ruleset by layer, none where the port has nothing in that layer.
type End struct{ Rulesets [Layers]*Ruleset }

// Asked is one layer that was asked, with what it said.
type Asked struct {
	Layer   Layer
	Verdict Verdict
	Audit   Verdict // Order 0: no audit rule
}

// Decision is what an end decided. Action is Pass or one that drops.
type Decision struct {
	Action Action
	Layer  Layer   // the last one asked, which decided
	By     Verdict // what it said; Order 0 if the port has no layer at all
	Asked  []Asked
}

// Decide asks the layers in their order.
func (e End) Decide(p Packet) Decision {
	d := Decision{Action: Pass}
	for layer, ruleset := range e.Rulesets {
		if ruleset == nil {
			continue
		}
		v, audit := ruleset.Decide(p)
		d.Layer, d.By = Layer(layer), v
		d.Asked = append(d.Asked, Asked{d.Layer, v, audit})
		if v.Action.Drops() {
			d.Action = v.Action
			return d
		}
		if v.Action == Pass && d.Layer >= FirewallAdmin {
			return d // of the tiers the first that decides counts
		}
	}
	return d
}
