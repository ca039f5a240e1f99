// SPDX-License-Identifier: Apache-2.0

// Package story shows Weft to a person: it brings a whole system up, sends real
// packets, says what it saw, and stops at the first thing that is not as promised.
package story

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/weft-network/weft/lab/tenants"
	"github.com/weft-network/weft/lab/topology"
)

// Bounds the demo promises.
const (
	maxTime   = 60 * time.Second
	maxMemory = 1 << 30 // bytes resident, all processes of the system
)

// Story is one telling.
type Story struct {
	lab   *topology.Lab
	out   io.Writer
	dim   bool
	began time.Time
	shown int // expectations that held
}

// New prepares a telling on a lab that is not up yet. Commands are dimmed where
// the output is a terminal.
func New(lab *topology.Lab, out io.Writer, terminal bool) *Story {
	return &Story{lab: lab, out: out, dim: terminal, began: time.Now()}
}

// Tell tells all of it.
func (s *Story) Tell(ctx context.Context) error {
	for _, chapter := range []func(context.Context) error{
		s.system, s.describe, s.plug, s.reach, s.apart, s.join, s.look, s.bounds,
	} {
		if err := chapter(ctx); err != nil {
			return s.withLogs(err)
		}
	}
	return nil
}

// withLogs adds the ends of all logs to an error that shows none yet.
func (s *Story) withLogs(err error) error {
	if strings.Contains(err.Error(), topology.TailHeading) {
		return err
	}
	processes, listErr := s.lab.Processes()
	if listErr != nil {
		return errors.Join(err, listErr)
	}
	var tails []string
	for _, p := range processes {
		tails = append(tails, s.lab.Tail(p.Name))
	}
	return fmt.Errorf("%w\n%s", err, strings.Join(tails, "\n"))
}

