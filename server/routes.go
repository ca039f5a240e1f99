// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weft-network/weft/api"
)

type schemaT = huma.Schema

// register makes every operation known. It is the list of what the API has.
func (s *Server) register() {
	registry := s.api.OpenAPI().Components.Schemas
	for _, info := range api.Kinds() {
		s.addKind(info)
	}
	s.add(operation{
		id: "transact", method: http.MethodPost, path: "/v1/transactions", tag: "transactions", roles: writers,
		summary: "Do several operations, all or none; references by name may point at objects created earlier in it",
		body: object(map[string]*schemaT{
			"operations": list(s.schemaOf(api.Operation{})),
			"dryRun":     {Type: huma.TypeBoolean, Description: "Work everything out, write nothing."},
			api.FieldUnchangedSince: {
				Type: huma.TypeInteger, Format: "int64", Minimum: new(float64),
				Description: "Refused if another transaction wrote objects after this revision: the base of a check. Absent: whatever others write.",
			},
		}, "operations"),
		reply:  object(map[string]*schemaT{"revision": revisionSchema(), "objects": list(anyObject(registry))}, "revision", "objects"),
		handle: s.transaction,
	})
	s.add(operation{
		id: "watch", method: http.MethodGet, path: "/v1/watch", tag: "watch", roles: readers,
		summary: "Follow changes, one JSON event a line; an object that leaves the selection is a delete, one that enters it a put",
		query: append([]parameter{
			{name: "kind", doc: "Kinds to watch; all when absent.", many: true},
			{name: "revision", doc: "Everything after this revision. Absent: first a put for everything that exists, then a bookmark, then changes.", number: true},
			{name: "bookmarks", doc: "soon: a bookmark soon after every change of the store, for readers that wait for revisions. Default: one every 10 s."},
			{name: paramFields.name, doc: paramFields.doc + " Every kind that is watched must have them."},
		}, selectionParameters(api.Kinds())...),
		reply: s.schemaOf(api.Event{}), stream: s.watch, sends: mediaEvents,
	})
	s.add(operation{
		id: "backup", method: http.MethodGet, path: "/v1/backup", tag: "store", roles: admins,
		summary: "Everything the store holds, for weft-controller restore: a line of JSON, a snapshot of etcd, a SHA-256",
		reply:   &schemaT{Type: huma.TypeString, Format: "binary"}, stream: s.backup, sends: mediaBackup,
	})
	s.add(operation{
		id: "store-state", method: http.MethodGet, path: "/v1/store", tag: "store", roles: admins,
		summary: "How etcd is: members, sizes, quota", reply: s.schemaOf(api.StoreState{}), handle: s.storeState,
	})
	s.registerViews()
	s.registerCredentials()
	s.registerAuthority()
	s.registerOrchestrators()
	s.registerDrafts()
	s.registerAudit()
	s.add(operation{
		id: "openapi", method: http.MethodGet, path: "/v1/openapi.json", tag: "about", roles: anybody,
		summary: "This description", reply: &schemaT{Type: huma.TypeObject},
		handle: func(context.Context, *request) (any, error) { return s.api.OpenAPI(), nil },
	})
	s.registerHealth()
}

