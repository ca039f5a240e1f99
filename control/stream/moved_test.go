// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"context"
	"crypto/tls"
	"errors"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/stream"
	"github.com/weft-network/weft/control/world"
)

// TestConnectionsOfAPortThatCame: the host that has a port hears what the hosts
// with its other bindings tell, of whom one may be silent; nobody else does.
func TestConnectionsOfAPortThatCame(t *testing.T) {
	w := world.New(pair + "\nhost h3 192.0.2.3\nhost h4 192.0.2.4\nstandby a h3\nstandby a h2\nstandby b h1")
	ca := newAuthority(t)
	a, b := world.UUID(api.KindPort, "a"), world.UUID(api.KindPort, "b")
	asked := make(chan string, 16)
	c := newController(t, ca, stream.Options{Epoch: 1, Ask: func(_ context.Context, host, table string) (api.Table, error) {
		asked <- w.Names(host) + " " + w.Names(table)
		if host == h2 {
			return api.Table{Rows: [][]string{{"6", "one"}, {"17", "two"}}}, nil
		}
		return api.Table{}, errors.New("it is gone")
	}})
	c.publish(w)
	ask := func(host, port string) (rows []string, err error) {
		config := &tls.Config{RootCAs: ca.pool(), ServerName: "127.0.0.1", Certificates: []tls.Certificate{*ca.host(host)}}
		connection, err := grpc.NewClient(c.address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		reply, err := hoststream.NewHostStreamClient(connection).Connections(ctx, &hoststream.ConnectionsRequest{Port: port})
		for _, r := range reply.GetRows() {
			rows = append(rows, r.Cells[1])
		}
		return rows, err
	}
	rows, err := ask("h1", a)
	if err != nil || !slices.Equal(rows, []string{"one", "two"}) {
		t.Errorf("h1 hears of a: %v %v", rows, err)
	}
	hosts := []string{<-asked, <-asked}
	slices.Sort(hosts)
	if want := []string{"<h2> port-connections?port=<a>", "<h3> port-connections?port=<a>"}; !slices.Equal(hosts, want) || len(asked) != 0 {
		t.Errorf("asked %v and %d more, want %v", hosts, len(asked), want)
	}
	for _, no := range []struct{ host, port string }{{"h2", a}, {"h3", a}, {"h1", b}, {"h4", a}, {"h1", "nothing"}} {
		if rows, err := ask(no.host, no.port); status.Code(err) != codes.FailedPrecondition || len(asked) != 0 {
			t.Errorf("%s, which has not the port, hears of %s: %v %v", no.host, w.Names(no.port), rows, err)
		}
	}
}
