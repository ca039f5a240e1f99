// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/api"
)

// captured asks a host for frames, until it has all there are, and returns them.
func (m *machine) captured(q *api.CaptureQuestion) (state api.CaptureState, frames []api.CapturedFrame) {
	m.t.Helper()
	for more := true; more; more = state.More {
		var t api.Table
		for _, r := range m.controller.table(q.Table()).Rows {
			t.Rows = append(t.Rows, r.Cells)
		}
		var some []api.CapturedFrame
		var err error
		if state, some, err = api.ParseCapture(t); err != nil {
			m.t.Fatal(err)
		}
		q.Begin = false
		for _, f := range some {
			if f.Sequence != q.After+1 {
				m.t.Fatalf("frame %d follows frame %d", f.Sequence, q.After)
			}
			q.After = f.Sequence
			frames = append(frames, f)
		}
	}
	return state, frames
}

// echo is what matters of a frame of an echo.
func echo(f api.CapturedFrame) string {
	b, request, way := f.Bytes, map[byte]string{8: "asks", 128: "asks", 0: "answers", 129: "answers"}, "out"
	if f.In {
		way = "in"
	}
	at := map[int]int{0x0800: 34, 0x86dd: 54}[number(b[12:])]
	if at == 0 || len(b) < at+8 {
		return fmt.Sprintf("%s % x", way, b)
	}
	return fmt.Sprintf("%s %s %d of %d", way, request[b[at]], number(b[at+6:]), f.Length)
}

// number is that of two bytes.
func number(b []byte) int { return int(b[0])<<8 | int(b[1]) }

// What a workload sends and what is delivered to it is captured, each frame once,
// in the order it passed, in both families, from the same host and from another;
// and only what was asked for.
func TestCapture(t *testing.T) {
	for _, attachment := range []string{"auto", "clsact"} {
		t.Run(attachment, func(t *testing.T) { captureWith(t, attachment) })
	}
}

func captureWith(t *testing.T, attachment string) {
	m := twoHosts(t, tunnels4)
	for i := range m {
		m[i].arguments = []string{"--attachment", attachment}
		m[i].start(tunnels4[i])
		m[i].agent.waitReady(t)
	}
	together(m, tunnels4, 100)
	w := map[int]string{}
	for n, at := range placed {
		w[n] = namespace(t, "w"+strconv.Itoa(n))
		m[at].mustPlug(portID(100, n), w[n])
	}
	for _, n := range []int{11, 12} {
		for _, to := range ips(n) {
			reaches(t, w[10], to.String())
			for _, direction := range []string{api.CaptureOut, api.CaptureIn, api.CaptureBoth} {
				m[0].capturesPings(w[10], to, direction)
			}
		}
	}
	m[0].cutsAndCounts(w[10])
	m[0].refusesCaptures()
	m[0].losesCapturesOnly(w[10], w[12])
	m[0].leavesNothing(w[10])
}

// capturesPings captures pings at port 10.
func (m *machine) capturesPings(from string, to netip.Addr, direction string) {
	m.t.Helper()
	q := api.CaptureQuestion{ID: direction + to.String(), Port: portName(100, 10), Direction: direction, Begin: true, Filter: "(icmp or icmp6) and host " + to.String()}
	if to.Is6() {
		q.Filter += " and greater 100" // longer than neighbour discovery is
	}
	m.captured(&q)
	out, err := ping(m.t, from, to.String(), "-c", "3", "-i", "0.01", "-W", "5")
	if err != nil {
		m.t.Fatalf("ping %v: %v\n%s", to, err, out)
	}
	q.Stop = true
	state, frames := m.captured(&q)
	length := map[bool]int{true: 98, false: 118}[to.Is4()]
	var got, want []string
	for i := range 3 {
		if direction != api.CaptureIn {
			want = append(want, fmt.Sprintf("out asks %d of %d", i+1, length))
		}
		if direction != api.CaptureOut {
			want = append(want, fmt.Sprintf("in answers %d of %d", i+1, length))
		}
	}
	for _, f := range frames {
		got = append(got, echo(f))
		if len(f.Bytes) != f.Length || f.Time.Before(state.Began.Add(-patience)) || f.Time.After(state.Began.Add(patience)) {
			m.t.Errorf("%d bytes of %d at %v, of a capture that began at %v", len(f.Bytes), f.Length, f.Time, state.Began)
		}
	}
	if strings.Join(got, ", ") != strings.Join(want, ", ") || state.Lost != 0 || state.Matched != uint64(len(want)) || state.Ended == "" {
		m.t.Errorf("%s, direction %s: %+v\n %v\nwant\n %v", q.Filter, direction, state, got, want)
	}
}

