// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-network/weft/api/hoststream"
)

// String prints what was derived: ports with who they are and what is asked,
// then the rulesets and selectors, each one line or more.
func (d *Derived) String() string {
	var b strings.Builder
	var ports []*Port
	for _, p := range d.ports.All {
		ports = append(ports, p)
	}
	slices.SortFunc(ports, func(x, y *Port) int { return strings.Compare(x.Ref.Name+x.Ref.UUID, y.Ref.Name+y.Ref.UUID) })
	for _, p := range ports {
		fmt.Fprintf(&b, "port %s\tis %016x", p.Ref, p.Workload.Identity)
		if p.Limit > 0 {
			fmt.Fprintf(&b, "\tlimit %d", p.Limit)
		}
		if p.Stateless {
			b.WriteString("\tstateless")
		}
		for direction, layers := range p.Rulesets {
			for layer, r := range layers {
				if r != nil {
					fmt.Fprintf(&b, "\t%v %v %s", Direction(direction), Layer(layer), r.ID)
				}
			}
		}
		b.WriteByte('\n')
	}
	d.printRows(&b)
	return b.String()
}

func (d *Derived) printRows(b *strings.Builder) {
	var lines []string
	for _, r := range d.rulesets.All {
		lines = append(lines, PrintRuleset(r.is.Message()))
	}
	for id, s := range d.selectors.All {
		line := "selector " + id
		for _, i := range s.is.Identities {
			line += fmt.Sprintf("\t%016x", i)
		}
		lines = append(lines, line+"\n")
	}
	slices.Sort(lines)
	b.WriteString(strings.Join(lines, ""))
}

// PrintRuleset says what a ruleset says, a rule a line.
func PrintRuleset(r *hoststream.Ruleset) string {
	var b strings.Builder
	fmt.Fprintf(&b, "ruleset %s\t%s\toutside %s\tidentified %s%s\n", r.Ruleset, r.Name, r.Outside, r.Identified, PrintRest(r))
	for _, rule := range r.Rules {
		fmt.Fprintf(&b, "  %s\n", strings.Join(PrintRule(rule), "\t"))
	}
	return b.String()
}

// PrintRest says who logs what no rule matches, if anybody does.
func PrintRest(r *hoststream.Ruleset) string {
	if r.Rest == nil {
		return ""
	}
	return fmt.Sprintf("\trest logged by %s %s", r.Rest.Kind, r.Rest.Name)
}

// PrintRule says what a rule says, in words.
func PrintRule(r *hoststream.Rule) []string {
	words := []string{r.Action}
	switch remote := r.Remote.(type) {
	case *hoststream.Rule_Anybody:
		words = append(words, "anybody")
	case *hoststream.Rule_Selected:
		words = append(words, "selected "+strings.Join(remote.Selected.Selectors, " "))
	case *hoststream.Rule_Ranges:
		word := "ranges"
		for _, p := range remote.Ranges.Ranges {
			word += " " + prefixText(p)
		}
		for _, p := range remote.Ranges.Except {
			word += " -" + prefixText(p)
		}
		words = append(words, word)
	}
	for _, s := range r.Services {
		words = append(words, printService(s))
	}
	if r.Log {
		words = append(words, "log")
	}
	if r.Audit {
		words = append(words, "audit")
	}
	name := r.Kind + " " + r.Name
	if r.Index > 0 {
		name += fmt.Sprintf(" rule %d", r.Index)
	}
	if len(r.Via) > 0 {
		name += " of " + strings.Join(r.Via, " of ")
	}
	return append(words, name)
}

func printService(s *hoststream.RuleService) string {
	word := "any"
	if s.Protocol != nil {
		word = fmt.Sprint("protocol ", *s.Protocol)
	}
	if s.Family != 0 {
		word = fmt.Sprintf("IPv%d %s", s.Family, word)
	}
	if s.Ports != nil {
		word += fmt.Sprintf(" ports %d-%d", s.Ports.First, s.Ports.Last)
	}
	if s.SourcePorts != nil {
		word += fmt.Sprintf(" from ports %d-%d", s.SourcePorts.First, s.SourcePorts.Last)
	}
	if s.IcmpType != nil {
		word += fmt.Sprintf(" type %d", *s.IcmpType)
	}
	if s.IcmpCode != nil {
		word += fmt.Sprintf(" code %d", *s.IcmpCode)
	}
	return word
}

func prefixText(p *hoststream.Prefix) string {
	a, _ := netip.AddrFromSlice(p.Address)
	return netip.PrefixFrom(a, int(p.Length)).String()
}
