// SPDX-License-Identifier: Apache-2.0

package views

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/stream"
)

// hostRows are the selected rows one host must have.
type hostRows struct {
	host   *routing.Host
	state  stream.HostState
	rows   []placement.Row
	tables map[string]answer // from the agent, by name
}

type answer struct {
	table api.Table
	err   error
}

// desiredAndKernel adds, for every host that must have something selected, how
// far it has come and what its kernel says.
func (c *chain) desiredAndKernel(ctx context.Context) {
	hosts := c.selectRows()
	if len(hosts) == 0 && c.picked.host == "" {
		c.add(api.StageDesired, whereControl, "rows", "no host needs anything of this", statusMissing)
		return
	}
	for _, h := range hosts {
		c.desired(h)
	}
	c.ask(ctx, hosts)
	for _, h := range hosts {
		c.kernel(h)
	}
}

// selectRows picks, of what each host must have, the rows that were selected.
func (c *chain) selectRows() []*hostRows {
	keys := map[string]bool{}
	concerned := map[string]bool{} // networks
	for _, n := range c.picked.networks {
		keys[placement.VRFKey(n.VRF)] = true
		concerned[n.Ref.UUID] = true
	}
	for _, p := range c.picked.ports {
		keys[placement.PortKey(p.Ref.UUID)] = true
		keys[placement.MACKey(p.Network.VRF, p.MAC)] = true // a row of those without addresses
		concerned[p.Network.Ref.UUID] = true
	}
	for _, r := range c.picked.routes {
		keys[placement.RouteKey(r.network.VRF, r.route.Prefix)] = true
		concerned[r.network.Ref.UUID] = true
	}
	for _, key := range c.picked.keys {
		keys[key] = true
	}
	asked := c.asked()
	var hosts []*hostRows
	for _, h := range c.plan.Derived.Hosts {
		if c.picked.host != "" && h.Ref.UUID != c.picked.host {
			continue
		}
		if !slices.ContainsFunc(c.plan.Networks(h.Ref.UUID), func(n *routing.Network) bool { return concerned[n.Ref.UUID] }) {
			continue
		}
		rows := slices.DeleteFunc(c.plan.For(h.Ref.UUID), func(r placement.Row) bool { return !keys[r.Key] && !asked[h.Ref.UUID][r.Key] })
		if len(rows) > 0 {
			hosts = append(hosts, &hostRows{host: h, state: c.hosts.Host(h.Ref.UUID), rows: rows})
		}
	}
	return hosts
}

// asked are, by host, the rulesets that the selected ports ask there, and the
// selectors that these name.
func (c *chain) asked() map[string]map[string]bool {
	asked := map[string]map[string]bool{}
	for _, p := range c.picked.ports {
		port := c.plan.Policy.Port(p.Ref.UUID)
		if port == nil {
			continue
		}
		if asked[port.Host] == nil {
			asked[port.Host] = map[string]bool{}
		}
		for _, layers := range port.Rulesets {
			for _, r := range layers {
				if r == nil {
					continue
				}
				asked[port.Host][placement.RulesetKey(r.ID)] = true
				for _, id := range r.Selectors {
					asked[port.Host][placement.SelectorKey(id)] = true
				}
			}
		}
	}
	return asked
}

// desired adds how far the rows have come on their way to the host.
func (c *chain) desired(h *hostRows) {
	states := c.hosts.Rows(h.host.Ref.UUID, h.rows)
	listed := make([]api.WhyRow, len(h.rows))
	for i, r := range h.rows {
		listed[i] = api.WhyRow{
			Stage: api.StageDesired, Where: h.host.Ref.String(), What: r.Key,
			Detail: c.describeRow(r),
		}
		switch s := states[i]; {
		case s.Error != "":
			listed[i].Status = s.Error
		case s.Acked:
			listed[i].Status = statusOK
		default:
			listed[i].Status = statusPending
			listed[i].Detail += "; " + pendingBecause(s, h.state.Connected)
		}
	}
	c.addListed(listed)
}

// describeRow says in words what a row says, with the name of what it leads to.
func (c *chain) describeRow(r placement.Row) string {
	words := strings.Split(placement.Describe(r.Body), "\t")
	words = slices.DeleteFunc(words, func(w string) bool { return w == "" })
	if leads := strings.Fields(words[0]); len(leads) > 1 {
		if h := c.plan.Derived.Host(leads[1]); h != nil {
			words[0] = strings.Replace(words[0], leads[1], h.Ref.String(), 1)
		}
		if p := c.plan.Derived.Port(leads[1]); p != nil {
			words[0] = strings.Replace(words[0], leads[1], p.Ref.String(), 1)
		}
	}
	if len(words) > maxWords { // a ruleset may have thousands of rules
		words = append(words[:maxWords:maxWords], fmt.Sprintf("and %d more", len(words)-maxWords))
	}
	return strings.Join(words, ", ")
}

// maxWords of a row are shown.
const maxWords = 40

func pendingBecause(s stream.RowState, connected bool) string {
	switch {
	case !connected:
		return "the host is not connected"
	case s.Sent:
		return "sent, not acknowledged"
	}
	return "not sent"
}

