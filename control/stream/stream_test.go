// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/stream"
	"github.com/weft-network/weft/control/world"
)

const pair = `host h1 192.0.2.1
host h2 192.0.2.2
network blue 10
subnet blue 10.0.0.0/24
port blue a
port blue b
address blue 10.0.0.5 a
address blue 10.0.0.6 b
bind a h1
bind b h2`

var h1, h2 = world.UUID(api.KindHost, "h1"), world.UUID(api.KindHost, "h2")

// keys prints what a delta says, by names.
func keys(w *world.World, d *hoststream.Delta) string {
	var b strings.Builder
	for _, r := range d.Put {
		fmt.Fprintf(&b, "put %s\n", r.Key)
	}
	for _, key := range d.Delete {
		fmt.Fprintf(&b, "delete %s\n", key)
	}
	if d.InSync {
		b.WriteString("in sync\n")
	}
	return w.Names(b.String())
}

const all = `put tunnel-endpoint/<h2>
put tunnel-source/10/<h2>
put vrf/10
put subnet/10/<blue:10.0.0.0/24>
put name/project-p/<b>
put name/project-p/<a>
put port/<a>
put route/10/10.0.0.1/32
put route/10/10.0.0.5/32
put route/10/10.0.0.6/32
in sync
`

func TestHelloIsAnsweredByTheDifference(t *testing.T) {
	w := world.New(pair)
	ca := newAuthority(t)
	c := newController(t, ca, stream.Options{Epoch: 1})
	c.publish(w)
	a := c.dial(ca.host("h1"))
	a.hello(nil)
	if got := keys(w, a.delta()); got != all {
		t.Errorf("a host with nothing is sent\n%s\nwant\n%s", got, all)
	}
	a.ack()
	c.until("settled", func() bool { return c.Host(h1).Settled == c.Plan().Version })
	for _, s := range c.Rows(h1, c.Plan().For(h1)) {
		if !s.Acked {
			t.Errorf("a row is %+v after everything was acknowledged", s)
		}
	}
	if s := c.Host(h1); !s.Connected || !s.InSync || s.AgentVersion != "v1" || s.Kernel != "6.1" || s.Host.Name != "h1" {
		t.Errorf("host state: %+v", s)
	}

	w.Do("port blue c\naddress blue 10.0.0.7 c\nbind c h2\nremove address blue:10.0.0.6")
	c.publish(w)
	b := placement.MACKey(10, api.MACFromUUID(world.UUID(api.KindPort, "b"))) // it has no address now
	want := "put " + b + "\nput name/project-p/<c>\nput route/10/10.0.0.7/32\ndelete route/10/10.0.0.6/32\ndelete name/project-p/<b>\nin sync\n"
	if got := keys(w, a.delta()); got != want {
		t.Errorf("an edit sends\n%s\nwant\n%s", got, want)
	}

	// What does not concern the host is not sent to it; the next delta is of
	// what does.
	w.Do("network red 20\nport red r q\naddress red 10.0.0.5 r\nbind r h2")
	c.publish(w)
	w.Do("remove binding a:h1")
	c.publish(w)
	want = `delete route/10/10.0.0.1/32
delete route/10/10.0.0.5/32
delete route/10/10.0.0.7/32
delete port/<a>
delete subnet/10/<blue:10.0.0.0/24>
delete ` + b + `
delete vrf/10
delete tunnel-source/10/<h2>
delete name/project-p/<a>
delete name/project-p/<c>
delete tunnel-endpoint/<h2>
in sync
`
	if got := keys(w, a.delta()); got != want || len(a.rows) != 0 {
		t.Errorf("the last port leaving sends\n%s\nwant\n%s", got, want)
	}
	c.until("counted", func() bool {
		m := values(t, c.Server)
		return m["weft_stream_deltas_total"] == 3 && m["weft_stream_acks_total"] == 1 && m["weft_stream_sessions"] == 1 &&
			m["weft_stream_hosts_behind"] == 1 && m["weft_stream_rows_total"] > 6 && m["weft_control_revision"] == float64(c.Plan().Version.Revision)
	})
}

