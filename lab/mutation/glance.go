// SPDX-License-Identifier: Apache-2.0

package mutation

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"
)

// glancer is a test program that looks at one build after another for a moment. It
// loads what they have in common once.
type glancer struct {
	cmd  *exec.Cmd
	asks io.WriteCloser
	says *bufio.Scanner
	kill func() error
}

const (
	glanceTest     = "^TestGlances$"
	glanceVariable = "WEFT_GLANCES=1" // makes the test read directories from its input
	glanceAnswer   = "glanced "       // and say whether they passed
)

func (l *Laboratory) startGlancer(ctx context.Context) (*glancer, error) {
	cmd := l.command(ctx, l.dir, "-test.v", "-test.run", glanceTest, "-test.timeout", "0")
	cmd.Env = append(cmd.Env, glanceVariable)
	asks, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start test program that glances: %w", err)
	}
	says, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start test program that glances: %w", err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start test program that glances: %w", err)
	}
	g := &glancer{cmd: cmd, asks: asks, says: bufio.NewScanner(says), kill: cmd.Cancel}
	g.says.Buffer(nil, 1<<20)
	return g, nil
}

// stop ends it, whatever it does. Its mounts go with it.
func (g *glancer) stop() {
	g.kill()
	g.asks.Close()
	g.cmd.Wait() // killed
}

// look has it glance at a directory of objects.
func (g *glancer) look(dir string, timeout time.Duration) (result Result, by string, alive bool) {
	late := time.AfterFunc(timeout, func() { g.kill() })
	defer late.Stop()
	if _, err := fmt.Fprintln(g.asks, dir); err != nil {
		return Killed, "glance: " + err.Error(), false
	}
	var text strings.Builder
	for g.says.Scan() {
		line := g.says.Text()
		if answer, is := strings.CutPrefix(line, glanceAnswer); is {
			switch {
			case answer == "true":
				return Survived, "", true
			case strings.Contains(text.String(), "load program "):
				return Refused, "", true
			}
			return Killed, "glance: " + whatFailed(text.String()), true
		}
		fmt.Fprintln(&text, line)
	}
	if !late.Stop() {
		return Killed, byTime, false
	}
	return Killed, "glance: it ended: " + lastLine(text.String()), false
}

// whatFailed is the beginning of what a test said that failed.
func whatFailed(text string) string {
	for line := range strings.Lines(text) {
		if _, said, is := strings.Cut(line, "_test.go:"); is && !strings.Contains(said, "WEFT_SEED=") {
			said = strings.TrimSpace(said)
			return said[:min(len(said), 120)]
		}
	}
	return lastLine(text)
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// glance looks at a directory of objects with a program that is free, or a new one.
func (l *Laboratory) glance(ctx context.Context, dir string, timeout time.Duration) (Result, string, error) {
	l.free.Lock()
	var g *glancer
	if n := len(l.glancers); n > 0 {
		g, l.glancers = l.glancers[n-1], l.glancers[:n-1]
	}
	l.free.Unlock()
	if g == nil {
		var err error
		if g, err = l.startGlancer(ctx); err != nil {
			return "", "", err
		}
	}
	result, by, alive := g.look(dir, timeout)
	if !alive {
		g.stop()
		return result, by, ctx.Err()
	}
	l.free.Lock()
	l.glancers = append(l.glancers, g)
	l.free.Unlock()
	return result, by, nil
}

// Close ends the programs that a laboratory keeps.
func (l *Laboratory) Close() {
	l.free.Lock()
	defer l.free.Unlock()
	for _, g := range l.glancers {
		g.stop()
	}
	l.glancers = nil
}
