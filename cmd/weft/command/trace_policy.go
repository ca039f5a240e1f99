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

// ownerOf returns who owns a security-group; empty if these credentials may not see it.
func ownerOf(ctx context.Context, c *client.Client) func(group string) string {
	return func(group string) string {
		g, err := client.Get[*api.SecurityGroup](ctx, c, api.Ref{Name: group})
		if err != nil {
			return ""
		}
		return g.Meta.Owner
	}
}

// remedy says what would have to change for a packet that policy ended to pass.
func remedy(owner func(group string) string, h traceHop, q api.TraceQuestion) string {
	step := h.refusal()
	if step == nil {
		return ""
	}
	said := packetWords(step, q)
	switch {
	case step.Action == "pending":
		return fmt.Sprintf("host %s does not know whose address %v is, and a rule that names workloads might deny it: weft why address %v", h.Host, step.Remote, step.Remote)
	case step.Action == "absent":
		return fmt.Sprintf("what port %s asks is not in the kernel of host %s yet: weft port %s", step.Port, h.Host, step.Port)
	case step.Rule != nil && step.Rule.Kind != string(api.KindSecurityGroup): // a group is no rule: it says that none matches
		return denied(step, said)
	case step.Layer == "security-group":
		return missingGroupRule(owner, step, said, q)
	case step.Layer == "network-policy":
		return fmt.Sprintf("no rule of %s passes %s %s at port %s; add one to a network-policy that both networks are attached to: weft edit network-policy NAME", step.Ruleset, step.Direction, said, step.Port)
	}
	return fmt.Sprintf("%s isolates port %s: no rule passes %s %s; put one into a firewall-policy of it: weft create firewall-rule", step.Ruleset, step.Port, step.Direction, said)
}

// denied says which rule would have to be another one, and who may change it.
func denied(step *api.PolicyStep, said string) string {
	r := step.Rule
	text := fmt.Sprintf("%v denies %s %s at port %s; change it, or have a rule before it that passes: weft edit %s %s", r, step.Direction, said, step.Port, r.Kind, r.Name)
	return text + onlyBy(r.Owner)
}

// onlyBy says that another owner has to make a change.
func onlyBy(owner string) string {
	if owner == "" || owner == api.AdministratorsName {
		return ""
	}
	return " (its owner is " + owner + ", who alone may change it)"
}

// firstName is the first name of "security-groups acme:web, acme:db".
func firstName(ruleset string) string {
	_, names, _ := strings.Cut(ruleset, " ")
	first, _, _ := strings.Cut(names, ", ")
	return first
}

// packetWords says what a rule would have to pass: "tcp/443 from 10.0.0.1".
func packetWords(step *api.PolicyStep, q api.TraceQuestion) string {
	word, name := " from ", protocolWord(step, q)
	if step.Direction == api.Egress {
		word = " to "
	}
	switch {
	case api.Protocol(name).HasPorts():
		name += "/" + strconv.Itoa(int(q.DestinationPort))
	case q.ICMP != "":
		name += "/" + q.ICMP
	}
	return name + word + step.Remote.String()
}

// protocolWord is the protocol as rules say it.
func protocolWord(step *api.PolicyStep, q api.TraceQuestion) string {
	switch q.Protocol {
	case "", "icmp", "icmpv6", "1", "58":
		if step.Remote.Is6() {
			return "icmpv6"
		}
		return "icmp"
	}
	if n, known := api.Protocol(q.Protocol).Number(); known {
		return string(api.ProtocolOf(n))
	}
	return q.Protocol
}

// missingGroupRule says which rule a group of the port needs, with the command
// that makes it.
func missingGroupRule(owner func(group string) string, step *api.PolicyStep, said string, q api.TraceQuestion) string {
	group := firstName(step.Ruleset)
	text := fmt.Sprintf("no rule of %s of port %s allows %s %s; add one: weft create security-group-rule %s:NAME", step.Ruleset, step.Port, step.Direction, said, group)
	family := api.IPv4
	if step.Remote.Is6() {
		family = api.IPv6
	}
	set := []string{"direction=" + string(step.Direction), "family=" + string(family), "match.protocol=" + protocolWord(step, q)}
	if api.Protocol(protocolWord(step, q)).HasPorts() && q.DestinationPort != 0 {
		set = append(set, "match.ports.from="+strconv.Itoa(int(q.DestinationPort)))
	}
	if kind, code, err := api.ICMPMessage(q.ICMP); err == nil {
		set = append(set, "match.icmpType="+strconv.Itoa(int(kind)), "match.icmpCode="+strconv.Itoa(int(code)))
	}
	set = append(set, "remoteRange="+netip.PrefixFrom(step.Remote, step.Remote.BitLen()).String())
	for _, f := range set {
		text += " --set " + f
	}
	return text + onlyBy(owner(group))
}
