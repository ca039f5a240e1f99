// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/agent/erase"
	"github.com/weft-network/weft/agent/plug"
)

func plugCommand() *cobra.Command {
	var runDir string
	var r plug.Request
	var timeout, wait time.Duration
	c := &cobra.Command{
		Use:   "plug --port REF [--network REF] [--wait DURATION] (--netns PATH [--ifname NAME] | --interface NAME)",
		Short: "Connect a workload to a port; returns when its traffic flows",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r.TimeoutSeconds, r.WaitSeconds = seconds(timeout), seconds(wait)
			answer, err := plug.NewClient(runDir).Plug(c.Context(), r)
			if err != nil {
				return err
			}
			if s := answer.Spread; s != nil && !s.Known {
				fmt.Fprintf(os.Stderr, "weft-agent: plugged, and other hosts may not know of the workload yet, so that they may drop its first packets: %v\n", s)
			}
			out := json.NewEncoder(os.Stdout)
			out.SetIndent("", "  ")
			return out.Encode(answer)
		},
	}
	f := c.Flags()
	f.StringVar(&runDir, "run-dir", defaultRun, "run directory of the agent")
	f.StringVar(&r.Port, "port", "", "UUID or fully qualified name of the port")
	f.StringVar(&r.Network, "network", "", "UUID or fully qualified name of the port's network: while no controller can be reached, a new port gets an address that is reserved there for this host")
	f.StringVar(&r.Netns, "netns", "", "path of the workload's network namespace, where the interface is made")
	f.StringVar(&r.Ifname, "ifname", "", "name of the interface in the namespace (default "+plug.DefaultIfname+")")
	f.StringVar(&r.Interface, "interface", "", "existing interface of the host to attach instead")
	f.DurationVar(&timeout, "timeout", plug.DefaultTimeout, "how long to wait for the port and its rows")
	f.DurationVar(&wait, "wait", 0, "how long to wait, when its traffic flows, for other hosts to know of the workload, so that they do not drop its first packets; who is still behind then is in the answer (0: not at all; at most "+plug.MaxTimeout.String()+")")
	return c
}

// seconds are whole ones, as the agent takes them.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

func unplugCommand() *cobra.Command {
	var runDir, port string
	c := &cobra.Command{
		Use:   "unplug --port REF",
		Short: "Disconnect a workload; a port that is not plugged is success",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return plug.NewClient(runDir).Unplug(c.Context(), port)
		},
	}
	c.Flags().StringVar(&runDir, "run-dir", defaultRun, "run directory of the agent")
	c.Flags().StringVar(&port, "port", "", "UUID or fully qualified name of the port")
	return c
}

func portsCommand() *cobra.Command {
	var runDir string
	c := &cobra.Command{
		Use:   "ports",
		Short: "List the ports of this host",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			list, err := plug.NewClient(runDir).Ports(c.Context())
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "PORT\tNAME\tSTATE\tINTERFACE\tMESSAGE")
			for _, p := range list.Items {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", p.Port, p.Name, p.State, p.Interface, p.Message)
			}
			return w.Flush()
		},
	}
	c.Flags().StringVar(&runDir, "run-dir", defaultRun, "run directory of the agent")
	return c
}

func uninstallCommand() *cobra.Command {
	var d erase.Directories
	c := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove everything weft made on this host; stop the agent first",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return erase.Host(d) },
	}
	directoryFlags(c, &d)
	return c
}

func directoryFlags(c *cobra.Command, d *erase.Directories) {
	f := c.Flags()
	f.StringVar(&d.State, "state-dir", defaultState, "directory for what outlives the agent")
	f.StringVar(&d.Run, "run-dir", defaultRun, "directory of the socket "+plug.SocketName)
	f.StringVar(&d.BPF, "bpf-dir", defaultBPF, "directory of pinned tables; a BPF file system is mounted there if it is not on one")
}
