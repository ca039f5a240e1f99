// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// trial is one cell of the table of doc/access.md: somebody tries something
// with a network of orchestrator blue, in blue's project t1.
type trial struct {
	*world
	ctx    context.Context
	who    *client.Client
	home   string // project in which the one who tries may write, or would
	owner  *client.Client
	net    *api.Network
	unique string
}

// yes and no are the outcomes of looking for something.
var errAbsent = errors.New("absent")

// trials are the rows of the table.
var trials = map[string]func(*trial) error{
	"read it":                 func(c *trial) error { _, err := client.Get[*api.Network](c.ctx, c.who, api.RefTo(c.net)); return err },
	"find it in a list":       (*trial).list,
	"be told of it, watching": (*trial).watch,
	"create one beside it": func(c *trial) error {
		_, err := client.Create(c.ctx, c.who, inProject("blue:t1", "beside-"+c.unique))
		return err
	},
	"change it": (*trial).change,
	"delete it": func(c *trial) error { return c.who.Delete(c.ctx, api.KindNetwork, api.RefTo(c.net), 0) },
	"share it":  func(c *trial) error { return c.share(c.who, c.home, api.VerbSee) },
	"read it, shared to see": func(c *trial) error {
		check(c.t, c.share(c.owner, "blue:t1", api.VerbSee))
		_, err := client.Get[*api.Network](c.ctx, c.who, api.RefTo(c.net))
		return err
	},
	"attach a port to it, shared to see":    func(c *trial) error { return c.attach(api.VerbSee) },
	"attach a port to it, shared to attach": func(c *trial) error { return c.attach(api.VerbAttach) },
	"attach a port to it":                   func(c *trial) error { return c.attach("") },
	"change it, shared to see":              func(c *trial) error { check(c.t, c.share(c.owner, "blue:t1", api.VerbSee)); return c.change() },
	"change it, shared to edit":             func(c *trial) error { check(c.t, c.share(c.owner, "blue:t1", api.VerbEdit)); return c.change() },
	"delete it, shared to edit": func(c *trial) error {
		check(c.t, c.share(c.owner, "blue:t1", api.VerbEdit))
		return c.who.Delete(c.ctx, api.KindNetwork, api.RefTo(c.net), 0)
	},
	"read a host": func(c *trial) error { _, err := client.Get[*api.Host](c.ctx, c.who, api.Ref{Name: "h1"}); return err },
	"change a host": func(c *trial) error {
		_, err := client.Patch[*api.Host](c.ctx, c.who, api.Ref{Name: "h1"}, map[string]any{"meta": map[string]any{"description": c.unique}})
		return err
	},
	"look into a host's tables": func(c *trial) error {
		_, err := c.who.HostTable(c.ctx, api.Ref{Name: "h1"}, api.HostTableDrops)
		return err
	},
	"capture a port's packets": func(c *trial) error {
		_, err := c.who.HostTable(c.ctx, api.Ref{Name: "h1"}, api.CaptureQuestion{ID: "x", Port: "blue:t1:p", Begin: true}.Table())
		return err
	},
	"ask why a host is as it is": func(c *trial) error {
		_, err := c.who.Why(c.ctx, api.KindHost, api.Ref{Name: "h1"})
		return err
	},
	"work out what it reaches": func(c *trial) error {
		network := "network/" + c.net.Head().Meta.UUID
		_, err := c.who.Reach(c.ctx, network, network)
		return err
	},
	"ask the audit":      func(c *trial) error { _, err := c.who.Audit(c.ctx, api.AuditQuery{}); return err },
	"back up everything": func(c *trial) error { _, err := c.who.Backup(c.ctx, io.Discard); return err },
	"make an orchestrator": func(c *trial) error {
		_, err := client.Create(c.ctx, c.who, orchestrator("o-"+c.unique, ""))
		return err
	},
	"read orchestrator blue": func(c *trial) error {
		_, err := client.Get[*api.Orchestrator](c.ctx, c.who, api.Ref{Name: "blue"})
		return err
	},
	"announce orchestrator blue": func(c *trial) error { _, err := c.who.Announce(c.ctx, api.Ref{Name: "blue"}, "cloud-1"); return err },
	"count what blue owns":       func(c *trial) error { _, err := c.who.Owned(c.ctx, api.Ref{Name: "blue"}); return err },
	"retire an orchestrator": func(c *trial) error {
		_, err := client.Create(c.ctx, c.admin, orchestrator("r-"+c.unique, ""))
		check(c.t, err)
		_, err = c.who.Retire(c.ctx, "r-"+c.unique)
		return err
	},
	"make a token of blue": func(c *trial) error {
		_, err := c.who.CreateToken(c.ctx, api.TokenRequest{Name: c.unique, Role: api.RoleReader, Orchestrator: "blue"})
		return err
	},
	"make a token of blue for t1": func(c *trial) error {
		_, err := c.who.CreateToken(c.ctx, api.TokenRequest{Name: c.unique, Role: api.RoleReader, Orchestrator: "blue", Scope: &api.Scope{Projects: []api.Ref{{Name: "blue:t1"}}}})
		return err
	},
	"make a join token": func(c *trial) error {
		_, err := c.who.CreateToken(c.ctx, api.TokenRequest{Name: c.unique, Role: api.RoleJoin})
		return err
	},
	"list tokens":                 func(c *trial) error { _, err := c.who.Tokens(c.ctx); return err },
	"join a new host":             func(c *trial) error { return c.join("h-" + c.unique) },
	"join a host that exists":     func(c *trial) error { return c.join("h1") },
	"ask who one is":              func(c *trial) error { _, err := c.who.WhoAmI(c.ctx); return err },
	"delete what blue's t2 holds": func(c *trial) error { return c.inT2() },
	"commit a draft beside it":    func(c *trial) error { return c.commit("blue:t1") },
	"commit a draft beside it of what t2 gets": func(c *trial) error {
		return c.commit("blue:t2")
	},
}

