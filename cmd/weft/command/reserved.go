// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// reservedCounts counts the addresses of a network that are reserved for one host.
type reservedCounts struct{ four, six, taken, releasing int }

// describeReserved prints which hosts have addresses of a network reserved.
func (s *session) describeReserved(ctx context.Context, c *client.Client, n *api.Network) error {
	hosts := map[string]*reservedCounts{}
	for o, err := range c.Pages(ctx, api.KindAddress, client.ListOptions{Parent: api.RefTo(n)}) {
		if err != nil {
			return err
		}
		a := o.(*api.Address)
		if a.Spec.Reservation == nil {
			continue
		}
		h := hosts[a.ReservedFor().String()]
		if h == nil {
			h = &reservedCounts{}
			hosts[a.ReservedFor().String()] = h
		}
		switch {
		case a.Status.Taken != nil:
			h.taken++
		case a.Spec.Reservation.Releasing:
			h.releasing++
		case a.Spec.IP.Is6():
			h.six++
		default:
			h.four++
		}
	}
	if len(hosts) == 0 {
		return nil
	}
	s.section(fmt.Sprintf("Reserved for hosts (%d)", len(hosts)))
	t := api.Table{Columns: []string{"HOST", "IPV4", "IPV6", "TAKEN", "RELEASING"}}
	names := slices.Sorted(maps.Keys(hosts))
	for _, name := range names[:min(len(names), shownRelated)] {
		h := hosts[name]
		t.Rows = append(t.Rows, []string{name, strconv.Itoa(h.four), strconv.Itoa(h.six), strconv.Itoa(h.taken), strconv.Itoa(h.releasing)})
	}
	if err := s.indented(t); err != nil {
		return err
	}
	if more := len(names) - shownRelated; more > 0 {
		fmt.Fprintf(s.Out, "  and %d more: weft get addresses\n", more)
	}
	return nil
}

// holderOf is who has an address: a port, a host in reserve, or nobody.
func holderOf(_ *view, a *api.Address) string {
	host := a.ReservedFor()
	switch {
	case host.IsZero():
		return refCell(a, a.Spec.Port)
	case a.Status.Taken != nil:
		return "taken on " + host.String()
	}
	return "reserved for " + host.String()
}
