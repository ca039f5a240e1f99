// SPDX-License-Identifier: Apache-2.0

package reach

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weft-network/weft/control/routing"
)

// NotExact says in words for which of some ports an answer may miss what they can
// say to each other.
func NotExact(from, to []*routing.Port) (all []string) {
	for _, of := range []struct {
		why   string
		meant func(*routing.Port) bool
	}{
		{"portSecurity is off, and any address that is nobody else's may be used", func(p *routing.Port) bool { return p.Unchecked }},
		{"the network forwards l2, where frames go by their MAC, whatever routes say", func(p *routing.Port) bool { return p.Network.Frames() }},
	} {
		var names []string
		more := 0
		seen := map[*routing.Port]bool{}
		for _, p := range slices.Concat(from, to) {
			switch {
			case seen[p] || !of.meant(p):
			case len(names) == maxNamed:
				more++
			default:
				names = append(names, p.Ref.String())
			}
			seen[p] = true
		}
		if len(names) > 0 {
			all = append(all, listed(names, more)+": "+of.why)
		}
	}
	return all
}

// maxNamed is how many ports an answer names of those about which it is not exact.
const maxNamed = 5

func listed(names []string, more int) string {
	text := "ports "
	if len(names) == 1 && more == 0 {
		text = "port "
	}
	text += strings.Join(names, ", ")
	if more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
