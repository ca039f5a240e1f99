// SPDX-License-Identifier: Apache-2.0

package plug

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/agent/link"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/attachment"
)

// errSuperseded ends what a runtime has given up: it asks for the next thing of one
// interface only when it does not wait for the last any more.
var errSuperseded = errors.New("the runtime has asked for something else meanwhile")

// flight is a request of a runtime that is being worked on.
type flight struct {
	cancel context.CancelCauseFunc
	done   chan struct{}
}

// flightKey is an interface of a container.
type flightKey struct{ container, ifname string }

// fly begins to work on an interface of a container, when nobody else does: a request
// that is still there is ended, and waited for. Without that, one that its runtime gave
// up could attach after the runtime has detached, and nobody would ever detach that.
func (p *Plugger) fly(ctx context.Context, k attachment.Key) (context.Context, func(), error) {
	key := flightKey{k.Container, k.Ifname}
	for {
		p.mu.Lock()
		other, taken := p.flights[key]
		if !taken {
			ctx, cancel := context.WithCancelCause(ctx)
			mine := &flight{cancel, make(chan struct{})}
			p.flights[key] = mine
			p.mu.Unlock()
			return ctx, func() {
				p.mu.Lock()
				delete(p.flights, key)
				p.mu.Unlock()
				close(mine.done)
				cancel(nil)
			}, nil
		}
		p.mu.Unlock()
		other.cancel(errSuperseded)
		select {
		case <-other.done:
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
}

// complete says what is wrong with a key.
func complete(verb string, k attachment.Key) error {
	if k.Container == "" || k.Ifname == "" {
		return api.Errorf(api.CodeInvalid, "%s: the container's id and the name of its interface are required", verb)
	}
	return nil
}

// Attach plugs the port of a container's interface, and remembers by what the runtime
// will call it. It is done when the port's traffic flows.
func (p *Plugger) Attach(ctx context.Context, r attachment.Request) (attachment.Answer, error) {
	if err := complete("attach", r.Key); err != nil {
		return attachment.Answer{}, err
	}
	ctx, landed, err := p.fly(ctx, r.Key)
	if err != nil {
		return attachment.Answer{}, failed("attach", r.Port, err)
	}
	defer landed()
	a, given, err := p.plug(ctx, Request{
		Port: r.Port, Network: r.Network, Place: link.Place{Netns: r.Netns, Ifname: r.Ifname}, TimeoutSeconds: r.TimeoutSeconds, holder: &r.Key,
	})
	if err != nil {
		return attachment.Answer{}, err
	}
	answer := attachment.Answer{Port: a.Port, Name: a.Name, Interface: a.Interface, MAC: a.MAC, MTU: a.MTU}
	for _, g := range given.Addresses {
		answer.Addresses = append(answer.Addresses, attachment.Address{Prefix: g.Prefix, Gateway: g.Gateway})
	}
	return answer, nil
}

// held are the ports whose record is of an attachment, by UUID.
func (p *Plugger) held(is func(attachment.Key) bool) (ports []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for port, rec := range p.plugs {
		if rec.Attachment != nil && is(*rec.Attachment) {
			ports = append(ports, port)
		}
	}
	slices.Sort(ports)
	return ports
}

// Detach undoes Attach, finished or not. It needs no controller, no port and no network
// namespace. What is not attached is success.
func (p *Plugger) Detach(ctx context.Context, k attachment.Key) error {
	if err := complete("detach", k); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, unplugTimeout)
	defer cancel()
	ctx, landed, err := p.fly(ctx, k)
	if err != nil {
		return failed("detach", k.Container, err)
	}
	defer landed()
	var bad error
	for _, port := range p.held(k.Same) {
		bad = errors.Join(bad, p.detach(ctx, port, k.Same))
	}
	return bad
}

// detach unplugs a port if it is still of the attachment: a new container of the same
// workload may have taken it over.
func (p *Plugger) detach(ctx context.Context, port string, is func(attachment.Key) bool) error {
	return p.unplugIf(ctx, port, port, func(rec Record) bool { return rec.Attachment != nil && is(*rec.Attachment) })
}

// Collect undoes what a configuration attached and its runtime does not know any more.
// What others attached, or plugged by hand, stays, and so does what is being attached.
func (p *Plugger) Collect(ctx context.Context, q attachment.Collection) (done attachment.Collected, err error) {
	if q.Config == "" {
		return done, api.Errorf(api.CodeInvalid, "collect: the configuration's name is required")
	}
	valid := map[flightKey]bool{}
	for _, k := range q.Valid {
		valid[flightKey{k.Container, k.Ifname}] = true
	}
	p.mu.Lock()
	for k := range p.flights {
		valid[k] = true
	}
	p.mu.Unlock()
	stale := func(k attachment.Key) bool {
		return k.Config == q.Config && !valid[flightKey{k.Container, k.Ifname}]
	}
	for _, port := range p.held(stale) {
		rec, _, _ := p.record(port)
		if one := p.detach(ctx, port, stale); one != nil {
			err = errors.Join(err, one)
			continue
		}
		if rec.Attachment != nil {
			done.Removed = append(done.Removed, *rec.Attachment)
		}
	}
	return done, err
}

// Check looks whether an attached interface, its namespace's end included, is as it was
// made, and whether its traffic flows. It repairs nothing.
func (p *Plugger) Check(ctx context.Context, k attachment.Key) error {
	if err := complete("check", k); err != nil {
		return err
	}
	ports := p.held(k.Same)
	if len(ports) == 0 {
		return api.Errorf(api.CodeNotFound, "check interface %s of container %s: it is not attached on this host", k.Ifname, k.Container)
	}
	for _, port := range ports {
		problems, err := p.inspect(ctx, port)
		if err != nil {
			return failed("check", port, err)
		}
		if len(problems) > 0 {
			return api.Errorf(api.CodeConflict, "check interface %s of container %s, port %s: %s", k.Ifname, k.Container, port, strings.Join(problems, "; ")).About(api.KindPort, port, "")
		}
	}
	return nil
}

func (p *Plugger) inspect(ctx context.Context, port string) (problems []string, err error) {
	release, err := p.claim(ctx, port)
	if err != nil {
		return nil, err
	}
	defer release()
	rec, _, plugged := p.record(port)
	if !plugged || rec.Given == nil {
		return []string{"it is not attached any more"}, nil
	}
	i, err := p.links.Inspect(port, rec.Place, *rec.Given)
	if err != nil {
		return nil, err
	}
	problems = i.Problems
	attached, err := p.hooks.Attached()
	if err != nil {
		return nil, fmt.Errorf("list where the packet path is: %w", err)
	}
	if i.Ifindex != 0 && !slices.Contains(attached, i.Ifindex) {
		problems = append(problems, "the packet path is not on its interface on the host")
	}
	err = p.loop.Do(ctx, func(c *host.Core) {
		if _, bound := c.Port(port); !bound {
			problems = append(problems, "the port is not bound to this host")
		} else if why := c.Reachable(port); why != "" {
			problems = append(problems, "its rows are not in the kernel: "+why)
		}
	})
	return problems, err
}

// Ready tells whether the host can attach workloads. That no controller is connected is
// no reason against it: what runs goes on, and what is new may have been delivered.
func (p *Plugger) Ready(ctx context.Context) (r attachment.Readiness, err error) {
	knows := false
	if err := p.loop.Do(ctx, func(c *host.Core) { knows = c.InSync() || c.Version() != (desired.Version{}) }); err != nil {
		return r, fmt.Errorf("ask how the host is: %w", err)
	}
	if knows {
		return attachment.Readiness{State: attachment.Ready}, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	r = attachment.Readiness{State: attachment.Unavailable, Message: "the agent has not heard of its networks from a controller yet: see that one is reachable"}
	if len(p.found) > 0 {
		r.State = attachment.Limited
	}
	return r, nil
}
