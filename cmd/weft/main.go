// SPDX-License-Identifier: Apache-2.0

// Command weft asks and tells Weft: see "weft --help" and doc/cli.md.
package main

import (
	"cmp"
	"context"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/weft-network/weft/cmd/weft/command"
)

//go:generate go run . reference ../../doc/cli.md

// version is set when a release is built.
var version = "development"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	world := command.World{
		In:         os.Stdin,
		Out:        os.Stdout,
		Err:        os.Stderr,
		Colour:     wantsColour(),
		ConfigFile: os.Getenv("WEFT_CONFIG"),
		HomeConfig: homeConfig(),
		Version:    version,
		Controller: controller(),
		Editor:     cmp.Or(os.Getenv("VISUAL"), os.Getenv("EDITOR")),
		Now:        time.Now,
	}
	code := command.Run(ctx, world, os.Args[1:])
	stop()
	os.Exit(code)
}

// wantsColour: a terminal that knows colours, and a user who does not object
// (https://no-color.org).
func wantsColour() bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(os.Stdout.Fd()))
}

// homeConfig is the user's own configuration.
func homeConfig() string {
	folder, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(folder, ".config", "weft", "config.yaml")
}

// controller finds weft-controller beside this program, or in the path.
func controller() string {
	if self, err := os.Executable(); err == nil {
		if beside := filepath.Join(filepath.Dir(self), "weft-controller"); isFile(beside) {
			return beside
		}
	}
	path, _ := exec.LookPath("weft-controller") // none: there is no such command then
	return path
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
