// SPDX-License-Identifier: Apache-2.0

package tables

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weft-network/weft/agent/services"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

// leases lists what workloads asked last for addresses, and what they got. It
// is what this agent has seen since it started.
func (r Reader) leases(_ context.Context, w words) (api.Table, error) {
	t := api.Table{Columns: []string{"PORT", "INTERFACE", "WAY", "ADDRESSES", "LEFT", "ASKED", "ANSWERED", "AGO", "MESSAGES", "CLIENT", "HOSTNAME", "VENDOR"}}
	now := time.Now()
	for _, l := range r.Leases() {
		addresses, left := "-", "-"
		if len(l.Addresses) > 0 {
			var all []string
			for _, a := range l.Addresses {
				all = append(all, a.String())
			}
			addresses = strings.Join(all, ",")
			left = leftOf(l, now)
		}
		t.Rows = append(t.Rows, []string{
			w.port(l.Ifindex), w.name(l.Ifindex), l.Way, addresses, left, l.Asked, l.Answered, now.Sub(l.At).Round(time.Second).String(), number(l.Count),
			cmp.Or(l.Client, "-"), cmp.Or(l.HostName, "-"), cmp.Or(l.Vendor, "-"),
		})
	}
	return t, nil
}

func leftOf(l services.Lease, now time.Time) string {
	if left := l.Until.Sub(now); left > 0 {
		return left.Round(time.Second).String()
	}
	return "expired"
}

// aliases lists the addresses at which the host itself reaches its workloads.
func (r Reader) aliases(_ context.Context, w words) (api.Table, error) {
	t := api.Table{Columns: []string{"ALIAS", "PORT", "INTERFACE", "IPV4", "IPV6"}}
	all, err := r.Kernel.Aliases.All()
	for _, n := range slices.Sorted(maps.Keys(all)) {
		t.Rows = append(t.Rows, []string{
			number(n), w.port(all[n]), w.name(all[n]), vrouter.AliasAddress(n, false).String(), vrouter.AliasAddress(n, true).String() + "%weft0",
		})
	}
	return t, err
}
