// SPDX-License-Identifier: Apache-2.0

package spine

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/tenants"
)

// followed is how long a dropped packet may take to be printed: ten times the goal.
const followed = 10 * time.Second

// nowhere is in no network, so what is sent there ends with the reason no-route.
var nowhere = []netip.Addr{netip.MustParseAddr("10.99.0.77"), netip.MustParseAddr("fd99::77")}

// into sends one datagram from a workload.
func (s *system) into(t *testing.T, from tenants.Workload, to netip.AddrPort) {
	t.Helper()
	err := namespace.Do(s.namespace(from), func() error {
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("nobody is there"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// follower is a running weft drops --follow.
type follower struct {
	c     *exec.Cmd
	lines chan string // closed when it ends
	ended chan error
	said  bytes.Buffer
}

func (s *system) follow(t *testing.T, words ...string) *follower {
	t.Helper()
	r, w := io.Pipe()
	f := &follower{c: exec.Command(filepath.Join(binaries, "weft"), append([]string{"drops", "--follow", "--interval", "500ms"}, words...)...), lines: make(chan string, 1000), ended: make(chan error, 1)}
	f.c.Env = append(os.Environ(), "WEFT_CONFIG="+s.lab.ConfigFile())
	f.c.Stdout, f.c.Stderr = w, &f.said
	if err := f.c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		err := f.c.Wait()
		_ = w.Close() // of a pipe it does not fail
		f.ended <- err
	}()
	go func() {
		defer close(f.lines)
		for lines := bufio.NewScanner(r); lines.Scan(); {
			f.lines <- lines.Text()
		}
	}()
	t.Cleanup(func() { _ = f.c.Process.Kill() }) // has ended if all went well
	return f
}

// end interrupts it as people do, and returns what it printed since.
func (f *follower) end(t *testing.T) (rest []string) {
	t.Helper()
	if err := f.c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	for line := range f.lines {
		rest = append(rest, line)
	}
	if err := <-f.ended; err != nil || f.said.Len() > 0 {
		t.Errorf("weft drops --follow ended with %v and said %q, want success and nothing", err, f.said.String())
	}
	return rest
}

// waits for the line of a packet to an address; of what comes before all must be of
// the port that is followed.
func (f *follower) waits(t *testing.T, to string, within time.Duration) (line string, found bool) {
	t.Helper()
	timeout := time.After(within)
	for {
		select {
		case line, open := <-f.lines:
			switch {
			case !open:
				t.Fatalf("weft drops --follow has ended: %v; it said %q", <-f.ended, f.said.String())
			case strings.Contains(line, tenants.Blue+":"):
				t.Errorf("a drop of another port is told: %s", line)
			case strings.Contains(line, to):
				return line, true
			}
		case <-timeout:
			return "", false
		}
	}
}

// testFollow follows the drops of a port: each packet that is dropped from then on
// is a line with host, ends by name, and reason, soon; those of others are none.
// An interrupt ends it well.
func testFollow(t *testing.T, s *system) {
	for _, words := range [][]string{{"--port", redWeb1.Port()}, {"--port", redWeb1.Port(), "-o", "json"}} {
		f := s.follow(t, words...)
		begun := false
		for began := time.Now(); !begun; { // being asked is what makes a host record
			if time.Since(began) > settle {
				t.Fatal("nothing is followed")
			}
			first := nowhere[0].Next()
			s.into(t, redWeb1, netip.AddrPortFrom(first, 4000))
			_, begun = f.waits(t, first.String(), time.Second)
		}
		for i, a := range nowhere {
			to := netip.AddrPortFrom(a, uint16(4100+i))
			s.into(t, blueWeb1, to)
			began := time.Now()
			s.into(t, redWeb1, to)
			line, found := f.waits(t, a.String(), followed)
			if !found {
				t.Fatalf("a packet to %v that was dropped is not told within %v", to, followed)
			}
			t.Logf("told after %v: %s", time.Since(began), line)
			for _, want := range []string{redWeb1.HostName(), redWeb1.Port(), redWeb1.Addresses()[i].String(), a.String(), "udp", "no-route"} {
				if !strings.Contains(line, want) {
					t.Errorf("the line does not have %q: %s", want, line)
				}
			}
		}
		for _, line := range f.end(t) {
			if strings.Contains(line, nowhere[0].String()) || strings.Contains(line, nowhere[1].String()) || strings.Contains(line, tenants.Blue+":") {
				t.Errorf("it told of more than was dropped: %s", line)
			}
		}
	}
}
