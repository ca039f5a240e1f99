// SPDX-License-Identifier: Apache-2.0

package server

import (
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// The certificate of a retired orchestrator is refused at once, on an open
// connection, and another orchestrator of the same name does not revive it.
func TestRetiredCertificateIsRefused(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	_, err := client.Create(ctx, w.admin, orchestrator("cloud", ""))
	check(t, err)
	member := w.as(api.Identity{Name: "adapter", Orchestrator: "cloud", Role: api.RoleMember})
	reply, key, err := member.RenewCertificate(ctx)
	check(t, err)
	renewed := w.connect(client.Config{Server: w.url, CA: reply.CA, Certificate: reply.Certificate, Key: key})
	for what, c := range map[string]*client.Client{"first": member, "renewed": renewed} {
		if who, err := c.WhoAmI(ctx); err != nil || who.Orchestrator != "cloud" || who.Role != api.RoleMember || who.Name != "adapter" {
			t.Errorf("%s: %+v, %v", what, who, err)
		}
	}
	_, err = w.admin.Retire(ctx, "cloud")
	check(t, err)
	refused := func(when string) {
		t.Helper()
		for what, c := range map[string]*client.Client{"first": member, "renewed": renewed} {
			_, err := c.WhoAmI(ctx)
			hasCode(t, what+" certificate, "+when, err, api.CodeUnauthenticated)
		}
		_, _, err := renewed.RenewCertificate(ctx)
		hasCode(t, "renewal, "+when, err, api.CodeUnauthenticated)
	}
	refused("after it was retired")
	_, err = client.Create(ctx, w.admin, orchestrator("cloud", ""))
	check(t, err)
	_, err = renewed.WhoAmI(ctx)
	hasCode(t, "the certificate of its namesake", err, api.CodeUnauthenticated)
}

// A token is not turned into a certificate, and only Weft's own replace the
// authority.
func TestWhoMayHandleCertificates(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	_, err := client.Create(ctx, w.admin, orchestrator("cloud", ""))
	check(t, err)
	mine, _ := w.with(api.TokenRequest{Name: "a", Role: api.RoleAdmin})
	theirs, _ := w.with(api.TokenRequest{Name: "b", Role: api.RoleAdmin, Orchestrator: "cloud"})
	reader, _ := w.with(api.TokenRequest{Name: "c", Role: api.RoleReader})
	_, _, err = mine.RenewCertificate(ctx)
	hasCode(t, "a token asks for a certificate", err, api.CodeForbidden)
	for what, c := range map[string]*client.Client{"an orchestrator's administrator": theirs, "a reader": reader} {
		_, err := c.RotateAuthority(ctx)
		hasCode(t, what+" rotates", err, api.CodeForbidden)
		_, err = c.FinishAuthority(ctx, true)
		hasCode(t, what+" finishes", err, api.CodeForbidden)
		_, err = c.Authority(ctx)
		hasCode(t, what+" looks", err, api.CodeForbidden)
	}
	if s, err := mine.Authority(ctx); err != nil || s.Phase != api.AuthoritySteady || len(s.Authorities) != 1 || s.Authorities[0].Hash != w.ca.Hash() {
		t.Errorf("state %+v, %v", s, err)
	}
	if !w.audit.has("op=rotate-authority") {
		t.Error("the refused rotation is not in the audit")
	}
}
