// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

func newPort(s *session) *cobra.Command {
	var output string
	var all bool
	c := &cobra.Command{
		Use:   "port PORT",
		Short: "Show everything of a port, from intent to its host's tables",
		Long: `Show everything of one port: what was asked for, the chain from there to the
kernel (as weft why), and every row about it in the live tables of its host: its
place, addresses, counters, drops and what else the host keeps by port; then the
rules that it asks, by direction and layer in their order, with whose they are and
how many conversations each has decided on that host.

A table shows at most 20 rows unless --all is given. Tables of hosts are shown to
those who may see hosts; for others the chain is all. The exit code is 1 if a row
of the chain is not ok.`,
		Example:           "  weft port web-1\n  weft port web-1 -o json",
		GroupID:           groupSee,
		Args:              arguments(1, 1),
		ValidArgsFunction: s.completeKind(api.KindPort),
		RunE:              func(c *cobra.Command, args []string) error { return s.port(c.Context(), args[0], all, output) },
	}
	c.Flags().BoolVar(&all, "all", false, "every row of the host's tables")
	outputFlag(c, &output, formatJSON, formatYAML)
	return c
}

// maxPortRows of one table are shown to people.
const maxPortRows = 20

// portTable is what one table of the host has about the port.
type portTable struct {
	Table string    `json:"table"`
	Error string    `json:"error,omitempty"`
	Rows  api.Table `json:"rows,omitzero"`
}

// portWarning is a condition that does not hold.
type portWarning struct {
	Kind    api.Kind `json:"kind"`
	Name    string   `json:"name"`
	Type    string   `json:"type"`
	Reason  string   `json:"reason"`
	Message string   `json:"message,omitempty"`
}

// portView is the answer of weft port.
type portView struct {
	Port   api.Object   `json:"port"`
	Chain  []api.WhyRow `json:"chain"`
	Host   string       `json:"host,omitempty"`
	Tables []portTable  `json:"tables,omitempty"`
	// Warnings are conditions that do not hold, of the port's network and host.
	Warnings []portWarning `json:"warnings,omitempty"`
}

func (s *session) port(ctx context.Context, name string, all bool, output string) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	ref, err := s.ref(api.KindPort, name)
	if err != nil {
		return err
	}
	v, err := readPort(ctx, c, ref)
	if err != nil {
		return err
	}
	well := !slices.ContainsFunc(v.Chain, func(r api.WhyRow) bool { return r.Status != "ok" })
	done, err := s.encode(output, v)
	if !done && err == nil {
		err = s.printPort(v, all)
	}
	if err == nil && !well {
		return errNotWell
	}
	return err
}

// readPort asks the controller, and through it the port's host.
func readPort(ctx context.Context, c *client.Client, ref api.Ref) (portView, error) {
	o, err := c.Get(ctx, api.KindPort, ref)
	if err != nil {
		return portView{}, err
	}
	p := o.(*api.Port)
	v := portView{Port: p, Host: p.Status.Host}
	if v.Chain, err = c.Why(ctx, api.KindPort, api.RefTo(p)); err != nil {
		return portView{}, err
	}
	v.warn(ctx, c, api.KindNetwork, p.Spec.Network)
	if v.Host == "" {
		return v, nil
	}
	v.warn(ctx, c, api.KindHost, api.Ref{Name: v.Host})
	names := api.HostTables()
	v.Tables = make([]portTable, len(names))
	var wait sync.WaitGroup
	for i, name := range names {
		wait.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, askTimeout)
			defer cancel()
			t, err := c.HostTable(ctx, api.Ref{Name: v.Host}, name)
			v.Tables[i] = portTable{Table: name, Rows: t}
			if err != nil {
				v.Tables[i].Error = oneLine(err.Error())
			}
		})
	}
	wait.Wait()
	var refused *api.Error
	if _, err := c.Get(ctx, api.KindHost, api.Ref{Name: v.Host}); errors.As(err, &refused) && refused.Code == api.CodeNotFound {
		v.Tables = nil // these credentials may not see hosts
		return v, nil
	}
	v.keep(p.Meta.FQName, p.Meta.UUID)
	v.asks(ctx, c, p.Meta.UUID)
	return v, nil
}

