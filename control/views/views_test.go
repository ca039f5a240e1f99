// SPDX-License-Identifier: Apache-2.0

package views_test

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/stream"
	"github.com/weft-network/weft/control/views"
	"github.com/weft-network/weft/control/world"
)

var rewrite = flag.Bool("rewrite", false, "write the answers into testdata instead of comparing")

// fleet is the hosts' end: every host but those named is connected, has
// acknowledged all its rows and prints what it has as kernel tables.
type fleet struct {
	plan   *placement.Plan
	away   map[string]bool   // by host UUID
	lost   map[string]bool   // rows missing in kernels, by key
	failed map[string]string // row errors, by key
}

func (f *fleet) Plan() *placement.Plan { return f.plan }

func (f *fleet) Newest() (*placement.Plan, <-chan struct{}) { return f.plan, nil }

func (f *fleet) Host(uuid string) stream.HostState {
	return stream.HostState{Connected: !f.away[uuid], InSync: true, Settled: f.plan.Version}
}

func (f *fleet) Rows(host string, rows []placement.Row) []stream.RowState {
	states := make([]stream.RowState, len(rows))
	for i, r := range rows {
		if !f.away[host] {
			states[i] = stream.RowState{Sent: true, Acked: !f.lost[r.Key], Error: f.failed[r.Key]}
		}
	}
	return states
}

func (f *fleet) Table(_ context.Context, host, table string) (api.Table, error) {
	if f.away[host] {
		return api.Table{}, api.Errorf(api.CodeUnavailable, "not connected")
	}
	t := api.Table{Columns: []string{"PORT", "NAME", "STATE"}}
	if table == api.HostTableRoutes {
		t.Columns = []string{"VRF", "PREFIX", "NEXT-HOP"}
	} else if table == api.HostTableMACs {
		t.Columns = []string{"VRF", "MAC", "NEXT-HOP"}
	}
	for _, r := range f.plan.For(host) {
		class, rest, _ := strings.Cut(r.Key, "/")
		switch {
		case f.lost[r.Key] || f.failed[r.Key] != "":
		case class == "port" && table == api.HostTablePorts:
			t.Rows = append(t.Rows, []string{rest, "x", "up"})
		case class == "mac" && table == api.HostTableMACs:
			vrf, mac, _ := strings.Cut(rest, "/")
			t.Rows = append(t.Rows, []string{vrf, mac, "7"})
		case class == "route" && table == api.HostTableRoutes:
			vrf, prefix, _ := strings.Cut(rest, "/")
			t.Rows = append(t.Rows, []string{vrf, prefix, "7"})
		}
	}
	return t, nil
}

// TestWhy prints chains. The words are "why KIND NAME", then what is wrong:
// away=HOST, lost=KEY, failed=KEY.
func TestWhy(t *testing.T) {
	world.Transcripts(t, *rewrite, func(w *world.World, words []string) string {
		f := &fleet{placement.New(1, routing.Derive(w), nil), map[string]bool{}, map[string]bool{}, map[string]string{}}
		for _, word := range words[3:] {
			key, value, _ := strings.Cut(word, "=")
			switch key {
			case "away":
				f.away[world.UUID(api.KindHost, value)] = true
			case "lost":
				f.lost[value] = true
			case "failed":
				f.failed[value] = "map full"
			}
		}
		kind := api.Kind(words[1])
		o := w.Get(kind, world.UUID(kind, words[2]))
		if o == nil {
			t.Fatalf("%q names no object", words)
		}
		rows, err := views.New(f).Why(t.Context(), w, o)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		out := tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
		for _, r := range rows {
			fmt.Fprintf(out, "%s\t%s\t%s\t%s\t| %s\n", r.Stage, r.Where, w.Names(r.What), r.Status, w.Names(r.Detail))
		}
		out.Flush()
		return b.String()
	})
}

// narrow is a world of which some networks may not be seen.
type narrow struct {
	*world.World
	hidden string // UUID of a network
}

func (n narrow) Get(kind api.Kind, uuid string) api.Object {
	if uuid == n.hidden {
		return nil
	}
	return n.World.Get(kind, uuid)
}

// Routes that were leaked into somebody else's network do not show there.
func TestWhyShowsNoForeignNetwork(t *testing.T) {
	w := world.New(`host h1 192.0.2.1
network blue 10
network green 30
subnet blue 10.0.0.0/24
subnet green 10.0.0.0/24
port blue a
port green g
address blue 10.0.0.5 a
address green 10.0.0.5 g
bind a h1
bind g h1
policy p any any
attach p blue
attach p green`)
	f := &fleet{plan: placement.New(1, routing.Derive(w), nil)}
	for kind, name := range map[api.Kind]string{api.KindPort: "a", api.KindAddress: "blue:10.0.0.5", api.KindSubnet: "blue:10.0.0.0/24", api.KindNetworkPolicy: "p"} {
		o := w.Get(kind, world.UUID(kind, name))
		rows, err := views.New(f).Why(t.Context(), narrow{w, world.UUID(api.KindNetwork, "green")}, o)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			if r.Stage != api.StageIntent && strings.Contains(r.What, "in d:p:green") || strings.Contains(r.What, "/30/") {
				t.Errorf("why %s %s shows %+v", kind, name, r)
			}
		}
	}
}

// What the asker may not see is not called missing: it is there, as far as the
// asker can know.
func TestWhyOfWhatIsNotVisible(t *testing.T) {
	w := world.New("host h1 192.0.2.1\nnetwork blue 10\nsubnet blue 10.0.0.0/24\nport blue a\naddress blue 10.0.0.5 a\nbind a h1")
	f := &fleet{plan: placement.New(1, routing.Derive(w), nil)}
	for visible, want := range map[bool]string{true: "ok", false: "not-visible"} {
		hidden := world.UUID(api.KindNetwork, "blue")
		if visible {
			hidden = ""
		}
		rows, err := views.New(f).Why(t.Context(), narrow{w, hidden}, w.Get(api.KindPort, world.UUID(api.KindPort, "a")))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, r := range rows {
			if r.Stage == api.StageIntent && strings.HasPrefix(r.What, "network ") {
				found = true
				if r.Status != want {
					t.Errorf("visible %v: %+v, want status %s", visible, r, want)
				}
			}
		}
		if !found {
			t.Errorf("visible %v: no row for the network", visible)
		}
	}
}
