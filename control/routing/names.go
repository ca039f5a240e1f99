// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"strings"

	"github.com/weft-network/weft/api"
)

// internal is the end of the domains of networks that name none: the top level
// reserved for private use, which no public server will ever answer for.
const internal = "weft.internal"

// domainOf returns the domain of a network's names: its own, or one that
// follows from the names of project and domain, so that equal projects of two
// domains do not meet.
func domainOf(n *api.Network) string {
	if d := n.Spec.DNSDomain; d != "" {
		return canonical(d)
	}
	parts := strings.Split(n.Meta.FQName, ":")
	if len(parts) < 3 {
		return internal
	}
	return label(parts[1]) + "." + label(parts[0]) + "." + internal
}

// nameOf returns the name of a port's workload and its domain: what the port
// says, else what the workload calls itself, else the port's name.
func nameOf(p *api.Port, machine *api.VirtualMachine, n *Identity) (name, domain string) {
	name = p.Spec.DNSName
	if machine != nil && name == "" {
		name = machine.Spec.HostName
	}
	if name == "" {
		name = label(p.Meta.Name)
	}
	return canonical(name), cmp.Or(canonical(p.Spec.DNSDomain), n.Domain)
}

// canonical is a domain as names are compared: lower case, no dot at the end.
func canonical(domain string) string { return strings.ToLower(strings.TrimSuffix(domain, ".")) }

// maxLabel is the longest part of a name (RFC 1035 section 2.3.4).
const maxLabel = 63

// label makes one part of a name out of an object's name.
func label(name string) string {
	l := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return '-'
	}, strings.ToLower(name))
	return l[:min(len(l), maxLabel)]
}
