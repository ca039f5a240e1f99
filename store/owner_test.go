// SPDX-License-Identifier: Apache-2.0

package store

import (
	"testing"
	"time"

	"github.com/weft-network/weft/api"
)

func TestOwnership(t *testing.T) {
	w := newWorld(t)
	w.orchestrators()
	w.create(blue, network("n", projectOf(blue)))

	// Nobody but the owner: administrators neither, and for others it is not there.
	wider := network("n", projectOf(blue))
	wider.Spec.MTU = 9000
	w.refused(api.CodeForbidden, "belongs to orchestrator blue", admin, api.OpDelete, network("n", projectOf(blue)))
	w.refused(api.CodeForbidden, "belongs to orchestrator blue", admin, api.OpUpdate, wider)
	w.refused(api.CodeForbidden, "no share lets", admin, api.OpCreate, network("m", projectOf(blue)))
	w.refused(api.CodeNotFound, "no such network", green, api.OpDelete, network("n", projectOf(blue)))
	w.refused(api.CodeNotFound, "no such network", green, api.OpUpdate, wider)
	w.refused(api.CodeInvalid, "there is no project", green, api.OpCreate, network("m", projectOf(blue)))
	w.refused(api.CodeForbidden, "belongs to orchestrator weft", blue, api.OpDelete, domain("blue"))

	for _, role := range []api.Role{api.RoleReader, api.RoleHost, api.RoleJoin, ""} {
		w.refused(api.CodeForbidden, "may not write", api.Identity{Name: "x", Orchestrator: "blue", Role: role}, api.OpCreate, network("m", projectOf(blue)))
	}
	w.refused(api.CodeForbidden, `no orchestrator "red"`, api.Identity{Name: "x", Orchestrator: "red", Role: api.RoleMember}, api.OpCreate, domain("red"))

	// Orchestrators and hosts are the administrators'.
	o := &api.Orchestrator{Header: head(api.KindOrchestrator, "red", api.Ref{}), Spec: api.OrchestratorSpec{Platform: api.PlatformKubernetes}}
	member := api.Identity{Name: "m", Orchestrator: api.AdministratorsName, Role: api.RoleMember}
	for _, by := range []api.Identity{blue, member} {
		w.refused(api.CodeForbidden, "only Weft's administrators", by, api.OpCreate, o)
		w.refused(api.CodeForbidden, "only Weft's administrators", by, api.OpCreate, host("h", "192.0.2.1"))
	}
	// A strict change delays what others allow: it is for those who answer for all projects.
	strict := &api.Draft{Header: head(api.KindDraft, "d", projectOf(blue)), Spec: api.DraftSpec{Hold: &api.Hold{Seconds: 5}}}
	w.refused(api.CodeForbidden, "only administrators", api.Identity{Name: "m", Orchestrator: "blue", Role: api.RoleMember}, api.OpCreate, strict)
	owner := api.Identity{Name: "o", Orchestrator: "blue", Role: api.RoleAdmin}
	w.create(owner, strict)
	w.remove(owner, strict)
	w.refused(api.CodeForbidden, "administrators' own", admin, api.OpDelete, &api.Orchestrator{Header: head(api.KindOrchestrator, "weft", api.Ref{})})

	// An orchestrator goes only when it owns nothing.
	e := w.refused(api.CodeConflict, "still refer", admin, api.OpDelete, &api.Orchestrator{Header: head(api.KindOrchestrator, "blue", api.Ref{})})
	if len(e.Referrers) != 3 {
		t.Errorf("blue owns a domain, a project and a network, named are %q", e.Referrers)
	}
	w.remove(blue, network("n", projectOf(blue)), &api.Project{Header: head(api.KindProject, "p", named("blue-own"))}, domain("blue-own"))
	w.remove(admin, &api.Orchestrator{Header: head(api.KindOrchestrator, "blue", api.Ref{})}, domain("blue"))
}

// Each kind of grantee lets exactly its own refer, and only with the verb.
// A share of a network lets others have addresses of its subnets, also of those
// that come later, whether they name the subnet or not.
func TestShareOfNetworkCoversSubnets(t *testing.T) {
	w := newWorld(t)
	w.orchestrators()
	net := named("blue-own:p:n")
	w.create(blue, network("n", projectOf(blue)))
	s := share("s", projectOf(blue), api.KindNetwork, net, api.KindOrchestrator, named("green"), api.VerbAttach)
	w.create(blue, s)
	w.create(blue, subnet("s", "10.0.0.0/24", net))
	w.create(green, port("p", projectOf(green), net))
	for _, which := range []api.Ref{{}, named(net.Name + ":s")} {
		a := address("a", net, "")
		a.Spec.Port, a.Spec.Subnet = named("green-own:p:p"), which
		w.create(green, a)
		a.Meta.DisplayName = "changed"
		w.update(green, a)
		w.refused(api.CodeConflict, "still refer", blue, api.OpDelete, s)
		w.remove(green, a)
	}
}

