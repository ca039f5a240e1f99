// SPDX-License-Identifier: Apache-2.0

package haproxy

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// maxAnswer bounds what is read of a socket: a line of 600 bytes for each server.
const maxAnswer = 16 << 20

// ask gives a command to one of a proxy's sockets and reads the answer until its end.
func ask(ctx context.Context, at Place, socket, command string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "unix", filepath.Join(at.Dir, socket))
	if err != nil {
		return "", fmt.Errorf("ask HAProxy to %s: %w", command, err)
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return "", fmt.Errorf("ask HAProxy to %s: %w", command, err)
	}
	if _, err := io.WriteString(c, command+"\n"); err != nil {
		return "", fmt.Errorf("ask HAProxy to %s: %w", command, err)
	}
	// A master waits for more until it hears that there is none.
	if u, ok := c.(*net.UnixConn); ok && socket == masterSocket {
		if err := u.CloseWrite(); err != nil {
			return "", fmt.Errorf("ask HAProxy to %s: %w", command, err)
		}
	}
	answer, err := io.ReadAll(io.LimitReader(c, maxAnswer))
	if err != nil {
		return "", fmt.Errorf("read HAProxy's answer to %s: %w", command, err)
	}
	return string(answer), nil
}

// answers tells whether a worker serves.
func answers(ctx context.Context, at Place) bool {
	out, err := ask(ctx, at, statsSocket, "show info")
	return err == nil && strings.HasPrefix(out, "Name: HAProxy")
}

// answersSoon bears a worker that is slow: to end it would end who is served.
func answersSoon(ctx context.Context, at Place) bool {
	for end := time.Now().Add(startTime); ctx.Err() == nil; time.Sleep(again) {
		if answers(ctx, at) {
			return true
		}
		if time.Now().After(end) {
			break
		}
	}
	return false
}

// master is what a master says of itself.
type master struct {
	reloads, failed, workers int
	worker                   string // process id of the newest
}

var masterLine = regexp.MustCompile(`^\d+\s+master\s+(\d+)(?: \[failed: (\d+)\])?`)

// procs asks the master for its processes.
func procs(ctx context.Context, at Place) (p master, err error) {
	out, err := ask(ctx, at, masterSocket, "show proc")
	if err != nil {
		return p, err
	}
	found, old := false, false
	for line := range strings.Lines(out) {
		words := strings.Fields(line)
		if m := masterLine.FindStringSubmatch(line); m != nil {
			found = true
			p.reloads, _ = strconv.Atoi(m[1])
			p.failed, _ = strconv.Atoi(m[2])
		}
		old = old || strings.HasPrefix(line, "# old")
		if len(words) > 1 && words[1] == "worker" && !old {
			p.workers++
			p.worker = words[0]
		}
	}
	if !found {
		return p, fmt.Errorf("read HAProxy's processes: %q", shortened(out))
	}
	return p, nil
}

// reload has the master start a worker with the configuration as it is now, and waits until that
// one serves.
func reload(ctx context.Context, at Place) error {
	before, err := procs(ctx, at)
	if err != nil {
		return err
	}
	if _, err := ask(ctx, at, masterSocket, "reload"); err != nil {
		return err
	}
	for end := time.Now().Add(startTime); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(again) {
		now, err := procs(ctx, at)
		switch {
		case err != nil: // while the master starts itself anew
		case now.failed > before.failed:
			return errors.New("reload HAProxy: the new worker does not start; the former one goes on")
		case now.reloads > before.reloads && now.workers > 0 && now.worker != before.worker && answers(ctx, at):
			return nil
		}
	}
	return fmt.Errorf("reload HAProxy: no new worker after %v", startTime)
}