func (c *trial) inT2() error {
	n, err := client.Create(c.ctx, c.owner, inProject("blue:t2", "t2-"+c.unique))
	check(c.t, err)
	return c.who.Delete(c.ctx, api.KindNetwork, api.RefTo(n), 0)
}

// commit commits a draft of blue's in t1 that makes a tag in a project.
func (c *trial) commit(project string) error {
	d := &api.Draft{Header: api.Header{Kind: api.KindDraft, Meta: api.Meta{Name: "d-" + c.unique, Parent: api.Ref{Name: "blue:t1"}}}}
	check(c.t, d.Stage(api.Operation{Op: api.OpCreate, Object: tagIn(project, "t-"+c.unique)}))
	_, err := client.Create(c.ctx, c.owner, d)
	check(c.t, err)
	_, err = c.who.CommitDraft(c.ctx, api.Ref{Name: "blue:t1:d-" + c.unique}, 0, false)
	return err
}

func tagIn(project, name string) *api.Tag {
	return &api.Tag{Header: api.Header{Kind: api.KindTag, Meta: api.Meta{Name: name, Parent: api.Ref{Name: project}}}, Spec: api.TagSpec{Type: "label", Value: name}}
}

func (c *trial) list() error {
	all, err := client.ListOf[*api.Network](c.ctx, c.who, client.ListOptions{})
	for _, n := range all.Items {
		if n.Meta.UUID == c.net.Meta.UUID {
			return nil
		}
	}
	return errors.Join(err, errAbsent)
}

func (c *trial) watch() error {
	for e, err := range c.who.Watch(c.ctx, client.WatchOptions{Kinds: []api.Kind{api.KindNetwork}}) {
		switch {
		case err != nil:
			return err
		case e.Type == api.EventBookmark:
			return errAbsent
		case e.Object.Head().Meta.UUID == c.net.Meta.UUID:
			return nil
		}
	}
	return errAbsent
}

func (c *trial) change() error {
	_, err := client.Patch[*api.Network](c.ctx, c.who, api.RefTo(c.net), map[string]any{"spec": map[string]any{"mtu": 1400}})
	return err
}

