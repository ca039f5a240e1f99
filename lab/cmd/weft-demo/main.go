// SPDX-License-Identifier: Apache-2.0

// Command weft-demo brings a whole Weft system up on this machine, shows what it
// does with real packets, and takes it down again.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/weft-network/weft/lab/story"
	"github.com/weft-network/weft/lab/tenants"
	"github.com/weft-network/weft/lab/topology"
)

const usage = `usage: weft-demo up [flags]    bring the system up and show what it does
       weft-demo down [flags]  take it away, all of it
`

// upTimeout ends a demo that hangs somewhere; it should take a quarter of it.
const upTimeout = 3 * time.Minute

type options struct {
	run  string
	bin  string
	down string
	port int
	keep bool
}

func main() {
	if len(os.Args) < 2 || (os.Args[1] != "up" && os.Args[1] != "down") {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	var o options
	flags := flag.NewFlagSet("weft-demo "+os.Args[1], flag.ExitOnError)
	flags.StringVar(&o.run, "run", "demo", "id of the run: part of the names of its namespaces")
	flags.StringVar(&o.bin, "bin", "", "folder with weft, weft-controller and weft-agent (default: the folder of this program)")
	flags.StringVar(&o.down, "down-command", "", "what to tell people takes the demo down (default: this program's own)")
	flags.IntVar(&o.port, "api-port", 7443, "port of the API on 127.0.0.1; another one is taken when it is in use")
	flags.BoolVar(&o.keep, "keep", false, "leave everything up when an expectation fails")
	flags.Parse(os.Args[2:]) // ends the program itself on errors
	if flags.NArg() > 0 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	act := up
	if os.Args[1] == "down" {
		act = down
	}
	if err := act(o); err != nil {
		fmt.Fprintf(os.Stderr, "weft-demo: %v\n", err)
		os.Exit(1)
	}
}

func (o *options) complete() (dir string, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find own folder: %w", err)
	}
	if o.bin == "" {
		o.bin = filepath.Dir(self)
	}
	if o.down == "" {
		o.down = self + " down --run " + o.run
	}
	return topology.RunDir(os.Getenv("WEFT_LAB_DIR"), o.run), nil
}

func up(o options) error {
	dir, err := o.complete()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), upTimeout)
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	lab, err := topology.New(topology.Options{
		Run: o.run, Dir: dir, Bin: o.bin, Hosts: tenants.Hosts, APIPort: topology.FreePort(o.port),
	})
	if errors.Is(err, topology.ErrExists) {
		return fmt.Errorf("a demo is up already, or one was interrupted; take it down first: %s", o.down)
	}
	if err != nil {
		return err
	}
	terminal := term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("NO_COLOR") == ""
	s := story.New(lab, os.Stdout, terminal)
	err = s.Tell(ctx)
	if ctx.Err() != nil {
		err = fmt.Errorf("%w before the end of the demo", context.Cause(ctx))
	}
	switch {
	case err == nil:
		s.Farewell(o.down)
		return nil
	case o.keep:
		return fmt.Errorf("%w\nEverything is left up, as --keep asks; logs are in %s/logs; take it down: %s", err, dir, o.down)
	}
	return errors.Join(err, lab.Down())
}

func down(o options) error {
	dir, err := o.complete()
	if err != nil {
		return err
	}
	if err := topology.Down(o.run, dir); err != nil {
		return err
	}
	fmt.Println("the demo is down; nothing is left of it")
	return nil
}
