// SPDX-License-Identifier: Apache-2.0

// Command weft-guest runs test programs on the kernel of Debian 12 in a QEMU guest.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/weft-network/weft/lab/guest"
)

func main() {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	var o guest.Options
	flag.StringVar(&o.Cache, "cache", filepath.Join(cache, "weft", "kernels"), "directory where the kernel is kept")
	flag.IntVar(&o.Memory, "memory", 2048, "MiB of memory")
	flag.DurationVar(&o.Timeout, "timeout", 30*time.Minute, "when to give up")
	run := flag.String("run", ".", "expression of the tests to run")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "weft-guest [flags] 'TEST-PROGRAM [its own flags]'...   (built with CGO_ENABLED=0 go test -c)")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	for _, command := range flag.Args() {
		words := strings.Fields(command)
		if len(words) == 0 {
			flag.Usage()
			os.Exit(2)
		}
		arguments := append([]string{"-test.v", "-test.run", "'" + *run + "'", "-test.timeout", o.Timeout.String()}, words[1:]...)
		o.Commands = append(o.Commands, guest.Command{Program: words[0], Arguments: arguments})
	}
	o.Output = os.Stdout
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := guest.Run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "weft-guest:", err)
		os.Exit(1)
	}
}