func TestShares(t *testing.T) {
	w := newWorld(t)
	w.orchestrators()
	net := named("blue-own:p:n")
	w.create(blue, network("n", projectOf(blue)))
	use := port("p", projectOf(green), net)
	onward := share("s", projectOf(green), api.KindNetwork, net, api.GranteeAll, api.Ref{}, api.VerbAttach)
	w.refused(api.CodeInvalid, "there is no network", green, api.OpCreate, use)
	w.refused(api.CodeInvalid, "there is no network", green, api.OpCreate, onward)
	see := share("see", projectOf(blue), api.KindNetwork, net, api.GranteeAll, api.Ref{}, api.VerbSee)
	w.create(blue, see)
	w.refused(api.CodeForbidden, "no share lets green use it with verb attach", green, api.OpCreate, use)
	w.refused(api.CodeForbidden, "alone may share it", green, api.OpCreate, onward)

	for _, c := range []struct {
		name    string
		kind    api.Kind
		grantee api.Ref
		verb    api.Verb
		allowed bool
	}{
		{"all", api.GranteeAll, api.Ref{}, api.VerbAttach, true},
		{"all, another verb", api.GranteeAll, api.Ref{}, api.VerbJoin, false},
		{"orchestrator", api.KindOrchestrator, named("green"), api.VerbAttach, true},
		{"another orchestrator", api.KindOrchestrator, named("weft"), api.VerbAttach, false},
		{"domain", api.KindDomain, named("green"), api.VerbAttach, true},
		{"another domain", api.KindDomain, named("blue"), api.VerbAttach, false},
		{"project", api.KindProject, projectOf(green), api.VerbAttach, true},
		{"another project", api.KindProject, project, api.VerbAttach, false},
	} {
		s := share("s", projectOf(blue), api.KindNetwork, net, c.kind, c.grantee, c.verb)
		w.create(blue, s)
		if !c.allowed {
			w.refused(api.CodeForbidden, "no share lets", green, api.OpCreate, use)
			w.remove(blue, s)
			continue
		}
		w.create(green, use)
		// In use it stays, whole.
		e := w.refused(api.CodeConflict, "still refer", blue, api.OpDelete, s)
		if len(e.Referrers) != 1 || e.Referrers[0] != "a port of orchestrator green" {
			t.Errorf("%s: referrers %q", c.name, e.Referrers)
		}
		less := share("s", projectOf(blue), api.KindNetwork, net, c.kind, c.grantee, api.VerbJoin)
		w.refused(api.CodeConflict, "relies on its verb attach", blue, api.OpUpdate, less)
		w.update(blue, share("s", projectOf(blue), api.KindNetwork, net, c.kind, c.grantee, api.VerbJoin, c.verb))
		renamed := port("p", projectOf(green), net)
		renamed.Meta.DisplayName = "x"
		w.update(green, renamed)
		w.remove(green, use)
		w.update(blue, less)
		w.remove(blue, less)
	}
}

// A network comes under somebody else's network-policy by a share with join, and by no
// other: whoever has it may attach the network to policies of his own.
func TestJoinOfAForeignNetwork(t *testing.T) {
	w := newWorld(t)
	w.orchestrators()
	net := named("blue-own:p:n")
	w.create(blue, network("n", projectOf(blue)))
	w.create(green, object(t, api.KindNetworkPolicy, "np", "green-own:p", "rules: [{action: pass, direction: '<>'}]"))
	attachment := object(t, api.KindNetworkPolicyAttachment, "a", "green-own:p", "policy: 'green-own:p:np', network: 'blue-own:p:n'")
	w.refused(api.CodeInvalid, "there is no network", green, api.OpCreate, attachment)
	for _, verb := range []api.Verb{api.VerbSee, api.VerbAttach, api.VerbRoute, api.VerbEdit} {
		s := share("s", projectOf(blue), api.KindNetwork, net, api.KindOrchestrator, named("green"), verb)
		w.create(blue, s)
		w.refused(api.CodeForbidden, "no share lets green use it with verb join", green, api.OpCreate, attachment)
		w.remove(blue, s)
	}
	s := share("s", projectOf(blue), api.KindNetwork, net, api.KindOrchestrator, named("green"), api.VerbJoin)
	w.create(blue, s)
	w.create(green, attachment)
	w.refused(api.CodeConflict, "still refer", blue, api.OpDelete, s)
	w.refused(api.CodeConflict, "relies on its verb join", blue, api.OpUpdate, share("s", projectOf(blue), api.KindNetwork, net, api.KindOrchestrator, named("green"), api.VerbAttach))
	w.refused(api.CodeNotFound, "no such network-policy-attachment", blue, api.OpDelete, attachment)
	w.remove(green, attachment)
	w.remove(blue, s)
	w.refused(api.CodeInvalid, "there is no network", green, api.OpCreate, attachment)
}