// values are the metrics of a server by name.
func values(t *testing.T, s *stream.Server) map[string]float64 {
	registry := prometheus.NewRegistry()
	registry.MustRegister(s.Metrics()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]float64{}
	for _, f := range families {
		m[f.GetName()] = f.GetMetric()[0].GetCounter().GetValue() + f.GetMetric()[0].GetGauge().GetValue()
	}
	return m
}

// A controller that was started again, and an agent that connects again, agree
// by the difference: rows that are there already are not sent.
func TestRestartResumesByDifference(t *testing.T) {
	w := world.New(pair)
	ca := newAuthority(t)
	first := newController(t, ca, stream.Options{Epoch: 1})
	first.publish(w)
	a := first.dial(ca.host("h1"))
	a.hello(nil)
	a.delta()
	a.ack()
	first.Close()
	if code := status.Code(a.refusal()); code != codes.Unavailable {
		t.Errorf("a controller that shuts down ends streams with %v", code)
	}

	second := newController(t, ca, stream.Options{Epoch: 1})
	second.publish(w)
	b := second.dial(ca.host("h1"))
	b.rows = a.rows
	b.hello(a.last.Version)
	if got := keys(w, b.delta()); got != "in sync\n" {
		t.Errorf("an agent that has everything is sent\n%s", got)
	}
	b.ack()
	second.until("settled", func() bool { return second.Host(h1).Settled == second.Plan().Version })
	if n := second.Host(h1).RowsSent; n != 0 {
		t.Errorf("%d rows were sent after the restart", n)
	}

	// Meanwhile one row changed, one is of a network long gone, one is missing.
	w.Do("network blue 10 1400")
	third := newController(t, ca, stream.Options{Epoch: 1})
	third.publish(w)
	d := third.dial(ca.host("h1"))
	d.rows = b.rows
	delete(d.rows, "route/10/10.0.0.6/32")
	d.rows["route/99/10.0.0.6/32"] = []byte("x")
	d.hello(a.last.Version)
	want := "put port/<a>\nput route/10/10.0.0.6/32\ndelete route/99/10.0.0.6/32\nin sync\n"
	if got := keys(w, d.delta()); got != want {
		t.Errorf("an agent that has other rows is sent\n%s\nwant\n%s", got, want)
	}
}

func TestNewerStreamReplacesTheOlder(t *testing.T) {
	w := world.New(pair)
	ca := newAuthority(t)
	c := newController(t, ca, stream.Options{Epoch: 1})
	c.publish(w)
	a := c.dial(ca.host("h1"))
	a.hello(nil)
	a.delta()
	b := c.dial(ca.host("h1"))
	b.hello(nil)
	b.delta()
	if code := status.Code(a.refusal()); code != codes.Aborted {
		t.Errorf("the older stream ends with %v", code)
	}
	if !c.Host(h1).Connected {
		t.Error("the host counts as not connected after its older stream ended")
	}
	w.Do("remove address blue:10.0.0.6")
	c.publish(w)
	if got := keys(w, b.delta()); !strings.Contains(got, "delete route/10/10.0.0.6/32") {
		t.Errorf("the newer stream is sent %s", got)
	}
	b.close()
	c.until("disconnected", func() bool { return !c.Host(h1).Connected })
}

