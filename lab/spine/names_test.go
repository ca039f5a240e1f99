// SPDX-License-Identifier: Apache-2.0

package spine

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/tenants"
	"github.com/weft-network/weft/lab/topology"
)

// testNames has workloads of three owners in one project, the administrators' and
// those of two orchestrators with which project and network are shared: each
// resolves the names of all, forward and back, from its own host. Another project
// with equal addresses resolves none of them, and a name goes with its port.
func testNames(t *testing.T, s *system) {
	zone := ".shop.red.weft.internal"
	pods := []tenants.Workload{
		{Tenant: tenants.Red, Name: "pod-1", Network: tenants.Web, Host: 2, Number: 41}, {Tenant: tenants.Red, Name: "pod-2", Network: tenants.DB, Host: 3, Number: 42},
	}
	owners := map[string]*client.Client{}
	for _, w := range pods {
		owners[w.Name] = s.ofOrchestrator(t, w)
	}
	s.plug(t, pods...)
	all := append([]tenants.Workload{redWeb1, redDB1}, pods...)
	for _, from := range all {
		for _, of := range all {
			s.wantName(t, from, of.Name+zone, of)
		}
	}
	stranger := s.dig(t, blueWeb1, "@"+router(blueWeb1).String(), "pod-1"+zone, "A") + s.dig(t, blueWeb1, "@"+router(blueWeb1).String(), "-x", pods[0].V4().String())
	if stranger != "" {
		t.Errorf("another project resolves pod-1 of red: %q", stranger)
	}
	for _, w := range pods {
		s.unplugAndDelete(t, owners[w.Name], w)
		for _, from := range []tenants.Workload{redWeb1, redDB1} {
			eventually(t, w.Name+" has no name for "+from.Title(), func() (bool, string) {
				answer := s.dig(t, from, "@"+router(from).String(), w.Name+zone, "A") + s.dig(t, from, "@"+router(from).String(), "-x", w.V6().String())
				return answer == "", answer
			})
		}
	}
}

// ofOrchestrator has an orchestrator make a workload's port in a project that is
// shared with it, and returns its client.
func (s *system) ofOrchestrator(t *testing.T, w tenants.Workload) *client.Client {
	t.Helper()
	ctx, owner := t.Context(), "of-"+w.Name
	c := s.orchestrator(t, owner)
	for kind, target := range map[api.Kind]string{api.KindProject: w.Project(), api.KindNetwork: w.NetworkName()} {
		share := named[*api.Share](api.KindShare, w.Project(), string(kind)+"-for-"+owner)
		share.Spec = api.ShareSpec{TargetKind: kind, Target: api.ParseRef(target), GranteeKind: api.KindOrchestrator, Grantee: api.ParseRef(owner), Verbs: []api.Verb{api.VerbAttach}}
		if _, err := client.Create(ctx, s.client, share); err != nil {
			t.Fatal(err)
		}
	}
	network := api.ParseRef(w.NetworkName())
	port := named[*api.Port](api.KindPort, w.Project(), w.Name)
	port.Spec.Network = network
	binding := named[*api.Binding](api.KindBinding, w.Port(), w.HostName())
	binding.Spec.Host, binding.Spec.Active = api.ParseRef(w.HostName()), true
	operations := []api.Operation{{Op: api.OpCreate, Object: port}}
	for i, a := range w.Addresses() {
		address := named[*api.Address](api.KindAddress, w.NetworkName(), w.Name+[]string{"-v4", "-v6"}[i])
		address.Spec.Subnet, address.Spec.IP, address.Spec.Port = api.ParseRef(w.NetworkName()+[]string{":v4", ":v6"}[i]), a, api.ParseRef(w.Port())
		operations = append(operations, api.Operation{Op: api.OpCreate, Object: address})
	}
	if _, err := c.Transaction(ctx, append(operations, api.Operation{Op: api.OpCreate, Object: binding}), false); err != nil {
		t.Fatal(err)
	}
	made, err := client.Get[*api.Port](ctx, c, api.ParseRef(w.Port()))
	if err != nil || made.Meta.Owner != owner {
		t.Fatalf("the port is %s's (%v), want %s's", made.Meta.Owner, err, owner)
	}
	return c
}

func (s *system) unplugAndDelete(t *testing.T, c *client.Client, w tenants.Workload) {
	t.Helper()
	if err := s.lab.Unplug(t.Context(), w.Host, w.Port()); err != nil {
		t.Fatal(err)
	}
	for _, o := range []struct {
		kind api.Kind
		name string
	}{
		{api.KindBinding, w.Port() + ":" + w.HostName()}, {api.KindAddress, w.NetworkName() + ":" + w.Name + "-v4"},
		{api.KindAddress, w.NetworkName() + ":" + w.Name + "-v6"}, {api.KindPort, w.Port()},
	} {
		if err := c.Delete(t.Context(), o.kind, api.ParseRef(o.name), 0); err != nil {
			t.Fatal(err)
		}
	}
}

// router is the gateway of a workload, which answers DNS.
func router(w tenants.Workload) netip.Addr { return w.Network.V4.Addr().Next() }

// dig asks from a workload and returns the short answers on one line.
func (s *system) dig(t *testing.T, from tenants.Workload, words ...string) string {
	t.Helper()
	out, err := namespace.Run(s.namespace(from), append([]string{"dig", "+time=2", "+tries=3", "+short"}, words...)...)
	if err != nil {
		t.Errorf("dig %v from %s: %v\n%s", words, from.Title(), err, out)
	}
	return strings.Join(strings.Fields(out), " ")
}

// wantName expects that a workload resolves another one's name and addresses.
func (s *system) wantName(t *testing.T, from tenants.Workload, name string, of tenants.Workload) {
	t.Helper()
	server := "@" + router(from).String()
	for _, q := range []struct {
		words []string
		want  string
	}{
		{[]string{name, "A"}, of.V4().String()}, {[]string{name, "AAAA"}, of.V6().String()},
		{[]string{"-x", of.V4().String()}, name + "."}, {[]string{"-x", of.V6().String()}, name + "."},
	} {
		eventually(t, from.Title()+" on "+topology.HostName(from.Host)+" resolves "+strings.Join(q.words, " ")+" to "+q.want, func() (bool, string) {
			got := s.dig(t, from, append([]string{server}, q.words...)...)
			return got == q.want, got
		})
	}
}