func TestShareOfParent(t *testing.T) {
	w := newWorld(t)
	w.orchestrators()
	sub := &api.Project{Header: head(api.KindProject, "guest", named("blue-own"))}
	w.refused(api.CodeInvalid, "there is no domain", green, api.OpCreate, sub)
	w.create(blue, share("s", projectOf(blue), api.KindDomain, named("blue-own"), api.KindOrchestrator, named("green"), api.VerbAttach))
	w.create(green, sub)
	w.create(green, network("n", named("blue-own:guest"))) // green's own from here on
	w.refused(api.CodeForbidden, "belongs to orchestrator green", admin, api.OpDelete, sub)
	w.refused(api.CodeNotFound, "no such project", blue, api.OpDelete, sub)
}

// A share for a project is for its owner: who would be in the project only by
// what is shared with it is not.
func TestShareForItsOwnProject(t *testing.T) {
	w := newWorld(t)
	w.orchestrators()
	net, p := named("blue-own:p:n"), named("blue-own:p:x")
	w.create(admin, host("h1", "192.0.2.1"))
	w.create(blue, network("n", projectOf(blue)), port("x", projectOf(blue), net),
		share("sn", projectOf(blue), api.KindNetwork, net, api.KindProject, projectOf(blue), api.VerbAttach),
		share("sp", projectOf(blue), api.KindPort, p, api.KindProject, projectOf(blue), api.VerbAttach))
	w.refused(api.CodeInvalid, "there is no port", green, api.OpCreate, binding("b", p, named("h1"), true))
	w.refused(api.CodeInvalid, "there is no network", green, api.OpCreate, subnet("s", "10.0.0.0/24", net))
	w.create(blue, subnet("s", "10.0.0.0/24", net), binding("b", p, named("h1"), true))
}

func TestTokens(t *testing.T) {
	w := newWorld(t)
	w.orchestrators()
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	w.Store.now = func() time.Time { return now }
	make := func(by api.Identity, r api.TokenRequest) (api.Token, error) { return w.CreateToken(t.Context(), by, r) }
	whoIs := func(token api.Token) (api.Identity, error) {
		return w.Authenticate(t.Context(), token.ID, token.Secret)
	}
	blueAdmin := api.Identity{Name: "ba", Orchestrator: "blue", Role: api.RoleAdmin}
	join, err := make(admin, api.TokenRequest{Name: "rollout", Role: api.RoleJoin})
	if err != nil || join.ExpiresAt != now.Add(joinTokenTTL) {
		t.Fatalf("join token %+v, %v", join, err)
	}
	member, err := make(admin, api.TokenRequest{Name: "k8s", Role: api.RoleMember, Orchestrator: "blue", TTLSeconds: 60})
	if err != nil {
		t.Fatal(err)
	}
	if who, err := whoIs(member); err != nil || who != (api.Identity{Name: "k8s", Orchestrator: "blue", Role: api.RoleMember}) {
		t.Errorf("the token stands for %+v, %v", who, err)
	}
	wrong := member
	wrong.Secret += "x"
	if _, err := whoIs(wrong); err == nil {
		t.Error("a wrong secret was accepted")
	}
	for name, c := range map[string]struct {
		by api.Identity
		r  api.TokenRequest
	}{
		"a member makes none":           {blue, api.TokenRequest{Name: "x", Role: api.RoleReader}},
		"an orchestrator that is not":   {admin, api.TokenRequest{Name: "x", Role: api.RoleMember, Orchestrator: "red"}},
		"a role that is not for tokens": {admin, api.TokenRequest{Name: "x", Role: api.RoleHost}},
		"for another orchestrator":      {blueAdmin, api.TokenRequest{Name: "x", Role: api.RoleAdmin, Orchestrator: "weft"}},
		"no host joins through blue":    {blueAdmin, api.TokenRequest{Name: "x", Role: api.RoleJoin}},
	} {
		if _, err := make(c.by, c.r); err == nil {
			t.Errorf("%s: a token was made", name)
		}
	}
	if list, err := w.ListTokens(t.Context(), blueAdmin); err != nil || len(list) != 1 || list[0].Secret != "" {
		t.Errorf("blue's administrator sees %+v, %v", list, err)
	}
	now = now.Add(time.Minute)
	if _, err := whoIs(member); err == nil {
		t.Error("an expired token was accepted")
	}
	if err := w.DeleteToken(t.Context(), admin, join.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := whoIs(join); err == nil {
		t.Error("a deleted token was accepted")
	}
	now = now.Add(tokenGrace)
	if _, err := make(admin, api.TokenRequest{Name: "y", Role: api.RoleReader}); err != nil {
		t.Fatal(err)
	}
	if list, _ := w.ListTokens(t.Context(), admin); len(list) != 1 {
		t.Errorf("the expired token was not swept: %+v", list)
	}
}