// asks adds the rules that the port asks, in their order. An agent of a release
// that does not know the question has none to tell.
func (v *portView) asks(ctx context.Context, c *client.Client, uuid string) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	t, err := c.HostTable(ctx, api.Ref{Name: v.Host}, api.HostTableRules+"?"+uuid)
	if err == nil && len(t.Rows) > 0 && slices.Contains(t.Columns, "DIRECTION") {
		v.Tables = append(v.Tables, portTable{Table: "rules that it asks, in their order", Rows: t})
	}
}

// warn adds what is not well with an object, if these credentials may see it.
func (v *portView) warn(ctx context.Context, c *client.Client, kind api.Kind, ref api.Ref) {
	o, err := c.Get(ctx, kind, ref)
	if err != nil {
		return // the chain says so
	}
	var conditions []api.Condition
	switch o := o.(type) {
	case *api.Network:
		conditions = o.Status.Conditions
	case *api.Host:
		conditions = o.Status.Conditions
		if !o.Status.Connected {
			v.Warnings = append(v.Warnings, portWarning{kind, o.Meta.FQName, "Connected", "disconnected", "what follows from here on is as the host last told, or not known"})
		}
	}
	for _, x := range conditions {
		if !x.Status {
			v.Warnings = append(v.Warnings, portWarning{kind, o.Head().Meta.FQName, x.Type, x.Reason, x.Message})
		}
	}
}

// keep leaves, of each table, the rows about the port: those that name it, its
// interface or one of its rows. Tables without any are left out.
func (v *portView) keep(name, uuid string) {
	about := map[string]bool{name: true, uuid: true, string(api.KindPort) + "/" + uuid: true}
	for _, t := range v.Tables {
		if t.Table != api.HostTablePorts {
			continue
		}
		device := slices.Index(t.Rows.Columns, "INTERFACE")
		for _, row := range t.Rows.Rows {
			if slices.Contains(row, uuid) && device >= 0 && row[device] != "-" {
				about[row[device]] = true
				about["port "+row[device]] = true // as a next hop
			}
		}
	}
	for i := range v.Tables {
		v.Tables[i].Rows.Rows = slices.DeleteFunc(v.Tables[i].Rows.Rows, func(row []string) bool {
			return !slices.ContainsFunc(row, func(cell string) bool { return about[cell] })
		})
	}
	v.Tables = slices.DeleteFunc(v.Tables, func(t portTable) bool { return t.Error == "" && len(t.Rows.Rows) == 0 })
}

func (s *session) printPort(v portView, all bool) error {
	p := v.Port.(*api.Port)
	place := string(p.Status.State)
	if v.Host != "" {
		place += " on " + v.Host
	}
	if p.Status.Message != "" {
		place += ": " + oneLine(p.Status.Message)
	}
	network := refName(projectName(p.Meta.FQName), p.Spec.Network)
	if _, err := fmt.Fprintf(s.Out, "%s  %s, MAC %s in network %s\n\n", s.printer.Title(p.Meta.FQName), place, p.Spec.MAC, network); err != nil {
		return err
	}
	if err := s.printer.Print(whyTable(v.Chain)); err != nil {
		return err
	}
	if len(v.Warnings) > 0 {
		fmt.Fprintf(s.Out, "\n%s\n", s.printer.Title("warnings"))
		w := api.Table{Columns: []string{"OF", "CONDITION", "REASON", "MESSAGE"}}
		for _, x := range v.Warnings {
			w.Rows = append(w.Rows, []string{string(x.Kind) + " " + x.Name, x.Type, x.Reason, oneLine(x.Message)})
		}
		if err := s.printer.Print(w); err != nil {
			return err
		}
	}
	for _, t := range v.Tables {
		title := t.Table + " of " + v.Host
		if n := len(t.Rows.Rows); n > 1 {
			title += fmt.Sprintf(" (%d)", n)
		}
		fmt.Fprintf(s.Out, "\n%s\n", s.printer.Title(title))
		if t.Error != "" {
			fmt.Fprintln(s.Out, "cannot be read:", t.Error)
			continue
		}
		rows, more := t.Rows, 0
		if len(rows.Rows) > maxPortRows && !all {
			more = len(rows.Rows) - maxPortRows
			rows.Rows = rows.Rows[:maxPortRows]
		}
		if err := s.printer.Print(rows); err != nil {
			return err
		}
		if more > 0 {
			fmt.Fprintf(s.Out, "... and %d more; --all shows them\n", more)
		}
	}
	return nil
}
