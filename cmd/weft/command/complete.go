// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// namesMax is how many names are offered; who wants more types more.
const namesMax = 1000

// completeTimeout is how long a person who pressed Tab waits.
const completeTimeout = 2 * time.Second

// completeTargets completes KIND, then names of that kind.
func (s *session) completeTargets(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		var kinds []string
		for _, info := range api.Kinds() {
			kinds = append(kinds, info.Plural)
		}
		return kinds, cobra.ShellCompDirectiveNoFileComp
	}
	info, ok := api.ParseKind(args[0])
	if !ok {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return s.completeNames(c, info.Kind, args[1:])
}

// completeKind completes one name of a kind.
func (s *session) completeKind(kind api.Kind) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return s.completeNames(c, kind, nil)
	}
}

// completePolicyNetworks completes a policy, then networks.
func (s *session) completePolicyNetworks(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return s.completeNames(c, api.KindNetworkPolicy, nil)
	}
	return s.completeNames(c, api.KindNetwork, args[1:])
}

// completeNames lists the names of a kind as seen from the project in use,
// less those already given. It says nothing when the API does not answer.
func (s *session) completeNames(c *cobra.Command, kind api.Kind, given []string) ([]string, cobra.ShellCompDirective) {
	ctx := c.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completeTimeout)
	defer cancel()
	conn, err := s.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	answer, err := conn.List(ctx, kind, client.ListOptions{Fields: []string{"meta.fqName"}, Limit: namesMax})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, o := range answer.Items {
		name := within(s.project, o.Head().Meta.FQName)
		if !slices.Contains(given, name) {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, strings.Compare)
	return names, cobra.ShellCompDirectiveNoFileComp
}
