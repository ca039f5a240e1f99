// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

func newToken(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:     "token",
		Short:   "Make, list and revoke tokens",
		Long:    "Make, list and revoke tokens: credentials for orchestrators, people and hosts\nthat join. Only administrators may.",
		GroupID: groupRest,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return usagef("want a command: weft token create, list or delete")
		},
	}
	c.AddCommand(newTokenCreate(s), newTokenList(s), newTokenDelete(s))
	return c
}

// formatConfig prints a client configuration with the token in it.
const formatConfig = "config"

func newTokenCreate(s *session) *cobra.Command {
	var role, orchestrator, host, output string
	var scope []string
	var ttl time.Duration
	c := &cobra.Command{
		Use:   "create NAME --role ROLE",
		Short: "Make a token",
		Long: `Make a token. Its text is shown this once; the store keeps only its hash.

Roles: admin (everything), member (write what its orchestrator owns), reader
(read), join (let hosts join, nothing else). --scope narrows a token to projects or
a domain. A join token lets new hosts join; for a host that exists it takes one
made with --host. See doc/access.md. A token names the CA of this
installation, so that it is all a client needs besides the address.

-o name prints the token alone, -o config a client configuration with it.`,
		Example: `  weft token create rack-7 --role join
  weft token create h1-again --role join --host h1
  weft token create web-team --role member --orchestrator cloud-1 --scope project/cloud-1:web
  weft token create k8s-1 --role member --orchestrator k8s-1 -o config > k8s-1.yaml`,
		Args:              arguments(1, 1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			request := api.TokenRequest{Name: args[0], Role: api.Role(role), Orchestrator: orchestrator, TTLSeconds: int64(ttl / time.Second), Host: host}
			return s.tokenCreate(c.Context(), request, scope, output)
		},
	}
	c.Flags().StringVar(&role, "role", "", "`ROLE`: admin, member, reader or join")
	c.Flags().StringVar(&orchestrator, "orchestrator", "", "`ORCHESTRATOR` the token writes for; the administrators' own when absent")
	c.Flags().DurationVar(&ttl, "ttl", 0, "how long it is valid, e.g. 12h; a day for join, a year for others when absent")
	c.Flags().StringSliceVar(&scope, "scope", nil, "narrow it to `KIND/NAME`, a project or a domain; may be repeated for projects")
	c.Flags().StringVar(&host, "host", "", "with role join: the one `HOST` that may join with it, also again")
	outputFlag(c, &output, formatJSON, formatYAML, formatName, formatConfig)
	return c
}

func (s *session) tokenCreate(ctx context.Context, request api.TokenRequest, scope []string, output string) error {
	if err := needed("role", string(request.Role), string(api.RoleJoin)); err != nil {
		return err
	}
	c, err := s.connect()
	if err != nil {
		return err
	}
	if request.Scope, err = s.parseScope(scope); err != nil {
		return err
	}
	token, err := c.CreateToken(ctx, request)
	if err != nil {
		return err
	}
	switch output {
	case formatName:
		_, err = fmt.Fprintln(s.Out, token.Secret)
		return err
	case formatConfig:
		_, err = s.encode(formatYAML, client.Config{Server: s.config.Server, CA: s.config.CA, Token: token.Secret, Project: s.config.Project})
		return err
	}
	if done, err := s.encode(output, token); done {
		return err
	}
	fmt.Fprintf(s.Err, "token %s for %s, role %s, valid until %s; it is shown only now:\n",
		token.ID, token.Identity.Name, token.Identity.Role, token.ExpiresAt.UTC().Format(time.RFC3339))
	_, err = fmt.Fprintln(s.Out, token.Secret)
	return err
}

// parseScope reads what a token is narrowed to.
func (s *session) parseScope(words []string) (*api.Scope, error) {
	if len(words) == 0 {
		return nil, nil
	}
	scope := &api.Scope{}
	for _, word := range words {
		t, err := s.parseSlashed(word)
		switch {
		case err != nil:
			return nil, err
		case t.info.Kind == api.KindProject:
			scope.Projects = append(scope.Projects, t.ref)
		case t.info.Kind == api.KindDomain && scope.Domain.IsZero():
			scope.Domain = t.ref
		default:
			return nil, usagef("--scope %q: want projects, or one domain", word)
		}
	}
	return scope, nil
}

func newTokenList(s *session) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "list",
		Short: "List the tokens, without their text",
		Args:  noArguments,
		RunE:  func(c *cobra.Command, _ []string) error { return s.tokenList(c.Context(), output) },
	}
	outputFlag(c, &output, formatJSON, formatYAML, formatName)
	return c
}

func (s *session) tokenList(ctx context.Context, output string) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	tokens, err := c.Tokens(ctx)
	if err != nil {
		return err
	}
	if tokens == nil {
		tokens = []api.Token{}
	}
	if output == formatJSON || output == formatYAML {
		_, err := s.encode(output, map[string]any{"items": tokens})
		return err
	}
	t := api.Table{Columns: []string{"ID", "NAME", "ROLE", "ORCHESTRATOR", "FOR", "EXPIRES"}}
	for _, k := range tokens {
		t.Rows = append(t.Rows, []string{k.ID, k.Identity.Name, string(k.Identity.Role), k.Identity.Orchestrator, narrowed(k.Identity), k.ExpiresAt.UTC().Format(time.RFC3339)})
	}
	return s.printTable(output, t)
}

// narrowed says what part a credential is for.
func narrowed(who api.Identity) string {
	if who.Host != "" {
		return "host " + who.Host
	}
	return who.Scope.String()
}

func newTokenDelete(s *session) *cobra.Command {
	return &cobra.Command{
		Use:               "delete ID...",
		Short:             "Revoke tokens",
		Args:              arguments(1, -1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			api, err := s.connect()
			if err != nil {
				return err
			}
			for _, id := range args {
				if err := api.DeleteToken(c.Context(), id); err != nil {
					return err
				}
				fmt.Fprintf(s.Out, "token/%s %s\n", id, s.printer.Word("deleted"))
			}
			return nil
		},
	}
}

func newWhoAmI(s *session) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:     "whoami",
		Short:   "Show who the server takes you for",
		GroupID: groupRest,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := s.connect()
			if err != nil {
				return err
			}
			identity, err := client.WhoAmI(c.Context())
			if err != nil {
				return err
			}
			if done, err := s.encode(output, identity); done {
				return err
			}
			return s.printer.Print(api.Table{
				Columns: []string{"NAME", "ROLE", "ORCHESTRATOR", "SERVER"},
				Rows:    [][]string{{identity.Name, string(identity.Role), identity.Orchestrator, client.Server()}},
			})
		},
	}
	outputFlag(c, &output, formatJSON, formatYAML)
	return c
}

func newVersion(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this program",
		GroupID: groupRest,
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(s.Out, "weft %s, %s %s/%s\n", s.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
