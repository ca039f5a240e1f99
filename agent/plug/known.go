// SPDX-License-Identifier: Apache-2.0

package plug

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/api/hoststream"
)

// Known asks a controller which other hosts do not have a version yet that says
// where a port is.
type Known func(ctx context.Context, port string, v desired.Version) (*hoststream.KnownReply, error)

// A controller is asked again after these pauses, each twice the one before: most
// hosts have heard when the first answer is here.
const (
	firstKnown = 5 * time.Millisecond
	lastKnown  = 250 * time.Millisecond
	// knownTimeout bounds one question.
	knownTimeout = 5 * time.Second
)

// SetKnown says by whom it is known which hosts know of a port. It comes before Serve.
func (p *Plugger) SetKnown(known Known) { p.known = known }

// spread waits until the other hosts know of a port that is here: those with routes
// to it that are connected.
func (p *Plugger) spread(ctx context.Context, a Answer, wait time.Duration) *Spread {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	s := &Spread{Message: "no controller has answered"}
	for pause := firstKnown; !p.ask(ctx, a.Port, s); pause = min(2*pause, lastKnown) {
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	if !s.Known {
		p.log.Warn("a workload is plugged, and other hosts may not know of it yet: they may drop its first packets", "port", a.Name, "hosts", s.Behind, "reason", s.Message)
	}
	return s
}

// ask asks once, and tells whether there is nothing more to wait for.
func (p *Plugger) ask(ctx context.Context, port string, s *Spread) (done bool) {
	if ctx.Err() != nil {
		return true // what was heard last is what is said
	}
	var v desired.Version
	connected := false
	err := p.loop.Do(ctx, func(c *host.Core) { v, connected = c.Version(), c.Connected() })
	if err == nil && (!connected || p.known == nil) {
		s.Message = "no controller is connected"
		return true
	}
	var reply *hoststream.KnownReply
	if err == nil {
		one, cancel := context.WithTimeout(ctx, knownTimeout)
		defer cancel()
		reply, err = p.known(one, port, v)
	}
	switch code := status.Code(err); {
	case err == nil:
	case code == codes.Unimplemented:
		s.Message = "the controller is of a release that does not tell: upgrade it"
		return true
	case ctx.Err() != nil:
		return true
	default:
		s.Message = err.Error()
		return code == codes.FailedPrecondition
	}
	*s = Spread{Known: reply.Waiting == 0}
	for _, b := range reply.Behind {
		s.Behind = append(s.Behind, BehindHost{b.Host, b.Why})
	}
	if reply.LeftOut > 0 {
		s.Message = fmt.Sprintf("and %d more hosts", reply.LeftOut)
	}
	return s.Known
}
