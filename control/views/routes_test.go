// SPDX-License-Identifier: Apache-2.0

package views_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/views"
	"github.com/weft-network/weft/control/world"
)

// noon is what times in these worlds count from.
var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// modified says when an object was last written, in minutes after noon.
func modified(w *world.World, kind api.Kind, name string, minutes int) {
	w.Get(kind, world.UUID(kind, name)).Head().Meta.UpdatedAt = noon.Add(time.Duration(minutes) * time.Minute)
}

// routesText is the routes of a network as a host sees them, or as nobody does.
func routesText(t *testing.T, w *world.World, network, host string) string {
	t.Helper()
	uuid := ""
	if host != "" {
		uuid = world.UUID(api.KindHost, host)
	}
	_, routes, err := views.New(&fleet{plan: placement.New(1, routing.Derive(w), nil)}).Routes(t.Context(), world.UUID(api.KindNetwork, network), uuid)
	if err != nil {
		t.Fatal(err)
	}
	text := api.CountRoutes(routes).String() + "\n"
	for _, r := range routes {
		text += fmt.Sprintf("%v %s, %s, modified +%v, localpref %d", r.Prefix, r.State, r.NextHop, r.LastModified.Sub(noon), r.LocalPreference)
		if r.Tunnel != nil {
			text += fmt.Sprintf(", nh %v, encap %v, label %d", r.Tunnel.Addresses, r.Tunnel.Encapsulation, r.Tunnel.Label)
		}
		if r.State == api.RouteSecondary {
			text += fmt.Sprintf(", leaked by %s %s", r.LeakedByKind, r.LeakedBy)
		}
		text += "\n"
	}
	return text
}

// What Tungsten's route table shows of two clusters' networks that a policy
// joins: a route of one's own and one that was leaked in, each with the agent
// that originated it, its age, preference, next hop, encapsulation and label.
func TestRoutesOfJoinedNetworks(t *testing.T) {
	w := world.New(`host node1 172.31.12.82
host node2 172.31.12.83 2001:db8::2
network vn1 50
network vn2 60
port vn1 pod1
port vn2 pod2
address vn1 10.0.1.3 pod1
address vn2 10.0.2.3 pod2
bind pod1 node1
bind pod2 node2
policy k8s1-k8s2 any any
attach k8s1-k8s2 vn1
attach k8s1-k8s2 vn2`)
	modified(w, api.KindAddress, "vn1:10.0.1.3", 1)
	modified(w, api.KindBinding, "pod1:node1", 2)
	modified(w, api.KindAddress, "vn2:10.0.2.3", 3)
	modified(w, api.KindNetworkPolicyAttachment, "k8s1-k8s2-vn1", 5)
	modified(w, api.KindNetworkPolicyAttachment, "k8s1-k8s2-vn2", 4)
	for _, c := range []struct{ network, host, want string }{
		{"vn1", "", `2 destinations, 2 routes (1 primary, 1 secondary, 0 infeasible)
10.0.1.3/32 primary, port d:p:pod1 on node1, modified +2m0s, localpref 200, nh [172.31.12.82], encap [vxlan], label 50
10.0.2.3/32 secondary, port d:p:pod2 on node2, modified +5m0s, localpref 200, nh [172.31.12.83 2001:db8::2], encap [vxlan], label 60, leaked by network-policy d:p:k8s1-k8s2
`},
		{"vn2", "", `2 destinations, 2 routes (1 primary, 1 secondary, 0 infeasible)
10.0.1.3/32 secondary, port d:p:pod1 on node1, modified +5m0s, localpref 200, nh [172.31.12.82], encap [vxlan], label 50, leaked by network-policy d:p:k8s1-k8s2
10.0.2.3/32 primary, port d:p:pod2 on node2, modified +3m0s, localpref 200, nh [172.31.12.83 2001:db8::2], encap [vxlan], label 60
`},
		{"vn1", "node1", `2 destinations, 2 routes (1 primary, 1 secondary, 0 infeasible)
10.0.1.3/32 primary, port d:p:pod1 on node1, modified +2m0s, localpref 200
10.0.2.3/32 secondary, port d:p:pod2 on node2, modified +5m0s, localpref 200, nh [172.31.12.83 2001:db8::2], encap [vxlan], label 60, leaked by network-policy d:p:k8s1-k8s2
`},
		{"vn1", "node2", "0 destinations, 0 routes (0 primary, 0 secondary, 0 infeasible)\n"},
	} {
		if got := routesText(t, w, c.network, c.host); got != c.want {
			t.Errorf("%s as %q has it:\n%swant\n%s", c.network, c.host, got, c.want)
		}
	}
}

