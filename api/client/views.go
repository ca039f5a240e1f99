// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/weft-network/weft/api"
)

// RouteList is the routes of a network as derived at one revision.
type RouteList struct {
	Revision int64       `json:"revision"`
	Items    []api.Route `json:"items"`
}

// Routes reads the routes of a network; with a host, those that host has.
func (c *Client) Routes(ctx context.Context, network, host api.Ref) (RouteList, error) {
	query := url.Values{}
	if !host.IsZero() {
		query.Set("host", refText(host))
	}
	list := RouteList{Items: []api.Route{}}
	err := c.do(ctx, call{what: "routes of network " + network.String(), method: http.MethodGet, path: []string{"networks", refText(network), "routes"}, query: query}, &list)
	return list, err
}

// HostTable reads a table of a host as it is now; see the api.HostTable names.
func (c *Client) HostTable(ctx context.Context, host api.Ref, table string) (api.Table, error) {
	return c.hostTable(ctx, host, table, url.Values{})
}

// LocalHostTable is HostTable of a host that has its stream at the controller
// that is asked, which does not ask others. Controllers ask each other so.
func (c *Client) LocalHostTable(ctx context.Context, host api.Ref, table string) (api.Table, error) {
	return c.hostTable(ctx, host, table, url.Values{"local": {"true"}})
}

// hostTable passes the question that a table is made for beside its name.
func (c *Client) hostTable(ctx context.Context, host api.Ref, table string, query url.Values) (api.Table, error) {
	name, question, asked := strings.Cut(table, "?")
	if asked {
		query.Set("question", question)
	}
	var t api.Table
	err := c.do(ctx, call{what: "get table " + name + " of host " + host.String(), method: http.MethodGet, path: []string{"hosts", refText(host), "tables", name}, query: query}, &t)
	return t, err
}

// Why reads the chain of rows from an object's intent to the kernel.
func (c *Client) Why(ctx context.Context, kind api.Kind, ref api.Ref) ([]api.WhyRow, error) {
	var answer struct {
		Rows []api.WhyRow `json:"rows"`
	}
	err := c.do(ctx, call{what: about("why", kind, ref), method: http.MethodGet, path: []string{"why", string(kind), refText(ref)}}, &answer)
	return answer.Rows, err
}

// Reach reads exactly what policy lets some workloads say to others, both as
// KIND/NAME.
func (c *Client) Reach(ctx context.Context, from, to string) (api.Reach, error) {
	var answer api.Reach
	err := c.do(ctx, call{what: "work out what " + from + " may say to " + to, method: http.MethodGet, path: []string{"reach"}, query: url.Values{"from": {from}, "to": {to}}}, &answer)
	return answer, err
}

// Check asks which assertions hold, or would after changes.
func (c *Client) Check(ctx context.Context, request api.CheckRequest) (api.Check, error) {
	var answer api.Check
	err := c.do(ctx, call{what: "check assertions", method: http.MethodPost, path: []string{"check"}, body: request}, &answer)
	return answer, err
}

// Judge asks which conversations would be judged otherwise after changes.
func (c *Client) Judge(ctx context.Context, request api.JudgeRequest) (api.Judgements, error) {
	var answer api.Judgements
	err := c.do(ctx, call{what: "judge conversations", method: http.MethodPost, path: []string{"judge"}, body: request}, &answer)
	return answer, err
}

// StoreState reads how etcd is: members, sizes, quota.
func (c *Client) StoreState(ctx context.Context) (api.StoreState, error) {
	var state api.StoreState
	err := c.do(ctx, call{what: "get the store's state", method: http.MethodGet, path: []string{"store"}}, &state)
	return state, err
}

// Audit reads who tried to change what, the newest q.Limit entries (0: 1000)
// of all controllers, the oldest of them first. Entries of a controller with an
// error in the answer are missing.
func (c *Client) Audit(ctx context.Context, q api.AuditQuery) (api.Audit, error) {
	query := url.Values{}
	for name, value := range map[string]string{"object": q.Object, "who": q.Who, "kind": string(q.Kind), "outcome": q.Outcome} {
		if value != "" {
			query.Set(name, value)
		}
	}
	for name, t := range map[string]time.Time{"since": q.Since, "until": q.Until} {
		if !t.IsZero() {
			query.Set(name, t.UTC().Format(time.RFC3339Nano))
		}
	}
	if q.Limit != 0 {
		query.Set("limit", strconv.Itoa(q.Limit))
	}
	if q.Local {
		query.Set("local", "true")
	}
	var answer api.Audit
	err := c.do(ctx, call{what: "read the audit", method: http.MethodGet, path: []string{"audit"}, query: query}, &answer)
	return answer, err
}

