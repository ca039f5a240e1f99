// SPDX-License-Identifier: Apache-2.0

package spine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/probe"
	"github.com/weft-network/weft/lab/tenants"
	"github.com/weft-network/weft/lab/topology"
)

func mustPrefix(t *testing.T, text string) netip.Prefix {
	t.Helper()
	p, err := netip.ParsePrefix(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// steady are pings between all hosts that must not lose a packet.
func steady(t *testing.T, s *system) []*probe.Running {
	t.Helper()
	var pings []*probe.Running
	for i := range redWeb1.Addresses() {
		pings = append(pings,
			s.begin(t, redWeb1, redWeb2.Addresses()[i]),   // on h1
			s.begin(t, redWeb1, redWeb3.Addresses()[i]),   // h1 to h2
			s.begin(t, blueWeb9, blueWeb1.Addresses()[i])) // h2 to h1
	}
	waitMore(t, 1, pings...)
	return pings
}

func testAgentCrash(t *testing.T, s *system) {
	pings := steady(t, s)
	if err := s.lab.Kill(topology.HostName(1)); err != nil {
		t.Fatal(err)
	}
	waitMore(t, 30, pings...)
	if err := s.lab.StartAgent(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	waitMore(t, 30, pings...)
	for _, p := range pings {
		wantNoLoss(t, p, "agent of h1 killed and started again")
	}
	wantConnected(t, s, topology.HostName(1))
}

func wantConnected(t *testing.T, s *system, host string) {
	t.Helper()
	eventually(t, host+" is connected", func() (bool, string) {
		h, err := client.Get[*api.Host](t.Context(), s.client, api.ParseRef(host))
		if err != nil {
			return false, err.Error()
		}
		return h.Status.Connected, "not connected"
	})
}

func testControllerRestart(t *testing.T, s *system) {
	pings := steady(t, s)
	logged := len(controllerLog(t, s))
	if err := s.lab.Stop(topology.Controller); err != nil {
		t.Fatal(err)
	}
	waitMore(t, 50, pings...)
	// What is delivered already plugs again without a controller.
	if err := s.lab.Unplug(t.Context(), blueDB1.Host, blueDB1.Port()); err != nil {
		t.Fatal(err)
	}
	if err := s.lab.Plug(t.Context(), blueDB1.Host, blueDB1.Port(), blueDB1.Short()); err != nil {
		t.Fatal(err)
	}
	// An agent that starts while there is no controller goes on with what it knew.
	const headless = 2
	if err := s.lab.Kill(topology.HostName(headless)); err != nil {
		t.Fatal(err)
	}
	if err := s.lab.LaunchAgent(headless); err != nil {
		t.Fatal(err)
	}
	waitMore(t, 50, pings...)
	if err := s.lab.StartController(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.lab.AgentReady(t.Context(), headless); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= tenants.Hosts; n++ {
		wantConnected(t, s, topology.HostName(n))
	}
	wantResumed(t, s, logged)
	waitMore(t, 30, pings...)
	for _, p := range pings {
		wantNoLoss(t, p, "controller stopped and started again")
	}
	// Changes arrive again, in both directions.
	s.apply(t, tenants.PolicyYAML(tenants.Red))
	for i, a := range redDB1.Addresses() {
		p := s.begin(t, redWeb1, a)
		waitMore(t, 1, p)
		if _, err := p.Stop(); err != nil {
			t.Fatal(err)
		}
		s.wantAnswers(t, redDB1, redWeb1.Addresses()[i], ttlBetween)
	}
}

func controllerLog(t *testing.T, s *system) string {
	t.Helper()
	data, err := os.ReadFile(s.lab.LogFile(topology.Controller, "log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

var connectedLine = regexp.MustCompile(`host connected.*\btables"?[=:](\d+)`)

// wantResumed expects that every host told the new controller which rows it
// has, so that only the difference was sent.
func wantResumed(t *testing.T, s *system, from int) {
	t.Helper()
	eventually(t, "every host said what it has", func() (bool, string) {
		lines := connectedLine.FindAllStringSubmatch(controllerLog(t, s)[from:], -1)
		resumed := 0
		for _, l := range lines {
			if l[1] != "0" {
				resumed++
			}
		}
		return resumed >= tenants.Hosts, fmt.Sprint(lines)
	})
}

// testMove moves red's web-2 from h1 to h3: bindings in one transaction, then
// the workload is plugged there and answers from the same addresses. What runs
// beside it in the same network loses nothing while a host joins it.
func testMove(t *testing.T, s *system) {
	const from, to = 1, 3
	var pings, beside []*probe.Running
	for _, a := range redWeb3.Addresses() {
		beside = append(beside, s.begin(t, redWeb1, a)) // h1 to h2
	}
	waitMore(t, 1, beside...)
	for _, a := range redWeb2.Addresses() {
		pings = append(pings, s.begin(t, redWeb3, a))
	}
	waitMore(t, 1, pings...)
	if err := s.lab.Unplug(t.Context(), from, redWeb2.Port()); err != nil {
		t.Fatal(err)
	}
	s.moveBinding(t, redWeb2.Port(), topology.HostName(from), topology.HostName(to))
	if err := s.lab.Plug(t.Context(), to, redWeb2.Port(), redWeb2.Short()); err != nil {
		t.Fatal(err)
	}
	waitMore(t, 5, pings...)
	for _, p := range pings {
		if _, err := p.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range beside {
		wantNoLoss(t, p, "another port of the network moved to a host that was not in it")
	}
	for i, a := range redWeb2.Addresses() {
		s.wantAnswers(t, redWeb1, a, ttlInside)
		s.wantAnswers(t, redWeb3, a, ttlInside)
		s.wantAnswers(t, redWeb2, redWeb1.Addresses()[i], ttlInside)
	}
	routes, err := s.client.Routes(t.Context(), api.ParseRef(redWeb2.NetworkName()), api.Ref{})
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, r := range routes.Items {
		if r.Port.Name == redWeb2.Port() {
			found++
			if r.Host.Name != topology.HostName(to) {
				t.Errorf("route %v leads to %s, want %s", r.Prefix, r.Host.Name, topology.HostName(to))
			}
		}
	}
	if found != len(redWeb2.Addresses()) {
		t.Errorf("%d routes lead to %s, want %d", found, redWeb2.Port(), len(redWeb2.Addresses()))
	}
}

// moveBinding makes another host's binding the active one, in one transaction.
func (s *system) moveBinding(t *testing.T, port, from, to string) {
	t.Helper()
	old, err := client.Get[*api.Binding](t.Context(), s.client, api.ParseRef(port+":"+from))
	if err != nil {
		t.Fatal(err)
	}
	old.Spec.Active = false
	next := api.New(api.KindBinding).(*api.Binding)
	next.Meta.Name, next.Meta.Parent = to, api.ParseRef(port)
	next.Spec = api.BindingSpec{Host: api.ParseRef(to), Active: true}
	_, err = s.client.Transaction(t.Context(), []api.Operation{
		{Op: api.OpUpdate, Object: old}, {Op: api.OpCreate, Object: next},
	}, false)
	if err != nil {
		t.Fatal(err)
	}
}

// orchestrator makes an orchestrator with a token and returns its client.
func (s *system) orchestrator(t *testing.T, name string) *client.Client {
	t.Helper()
	o := api.New(api.KindOrchestrator).(*api.Orchestrator)
	o.Meta.Name = name
	o.Spec.Platform, o.Spec.Identity = api.PlatformKubernetes, "identity-of-"+name
	if _, err := client.Create(t.Context(), s.client, o); err != nil {
		t.Fatal(err)
	}
	token, err := s.client.CreateToken(t.Context(), api.TokenRequest{Name: name, Role: api.RoleMember, Orchestrator: name})
	if err != nil {
		t.Fatal(err)
	}
	// The token alone is enough: it pins the server's CA.
	c, err := client.New(client.Config{Server: s.lab.APIAddress(), Token: token.Secret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func named[T api.Object](kind api.Kind, parent, name string) T {
	o := api.New(kind)
	o.Head().Meta.Name = name
	if parent != "" {
		o.Head().Meta.Parent = api.ParseRef(parent)
	}
	return o.(T)
}

func testOwners(t *testing.T, s *system) {
	one, two := s.orchestrator(t, "cluster-1"), s.orchestrator(t, "cluster-2")
	ctx := t.Context()
	network := named[*api.Network](api.KindNetwork, "one:pods", "net")
	subnet := named[*api.Subnet](api.KindSubnet, "one:pods:net", "v4")
	subnet.Spec.CIDR = tenants.Web.V4
	_, err := one.Transaction(ctx, []api.Operation{
		{Op: api.OpCreate, Object: named[*api.Domain](api.KindDomain, "", "one")},
		{Op: api.OpCreate, Object: named[*api.Project](api.KindProject, "one", "pods")},
		{Op: api.OpCreate, Object: network},
		{Op: api.OpCreate, Object: subnet},
	}, false)
	if err != nil {
		t.Fatal(err)
	}
	ref := api.ParseRef("one:pods:net")
	_, err = client.Patch[*api.Network](ctx, two, ref, map[string]any{"meta": map[string]any{"displayName": "mine"}})
	wantRefused(t, "change cluster-1's network", err)
	wantRefused(t, "delete cluster-1's subnet", two.Delete(ctx, api.KindSubnet, api.ParseRef("one:pods:net:v4"), 0))
	port := named[*api.Port](api.KindPort, "one:pods", "intruder")
	port.Spec.Network = ref
	_, err = client.Create(ctx, two, port)
	wantRefused(t, "make a port in cluster-1's project", err)
	wantRefused(t, "delete the administrators' port", two.Delete(ctx, api.KindPort, api.ParseRef(redWeb1.Port()), 0))
	now, err := client.Get[*api.Network](ctx, s.client, ref)
	if err != nil {
		t.Fatal(err)
	}
	if now.Meta.Owner != "cluster-1" || now.Meta.DisplayName != "" || now.Meta.Generation != 1 {
		t.Errorf("the network is now %+v", now.Meta)
	}
	if _, err := client.Patch[*api.Network](ctx, one, ref, map[string]any{"meta": map[string]any{"displayName": "mine"}}); err != nil {
		t.Errorf("cluster-1 changes its own network: %v", err)
	}
}

// wantRefused expects a refusal for lack of rights; an object one may not see
// is not found, and a reference to it is invalid, as if it did not exist.
func wantRefused(t *testing.T, what string, err error) {
	t.Helper()
	var e *api.Error
	unseen := func() bool {
		return e.Code == api.CodeInvalid && strings.Contains(e.Error(), "not shared with these credentials")
	}
	if !errors.As(err, &e) || e.Code != api.CodeForbidden && e.Code != api.CodeNotFound && !unseen() {
		t.Errorf("cluster-2 tries to %s: %v, want a refusal", what, err)
	}
}

// testUninstall takes the agent off h3 and expects the host as it was before.
func testUninstall(t *testing.T, s *system) {
	const n = 3
	host := topology.HostName(n)
	if err := s.lab.Stop(host); err != nil {
		t.Fatal(err)
	}
	if err := s.lab.Uninstall(context.WithoutCancel(t.Context()), n); err != nil {
		t.Fatal(err)
	}
	links, err := namespace.Links(s.lab.Namespace(host))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if l != "lo" && l != topology.UplinkName {
			t.Errorf("interface %s is left on %s", l, host)
		}
	}
	if mounted := mountsBelow(t, s.lab.BPFDir(n)); len(mounted) > 0 {
		t.Errorf("left mounted: %v", mounted)
	}
}

// TestIPv6Underlay is the same system on an underlay without IPv4 tunnels.
func TestIPv6Underlay(t *testing.T) {
	s := start(t, "v6", topology.IPv6)
	s.apply(t, tenants.YAML(tenants.Red))
	s.plug(t, tenants.Of(tenants.Red)...)
	for _, from := range []tenants.Workload{redWeb1, redWeb2, redWeb3} {
		for _, to := range []tenants.Workload{redWeb1, redWeb2, redWeb3} {
			for _, a := range to.Addresses() {
				if from != to {
					s.wantAnswers(t, from, a, ttlInside)
				}
			}
		}
	}
	testFullPackets(t, s)
}
