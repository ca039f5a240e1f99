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

func newHosts(s *session) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "hosts",
		Short: "Show all hosts with their ports and health",
		Long: `Show all hosts: their addresses, agent and kernel, the controllers that each holds
its stream and the one in reserve (warm) to, how many ports are bound to
each and what their state is, and whether the host is well. The exit code is 1 if
one is not.`,
		GroupID: groupSee,
		Args:    noArguments,
		RunE:    func(c *cobra.Command, _ []string) error { return s.hosts(c.Context(), output) },
	}
	outputFlag(c, &output, formatJSON, formatYAML, formatName)
	return c
}

// hostPorts counts the ports of one host.
type hostPorts struct{ bound, up, failed int }

func (s *session) hosts(ctx context.Context, output string) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	answer, err := c.List(ctx, api.KindHost, client.ListOptions{})
	if err != nil {
		return err
	}
	ports, err := countPorts(ctx, c)
	if err != nil {
		return err
	}
	well := true
	t := api.Table{Columns: []string{"NAME", "HEALTH", "TUNNEL-ADDRESSES", "UNDERLAY-MTU", "AGENT", "KERNEL", "CONTROLLER", "WARM", "ATTACHED", "BOUND", "UP", "FAILED"}}
	for _, o := range answer.Items {
		h := o.(*api.Host)
		health := hostHealth(h, ports[h.Meta.UUID])
		well = well && health == "ok"
		p := ports[h.Meta.UUID]
		t.Rows = append(t.Rows, []string{
			h.Meta.Name, health, joinWords(h.Spec.TunnelAddresses), number(h.Spec.UnderlayMTU), h.Status.AgentVersion, h.Status.Kernel,
			controllerOf(h), h.Status.Warm,
			strconv.Itoa(h.Status.Ports), strconv.Itoa(p.bound), strconv.Itoa(p.up), strconv.Itoa(p.failed),
		})
	}
	if len(t.Rows) == 0 && output == formatTable {
		fmt.Fprintln(s.Err, "no host has joined")
		return nil
	}
	if err := s.printTable(output, t); err != nil {
		return err
	}
	if !well {
		return errNotWell
	}
	return nil
}

// controllerOf is the controller that holds a host's stream now.
func controllerOf(h *api.Host) string {
	if !h.Status.Connected {
		return ""
	}
	return h.Status.Controller
}

// countPorts counts, by the UUID of the host of their active binding, the
// ports and what their hosts say of them.
func countPorts(ctx context.Context, c *client.Client) (map[string]hostPorts, error) {
	counts := map[string]hostPorts{}
	hostOf := map[string]string{} // by the port's UUID
	for o, err := range c.Pages(ctx, api.KindBinding, client.ListOptions{Fields: []string{"meta.parent", "spec"}}) {
		if err != nil {
			return nil, err
		}
		if b := o.(*api.Binding); b.Spec.Active {
			hostOf[b.Meta.Parent.UUID] = b.Spec.Host.UUID
		}
	}
	for o, err := range c.Pages(ctx, api.KindPort, client.ListOptions{Fields: []string{"status.state"}}) {
		if err != nil {
			return nil, err
		}
		host, bound := hostOf[o.Head().Meta.UUID]
		if !bound {
			continue
		}
		n := counts[host]
		n.bound++
		switch o.(*api.Port).Status.State {
		case api.PortUp:
			n.up++
		case api.PortFailed:
			n.failed++
		}
		counts[host] = n
	}
	return counts, nil
}

// hostHealth is one word, or the reasons of conditions that do not hold.
func hostHealth(h *api.Host, p hostPorts) string {
	var reasons []string
	if !h.Status.Connected {
		reasons = append(reasons, "disconnected")
	}
	for _, c := range h.Status.Conditions {
		if !c.Status {
			reasons = append(reasons, strings.TrimSuffix(c.Type+":"+c.Reason, ":"))
		}
	}
	if p.failed > 0 {
		reasons = append(reasons, "ports-failed")
	}
	if len(reasons) == 0 {
		return "ok"
	}
	return strings.Join(reasons, ",")
}