// cutsAndCounts ends by itself, keeps as much as is asked for, and tells an answer
// that did not arrive again.
func (m *machine) cutsAndCounts(from string) {
	m.t.Helper()
	to := ips(12)[0].String()
	q := api.CaptureQuestion{ID: "cut", Port: portID(100, 10), Begin: true, Filter: "icmp", Length: 60, Count: 4}
	m.captured(&q)
	reaches(m.t, from, to)
	again := q
	state, frames := m.captured(&q)
	if len(frames) != 4 || state.Ended == "" || state.Matched < 4 {
		m.t.Errorf("%d frames and %+v, want 4 and the end", len(frames), state)
	}
	for _, f := range frames {
		if len(f.Bytes) != 60 || f.Length != 98 {
			m.t.Errorf("kept %d bytes of %d, want 60 of 98", len(f.Bytes), f.Length)
		}
	}
	if _, repeated := m.captured(&again); len(repeated) != 4 || !bytes.Equal(repeated[3].Bytes, frames[3].Bytes) {
		m.t.Errorf("asked again for what was told: %d frames", len(repeated))
	}
	sampled := api.CaptureQuestion{ID: "sampled", Port: portID(100, 10), Begin: true, Filter: "icmp", OneOf: 1 << 30}
	m.captured(&sampled)
	reaches(m.t, from, to)
	sampled.Stop = true
	if state, frames = m.captured(&sampled); state.Matched != 6 || state.PassedOver+uint64(len(frames)) != 6 {
		m.t.Errorf("of six frames one of %d: %d frames and %+v", sampled.OneOf, len(frames), state)
	}
	short := api.CaptureQuestion{ID: "short", Port: portID(100, 10), Begin: true, Duration: 1}
	m.captured(&short)
	eventually(m.t, func() error {
		if state, _ := m.captured(&short); !strings.Contains(state.Ended, "time is over") {
			return fmt.Errorf("a capture of a nanosecond goes on: %+v", state)
		}
		return nil
	})
}

func (m *machine) refusesCaptures() {
	m.t.Helper()
	for _, c := range []struct {
		q     api.CaptureQuestion
		words string
	}{
		{api.CaptureQuestion{ID: "x", Port: "d:p:nowhere", Begin: true}, "not bound to this host"},
		{api.CaptureQuestion{ID: "x", Port: portID(100, 10), Begin: true, Filter: "port http"}, "write numbers"},
		{api.CaptureQuestion{ID: "x", Port: portID(100, 10), After: 5}, "it has ended"},
		{api.CaptureQuestion{ID: "x", Begin: true}, "needs an id"},
		{api.CaptureQuestion{ID: "x", Port: "p", Direction: "up", Begin: true}, "not in, out or both"},
	} {
		if reply := m.controller.ask(c.q.Table()); !strings.Contains(reply.Error, c.words) {
			m.t.Errorf("%+v: %q, want an error with %q", c.q, reply.Error, c.words)
		}
	}
	// Captures that ended are remembered for a while, and no more than four.
	eventually(m.t, func() error {
		for i := range 5 {
			reply := m.controller.ask(api.CaptureQuestion{ID: fmt.Sprint("many", i), Port: portID(100, 10), Begin: true}.Table())
			if strings.Contains(reply.Error, "no more may") {
				return nil
			}
		}
		m.t.Fatal("five captures run at a time")
		return nil
	})
	eventually(m.t, func() error { // nobody asks any more
		q := api.CaptureQuestion{ID: "later", Port: portID(100, 10), Begin: true}
		if reply := m.controller.ask(q.Table()); reply.Error != "" {
			return fmt.Errorf("nobody asks for captures, and still %s", reply.Error)
		}
		q.Stop = true
		m.captured(&q)
		return nil
	})
}

