// SPDX-License-Identifier: Apache-2.0

// Package probe sends real packets between namespaces and says what came back:
// the machine's own ping, and responders that answer with their name, so that
// a test sees who answered and not only that somebody did.
package probe

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/weft-network/weft/lab/namespace"
)

// Ping says what to send.
type Ping struct {
	Namespace string
	To        netip.Addr
	Source    netip.Addr    // ping -I; zero lets the kernel choose
	Count     int           // echo requests; 0 means until stopped or Limit
	Interval  time.Duration // between requests; 0 means 100 ms
	Limit     time.Duration // after which ping ends in any case; 0 means 10 s
	Size      int           // bytes of payload; 0 means ping's own
	DontFrag  bool          // ping -M do: nobody on the way may fragment
}

// Reply is one echo reply.
type Reply struct {
	At   time.Time // when ping saw it
	Seq  int
	TTL  int // hop limit in IPv6
	From string
	RTT  string // as ping printed it, with unit
}

// Answer is how a ping went.
type Answer struct {
	Command  string
	Sent     int
	Received int
	Replies  []Reply
	Output   string
}

// TTLs returns the different hop limits that were seen, in order of appearance.
func (a Answer) TTLs() []int {
	var seen []int
next:
	for _, r := range a.Replies {
		for _, s := range seen {
			if s == r.TTL {
				continue next
			}
		}
		seen = append(seen, r.TTL)
	}
	return seen
}

func (p Ping) argv() []string {
	if p.Interval == 0 {
		p.Interval = 100 * time.Millisecond
	}
	if p.Limit == 0 {
		p.Limit = 10 * time.Second
	}
	argv := []string{"ping", "-n", "-D", "-O", "-W", "1"}
	if p.To.Is6() {
		argv = append(argv, "-6")
	}
	if p.Count > 0 {
		argv = append(argv, "-c", strconv.Itoa(p.Count))
	}
	if p.Source.IsValid() {
		argv = append(argv, "-I", p.Source.String())
	}
	if p.Size > 0 {
		argv = append(argv, "-s", strconv.Itoa(p.Size))
	}
	if p.DontFrag {
		argv = append(argv, "-M", "do")
	}
	return append(argv,
		"-i", strconv.FormatFloat(p.Interval.Seconds(), 'f', -1, 64),
		"-w", strconv.Itoa(int(p.Limit.Seconds()+0.999)),
		p.To.String())
}

// Running is a ping under way.
type Running struct {
	cmd  *exec.Cmd
	argv []string
	done chan struct{}

	mu  sync.Mutex
	out bytes.Buffer
}

// Write takes ping's output; it makes Running the process's stdout.
func (r *Running) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.Write(p)
}

// Start begins to ping.
func (p Ping) Start() (*Running, error) {
	r := &Running{argv: p.argv(), done: make(chan struct{})}
	r.cmd = exec.Command(r.argv[0], r.argv[1:]...)
	r.cmd.Stdout, r.cmd.Stderr = r, r
	if err := namespace.Start(p.Namespace, r.cmd); err != nil {
		return nil, fmt.Errorf("start ping in %s: %w", p.Namespace, err)
	}
	go func() { // ends with ping, which -w bounds
		defer close(r.done)
		r.cmd.Wait() // ping's status 1 only says that answers are missing
	}()
	return r, nil
}

// Run pings and waits for the end.
func (p Ping) Run() (Answer, error) {
	r, err := p.Start()
	if err != nil {
		return Answer{}, err
	}
	<-r.done
	return r.answer()
}

// Stop ends the ping and returns how it went.
func (r *Running) Stop() (Answer, error) {
	r.cmd.Process.Signal(syscall.SIGINT) // an error says that it has ended already
	<-r.done
	return r.answer()
}

// Replies returns what was answered so far.
func (r *Running) Replies() []Reply {
	r.mu.Lock()
	defer r.mu.Unlock()
	return parseReplies(r.out.String())
}

// WaitReply waits for the first reply that ok accepts.
func (r *Running) WaitReply(ctx context.Context, ok func(Reply) bool) (Reply, error) {
	for {
		replies := r.Replies()
		for _, reply := range replies {
			if ok(reply) {
				return reply, nil
			}
		}
		select {
		case <-time.After(pollInterval):
		case <-r.done:
			return Reply{}, fmt.Errorf("%s ended without the expected reply (%d replies)", strings.Join(r.argv, " "), len(replies))
		case <-ctx.Done():
			return Reply{}, fmt.Errorf("%s: no expected reply yet (%d replies): %w", strings.Join(r.argv, " "), len(replies), ctx.Err())
		}
	}
}

// pollInterval is how finely output of a running ping is looked at; times come
// from ping's own stamps, so it costs no exactness.
const pollInterval = 10 * time.Millisecond

func (r *Running) answer() (Answer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return parseAnswer(strings.Join(r.argv, " "), r.out.String())
}

var (
	replyLine = regexp.MustCompile(`(?m)^\[(\d+)\.(\d+)\] \d+ bytes from (\S+?):? icmp_seq=(\d+) ttl=(\d+) time=(\S+ \S+)(.*)$`)
	statsLine = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)
)

func parseReplies(out string) []Reply {
	var replies []Reply
	for _, m := range replyLine.FindAllStringSubmatch(out, -1) {
		if strings.Contains(m[7], "DUP") {
			continue
		}
		sec, _ := strconv.ParseInt(m[1], 10, 64)
		usec, _ := strconv.ParseInt((m[2] + "000000")[:6], 10, 64)
		seq, _ := strconv.Atoi(m[4])
		ttl, _ := strconv.Atoi(m[5])
		replies = append(replies, Reply{
			At: time.Unix(sec, usec*1000), Seq: seq, TTL: ttl, From: m[3], RTT: m[6],
		})
	}
	return replies
}

func parseAnswer(command, out string) (Answer, error) {
	a := Answer{Command: command, Output: out, Replies: parseReplies(out)}
	m := statsLine.FindStringSubmatch(out)
	if m == nil {
		return a, fmt.Errorf("%s: no statistics in its output: %s", command, strings.TrimSpace(out))
	}
	a.Sent, _ = strconv.Atoi(m[1])
	a.Received, _ = strconv.Atoi(m[2])
	return a, nil
}
