// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/routing"
)

// ViewOf is the view of a host that needs exactly these rows, in this order
// within each kind. Tests of what is sent use it: the bodies need not be rows.
func ViewOf(rows []Row) *View {
	v := &View{Host: &routing.Host{}, endpoints: &endpoints{}}
	for _, r := range rows {
		parts := strings.SplitN(r.Key, "/", 3)
		vrf, _ := strconv.ParseUint(parts[min(1, len(parts)-1)], 10, 32) // of a network's rows
		switch parts[0] {
		case "vrf":
			v.fixed(uint32(vrf)).vrf = r
		case "tunnel-source":
			t := v.fixed(uint32(vrf))
			t.senders, t.sources = append(t.senders, api.Ref{UUID: parts[2], Name: parts[2]}), append(t.sources, r)
		case "route":
			t := v.fixed(uint32(vrf))
			path := routing.Route{Prefix: netip.MustParsePrefix(parts[2]), Host: api.Ref{UUID: "elsewhere"}}
			t.paths, t.routes = append(t.paths, path), append(t.routes, r)
		case "subnet", "name", "mac", "listener", "member":
			t := v.fixed(hoststream.TableOf(r.Key))
			t.facts = append(t.facts, r)
		default:
			v.ports = append(v.ports, r)
		}
	}
	return v
}

// fixed returns the view's table of a VRF, made if it is not there.
func (v *View) fixed(vrf uint32) *Table {
	i, ok := v.find(vrf)
	if !ok {
		v.tables = append(v.tables[:i:i], append([]*Table{{VRF: vrf}}, v.tables[i:]...)...)
	}
	return v.tables[i]
}