// WhoAmI reads who the server takes us for.
func (c *Client) WhoAmI(ctx context.Context) (api.Identity, error) {
	var identity api.Identity
	err := c.do(ctx, call{what: "whoami", method: http.MethodGet, path: []string{"whoami"}}, &identity)
	return identity, err
}

// CreateToken makes a credential; its secret is in the answer, this once.
func (c *Client) CreateToken(ctx context.Context, request api.TokenRequest) (api.Token, error) {
	var token api.Token
	err := c.do(ctx, call{what: "create token " + request.Name, method: http.MethodPost, path: []string{"tokens"}, body: request}, &token)
	return token, err
}

// Tokens lists the tokens without their secrets.
func (c *Client) Tokens(ctx context.Context) ([]api.Token, error) {
	var answer struct {
		Items []api.Token `json:"items"`
	}
	err := c.do(ctx, call{what: "list tokens", method: http.MethodGet, path: []string{"tokens"}}, &answer)
	return answer.Items, err
}

// DeleteToken revokes a token.
func (c *Client) DeleteToken(ctx context.Context, id string) error {
	return c.do(ctx, call{what: "delete token " + id, method: http.MethodDelete, path: []string{"tokens", id}}, nil)
}

// Join makes a host known and has its key certified. The client needs a token
// of role join.
func (c *Client) Join(ctx context.Context, request api.JoinRequest) (api.JoinResponse, error) {
	var response api.JoinResponse
	err := c.do(ctx, call{what: "join host " + request.Name, method: http.MethodPost, path: []string{"hosts", "join"}, body: request}, &response)
	return response, err
}

// Announce says which system this client's orchestrator is, once after each
// start of an adapter. The first identity is bound to the orchestrator; where
// another one is, the answer is a conflict and the adapter must not go on.
func (c *Client) Announce(ctx context.Context, orchestrator api.Ref, identity string) (*api.Orchestrator, error) {
	var o api.Orchestrator
	err := c.do(ctx, call{what: "announce orchestrator " + orchestrator.String(), method: http.MethodPost,
		path: []string{"orchestrators", refText(orchestrator), "announce"}, body: api.Announcement{Identity: identity}}, &o)
	return &o, err
}

// Owned counts what an orchestrator owns.
func (c *Client) Owned(ctx context.Context, orchestrator api.Ref) (api.Owned, error) {
	var owned api.Owned
	err := c.do(ctx, call{what: "count what orchestrator " + orchestrator.String() + " owns", method: http.MethodGet,
		path: []string{"orchestrators", refText(orchestrator), "owned"}}, &owned)
	return owned, err
}

// Retire deletes some of what an orchestrator owns and returns what is left; it
// is called again until Retired is set. name confirms it.
func (c *Client) Retire(ctx context.Context, name string) (api.Owned, error) {
	var owned api.Owned
	err := c.do(ctx, call{what: "retire orchestrator " + name, method: http.MethodPost,
		path: []string{"orchestrators", name, "retire"}, body: api.Retirement{Confirm: name}}, &owned)
	return owned, err
}

// Backup writes a backup of everything the store holds, and checks it. What was
// written is worth nothing if there is an error. It takes as long as it takes.
func (c *Client) Backup(ctx context.Context, to io.Writer) (api.BackupHeader, error) {
	q := call{what: "backup", method: http.MethodGet, path: []string{"backup"}}
	response, err := c.send(ctx, q)
	if err != nil {
		return api.BackupHeader{}, err
	}
	defer response.Body.Close()
	h, err := api.ReadBackup(response.Body, to, io.Discard)
	if err != nil {
		return h, api.Errorf(api.CodeUnavailable, "backup from %s: %v", c.base.Host, err)
	}
	return h, nil
}
