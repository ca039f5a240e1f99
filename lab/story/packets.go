// SPDX-License-Identifier: Apache-2.0

package story

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/probe"
	"github.com/weft-network/weft/lab/tenants"
)

// Hop limits: Linux sends 64; inside a network nothing changes it, and between
// two networks there is one router.
const (
	ttlInside  = 64
	ttlBetween = 63
)

// askTimeout is for a question that is answered in well under a millisecond;
// a refusal must wait all of it.
const askTimeout = time.Second

func (s *Story) namespace(w tenants.Workload) string { return tenants.Namespace(s.lab, w) }
func (s *Story) path(w tenants.Workload) string      { return namespace.Path(s.namespace(w)) }

// file puts a text into the run's directory, for people to look at.
func (s *Story) file(name, text string) string {
	path := filepath.Join(s.lab.Dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		// The command that reads it says that it is not there.
		fmt.Fprintf(s.out, "write %s: %v\n", path, err)
	}
	return path
}

func (s *Story) reach(context.Context) error {
	s.heading("Inside a network: one hop, whatever the host")
	web1 := tenants.Find(tenants.Red, "web-1")
	for _, c := range []struct {
		to    tenants.Workload
		where string
	}{
		{tenants.Find(tenants.Red, "web-2"), "on one host"},
		{tenants.Find(tenants.Red, "web-3"), "across hosts"},
	} {
		for _, a := range c.to.Addresses() {
			answer, err := s.answers(web1, a, ttlInside)
			if err != nil {
				return err
			}
			s.pass("%s on %s -> %s on %s, %s: %d of %d answered, TTL %d, %s  (%v)", web1.Title(), web1.HostName(),
				c.to.Title(), c.to.HostName(), c.where, answer.Received, answer.Sent, answer.TTLs()[0], answer.Replies[len(answer.Replies)-1].RTT, a)
		}
	}
	return nil
}

// answers pings and expects every request answered with one hop limit.
func (s *Story) answers(from tenants.Workload, to netip.Addr, ttl int) (probe.Answer, error) {
	const requests = 3
	answer, err := probe.Ping{Namespace: s.namespace(from), To: to, Count: requests}.Run()
	if err != nil {
		return answer, err
	}
	if answer.Received != requests || !slices.Equal(answer.TTLs(), []int{ttl}) {
		return answer, fmt.Errorf("expected %d answers with TTL %d to %s, in the namespace of %s:\n%s", requests, ttl, answer.Command, from.Title(), answer.Output)
	}
	return answer, nil
}

// silent pings and expects no answer.
func (s *Story) silent(from tenants.Workload, to netip.Addr) (probe.Answer, error) {
	answer, err := probe.Ping{Namespace: s.namespace(from), To: to, Count: 3, Limit: time.Second}.Run()
	if err != nil {
		return answer, err
	}
	if answer.Received != 0 {
		return answer, fmt.Errorf("expected no answer to %s, in the namespace of %s:\n%s", answer.Command, from.Title(), answer.Output)
	}
	return answer, nil
}

func (s *Story) apart(ctx context.Context) error {
	s.heading("Tenants never reach each other")
	stop, err := s.responders()
	if err != nil {
		return err
	}
	defer stop()
	for _, tenant := range []string{tenants.Red, tenants.Blue} {
		from, to := tenants.Find(tenant, "web-1"), tenants.Find(tenant, "web-3")
		for _, a := range to.Addresses() {
			for _, over := range []string{"udp", "tcp"} {
				who, err := s.ask(ctx, from, over, a)
				if err != nil {
					return err
				}
				if who != to.Title() {
					return fmt.Errorf("%s asked %v over %s and %q answered, expected %q", from.Title(), a, over, who, to.Title())
				}
			}
			s.pass("%s asks %v who it is, UDP and TCP: %q answers", from.Title(), a, to.Title())
		}
	}
	lone, red, blue := tenants.Find(tenants.Blue, "web-9"), tenants.Find(tenants.Red, "web-1"), tenants.Find(tenants.Blue, "web-1")
	for _, a := range lone.Addresses() {
		if _, err := s.answers(blue, a, ttlInside); err != nil {
			return err
		}
		answer, err := s.silent(red, a)
		if err != nil {
			return err
		}
		if who, err := s.ask(ctx, red, "udp", a); !errors.Is(err, probe.ErrSilence) {
			return fmt.Errorf("%s asked %v, which only blue has, and got %q, %v", red.Title(), a, who, err)
		}
		s.pass("%v exists in blue only: %s gets %d of %d answers, %s gets all", a, red.Title(), answer.Received, answer.Sent, blue.Title())
	}
	return nil
}

