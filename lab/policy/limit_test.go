// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/lab/namespace"
)

// limited has workloads of its own host and of another connect to a port that may have
// three conversations: three hold, a fourth is refused by its reason in either family, and
// begins when one of the others has ended.
func (s *system) limited(t *testing.T) {
	const few, port = 3, 7000
	w := Workload{"few", redWeb, 2, 98}
	s.write(t, newcomer(w, func(p *api.Port) { p.Spec.ConnectionLimit = few })...)
	if err := s.lab.AddWorkload(w.Short()); err != nil {
		t.Fatal(err)
	}
	if err := s.lab.Plug(t.Context(), w.Host, w.Port(), w.Short()); err != nil {
		t.Fatal(err)
	}
	s.settled(t)
	s.accept(t, w, port)
	from := []Workload{find(t, "red-w1"), find(t, "red-w3"), find(t, "red-w4")}
	var open []net.Conn
	for i := range few {
		c, err := s.dial(from[i], w.Addresses()[i%2], port, slowPatience)
		if err != nil {
			t.Fatalf("connection %d of %d: %v", i+1, few, err)
		}
		defer c.Close()
		open = append(open, c)
	}
	for i, a := range w.Addresses() {
		if c, err := s.dial(from[i], a, port, patience); err == nil {
			c.Close()
			t.Fatalf("a connection to %v beyond the limit of %d", a, few)
		}
	}
	if out, err := s.lab.Weft(t.Context(), "drops", "--by", "reason"); err != nil || !strings.Contains(out, "connection-limit") {
		t.Errorf("weft drops does not tell of the limit: %v\n%s", err, out)
	}
	open[0].Close() // the other end does likewise: its place comes back
	deadline := time.Now().Add(settle)
	for i := 0; ; i++ {
		c, err := s.dial(from[i%len(from)], w.Addresses()[i%2], port, patience)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no connection begins after one has ended: %v", err)
		}
	}
}

// dial connects from a workload.
func (s *system) dial(from Workload, to netip.Addr, port int, patience time.Duration) (c net.Conn, err error) {
	err = namespace.Do(s.namespace(from), func() (err error) {
		c, err = net.DialTimeout("tcp", net.JoinHostPort(to.String(), strconv.Itoa(port)), patience)
		return err
	})
	return c, err
}

// accept has a workload take connections, and keep each until its other end closes it.
func (s *system) accept(t *testing.T, w Workload, port int) {
	t.Helper()
	var l net.Listener
	err := namespace.Do(s.namespace(w), func() (err error) {
		l, err = net.Listen("tcp", net.JoinHostPort("::", strconv.Itoa(port)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = c.Read(make([]byte, 1)) // ends with the connection
			}()
		}
	}()
}