// share shares the network with orchestrator green and blue's project t2.
func (c *trial) share(by *client.Client, project string, verb api.Verb) error {
	var ops []api.Operation
	for kind, name := range map[api.Kind]string{api.KindOrchestrator: "green", api.KindProject: "blue:t2"} {
		ops = append(ops, api.Operation{Op: api.OpCreate, Object: &api.Share{
			Header: api.Header{Kind: api.KindShare, Meta: api.Meta{Name: "with-" + string(kind) + c.unique, Parent: api.Ref{Name: project}}},
			Spec:   api.ShareSpec{TargetKind: api.KindNetwork, Target: api.RefTo(c.net), GranteeKind: kind, Grantee: api.Ref{Name: name}, Verbs: []api.Verb{verb}},
		}})
	}
	_, err := by.Transaction(c.ctx, ops, false)
	return err
}

func (c *trial) attach(verb api.Verb) error {
	if verb != "" {
		check(c.t, c.share(c.owner, "blue:t1", verb))
	}
	_, err := client.Create(c.ctx, c.who, &api.Port{
		Header: api.Header{Kind: api.KindPort, Meta: api.Meta{Name: "p-" + c.unique, Parent: api.Ref{Name: c.home}}},
		Spec:   api.PortSpec{Network: api.RefTo(c.net)},
	})
	return err
}

func (c *trial) join(name string) error {
	r := joinRequest(c.t, name, "192.0.2.1")
	var n int
	fmt.Sscanf(c.unique, "c%d", &n)
	r.TunnelAddresses = []netip.Addr{netip.AddrFrom4([4]byte{198, 51, byte(n >> 8), byte(n)})}
	_, err := c.who.Join(c.ctx, r)
	return err
}

func inProject(project, name string) *api.Network {
	return &api.Network{Header: api.Header{Kind: api.KindNetwork, Meta: api.Meta{Name: name, Parent: api.Ref{Name: project}}}}
}

func orchestrator(name, domain string) *api.Orchestrator {
	return &api.Orchestrator{Header: api.Header{Kind: api.KindOrchestrator, Meta: api.Meta{Name: name}},
		Spec: api.OrchestratorSpec{Platform: api.PlatformOpenStack, Domain: api.Ref{Name: domain}}}
}

// tenants makes orchestrators blue and green with the same projects t1 and t2,
// each in its own domain, and returns blue's adapter.
func (w *world) tenants() *client.Client {
	w.t.Helper()
	var blue *client.Client
	for _, name := range []string{"green", "blue"} {
		_, err := client.Create(w.t.Context(), w.admin, &api.Domain{Header: api.Header{Kind: api.KindDomain, Meta: api.Meta{Name: name}}})
		check(w.t, err)
		_, err = client.Create(w.t.Context(), w.admin, orchestrator(name, name))
		check(w.t, err)
		blue, _ = w.with(api.TokenRequest{Name: name, Role: api.RoleMember, Orchestrator: name})
		for _, t := range []string{"t1", "t2"} {
			_, err := client.Create(w.t.Context(), blue, &api.Project{Header: api.Header{Kind: api.KindProject, Meta: api.Meta{Name: t, Parent: api.Ref{Name: name}}}})
			check(w.t, err)
		}
	}
	return blue
}