// responders has every workload answer with its own name.
func (s *Story) responders() (stop func(), err error) {
	var all []*probe.Responder
	stop = func() {
		for _, r := range all {
			r.Close()
		}
	}
	for _, w := range tenants.All {
		r, err := probe.Answering(s.namespace(w), w.Title())
		if err != nil {
			stop()
			return nil, err
		}
		all = append(all, r)
	}
	return stop, nil
}

func (s *Story) ask(ctx context.Context, from tenants.Workload, over string, to netip.Addr) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return probe.Ask(ctx, s.namespace(from), over, to)
}

// joinTimeout bounds how long a policy may take to reach the hosts; half a
// second is already slow.
const joinTimeout = 5 * time.Second

func (s *Story) join(ctx context.Context) error {
	s.heading("Two networks of one tenant are joined while a ping is running")
	web, db := tenants.Find(tenants.Red, "web-1"), tenants.Find(tenants.Red, "db-1")
	var pings []*probe.Running
	for _, a := range db.Addresses() {
		p, err := probe.Ping{Namespace: s.namespace(web), To: a, Interval: 20 * time.Millisecond, Limit: 20 * time.Second}.Start()
		if err != nil {
			return err
		}
		defer p.Stop()
		pings = append(pings, p)
	}
	s.done("%s pings %s in network db, %v and %v, 50 times a second: no answer", web.Title(), db.Title(), db.V4(), db.V6())
	time.Sleep(time.Second) // what a person would watch; the replies below must all be later
	before := time.Now()
	if _, err := s.weft(ctx, 3, tenants.PolicyCommand(tenants.Red)...); err != nil {
		return err
	}
	committed := time.Now()
	for i, p := range pings {
		if err := s.joined(ctx, p, db.Addresses()[i], before, committed); err != nil {
			return err
		}
	}
	for _, a := range tenants.Find(tenants.Blue, "db-1").Addresses() {
		blue := tenants.Find(tenants.Blue, "web-1")
		if _, err := s.silent(blue, a); err != nil {
			return err
		}
		s.pass("%s still gets no answer from %v: blue has no such policy", blue.Title(), a)
	}
	return nil
}

// joined checks that a running ping starts to be answered by the policy, and not before it.
func (s *Story) joined(ctx context.Context, p *probe.Running, to netip.Addr, before, committed time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	first, err := p.WaitReply(ctx, func(r probe.Reply) bool { return true })
	if err != nil {
		return fmt.Errorf("after the policy: %w", err)
	}
	if first.At.Before(before) {
		return fmt.Errorf("%v answered %v before the policy was applied", to, before.Sub(first.At))
	}
	// Ten more in a row show that it stays.
	if _, err := p.WaitReply(ctx, func(r probe.Reply) bool { return r.Seq >= first.Seq+10 }); err != nil {
		return err
	}
	answer, err := p.Stop()
	if err != nil {
		return err
	}
	if !slices.Equal(answer.TTLs(), []int{ttlBetween}) {
		return fmt.Errorf("%v answers with TTLs %v, expected only %d", to, answer.TTLs(), ttlBetween)
	}
	if missing := answer.Sent - first.Seq + 1 - answer.Received; missing > 1 { // the last one may be under way
		return fmt.Errorf("%v: %d requests after the first answer stayed without one:\n%s", to, missing, answer.Output)
	}
	s.pass("%v answers from request %d of %d on, %d ms after the command began, %s, TTL %d: one router",
		to, first.Seq, answer.Sent, first.At.Sub(before).Milliseconds(), relative(first.At.Sub(committed)), first.TTL)
	return nil
}

// relative says when something happened, seen from the end of a command.
func relative(d time.Duration) string {
	if d < 0 {
		return fmt.Sprintf("%d ms before it returned", -d.Milliseconds())
	}
	return fmt.Sprintf("%d ms after it returned", d.Milliseconds())
}
