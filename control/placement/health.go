// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"fmt"
	"strings"

	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/health"
)

// CheckKey is the key of how a workload is tried.
func CheckKey(id string) string { return "check/" + id }

// trying is the view of a host that tries others than in v. Checks that
// are the same share their bytes.
func (v *View) trying(tries *health.Host) *View {
	now := *v
	now.health, now.checks = tries, nil
	if tries != nil {
		now.checks = make([]Row, len(tries.Checks))
		for i, c := range tries.Checks {
			now.checks[i] = Row{CheckKey(c.ID), c.Hash, c.Body}
		}
	}
	return &now
}

func describeCheck(c *hoststream.Check) string {
	words := []string{c.Name, "port " + c.Port, ipText(c.Address), "by " + c.Type}
	if c.TransportPort != 0 {
		words = append(words, fmt.Sprintf("port %d", c.TransportPort))
	}
	words = append(words, fmt.Sprintf("every %d ms, %d ms patience, up after %d, down after %d", c.Interval, c.Timeout, c.Rise, c.Fall))
	if h := c.Http; h != nil {
		words = append(words, fmt.Sprintf("%s %s HTTP/%s host %q wants %s", h.Method, h.Path, h.Version, h.Host, h.Codes))
	}
	return strings.Join(words, "\t")
}
