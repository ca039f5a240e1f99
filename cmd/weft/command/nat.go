// SPDX-License-Identifier: Apache-2.0

package command

import (
	"cmp"
	"context"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

func newNAT(s *session) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:     "nat [SOURCE-NAT]",
		Aliases: []string{"snat"},
		Short:   "Show with which addresses networks go out, and which host has which of their ports",
		Long: `Show the addresses with which workloads of a network begin conversations with
networks that know nothing of theirs, of one source-nat or of all of the project,
and for each address the hosts that have ports of it.

STATE is in-use, releasing (the host begins nothing there any more), or none with the
reason in WHY. The exit code is 1 if any source-nat does not serve.`,
		Example:           "  weft nat\n  weft nat pods-out -o json",
		GroupID:           groupSee,
		Args:              arguments(0, 1),
		ValidArgsFunction: s.completeKind(api.KindSourceNAT),
		RunE:              func(c *cobra.Command, args []string) error { return s.nat(c.Context(), args, output) },
	}
	outputFlag(c, &output, formatJSON, formatYAML)
	return c
}

// natView is the answer of weft nat, one for each source-nat.
type natView struct {
	SourceNAT  *api.SourceNAT   `json:"sourceNAT"`
	Addresses  []*api.Address   `json:"addresses"` // as far as these credentials see them
	PortBlocks []*api.PortBlock `json:"portBlocks"`
}

func (s *session) nat(ctx context.Context, args []string, output string) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	var of []*api.SourceNAT
	if len(args) == 1 {
		ref, err := s.ref(api.KindSourceNAT, args[0])
		if err != nil {
			return err
		}
		o, err := client.Get[*api.SourceNAT](ctx, c, ref)
		if err != nil {
			return err
		}
		of = append(of, o)
	} else {
		project, err := s.ref(api.KindProject, s.project)
		if err != nil {
			return err
		}
		list, err := client.ListOf[*api.SourceNAT](ctx, c, client.ListOptions{Parent: project})
		if err != nil {
			return err
		}
		of = list.Items
	}
	views := []natView{}
	for _, o := range of {
		v, err := readNAT(ctx, c, o)
		if err != nil {
			return err
		}
		views = append(views, v)
	}
	if done, err := s.encode(output, views); done {
		return err
	}
	t, well := natTable(views)
	if err := s.printer.Print(t); err != nil {
		return err
	}
	if !well {
		return errNotWell
	}
	return nil
}

func readNAT(ctx context.Context, c *client.Client, o *api.SourceNAT) (natView, error) {
	v := natView{SourceNAT: o}
	for _, ref := range o.Spec.Addresses {
		a, err := client.Get[*api.Address](ctx, c, ref)
		if err != nil {
			continue // an operator's; its row says what is known
		}
		v.Addresses = append(v.Addresses, a)
		blocks, err := client.ListOf[*api.PortBlock](ctx, c, client.ListOptions{Parent: api.RefTo(a)})
		if err != nil {
			return v, err
		}
		v.PortBlocks = append(v.PortBlocks, blocks.Items...)
	}
	slices.SortFunc(v.PortBlocks, func(a, b *api.PortBlock) int {
		return cmp.Or(cmp.Compare(a.Meta.Parent.Name, b.Meta.Parent.Name), cmp.Compare(a.Spec.Ports.From, b.Spec.Ports.From))
	})
	return v, nil
}

// natTable has a row for each port-block of each address, and one for an address
// that has none.
func natTable(views []natView) (t api.Table, well bool) {
	t = api.Table{Columns: []string{"SOURCE-NAT", "NETWORK", "ADDRESS", "EXTERNAL", "HOST", "PORTS", "COUNT", "STATE", "WHY"}}
	well = true
	for _, v := range views {
		why := notServing(v.SourceNAT.Status.Conditions)
		well = well && why == ""
		for _, ref := range v.SourceNAT.Spec.Addresses {
			ip, external := "", ""
			for _, a := range v.Addresses {
				if a.Meta.UUID == ref.UUID {
					ip, external = text(a.Spec.IP), refCell(v.SourceNAT, a.Meta.Parent)
				}
			}
			row := []string{shownName(v.SourceNAT), refCell(v.SourceNAT, v.SourceNAT.Spec.Network), cmp.Or(ip, ref.String()), external}
			none := true
			for _, b := range v.PortBlocks {
				if b.Meta.Parent.UUID != ref.UUID {
					continue
				}
				none = false
				state := "in-use"
				if b.Spec.Releasing {
					state = "releasing"
				}
				count := strconv.Itoa(b.Spec.Ports.Last() - b.Spec.Ports.From + 1)
				t.Rows = append(t.Rows, append(slices.Clone(row), b.Spec.Host.String(), b.Spec.Ports.String(), count, state, why))
			}
			if none {
				t.Rows = append(t.Rows, append(row, "", "", "", "none", why))
			}
		}
	}
	return t, well
}
