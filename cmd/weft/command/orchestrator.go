// SPDX-License-Identifier: Apache-2.0

package command

import (
	"bufio"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// retireStepsMax bounds how often a retirement is continued: at a hundred
// objects a step, far above any installation.
const retireStepsMax = 100_000

func newOrchestrator(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:     "orchestrator",
		Aliases: []string{"orch"},
		Short:   "Let orchestrators join, list them, retire them",
		Long: `Let orchestrators join, list them, and retire them. An orchestrator is a system
that writes intent: a Kubernetes cluster, an OpenStack cloud, a vCenter. It owns
what it makes, and nobody else changes it. Only administrators let one join or retire.`,
		GroupID: groupRest,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return usagef("want a command: weft orchestrator join, list or retire")
		},
	}
	c.AddCommand(newOrchestratorJoin(s), newOrchestratorList(s), newOrchestratorRetire(s))
	return c
}

func newOrchestratorJoin(s *session) *cobra.Command {
	var platform, identity, domain string
	c := &cobra.Command{
		Use:   "join NAME --platform PLATFORM",
		Short: "Make an orchestrator and print the client configuration of its adapter",
		Long: `Make an orchestrator, its domain, and a token for its adapter; print the adapter's
client configuration, which is shown this once.

The domain has the orchestrator's name, so that tenants of equal names in two
clouds never meet. Kubernetes clusters have default-domain, for their projects
carry the cluster's name. --domain names another one that exists.

The first adapter that announces its system's identity is bound to the name, and
another system is refused; --identity binds it beforehand.`,
		Example: `  weft orchestrator join cloud-1 --platform openstack > cloud-1.yaml
  weft orchestrator join k8s-1 --platform kubernetes --identity 7c2a… > k8s-1.yaml`,
		Args:              arguments(1, 1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			return s.orchestratorJoin(c.Context(), args[0], api.Platform(platform), identity, domain)
		},
	}
	c.Flags().StringVar(&platform, "platform", "", "`PLATFORM`: kubernetes, openstack or vcenter")
	c.Flags().StringVar(&identity, "identity", "", "the system's own `ID`; the first announced one when absent")
	c.Flags().StringVar(&domain, "domain", "", "`DOMAIN` of its projects, which must exist")
	return c
}

func (s *session) orchestratorJoin(ctx context.Context, name string, platform api.Platform, identity, domain string) error {
	if err := needed("platform", string(platform), string(api.PlatformKubernetes)); err != nil {
		return err
	}
	c, err := s.connect()
	if err != nil {
		return err
	}
	o := &api.Orchestrator{Header: api.Header{Kind: api.KindOrchestrator, Meta: api.Meta{Name: name}},
		Spec: api.OrchestratorSpec{Platform: platform, Identity: identity, Domain: api.ParseRef(domain)}}
	var objects []api.Object
	switch {
	case domain != "":
	case platform == api.PlatformKubernetes:
		o.Spec.Domain.Name, _, _ = strings.Cut(DefaultProject, ":")
	default:
		o.Spec.Domain.Name = name
		objects = append(objects, &api.Domain{Header: api.Header{Kind: api.KindDomain, Meta: api.Meta{Name: name}}})
	}
	if _, err := c.Transaction(ctx, creates(append(objects, o)...), false); err != nil {
		return err
	}
	token, err := c.CreateToken(ctx, api.TokenRequest{Name: name, Role: api.RoleMember, Orchestrator: name})
	if err != nil {
		return fmt.Errorf("%w; orchestrator %s was made: weft token create %s --role member --orchestrator %s -o config", err, name, name, name)
	}
	fmt.Fprintf(s.Err, "orchestrator %s joined, with domain %s; its adapter's configuration is shown only now, valid until %s:\n",
		name, o.Spec.Domain, token.ExpiresAt.UTC().Format(time.RFC3339))
	_, err = s.encode(formatYAML, client.Config{Server: s.config.Server, CA: s.config.CA, Token: token.Secret})
	return err
}

func newOrchestratorList(s *session) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "list",
		Short: "List orchestrators: who they are, when they were seen, what they own",
		Args:  noArguments,
		RunE:  func(c *cobra.Command, _ []string) error { return s.orchestratorList(c.Context(), output) },
	}
	outputFlag(c, &output, formatName)
	return c
}

func (s *session) orchestratorList(ctx context.Context, output string) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	all, err := client.ListOf[*api.Orchestrator](ctx, c, client.ListOptions{})
	if err != nil {
		return err
	}
	t := api.Table{Columns: []string{"NAME", "PLATFORM", "IDENTITY", "DOMAIN", "LAST SEEN", "OWNS", "CONDITION"}}
	for _, o := range all.Items {
		owned, err := c.Owned(ctx, api.RefTo(o))
		if err != nil {
			return err
		}
		seen, condition := "", ""
		if !o.Status.LastSeen.IsZero() {
			seen = o.Status.LastSeen.UTC().Format(time.RFC3339)
		}
		for _, is := range o.Status.Conditions {
			if is.Status {
				condition = is.Type
			}
		}
		t.Rows = append(t.Rows, []string{o.Meta.Name, string(o.Spec.Platform), o.Spec.Identity, o.Spec.Domain.String(), seen, strconv.Itoa(owned.Total), condition})
	}
	return s.printTable(output, t)
}

func newOrchestratorRetire(s *session) *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "retire NAME",
		Short: "Delete all that an orchestrator owns, and itself",
		Long: `Delete all that an orchestrator owns, its tokens, and itself. What it owns is listed
by kind first, and its name must be typed once more (or --yes given).

While objects of others refer to anything of it, nothing is deleted and they are
named. An interrupted retirement goes on when the command is given again.`,
		Example:           "  weft orchestrator retire cloud-1",
		Args:              arguments(1, 1),
		ValidArgsFunction: s.completeKind(api.KindOrchestrator),
		RunE:              func(c *cobra.Command, args []string) error { return s.orchestratorRetire(c.Context(), args[0], yes) },
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

func (s *session) orchestratorRetire(ctx context.Context, name string, yes bool) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	owned, err := c.Owned(ctx, api.Ref{Name: name})
	if err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "orchestrator %s owns %d objects\n", name, owned.Total)
	for _, k := range owned.Kinds {
		fmt.Fprintf(s.Out, "  %6d %s\n", k.Count, k.Kind)
	}
	if !yes {
		fmt.Fprintf(s.Err, "All of it will be deleted, and %s itself. Type its name to go on: ", name)
		line, _ := bufio.NewReader(s.In).ReadString('\n') // an end without a line is a no
		if strings.TrimSpace(line) != name {
			return failure{what: "not confirmed: nothing was deleted", hint: "type the orchestrator's name, or give --yes"}
		}
	}
	for range retireStepsMax {
		left, err := c.Retire(ctx, name)
		if err != nil {
			return err
		}
		if left.Retired {
			fmt.Fprintf(s.Out, "orchestrator/%s %s\n", name, s.printer.Word("deleted"))
			return nil
		}
		fmt.Fprintf(s.Out, "%d objects are left\n", left.Total)
	}
	return failure{what: fmt.Sprintf("orchestrator %s still owns objects after %d steps", name, retireStepsMax), hint: "does something make objects in its name? give the command again"}
}