// A table with an equal next hop, one that discards and one that leads nowhere;
// and the same routes leaked by a route-target.
func TestRoutesOfTablesAndTargets(t *testing.T) {
	w := world.New(`host node1 172.31.12.82
host node2 172.31.12.83
network vn1 50
network vn2 60
port vn1 pod1
port vn2 pod2
address vn1 10.0.1.3 pod1
address vn2 10.0.2.3 pod2
bind pod1 node1
bind pod2 node2
port vn1 pod3
address vn1 10.0.1.4 pod3
bind pod3 node2
table t 10.9.0.0/16 10.0.1.3 10.9.0.0/16 10.0.1.4 10.66.0.0/16 discard 10.7.0.0/16 10.0.1.9
table-network vn1 t
target rt 64512:1
export vn1 rt
import vn2 rt`)
	modified(w, api.KindRouteTable, "t", 7)
	modified(w, api.KindRouteTarget, "rt", 6)
	modified(w, api.KindNetwork, "vn2", 8)
	want := `5 destinations, 6 routes (1 primary, 5 secondary, 0 infeasible)`
	if got := routesText(t, w, "vn2", ""); got[:len(want)] != want || !containsAll(got, "leaked by route-target d:p:rt", "10.66.0.0/16 secondary, discard, modified +8m0s, localpref 100, leaked") {
		t.Errorf("vn2:\n%s", got)
	}
	if got := routesText(t, w, "vn1", ""); !containsAll(got, "5 destinations, 6 routes (5 primary, 0 secondary, 1 infeasible)",
		"10.9.0.0/16 primary, via 10.0.1.3 port d:p:pod1 on node1, modified +7m0s, localpref 100, nh [172.31.12.82]",
		"10.9.0.0/16 primary, via 10.0.1.4 port d:p:pod3 on node2, modified +7m0s",
		"10.7.0.0/16 infeasible, via 10.0.1.9, modified +7m0s, localpref 0\n") {
		t.Errorf("vn1:\n%s", got)
	}
}

func containsAll(text string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(text, p) {
			return false
		}
	}
	return true
}

func TestRoutes(t *testing.T) {
	w := world.New(`host h1 192.0.2.1
host h2 192.0.2.2
network blue 10
network green 30
port blue a
port green g
address blue 10.0.0.5 a
address green 10.1.0.5 g
bind a h1
bind g h2
policy p any any
attach p blue
attach p green`)
	f := &fleet{plan: placement.New(1, routing.Derive(w), nil)}
	v := views.New(f)
	blue, h1, h2 := world.UUID(api.KindNetwork, "blue"), world.UUID(api.KindHost, "h1"), world.UUID(api.KindHost, "h2")
	for _, c := range []struct{ name, host, want string }{
		{"all", "", "10.0.0.5/32 port d:p:a on h1; 10.1.0.5/32 port d:p:g on h2 leaked by d:p:p; "},
		{"a host of the network", h1, "10.0.0.5/32 port d:p:a on h1; 10.1.0.5/32 port d:p:g on h2 leaked by d:p:p; "},
		{"a host of the joined network", h2, ""},
	} {
		revision, routes, err := v.Routes(t.Context(), blue, c.host)
		got := ""
		for _, r := range routes {
			got += fmt.Sprintf("%v %s", r.Prefix, r.NextHop)
			if !r.LeakedBy.IsZero() {
				got += " leaked by " + r.LeakedBy.String()
			}
			got += "; "
		}
		if err != nil || revision != w.Revision() || got != c.want || routes == nil {
			t.Errorf("%s: revision %d, %s, %v; want %s", c.name, revision, got, err, c.want)
		}
	}
	code := func(network, host string) api.Code {
		_, _, err := v.Routes(t.Context(), network, host)
		var e *api.Error
		if !errors.As(err, &e) {
			t.Fatalf("want an api.Error, got %v", err)
		}
		return e.Code
	}
	if got := code("nothing", ""); got != api.CodeNotFound {
		t.Errorf("no such network: %s", got)
	}
	if got := code(blue, "nothing"); got != api.CodeNotFound {
		t.Errorf("no such host: %s", got)
	}
	f.plan = nil
	if got := code(blue, ""); got != api.CodeUnavailable {
		t.Errorf("before anything was derived: %s", got)
	}
}