// An agent that does not acknowledge is sent a bounded number of deltas, and
// then, in one, what it missed.
func TestSlowAgentCoalesces(t *testing.T) {
	w := world.New(pair)
	ca := newAuthority(t)
	c := newController(t, ca, stream.Options{Epoch: 1})
	c.publish(w)
	a := c.dial(ca.host("h1"))
	a.hello(nil)
	a.delta()
	for i := range 200 {
		w.Do(fmt.Sprintf("port blue x%d\naddress blue 10.0.1.%d x%d\nbind x%d h2", i, i, i, i))
		c.publish(w)
	}
	a.ack()
	deltas := 1
	for len(a.rows) < 410 || a.last.Version.Revision < w.Revision() {
		a.delta()
		deltas++
		if a.last.Sequence >= 4 {
			a.ack()
		}
	}
	if deltas > 10 {
		t.Errorf("200 changes came in %d deltas", deltas)
	}
	// The other host was not held up.
	b := c.dial(ca.host("h2"))
	b.hello(nil)
	if d := b.delta(); !d.InSync || len(d.Put) != 610 {
		t.Errorf("the other host is sent %d rows, in sync %t", len(d.Put), d.InSync)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	w := world.New(pair)
	ca, other := newAuthority(t), newAuthority(t)
	c := newController(t, ca, stream.Options{Epoch: 1, Patience: 10 * time.Millisecond})
	c.publish(w)
	issue := func(name, role string, uris ...string) *tls.Certificate {
		cert := ca.issue(name, role, uris...)
		return &cert
	}
	for _, s := range []struct {
		name string
		cert *tls.Certificate
		want codes.Code
	}{
		{"no certificate", nil, codes.Unavailable}, // refused by TLS
		{"another CA", other.host("h1"), codes.Unavailable},
		{"an administrator", issue("admin", "weft:admin", "weft:host:"+h1), codes.PermissionDenied},
		{"no role", issue("h1", "", "weft:host:"+h1), codes.PermissionDenied},
		{"no UUID", issue("h1", "weft:host"), codes.PermissionDenied},
		{"a UUID of something else", issue("h1", "weft:host", "weft:port:"+h1), codes.PermissionDenied},
		{"a URI of another scheme", issue("h1", "weft:host", "other:host:"+h1), codes.PermissionDenied},
		{"no name", issue("", "weft:host", "weft:host:"+h1), codes.PermissionDenied},
		{"another host's name", issue("h2", "weft:host", "weft:host:"+h1), codes.PermissionDenied},
		{"a host that does not exist", ca.host("h9"), codes.PermissionDenied},
	} {
		a := c.dial(s.cert)
		if a.stream != nil {
			a.stream.Send(&hoststream.HostMessage{Body: &hoststream.HostMessage_Hello{Hello: &hoststream.Hello{}}})
			if err := a.refusal(); status.Code(err) != s.want {
				t.Errorf("%s: %v, want %v", s.name, err, s.want)
			}
		} else if s.want != codes.Unavailable {
			t.Errorf("%s: the stream was not opened", s.name)
		}
	}
	if n := len(c.Hosts()); n != 0 {
		t.Errorf("%d hosts are connected", n)
	}
}

func TestDeletedHostIsDisconnected(t *testing.T) {
	w := world.New(pair)
	ca := newAuthority(t)
	c := newController(t, ca, stream.Options{Epoch: 1})
	c.publish(w)
	a := c.dial(ca.host("h1"))
	a.hello(nil)
	a.delta()
	w.Do("remove host h1")
	c.publish(w)
	if err := a.refusal(); status.Code(err) != codes.PermissionDenied {
		t.Errorf("the stream of a deleted host ends with %v", err)
	}
}

// Nothing older than what the host has is sent: a controller that is behind
// waits until it is not, or sends the agent elsewhere; an older epoch is refused.
func TestOlderIsNeverSent(t *testing.T) {
	w := world.New(pair)
	ca := newAuthority(t)
	c := newController(t, ca, stream.Options{Epoch: 5})
	publish := func(revision int) {
		for int(w.Revision()) < revision {
			w.Do("network blue 10")
		}
		c.Publish(placement.New(5, routing.Derive(w), nil))
	}
	publish(20)
	old := c.Plan()
	a := c.dial(ca.host("h1"))
	a.hello(&hoststream.Version{Epoch: 5, Revision: 30})
	publish(25)
	publish(30)
	if d := a.delta(); d.Version.Revision != 30 {
		t.Errorf("a host at revision 30 is sent revision %d", d.Version.Revision)
	}
	c.Publish(old)
	if c.Plan() == old {
		t.Error("an older plan replaced a newer one")
	}

	b := c.dial(ca.host("h2"))
	b.hello(&hoststream.Version{Epoch: 4, Revision: 900})
	if d := b.delta(); d.Version.Epoch != 5 {
		t.Errorf("a host of an older epoch is sent %v", d.Version)
	}
	e := c.dial(ca.host("h2"))
	e.hello(&hoststream.Version{Epoch: 6, Revision: 1})
	if err := e.refusal(); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a host of a newer epoch: %v", err)
	}

	behind := newController(t, ca, stream.Options{Epoch: 5, Patience: 10 * time.Millisecond})
	behind.Publish(old)
	f := behind.dial(ca.host("h1"))
	f.hello(&hoststream.Version{Epoch: 5, Revision: 30})
	if err := f.refusal(); status.Code(err) != codes.Unavailable {
		t.Errorf("a controller that stays behind: %v", err)
	}
	unread := newController(t, ca, stream.Options{Epoch: 5, Patience: 10 * time.Millisecond})
	g := unread.dial(ca.host("h1"))
	g.hello(nil)
	if err := g.refusal(); status.Code(err) != codes.Unavailable {
		t.Errorf("a controller that has read nothing: %v", err)
	}
}