func (s *Server) registerViews() {
	s.add(operation{
		id: "network-routes", method: http.MethodGet, path: "/v1/networks/{ref}/routes", tag: "views", roles: readers,
		summary: "Derived routes of a network",
		query:   []parameter{{name: "host", doc: "Only those that this host has: UUID or name."}},
		reply:   object(map[string]*schemaT{"revision": revisionSchema(), "items": list(s.schemaOf(api.Route{}))}, "revision", "items"),
		handle:  s.networkRoutes,
	})
	s.add(operation{
		id: "host-table", method: http.MethodGet, path: "/v1/hosts/{ref}/tables/{table}", tag: "views", roles: readers,
		summary: "A table of a host, as it is now; through the controller that holds its stream",
		query: []parameter{
			{name: "local", doc: "true: only if this controller holds the host's stream; one that passes the question on says so."},
			{name: "question", doc: "For a table that is made for one: its words, as those of a URL. " +
				"Of trace, what a workload sends: port and to, with from, to-mac, protocol, sport, dport, reply, reply-to-host (and to what the host itself began), hops, size. " +
				"A frame that is no packet: port and to-mac, with ethertype, size. What the host itself sends: host (true) and to, with the same words but to-mac. " +
				"What another host sends here: frame and frame-size, with vni and source, or uplink (true, without encapsulation), or labelled (true, MPLS over UDP with its outer headers). " +
				"Of capture, for administrators: id, port, begin, filter, direction, length, one-of, count, duration, after, stop."},
		},
		reply: s.schemaOf(api.Table{}), handle: s.hostTable,
	})
	s.add(operation{
		id: "why", method: http.MethodGet, path: "/v1/why/{kind}/{ref}", tag: "views", roles: readers,
		summary: "The chain of rows from an object's intent to the kernel",
		reply:   object(map[string]*schemaT{"rows": list(s.schemaOf(api.WhyRow{}))}, "rows"), handle: s.why,
	})
	s.add(operation{
		id: "reach", method: http.MethodGet, path: "/v1/reach", tag: "views", roles: readers,
		summary: "Exactly what policy lets some workloads say to others",
		query: []parameter{
			{name: "from", doc: "Those that begin: a port, network, security-group, tag, project, virtual-machine or host, as KIND/NAME or KIND/UUID; or addresses, as cidr/203.0.113.0/24."},
			{name: "to", doc: "Those that are spoken to, likewise; not both are addresses."},
		},
		reply: s.schemaOf(api.Reach{}), handle: s.reach,
	})
	s.add(operation{
		id: "check", method: http.MethodPost, path: "/v1/check", tag: "views", roles: readers,
		summary: "Which assertions about who may talk to whom hold, or would after some changes; nothing is written",
		body:    s.schemaOf(api.CheckRequest{}), reply: s.schemaOf(api.Check{}), handle: s.check,
	})
	s.add(operation{
		id: "judge", method: http.MethodPost, path: "/v1/judge", tag: "views", roles: readers,
		summary: "Which conversations pass now and would not after some changes, or the other way; nothing is written",
		body:    s.schemaOf(api.JudgeRequest{}), reply: s.schemaOf(api.Judgements{}), handle: s.judge,
	})
}

func (s *Server) registerCredentials() {
	token := s.schemaOf(api.Token{})
	s.add(operation{
		id: "create-token", method: http.MethodPost, path: "/v1/tokens", tag: "tokens", roles: admins, status: http.StatusCreated,
		summary: "Make a token; its secret is shown this once", body: s.schemaOf(api.TokenRequest{}), reply: token, handle: s.createToken,
	})
	s.add(operation{
		id: "list-tokens", method: http.MethodGet, path: "/v1/tokens", tag: "tokens", roles: admins,
		summary: "List tokens, without secrets", reply: object(map[string]*schemaT{"items": list(token)}, "items"), handle: s.listTokens,
	})
	s.add(operation{
		id: "delete-token", method: http.MethodDelete, path: "/v1/tokens/{id}", tag: "tokens", roles: admins, status: http.StatusNoContent,
		summary: "Make a token void", handle: s.deleteToken,
	})
	s.add(operation{
		id: "join-host", method: http.MethodPost, path: "/v1/hosts/join", tag: "hosts", roles: joiners,
		summary: "Make a host known and certify its key", body: s.schemaOf(api.JoinRequest{}), reply: s.schemaOf(api.JoinResponse{}), handle: s.join,
	})
	s.add(operation{
		id: "login", method: http.MethodGet, path: "/v1/login", tag: "about", roles: anybody,
		summary: "OpenID Connect issuers whose people may log in",
		reply:   object(map[string]*schemaT{"issuers": list(s.schemaOf(api.LoginIssuer{}))}, "issuers"),
		handle: func(context.Context, *request) (any, error) {
			issuers := []api.LoginIssuer{}
			if s.people != nil {
				issuers = s.people.Issuers()
			}
			return map[string]any{"issuers": issuers}, nil
		},
	})
	s.add(operation{
		id: "whoami", method: http.MethodGet, path: "/v1/whoami", tag: "about", roles: readers,
		summary: "Who the server takes the sender for", reply: s.schemaOf(api.Identity{}),
		handle: func(_ context.Context, r *request) (any, error) { return r.who, nil },
	})
}