// A route to a virtual address says who serves it.
// A floating address is listed with whom it leads to, and by what tunnel; as its
// own host sees it without.
func TestRoutesToFloatingAddresses(t *testing.T) {
	w := world.New(`host h1 192.0.2.1
network blue 10
network public 20
port blue a
address blue 10.0.0.5 a
address public 198.51.100.9
address public 198.51.100.10
bind a h1
floating f public:198.51.100.9
floating g public:198.51.100.10
associate af f port=a
associate ag g port=a alias`)
	v := views.New(&fleet{plan: placement.New(1, routing.Derive(w), nil)})
	for host, tunnel := range map[string]string{"": " [192.0.2.1] 20", world.UUID(api.KindHost, "h1"): ""} {
		_, routes, err := v.Routes(t.Context(), world.UUID(api.KindNetwork, "public"), host)
		if err != nil {
			t.Fatal(err)
		}
		var said []string
		for _, r := range routes {
			line := fmt.Sprint(r.Prefix, " ", r.NextHop, ", ", r.Port, " ", r.Host, " from ", r.OriginKind, " ", r.Origin)
			if r.Tunnel != nil {
				line += fmt.Sprint(" ", r.Tunnel.Addresses, " ", r.Tunnel.Label)
			}
			said = append(said, line)
		}
		want := []string{
			"198.51.100.9/32 mapped to 10.0.0.5 of port d:p:a on h1, d:p:a h1 from floating-ip d:p:f" + tunnel,
			"198.51.100.10/32 alias of port d:p:a on h1, d:p:a h1 from floating-ip d:p:g" + tunnel,
		}
		if !slices.Equal(said, want) {
			t.Errorf("routes say\n%s\nwant\n%s", strings.Join(said, "\n"), strings.Join(want, "\n"))
		}
	}
}

func TestRoutesToVirtualAddresses(t *testing.T) {
	w := world.New(`host h1 192.0.2.1
host h2 192.0.2.2
network blue 10
port blue a
port blue b
address blue 10.0.0.5 a
address blue 10.0.0.6 b
address blue 10.0.0.9
bind a h1
bind b h2
balancer web address=blue:10.0.0.9
pool web p
listener web http TCP 80 pool=p
member p a 80 port=a weight=3
member p b 80 port=b backup`)
	_, routes, err := views.New(&fleet{plan: placement.New(1, routing.Derive(w), nil)}).Routes(t.Context(), world.UUID(api.KindNetwork, "blue"), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range routes {
		if r.Prefix.Addr().String() != "10.0.0.9" {
			continue
		}
		said := fmt.Sprint(r.NextHop, r.OriginKind, r.LocalPreference)
		for _, m := range r.Members {
			said += fmt.Sprintf("; %s on %s %s %d", m.Member, m.Host, m.State, m.Weight)
		}
		if want := fmt.Sprint("load-balancer d:p:web", api.KindLoadBalancer, routing.PreferenceBound) + "; d:p:a on h1 active 3; d:p:b on h2 backup 1"; said != want {
			t.Errorf("the route says %q, want %q", said, want)
		}
		return
	}
	t.Error("there is no route to the virtual address")
}
