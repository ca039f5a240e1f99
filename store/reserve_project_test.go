// SPDX-License-Identifier: Apache-2.0

package store

import (
	"testing"

	"github.com/weft-network/weft/api"
)

// Credentials that are narrowed to a project reserve addresses in a network that
// another owner shares with them, make floating-ips of them, see both and give
// them up. Those of another project of the same owner have no part in it, nor has
// anybody without the share.
func TestNarrowedCredentialsReserveInASharedNetwork(t *testing.T) {
	w := newWorld(t)
	w.orchestrators()
	public, pool := named("blue-own:p:public"), named("blue-own:p:pool")
	w.create(blue, network("public", projectOf(blue)), subnet("v4", "203.0.113.0/24", public),
		object(t, api.KindFloatingIPPool, "pool", projectOf(blue).Name, "network: 'blue-own:p:public'"))
	w.create(green, &api.Project{Header: head(api.KindProject, "q", named("green-own"))})
	narrow := func(project string) api.Identity {
		by := green
		by.Name, by.Scope = "tenant of "+project, &api.Scope{Projects: []api.Ref{api.RefTo(w.Latest().Lookup(api.KindProject, named(project)))}}
		return by
	}
	tenant, other := narrow("green-own:p"), narrow("green-own:q")
	reserved := address("fip", public, "203.0.113.9")
	w.refused(api.CodeInvalid, "there is no network", tenant, api.OpCreate, reserved)

	for _, grantee := range []api.Object{
		share("n", projectOf(blue), api.KindNetwork, public, api.KindProject, projectOf(green), api.VerbAttach),
		share("n", projectOf(blue), api.KindNetwork, public, api.KindOrchestrator, named("green"), api.VerbAttach),
	} {
		all := grantee.(*api.Share).Spec.GranteeKind == api.KindOrchestrator
		pools := api.Clone(grantee.(*api.Share))
		pools.Meta.Name, pools.Spec.TargetKind, pools.Spec.Target = "pool", api.KindFloatingIPPool, pool
		w.create(blue, grantee, pools)
		a := w.create(tenant, reserved).(*api.Address)
		if a.Spec.Project.Name != "green-own:p" {
			t.Errorf("the address counts to %q", a.Spec.Project)
		}
		fip := object(t, api.KindFloatingIP, "f", "green-own:p", "pool: 'blue-own:p:pool', address: 'blue-own:p:public:fip'")
		w.create(tenant, fip)
		if Seen(w.Latest(), tenant).Get(api.KindAddress, a.Meta.UUID) == nil {
			t.Error("who reserved an address does not see it")
		}
		if Seen(w.Latest(), other).Get(api.KindAddress, a.Meta.UUID) != nil {
			t.Error("another project sees an address that is not its own")
		}
		w.refused(api.CodeNotFound, "no such address", other, api.OpDelete, reserved)
		elsewhere := address("x", public, "203.0.113.10")
		elsewhere.Spec.Project = named("green-own:p")
		w.refused(api.CodeInvalid, "", other, api.OpCreate, elsewhere)
		if all {
			elsewhere.Spec.Project = api.Ref{}
			w.create(other, elsewhere)
			w.remove(other, elsewhere)
		}
		a.Meta.DisplayName, a.Spec.Project, a.Meta.Revision = "again", api.Ref{}, 0
		if kept := w.update(tenant, a).(*api.Address); kept.Spec.Project.Name != "green-own:p" {
			t.Errorf("after an update without it the address counts to %q", kept.Spec.Project)
		}
		w.remove(tenant, fip, reserved)
		w.remove(blue, pools, grantee)
	}
	checkKeys(t, w.client)
}
