// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"context"
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/stream"
	"github.com/weft-network/weft/control/world"
)

// knowers is a network with port a on h1 and another on h2, one that imports it with
// a port on h3, and one that does not.
const knowers = pair + `
host h3 192.0.2.3
host h4 192.0.2.4
network red 11
subnet red 10.0.1.0/24
port red c
bind c h3
network green 12
port green d
bind d h4
policy p any any
attach p blue
attach p red`

// known asks as a host who is behind with port a.
func (c *controller) known(host string, has placement.Version) (string, error) {
	c.t.Helper()
	config := &tls.Config{RootCAs: c.ca.pool(), ServerName: "127.0.0.1", Certificates: []tls.Certificate{*c.ca.host(host)}}
	connection, err := grpc.NewClient(c.address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		c.t.Fatal(err)
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(c.t.Context(), deadline)
	defer cancel()
	reply, err := hoststream.NewHostStreamClient(connection).Known(ctx, &hoststream.KnownRequest{Port: world.UUID(api.KindPort, "a"), Version: &hoststream.Version{Epoch: has.Epoch, Revision: has.Revision}})
	var behind []string
	for _, b := range reply.GetBehind() {
		behind = append(behind, b.Host+": "+b.Why)
	}
	if waiting := reply.GetWaiting(); int(waiting) != len(behind)-strings.Count(strings.Join(behind, " "), "not connected") {
		c.t.Errorf("%d hosts to wait for of %q", waiting, behind)
	}
	return strings.Join(behind, ", "), err
}

// TestWhoKnowsOfAPort: the host that has a port hears which hosts with routes to it,
// of its network and of one that imports it, do not have what it has itself; nobody
// else does.
func TestWhoKnowsOfAPort(t *testing.T) {
	w, ca := world.New(knowers), newAuthority(t)
	c := newController(t, ca, stream.Options{Epoch: 1, Patience: 100 * time.Millisecond})
	c.publish(w)
	first := c.Plan().Version
	want := func(what, behind string) {
		t.Helper()
		if got, err := c.known("h1", first); err != nil || got != behind {
			t.Errorf("%s: behind are %q (%v), want %q", what, got, err, behind)
		}
	}
	want("nobody is connected", "h2: not connected, h3: not connected")
	h2 := c.dial(ca.host("h2"))
	h2.hello(nil)
	h2.delta()
	want("one has not acknowledged", "h2: has not acknowledged it yet, h3: not connected")
	h2.ack()
	settled := func(host string) {
		t.Helper()
		c.until(host+" to have everything", func() bool { return c.Host(world.UUID(api.KindHost, host)).Settled == first })
	}
	settled("h2")
	want("one has", "h3: not connected")
	h3 := c.dial(ca.host("h3"))
	h3.hello(nil)
	h3.delta()
	h3.ack(&hoststream.RowError{Key: "route/11/10.0.0.6/32", Error: "of another port"})
	settled("h3")
	want("all have", "")
	h3.ack(&hoststream.RowError{Key: "route/11/10.0.0.5/32", Error: "table is full"})
	c.until("an error", func() bool { return len(c.Host(world.UUID(api.KindHost, "h3")).RowErrors) > 0 })
	c.until("the other error", func() bool {
		return c.Host(world.UUID(api.KindHost, "h3")).RowErrors["route/11/10.0.0.5/32"] != ""
	})
	want("one cannot", "h3: table is full")
	w.Do("port blue e\naddress blue 10.0.0.9 e\nbind e h1")
	c.publish(w)
	want("something newer is on its way", "h3: table is full")
	if behind, err := c.known("h1", c.Plan().Version); err != nil || behind != "h2: has not acknowledged it yet, h3: has not acknowledged it yet" {
		t.Errorf("who has that: behind are %q, %v", behind, err)
	}
	if _, err := c.known("h1", placement.Version{Epoch: 1, Revision: 1 << 40}); status.Code(err) != codes.Unavailable {
		t.Errorf("a controller that knows less than the host: %v", err)
	}
	if _, err := c.known("h2", first); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a host that has not the port: %v", err)
	}
}