func TestProtocolErrorsEndTheStream(t *testing.T) {
	ca := newAuthority(t)
	c := newController(t, ca, stream.Options{Epoch: 1})
	c.publish(world.New(pair))
	report := &hoststream.HostMessage{Body: &hoststream.HostMessage_Report{Report: &hoststream.Report{}}}
	hello := &hoststream.HostMessage{Body: &hoststream.HostMessage_Hello{Hello: &hoststream.Hello{}}}
	early := &hoststream.HostMessage{Body: &hoststream.HostMessage_Ack{Ack: &hoststream.Ack{Sequence: 99}}}
	for name, messages := range map[string][]*hoststream.HostMessage{
		"a report before hello": {report}, "two hellos": {hello, hello}, "an ack of the future": {hello, early},
	} {
		a := c.dial(ca.host("h1"))
		for _, m := range messages {
			a.stream.Send(m)
		}
		if err := a.refusal(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	a := c.dial(ca.host("h1"))
	a.hello(nil)
	a.delta()
	if err := a.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := a.refusal(); !errors.Is(err, io.EOF) {
		t.Errorf("a stream the agent closes ends with %v", err)
	}
}

func TestLiveTables(t *testing.T) {
	w := world.New(pair)
	ca := newAuthority(t)
	c := newController(t, ca, stream.Options{Epoch: 1})
	c.publish(w)
	code := func(err error) api.Code {
		var e *api.Error
		if !errors.As(err, &e) {
			t.Fatalf("want an api.Error, got %v", err)
		}
		return e.Code
	}
	if _, err := c.Table(t.Context(), h1, api.HostTablePorts); code(err) != api.CodeUnavailable {
		t.Errorf("a table of a host that is not connected: %v", err)
	}
	a := c.dial(ca.host("h1"))
	a.hello(nil)
	a.delta()
	type result struct {
		table api.Table
		err   error
	}
	results := make(chan result, 1)
	ask := func(ctx context.Context, table string) *hoststream.TableRequest {
		go func() {
			table, err := c.Table(ctx, h1, table)
			results <- result{table, err}
		}()
		m, err := a.stream.Recv()
		if err != nil || m.GetTableRequest() == nil {
			t.Fatalf("received %v %v, want a table request", m, err)
		}
		return m.GetTableRequest()
	}
	reply := func(r *hoststream.TableReply) {
		a.send(&hoststream.HostMessage{Body: &hoststream.HostMessage_TableReply{TableReply: r}})
	}

	q := ask(t.Context(), api.HostTablePorts)
	reply(&hoststream.TableReply{Id: q.Id + 77}) // nobody's
	reply(&hoststream.TableReply{Id: q.Id, Columns: []string{"PORT", "STATE"}, Rows: []*hoststream.TableRow{{Cells: []string{"x", "up"}}}})
	if r := <-results; r.err != nil || q.Table != "ports" || fmt.Sprint(r.table.Columns, r.table.Rows) != "[PORT STATE] [[x up]]" {
		t.Errorf("asked for %s, got %v %v", q.Table, r.table, r.err)
	}
	q = ask(t.Context(), "nonsense")
	reply(&hoststream.TableReply{Id: q.Id, Error: "no such table"})
	if r := <-results; code(r.err) != api.CodeInvalid || !strings.Contains(r.err.Error(), "no such table") {
		t.Errorf("an error of the agent: %v", r.err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ask(ctx, api.HostTableDrops)
	cancel()
	if r := <-results; code(r.err) != api.CodeTimeout {
		t.Errorf("no answer: %v", r.err)
	}
	ask(t.Context(), api.HostTableDrops)
	a.close()
	if r := <-results; code(r.err) != api.CodeUnavailable {
		t.Errorf("the host goes away: %v", r.err)
	}
}