func (s *Story) style(code, text string) string {
	if !s.dim {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *Story) heading(format string, args ...any) {
	fmt.Fprintf(s.out, "\n%s\n", s.style("1", fmt.Sprintf(format, args...)))
}

func (s *Story) line(word, format string, args ...any) {
	fmt.Fprintf(s.out, "%5.1f s  %s  %s\n", time.Since(s.began).Seconds(), word, fmt.Sprintf(format, args...))
}

func (s *Story) done(format string, args ...any) { s.line("done", format, args...) }

func (s *Story) pass(format string, args ...any) {
	s.shown++
	s.line(s.style("32", "PASS"), format, args...)
}

// weft runs the CLI as a person would, showing the command and some of the answer.
func (s *Story) weft(ctx context.Context, lines int, args ...string) (string, error) {
	fmt.Fprintln(s.out, s.style("2", "           $ weft "+quoted(args)))
	out, err := s.lab.Weft(ctx, args...)
	if err != nil {
		return out, err
	}
	shown := strings.Split(strings.TrimRight(out, "\n"), "\n")
	more := len(shown) - lines
	if more > 0 {
		shown = shown[:lines]
	}
	for _, l := range shown {
		if lines > 0 {
			fmt.Fprintln(s.out, s.style("2", "           "+clip(l)))
		}
	}
	if more > 0 && lines > 0 {
		fmt.Fprintln(s.out, s.style("2", fmt.Sprintf("           ... and %d more lines", more)))
	}
	return out, nil
}

// quoted is a command line as a shell takes it.
func quoted(args []string) string {
	var words []string
	for _, a := range args {
		if strings.ContainsAny(a, " <>*") {
			a = "'" + a + "'"
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}

// clip keeps a line of a table within a wide terminal.
func clip(line string) string {
	const width = 140
	if letters := []rune(line); len(letters) > width {
		return string(letters[:width]) + "..."
	}
	return line
}

func (s *Story) system(ctx context.Context) error {
	s.heading("One controller, three hosts")
	if err := s.lab.WireUnderlay(); err != nil {
		return err
	}
	s.done("underlay: a bridge in a namespace of its own, %d hosts and the controller on it, IPv4 and IPv6", s.lab.Hosts)
	if err := s.lab.StartController(ctx); err != nil {
		return err
	}
	s.done("weft-controller serves its API at %s, etcd inside", s.lab.APIAddress())
	if err := s.lab.JoinToken(ctx); err != nil {
		return err
	}
	if err := s.lab.StartAgents(ctx); err != nil {
		return err
	}
	s.done("weft-agent on %d hosts joined with a token, got certificates, and is in sync", s.lab.Hosts)
	if err := s.lab.WaitConnected(ctx); err != nil {
		return err
	}
	_, err := s.weft(ctx, 6, "get", "hosts")
	return err
}

func (s *Story) describe(ctx context.Context) error {
	s.heading("Two tenants with the same subnets and the same addresses")
	// One by command after command, the other by a file: both ways lead to the same.
	for _, args := range tenants.Commands(tenants.Red) {
		if _, err := s.weft(ctx, 0, args...); err != nil {
			return err
		}
	}
	if _, err := s.weft(ctx, 3, "apply", "-f", s.file("blue.yaml", tenants.YAML(tenants.Blue))); err != nil {
		return err
	}
	_, err := s.weft(ctx, 6, "get", "networks", "-A")
	return err
}

func (s *Story) plug(ctx context.Context) error {
	s.heading("Workloads on all hosts")
	if err := tenants.Plug(ctx, s.lab, tenants.All); err != nil {
		return err
	}
	s.done("%d workloads (namespaces) plugged into their ports: the data path is eBPF from here on", len(tenants.All))
	if err := s.lab.WaitPortsUp(ctx); err != nil {
		return err
	}
	_, err := s.weft(ctx, 12, "get", "ports", "-A")
	return err
}

func (s *Story) look(ctx context.Context) error {
	s.heading("What the operator sees")
	for _, view := range []struct {
		lines int
		args  []string
	}{
		{9, []string{"routes", "red:shop:web"}},
		{14, []string{"why", "port", "red:shop:web-1"}},
		{9, []string{"drops"}},
	} {
		if _, err := s.weft(ctx, view.lines, view.args...); err != nil {
			return err
		}
	}
	return nil
}

func (s *Story) bounds(context.Context) error {
	processes, err := s.lab.Processes()
	if err != nil {
		return err
	}
	var total int64
	for _, p := range processes {
		total += p.RSS()
	}
	took := time.Since(s.began)
	s.heading("All %d expectations held, in %.1f s; %d processes of Weft have %d MB of memory resident", s.shown, took.Seconds(), len(processes), total>>20)
	if took > maxTime || total > maxMemory {
		return fmt.Errorf("the demo promises less than %v and %d MB", maxTime, maxMemory>>20)
	}
	return nil
}

// Farewell says what to try while the system is up.
func (s *Story) Farewell(down string) {
	red, db := tenants.Find(tenants.Red, "web-1"), tenants.Find(tenants.Red, "db-1")
	fmt.Fprintf(s.out, "\nThe system stays up until %s.\nAPI  %s\nLogs %s/logs\n\nTry:\n", s.style("1", down), s.lab.APIAddress(), s.lab.Dir)
	for _, l := range []string{
		"export WEFT_CONFIG=" + s.lab.ConfigFile() + " PATH=" + s.lab.Bin + ":$PATH",
		"weft get",
		"weft get ports -A -o wide",
		"weft describe network red:shop:web",
		"weft routes red:shop:web --host h1",
		"weft why port red:shop:db-1",
		"weft drops",
		"nsenter --net=" + s.path(red) + " ping -c 3 " + db.V4().String(),
		"weft detach -p " + red.Project() + " " + tenants.PolicyName + " " + tenants.DB.Name + "   # and ping again",
	} {
		fmt.Fprintf(s.out, "  %s\n", l)
	}
}