// addListed adds rows of one stage and host; many of one kind as one row,
// with the first status that is not ok.
func (c *chain) addListed(rows []api.WhyRow) {
	class := func(r api.WhyRow) string { k, _, _ := strings.Cut(r.What, "/"); return k }
	for len(rows) > 0 {
		n := 1
		for n < len(rows) && class(rows[n]) == class(rows[0]) {
			n++
		}
		group := rows[:n]
		rows = rows[n:]
		if n <= maxShown {
			c.rows = append(c.rows, group...)
			continue
		}
		sum, good := group[0], 0
		sum.What, sum.Status, sum.Detail = fmt.Sprintf("%d rows %s/…", n, class(group[0])), statusOK, ""
		for _, r := range group {
			switch {
			case r.Status == statusOK:
				good++
			case sum.Status == statusOK:
				sum.Status = r.Status
				sum.Detail = "; first: " + r.What + " " + r.Detail
			}
		}
		sum.Detail = fmt.Sprintf("%d of %d ok%s", good, n, sum.Detail)
		c.rows = append(c.rows, sum)
	}
}

// ask reads the live tables that hold the selected rows, of connected hosts.
func (c *chain) ask(ctx context.Context, hosts []*hostRows) {
	ctx, cancel := context.WithTimeout(ctx, whyTimeout)
	defer cancel()
	slots := make(chan struct{}, maxAskedAtOnce)
	var wait sync.WaitGroup
	defer wait.Wait()
	asked := 0
	for _, h := range hosts {
		if !h.state.Connected || asked == maxAsked {
			continue
		}
		asked++
		h.tables = map[string]answer{}
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			for _, table := range tablesFor(h.rows) {
				t, err := c.hosts.Table(ctx, h.host.Ref.UUID, table)
				h.tables[table] = answer{t, err}
			}
		})
	}
}

// tablesFor lists the tables in which rows are found.
func tablesFor(rows []placement.Row) []string {
	var names []string
	for _, r := range rows {
		if name := tableOf(r.Key); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func tableOf(key string) string {
	switch class, _, _ := strings.Cut(key, "/"); class {
	case "port":
		return api.HostTablePorts
	case "route":
		return api.HostTableRoutes
	case "mac":
		return api.HostTableMACs
	}
	return "" // VRFs and endpoints have no table of their own
}

// kernel adds what the host's kernel says about the rows.
func (c *chain) kernel(h *hostRows) {
	var listed []api.WhyRow
	failed := map[string]bool{}
	indexed := map[string]map[string][]string{}
	for _, r := range h.rows {
		name := tableOf(r.Key)
		if name == "" || failed[name] {
			continue
		}
		row := api.WhyRow{Stage: api.StageKernel, Where: h.host.Ref.String(), What: r.Key}
		a, asked := h.tables[name]
		switch {
		case !asked || a.err != nil:
			failed[name] = true
			row.What, row.Status = "table "+name, notAsked(h, a.err)
		default:
			if indexed[name] == nil {
				indexed[name] = index(a.table, name)
			}
			found := indexed[name][r.Key]
			row.Detail, row.Status = pairs(a.table.Columns, found), kernelStatus(a.table, name, found)
		}
		listed = append(listed, row)
	}
	c.addListed(listed)
}

func notAsked(h *hostRows, err error) string {
	switch {
	case err != nil:
		return err.Error()
	case !h.state.Connected:
		return "the host is not connected to this controller"
	}
	return fmt.Sprintf("not asked: only %d hosts are", maxAsked)
}

// index keys the rows of a host's table as rows of desired tables are keyed.
// Columns go by their names: PORT in ports, VRF and PREFIX in routes, VRF and MAC in macs.
func index(t api.Table, name string) map[string][]string {
	rows := make(map[string][]string, len(t.Rows))
	for _, row := range t.Rows {
		if name == api.HostTablePorts {
			rows[placement.PortKey(cell(t, row, "PORT"))] = row
			continue
		}
		if vrf, err := strconv.ParseUint(cell(t, row, "VRF"), 10, 32); err == nil && name == api.HostTableMACs {
			rows[placement.MACKey(uint32(vrf), api.MAC(cell(t, row, "MAC")))] = row
		} else if err == nil {
			rows[placement.RouteKeyPrefix(uint32(vrf))+cell(t, row, "PREFIX")] = row
		}
	}
	return rows
}

func cell(t api.Table, row []string, column string) string {
	if i := slices.Index(t.Columns, column); i >= 0 && i < len(row) {
		return row[i]
	}
	return ""
}

// kernelStatus is ok for a row that is there, except for a port that says otherwise.
func kernelStatus(t api.Table, name string, row []string) string {
	if row == nil {
		return statusMissing
	}
	if state := cell(t, row, "STATE"); name == api.HostTablePorts && state != "" && state != string(api.PortUp) {
		return state
	}
	return statusOK
}

// pairs writes a row of a table with the names of its columns.
func pairs(columns, row []string) string {
	var words []string
	for i, name := range columns {
		if i < len(row) && row[i] != "" {
			words = append(words, strings.ToLower(name)+" "+row[i])
		}
	}
	return strings.Join(words, ", ")
}