// TestAccessTable reads the table of doc/access.md and tries every cell.
func TestAccessTable(t *testing.T) {
	columns, rows := accessTable(t)
	w := newWorld(t)
	blue := w.tenants()
	join, _ := w.with(api.TokenRequest{Name: "rollout", Role: api.RoleJoin})
	_, err := join.Join(t.Context(), joinRequest(t, "h1", "192.0.2.1"))
	check(t, err)
	of := func(orchestrator string, role api.Role, project string) *client.Client {
		r := api.TokenRequest{Name: "x", Role: role, Orchestrator: orchestrator}
		if project != "" {
			r.Scope = &api.Scope{Projects: []api.Ref{{Name: project}}}
		}
		c, _ := w.with(r)
		return c
	}
	who := map[string]struct {
		client *client.Client
		home   string
	}{
		"nobody":          {w.connect(client.Config{Server: w.url, CA: string(w.ca.Bundle())}), "blue:t1"},
		"join token":      {join, "blue:t1"},
		"weft admin":      {w.admin, "default-domain:default-project"},
		"weft reader":     {of("weft", api.RoleReader, ""), "default-domain:default-project"},
		"blue admin":      {of("blue", api.RoleAdmin, ""), "blue:t1"},
		"blue member":     {of("blue", api.RoleMember, ""), "blue:t1"},
		"blue reader":     {of("blue", api.RoleReader, ""), "blue:t1"},
		"blue t1 admin":   {of("blue", api.RoleAdmin, "blue:t1"), "blue:t1"},
		"blue t1 member":  {of("blue", api.RoleMember, "blue:t1"), "blue:t1"},
		"blue t2 member":  {of("blue", api.RoleMember, "blue:t2"), "blue:t2"},
		"green member":    {of("green", api.RoleMember, ""), "green:t1"},
		"green t1 member": {of("green", api.RoleMember, "green:t1"), "green:t1"},
	}
	tried := map[string]bool{}
	count := 0
	for _, row := range rows {
		try := trials[row[0]]
		if try == nil {
			t.Fatalf("doc/access.md has a row %q that no trial is for", row[0])
		}
		tried[row[0]] = true
		got := []string{row[0]}
		for n, want := range row[1:] {
			one, known := who[columns[n+1]]
			if !known {
				t.Fatalf("doc/access.md has a column %q that nobody is", columns[n+1])
			}
			count++
			c := &trial{world: w, ctx: t.Context(), who: one.client, home: one.home, owner: blue, unique: fmt.Sprint("c", count)}
			c.net, err = client.Create(t.Context(), blue, inProject("blue:t1", "n-"+c.unique))
			check(t, err)
			err := try(c)
			if got = append(got, outcome(err)); outcome(err) != want {
				t.Errorf("%s, %s: got %s (%v), the table says %s", row[0], columns[n+1], outcome(err), err, want)
			}
		}
		if t.Failed() {
			t.Logf("| %s |", strings.Join(got, " | "))
		}
	}
	for name := range trials {
		if !tried[name] {
			t.Errorf("doc/access.md has no row %q", name)
		}
	}
}

func outcome(err error) string {
	var e *api.Error
	switch {
	case err == nil:
		return "yes"
	case errors.As(err, &e):
		return fmt.Sprint(statusOf(e.Code))
	case errors.Is(err, errAbsent):
		return "no"
	}
	return err.Error()
}

// accessTable returns the head and the rows of the table in doc/access.md.
func accessTable(t *testing.T) ([]string, [][]string) {
	t.Helper()
	text, err := os.ReadFile("../doc/access.md")
	check(t, err)
	var head []string
	var rows [][]string
	for _, line := range strings.Split(string(text), "\n") {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case strings.HasPrefix(line, "| what |"):
			head = cells
		case head == nil || !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---"):
		case len(cells) != len(head):
			t.Fatalf("doc/access.md: %d cells in %q, want %d", len(cells), line, len(head))
		default:
			rows = append(rows, cells)
		}
	}
	if len(rows) == 0 {
		t.Fatal("doc/access.md has no table that begins with | what |")
	}
	return head, rows
}

// What is of all tenants is not for the administrators of one.
func TestOnlyWeftSeesAll(t *testing.T) {
	w := newWorld(t)
	w.tenants()
	_, token := w.with(api.TokenRequest{Name: "x", Role: api.RoleAdmin, Orchestrator: "blue"})
	for _, path := range []string{"/v1/store", "/metrics"} {
		status, body := w.send(&tls.Config{RootCAs: w.ca.Pool()}, "Bearer "+token.Secret, http.MethodGet, path, "")
		isError(t, path, status, body, 403, api.CodeForbidden, "only Weft's own")
	}
}
