// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

func newBalancer(s *session) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:     "load-balancer LOAD-BALANCER",
		Aliases: []string{"lb"},
		Short:   "Show who serves a load-balancer's addresses: listeners, members, where they run",
		Long: `Show the virtual addresses of a load-balancer, and for each listener the members
of its pool: where they run, and whether new connections go to them.

STATE is active, backup, draining, not-ready, down (by its monitor or adminState),
unknown (to its monitor: chosen where no other is better), or unused with the reason
in WHY. The exit code is 1 if anything of it does not serve
as it says.`,
		Example:           "  weft load-balancer web\n  weft lb web -o json",
		GroupID:           groupSee,
		Args:              arguments(1, 1),
		ValidArgsFunction: s.completeKind(api.KindLoadBalancer),
		RunE:              func(c *cobra.Command, args []string) error { return s.balancer(c.Context(), args[0], output) },
	}
	outputFlag(c, &output, formatJSON, formatYAML)
	return c
}

// balancerView is the answer of weft load-balancer.
type balancerView struct {
	LoadBalancer *api.LoadBalancer `json:"loadBalancer"`
	Addresses    []*api.Address    `json:"addresses"`
	Listeners    []*api.Listener   `json:"listeners"`
	Pools        []*api.Pool       `json:"pools"`
	Members      []*api.Member     `json:"members"`
	Ports        []*api.Port       `json:"ports"` // of the members, as far as these credentials see them
}

func (s *session) balancer(ctx context.Context, name, output string) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	ref, err := s.ref(api.KindLoadBalancer, name)
	if err != nil {
		return err
	}
	v, err := readBalancer(ctx, c, ref)
	if err != nil {
		return err
	}
	table, well := v.table()
	if done, err := s.encode(output, v); done {
		return err
	}
	if _, err := fmt.Fprintln(s.Out, v.head()); err != nil {
		return err
	}
	if err := s.printer.Print(table); err != nil {
		return err
	}
	if !well {
		return errNotWell
	}
	return nil
}

func readBalancer(ctx context.Context, c *client.Client, ref api.Ref) (v balancerView, err error) {
	if v.LoadBalancer, err = client.Get[*api.LoadBalancer](ctx, c, ref); err != nil {
		return v, err
	}
	of := client.ListOptions{Parent: api.RefTo(v.LoadBalancer)}
	for _, a := range v.LoadBalancer.Spec.Addresses {
		if address, err := client.Get[*api.Address](ctx, c, a); err == nil { // else its condition says so
			v.Addresses = append(v.Addresses, address)
		}
	}
	listeners, err := client.ListOf[*api.Listener](ctx, c, of)
	if err != nil {
		return v, err
	}
	pools, err := client.ListOf[*api.Pool](ctx, c, of)
	if err != nil {
		return v, err
	}
	v.Listeners, v.Pools = listeners.Items, pools.Items
	for _, p := range v.Pools {
		members, err := client.ListOf[*api.Member](ctx, c, client.ListOptions{Parent: api.RefTo(p)})
		if err != nil {
			return v, err
		}
		v.Members = append(v.Members, members.Items...)
	}
	for _, m := range v.Members {
		if m.Spec.Port.IsZero() {
			continue
		}
		if port, err := client.Get[*api.Port](ctx, c, m.Spec.Port); err == nil {
			v.Ports = append(v.Ports, port)
		}
	}
	return v, nil
}

// head says what the load-balancer is.
func (v balancerView) head() string {
	l := v.LoadBalancer
	words := []string{shownName(l), "at"}
	for _, a := range v.Addresses {
		words = append(words, text(a.Spec.IP))
	}
	if len(v.Addresses) == 0 {
		words = append(words, "no address")
	} else {
		words = append(words, "in "+refCell(l, v.Addresses[0].Meta.Parent))
	}
	if why := notServing(l.Status.Conditions); why != "" {
		words = append(words, "("+why+")")
	}
	return strings.Join(words, " ")
}

// notServing is what keeps an object from serving as it says; empty: nothing.
func notServing(conditions []api.Condition) string {
	for _, c := range conditions {
		if c.Type == "Serving" && (!c.Status || c.Message != "") {
			if c.Message == "" {
				return c.Reason
			}
			return c.Message
		}
	}
	return ""
}

// table has a row for each member of each listener, and one for a listener that has none.
func (v balancerView) table() (t api.Table, well bool) {
	t = api.Table{Columns: []string{"LISTENER", "PROTOCOL", "PORT", "POOL", "MEMBER", "WORKLOAD", "TARGET", "HOST", "STATE", "WEIGHT", "WHY"}}
	well = notServing(v.LoadBalancer.Status.Conditions) == ""
	for _, l := range v.Listeners {
		row := []string{l.Meta.Name, l.Spec.Protocol, strconv.Itoa(l.Spec.Port), api.BaseName(l.Spec.Pool.String())}
		why, served := notServing(l.Status.Conditions), false
		well = well && why == ""
		for _, m := range v.Members {
			if m.Meta.Parent.UUID != l.Spec.Pool.UUID {
				continue
			}
			served = true
			cells, ok := v.memberCells(m)
			well = well && ok
			t.Rows = append(t.Rows, append(append([]string(nil), row...), cells...))
		}
		if !served {
			for _, p := range v.Pools {
				if why == "" && p.Meta.UUID == l.Spec.Pool.UUID {
					why = notServing(p.Status.Conditions)
				}
			}
			well = false
			t.Rows = append(t.Rows, append(row, "", "", "", "", "closed", "", why))
		}
	}
	return t, well
}

func (v balancerView) memberCells(m *api.Member) (cells []string, well bool) {
	host, workload := m.Spec.Host.String(), refCell(m, m.Spec.Port)
	if m.Spec.Port.IsZero() {
		workload = text(m.Spec.IP)
	}
	for _, p := range v.Ports {
		if p.Meta.UUID == m.Spec.Port.UUID {
			host = p.Status.Host
		}
	}
	weight := 1
	if m.Spec.Weight != nil {
		weight = *m.Spec.Weight
	}
	state, why := memberState(m)
	return []string{m.Meta.Name, workload, strconv.Itoa(m.Spec.TargetPort), host, state, strconv.Itoa(weight), why}, why == ""
}

// memberState says whether new connections go to a member, and what is wrong with it.
func memberState(m *api.Member) (state, why string) {
	why = notServing(m.Status.Conditions)
	unknown := ""
	for _, c := range m.Status.Conditions {
		if c.Type != "Online" || c.Status {
			continue
		}
		switch c.Reason {
		case "failed":
			return "down", c.Message
		case api.CheckUnknown:
			unknown = c.Message
		}
	}
	switch {
	case m.Spec.AdminState == api.AdminDown:
		return "down", ""
	case why != "":
		return "unused", why
	case m.Spec.State == api.MemberDraining, m.Spec.State == api.MemberNotReady:
		return m.Spec.State, ""
	case unknown != "":
		return api.CheckUnknown, unknown
	case m.Spec.Backup:
		return "backup", ""
	}
	return api.MemberActive, ""
}