// saveStates keeps which members are up for the worker that comes. Only of those that it will try:
// one that was not to be used, or was down when its monitor went, would stay down for ever.
func saveStates(ctx context.Context, at Place, servers map[string]Server) error {
	states, err := ask(ctx, at, statsSocket, "show servers state")
	if err != nil {
		return err
	}
	lines := strings.Split(states, "\n")
	if lines[0] != "1" {
		return fmt.Errorf("read HAProxy's states of servers: %q", shortened(states))
	}
	kept := []string{lines[0]}
	for _, line := range lines[1:] {
		// be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state …
		words := strings.Fields(line)
		if strings.HasPrefix(line, "#") {
			kept = append(kept, line)
		}
		if len(words) < 7 || words[6] != "0" {
			continue
		}
		if s := servers[strings.TrimPrefix(words[3], "member-")]; s.Tried && s.Backend == words[1] {
			kept = append(kept, line)
		}
	}
	return replaceFile(filepath.Join(at.Dir, statesFile), []byte(strings.Join(kept, "\n")+"\n"))
}

// Figures are what HAProxy says of a proxy's objects, by UUID.
type Figures struct {
	Members   map[string]MemberFigures
	Listeners map[string]Counters
}

// MemberFigures are how a member is, in the listener that tries it, and what all have sent to it.
type MemberFigures struct {
	Tried  bool // whether it is tried at all
	Up     bool
	State  string // HAProxy's word: UP, DOWN, MAINT, DRAIN, NOLB, "no check"
	Reason string // what the last try has come to
	Counters
}

// Counters are since the last reload.
type Counters struct {
	Connections, Total, In, Out uint64
	Errors                      uint64 // requests or connections that came to nothing
}

func (c *Counters) add(row map[string]string, errors ...string) {
	number := func(column string) uint64 {
		n, _ := strconv.ParseUint(row[column], 10, 64)
		return n
	}
	c.Connections += number("scur")
	c.Total += number("stot")
	c.In += number("bin")
	c.Out += number("bout")
	for _, e := range errors {
		c.Errors += number(e)
	}
}

// Figures asks a proxy's worker.
func (r *Runner) Figures(ctx context.Context, id string) (Figures, error) {
	out, err := ask(ctx, r.at(id), statsSocket, "show stat")
	if err != nil {
		return Figures{}, fmt.Errorf("read figures of load-balancer %s: %w", id, err)
	}
	e := r.entry(id)
	e.mu.Lock()
	defer e.mu.Unlock()
	f, err := figures(out, e.rendered.Servers)
	if err != nil {
		return f, fmt.Errorf("read figures of load-balancer %s: %w", id, err)
	}
	return f, nil
}

func figures(text string, servers map[string]Server) (Figures, error) {
	f := Figures{map[string]MemberFigures{}, map[string]Counters{}}
	read := csv.NewReader(strings.NewReader(strings.TrimPrefix(text, "# ")))
	read.LazyQuotes, read.FieldsPerRecord = true, -1
	columns, err := read.Read()
	if err != nil || len(columns) < 2 || columns[0] != "pxname" {
		return f, fmt.Errorf("HAProxy's figures begin with %q", shortened(text[:min(len(text), 100)]))
	}
	for {
		cells, err := read.Read()
		if errors.Is(err, io.EOF) {
			return f, nil
		}
		if err != nil {
			return f, err
		}
		row := map[string]string{}
		for i := range min(len(cells), len(columns)) {
			row[columns[i]] = cells[i]
		}
		if listener, ok := strings.CutPrefix(row["pxname"], "listener-"); ok && row["svname"] == "FRONTEND" {
			c := f.Listeners[listener]
			c.add(row, "ereq", "dreq", "dcon")
			f.Listeners[listener] = c
		}
		if member, ok := strings.CutPrefix(row["svname"], "member-"); ok {
			m := f.Members[member]
			m.add(row, "econ", "eresp")
			if s := servers[member]; s.Backend == row["pxname"] {
				m.Tried, m.State = s.Tried, row["status"]
				m.Up = strings.HasPrefix(m.State, "UP") || m.State == "no check" || strings.HasPrefix(m.State, "DRAIN")
				m.Reason = strings.TrimSpace(row["check_status"] + " " + row["last_chk"])
			}
			f.Members[member] = m
		}
	}
}