// losesCapturesOnly sends more than a capture holds that nobody reads: all of it
// arrives, and what the capture lacks is counted.
func (m *machine) losesCapturesOnly(from, to string) {
	m.t.Helper()
	const datagrams = 12_000
	q := api.CaptureQuestion{ID: "flood", Port: portID(100, 12), Direction: api.CaptureIn, Begin: true, Filter: "udp port 9"}
	eventually(m.t, func() error {
		if reply := m.controller.ask(q.Table()); reply.Error != "" {
			return fmt.Errorf("begin: %s", reply.Error)
		}
		return nil
	})
	var receiver *net.UDPConn
	inside(m.t, to, func() (err error) {
		if receiver, err = net.ListenUDP("udp", &net.UDPAddr{IP: ips(12)[0].AsSlice(), Port: 9}); err != nil {
			return err
		}
		raw, err := receiver.SyscallConn()
		if err != nil {
			return err
		}
		var set error
		err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 128<<20) })
		if err == nil {
			err = set
		}
		return err
	})
	defer receiver.Close()
	inside(m.t, from, func() error {
		c, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: ips(12)[0].AsSlice(), Port: 9})
		if err != nil {
			return err
		}
		defer c.Close()
		for range datagrams {
			if _, err := c.Write(make([]byte, 1000)); err != nil {
				return err
			}
		}
		return nil
	})
	m.controller.ask(q.Table()) // begun already: keeps it going
	arrived, buffer := 0, make([]byte, 2000)
	eventually(m.t, func() error {
		for {
			if err := receiver.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
				return err
			}
			if _, err := receiver.Read(buffer); err != nil {
				break
			}
			arrived++
		}
		if arrived != datagrams {
			return fmt.Errorf("%d of %d datagrams arrived while they were captured", arrived, datagrams)
		}
		return nil
	})
	q.Stop, q.Begin = true, false
	state, frames := m.captured(&q)
	if state.Matched != datagrams || state.Lost == 0 || uint64(len(frames))+state.Lost != datagrams {
		m.t.Errorf("captured %d and %+v of %d datagrams", len(frames), state, datagrams)
	}
}

// leavesNothing kills the agent amid a capture. The next one has no program of a
// capture left, and the port works.
func (m *machine) leavesNothing(from string) {
	m.t.Helper()
	q := api.CaptureQuestion{ID: "killed", Port: portID(100, 10), Begin: true}
	eventually(m.t, func() error {
		if reply := m.controller.ask(q.Table()); reply.Error != "" {
			return fmt.Errorf("begin: %s", reply.Error)
		}
		return nil
	})
	state, _ := m.captured(&q)
	if in, out := m.programs(state.Interface); in != 2 || out != 1 {
		m.t.Errorf("%d programs at ingress and %d at egress while a capture runs, want 2 and 1", in, out)
	}
	m.agent.stop(m.t, syscall.SIGKILL)
	reaches(m.t, from, ips(12)[0].String())
	m.start(tunnels4[0])
	m.agent.waitReady(m.t)
	eventually(m.t, func() error {
		if in, out := m.programs(state.Interface); in != 1 || out != 0 {
			return fmt.Errorf("%d programs at ingress and %d at egress after the agent was killed amid a capture", in, out)
		}
		return nil
	})
	reaches(m.t, from, ips(12)[0].String())
}

// programs counts those on an interface.
func (m *machine) programs(name string) (ingress, egress int) {
	m.t.Helper()
	inside(m.t, m.ns, func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		for at, count := range map[ebpf.AttachType]*int{ebpf.AttachTCXIngress: &ingress, ebpf.AttachTCXEgress: &egress} {
			r, err := link.QueryPrograms(link.QueryOptions{Target: l.Attrs().Index, Attach: at})
			if errors.Is(err, syscall.EINVAL) || errors.Is(err, ebpf.ErrNotSupported) {
				break // the kernel has no tcx
			}
			if err != nil {
				return err
			}
			*count += len(r.Programs)
		}
		for parent, count := range map[uint32]*int{netlink.HANDLE_MIN_INGRESS: &ingress, netlink.HANDLE_MIN_EGRESS: &egress} {
			filters, err := netlink.FilterList(l, parent)
			if err != nil {
				return err
			}
			*count += len(filters)
		}
		return nil
	})
	return ingress, egress
}
