// SPDX-License-Identifier: Apache-2.0

package command

import (
	"reflect"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/cmd/weft/table"
)

// Of a host's tables a port has the rows that name it, its interface or the
// row of it, and no other port's.
func TestPortKeepsItsRows(t *testing.T) {
	const mine, other, name = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222", "d:p:web-1"
	v := portView{
		Port: &api.Port{Header: api.Header{Kind: api.KindPort, Meta: api.Meta{FQName: name, UUID: mine}}, Status: api.PortStatus{State: api.PortUp}},
		Host: "h1",
		Tables: []portTable{
			{Table: api.HostTablePorts, Rows: api.Table{Columns: []string{"PORT", "NAME", "INTERFACE"}, Rows: [][]string{{mine, name, "wf1"}, {other, "d:p:web-2", "wf2"}}}},
			{Table: api.HostTableCounters, Rows: api.Table{Columns: []string{"INTERFACE", "PACKETS"}, Rows: [][]string{{"wf1", "7"}, {"wf2", "8"}, {"wf11", "9"}}}},
			{Table: api.HostTableRoutes, Rows: api.Table{Columns: []string{"PREFIX", "NEXT-HOP"}, Rows: [][]string{{"10.0.0.1/32", "port wf1"}, {"10.0.0.2/32", "port wf2"}}}},
			{Table: api.HostTableDesired, Rows: api.Table{Columns: []string{"KEY", "STATE"}, Rows: [][]string{{"port/" + mine, "done"}, {"port/" + other, "done"}}}},
			{Table: api.HostTableVNIs, Rows: api.Table{Columns: []string{"VNI"}, Rows: [][]string{{"1"}}}},
			{Table: api.HostTableDrops, Error: "agent is not connected"},
		},
	}
	v.keep(name, mine)
	got := map[string][][]string{}
	for _, p := range v.Tables {
		got[p.Table] = p.Rows.Rows
	}
	want := map[string][][]string{
		api.HostTablePorts: {{mine, name, "wf1"}}, api.HostTableCounters: {{"wf1", "7"}}, api.HostTableRoutes: {{"10.0.0.1/32", "port wf1"}},
		api.HostTableDesired: {{"port/" + mine, "done"}}, api.HostTableDrops: nil,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("kept %v, want %v", got, want)
	}
	var out strings.Builder
	s := &session{World: World{Out: &out}, printer: table.Printer{W: &out}}
	if err := s.printPort(v, false); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"d:p:web-1  up on h1", "routes of h1", "10.0.0.1/32", "drops of h1\ncannot be read: agent is not connected"} {
		if !strings.Contains(out.String(), text) {
			t.Errorf("no %q in\n%s", text, out.String())
		}
	}
}

// Following drops shows what came to each row since the last look: new rows
// whole, counts that began anew from zero, and nothing that stood still.
func TestDropsAdded(t *testing.T) {
	row := func(reason, packets, bytes string) []string {
		return []string{"h1", "route", reason, "dropped", "wf1", "d:p:web-1", packets, bytes, "text"}
	}
	counts := map[string]dropCount{}
	for i, look := range []struct{ rows, want [][]string }{
		{[][]string{row("no-route", "5", "500")}, [][]string{row("no-route", "5", "500")}},
		{[][]string{row("no-route", "5", "500"), row("too-big", "1", "60")}, [][]string{row("too-big", "1", "60")}},
		{nil, nil}, // the host did not answer
		{[][]string{row("no-route", "8", "800"), row("too-big", "1", "60")}, [][]string{row("no-route", "3", "300")}},
		{[][]string{row("no-route", "2", "200")}, [][]string{row("no-route", "2", "200")}},
	} {
		if got := added(counts, look.rows); !reflect.DeepEqual(got, look.want) {
			t.Errorf("look %d: added %v, want %v", i, got, look.want)
		}
	}
}

// Sums of drops are by what was asked, the largest first, and no more of them.
func TestDropsBy(t *testing.T) {
	row := func(host, reason, port, packets string) []string {
		return []string{host, "route", reason, "dropped", "wf1", port, packets, "10", "text"}
	}
	rows := [][]string{row("h1", "no-route", "a", "1"), row("h1", "too-big", "a", "5"), row("h2", "no-route", "b", "7"), row("h1", "no-route", "c", "2")}
	for _, c := range []struct {
		o    dropsOptions
		want [][]string
	}{
		{dropsOptions{by: "port", top: 2}, [][]string{{"7", "10", "h2", "b"}, {"6", "20", "h1", "a"}}},
		{dropsOptions{by: "reason"}, [][]string{{"10", "30", "no-route", "route", "text"}, {"5", "10", "too-big", "route", "text"}}},
		{dropsOptions{by: "host", top: 1}, [][]string{{"8", "30", "h1"}}},
	} {
		if got := c.o.table(rows); !reflect.DeepEqual(got.Rows, c.want) || len(got.Columns) != len(c.want[0]) {
			t.Errorf("%+v: %v, want %v", c.o, got, c.want)
		}
	}
}

// A sub-port has no binding of its own: it is where its status says.
func TestHostOfPort(t *testing.T) {
	p := &api.Port{}
	p.Status.Host, p.Status.State = "h1", api.PortUp
	if host := portHost(&view{}, p); host != "h1" {
		t.Errorf("the host of a sub-port is shown as %q, want h1", host)
	}
}
