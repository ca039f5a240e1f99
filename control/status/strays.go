// SPDX-License-Identifier: Apache-2.0

package status

import (
	"slices"
	"strings"
	"time"

	"github.com/weft-network/weft/api"
)

// Consistent is the condition of a host that has what the store does not: ports
// that are plugged there and not bound to it, as after a restore from a backup
// that is older than they are. Their traffic is stopped; nothing is removed. The
// condition is absent while there are none.
const Consistent = "Consistent"

const reasonUnbound = "unbound-ports"

// strays returns the conditions of a host with what it last said of its strays.
func strays(old []api.Condition, warnings []string, now time.Time) []api.Condition {
	is := func(c api.Condition) bool { return c.Type == Consistent }
	others := slices.DeleteFunc(slices.Clone(old), is)
	if len(warnings) == 0 {
		if len(others) == 0 {
			return nil
		}
		return others
	}
	c := api.Condition{Type: Consistent, Reason: reasonUnbound, Message: bounded(strings.Join(warnings, "; ")), Since: now.UTC().Truncate(time.Second)}
	if n := slices.IndexFunc(old, is); n >= 0 {
		c.Since = old[n].Since
	}
	return append(others, c)
}
