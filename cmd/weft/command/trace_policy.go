// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// refusal is the layer that ended a packet; nil if policy did not.
func (h traceHop) refusal() *api.PolicyStep {
	if len(h.Policy) == 0 {
		return nil
	}
	last := &h.Policy[len(h.Policy)-1]
	if last.Action == string(api.ActionPass) || last.Action == string(api.ActionNext) {
		return nil
	}
	return last
}

// remedy says what would have to change for a packet that policy ended to pass.
func remedy(ctx context.Context, c *client.Client, h traceHop, q api.TraceQuestion) string {
	step := h.refusal()
	if step == nil {
		return ""
	}
	said := packetWords(h, q)
	switch {
	case step.Action == "pending":
		return fmt.Sprintf("host %s does not know whose address %v is, and a rule that names workloads might deny it: weft why address %v", h.Host, step.Remote, step.Remote)
	case step.Action == "absent":
		return fmt.Sprintf("what port %s asks is not in the kernel of host %s yet: weft port %s", step.Port, h.Host, step.Port)
	case step.Rule != nil:
		return denied(step, said)
	case step.Layer == "security-group":
		return missingGroupRule(ctx, c, step, said, h, q)
	case step.Layer == "network-policy":
		return fmt.Sprintf("no rule of %s passes %s %s between the networks; add one: weft edit network-policy %s", step.Ruleset, step.Direction, said, firstName(step.Ruleset))
	}
	return fmt.Sprintf("%s isolates port %s: no rule passes %s %s; put one into a firewall-policy of it: weft create firewall-rule", step.Ruleset, step.Port, step.Direction, said)
}

// denied says which rule would have to be another one, and who may change it.
func denied(step *api.PolicyStep, said string) string {
	r := step.Rule
	text := fmt.Sprintf("%v denies %s %s at port %s; change it, or have a rule before it that passes: weft edit %s %s", r, step.Direction, said, step.Port, r.Kind, r.Name)
	if r.Owner != "" && r.Owner != api.AdministratorsName {
		text += " (its owner is " + r.Owner + ", who alone may change it)"
	}
	return text
}

// firstName is the first name of "security-groups acme:web, acme:db".
func firstName(ruleset string) string {
	_, names, _ := strings.Cut(ruleset, " ")
	first, _, _ := strings.Cut(names, ", ")
	return first
}

// packetWords says what a rule would have to allow: "tcp/443 from 10.0.0.1".
func packetWords(h traceHop, q api.TraceQuestion) string {
	step := h.refusal()
	word := "from"
	if step.Direction == api.Egress {
		word = "to"
	}
	return protocolWords(step, q) + " " + word + " " + step.Remote.String()
}

func protocolWords(step *api.PolicyStep, q api.TraceQuestion) string {
	name := protocolWord(step, q)
	if step.Port != "" && (name == "tcp" || name == "udp") {
		return name + "/" + strconv.Itoa(int(q.DestinationPort))
	}
	return name
}

// protocolWord is the protocol as rules say it.
func protocolWord(step *api.PolicyStep, q api.TraceQuestion) string {
	switch q.Protocol {
	case "", "icmp", "icmpv6", "1", "58":
		if step.Remote.Is6() {
			return "icmpv6"
		}
		return "icmp"
	case "6":
		return "tcp"
	case "17":
		return "udp"
	}
	return strings.ToLower(q.Protocol)
}

// missingGroupRule says which rule a group of the port needs, with the command
// that makes it.
func missingGroupRule(ctx context.Context, c *client.Client, step *api.PolicyStep, said string, h traceHop, q api.TraceQuestion) string {
	group := firstName(step.Ruleset)
	text := fmt.Sprintf("no rule of %s of port %s allows %s %s; add one: weft create security-group-rule %s:NAME", step.Ruleset, step.Port, step.Direction, said, group)
	family := api.IPv4
	if step.Remote.Is6() {
		family = api.IPv6
	}
	set := []string{"direction=" + string(step.Direction), "family=" + string(family), "match.protocol=" + protocolWord(step, q)}
	if name := protocolWord(step, q); name == "tcp" || name == "udp" {
		set = append(set, "match.ports.from="+strconv.Itoa(int(q.DestinationPort)))
	}
	set = append(set, "remoteRange="+netip.PrefixFrom(step.Remote, step.Remote.BitLen()).String())
	for _, f := range set {
		text += " --set " + f
	}
	if g, err := client.Get[*api.SecurityGroup](ctx, c, api.Ref{Name: group}); err == nil && g.Meta.Owner != api.AdministratorsName {
		text += " (its owner is " + g.Meta.Owner + ", who alone may change it)"
	}
	return text
}
