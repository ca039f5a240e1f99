// SPDX-License-Identifier: Apache-2.0

// Command weft-agent connects the workloads of one host to Weft's networks.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the build.
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	root := &cobra.Command{
		Use:           "weft-agent",
		Short:         "Connects the workloads of this host to Weft's networks",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(runCommand(), plugCommand(), unplugCommand(), portsCommand(), uninstallCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "weft-agent:", err)
		os.Exit(1)
	}
}

// The directories used where no flags say otherwise.
const (
	defaultState = "/var/lib/weft-agent"
	defaultRun   = "/run/weft"
	defaultBPF   = "/sys/fs/bpf/weft"
)
