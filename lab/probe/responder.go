// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/lab/namespace"
)

// ResponderPort is where responders listen, UDP and TCP, IPv4 and IPv6.
const ResponderPort = 7007

// maxAnswer is the longest name a responder gives.
const maxAnswer = 256

// Responder answers everything with its name.
type Responder struct {
	name string
	udp  []*net.UDPConn
	tcp  []net.Listener
	wait sync.WaitGroup
}

// Answering starts a responder inside a namespace, on ResponderPort if no ports
// are given. Close ends it.
func Answering(ns, name string, ports ...uint16) (*Responder, error) {
	if len(ports) == 0 {
		ports = []uint16{ResponderPort}
	}
	r := &Responder{name: name}
	err := namespace.Do(ns, func() error {
		for _, port := range ports {
			if err := r.listen(port); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("start responder in %s: %w", ns, err)
	}
	for _, c := range r.udp {
		r.wait.Go(func() { r.serveUDP(c) })
	}
	for _, l := range r.tcp {
		r.wait.Go(func() { r.serveTCP(l) })
	}
	return r, nil
}

// responderBuffer is room for what many askers send at once.
const responderBuffer = 4 << 20

func (r *Responder) listen(port uint16) error {
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.IPv6Unspecified(), port)))
	if err != nil {
		return err
	}
	r.udp = append(r.udp, udp)
	if err := onSocket(udp, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, responderBuffer)
	}); err != nil {
		return err
	}
	tcp, err := net.Listen("tcp", fmt.Sprintf("[::]:%d", port))
	if err != nil {
		return err
	}
	r.tcp = append(r.tcp, tcp)
	return nil
}

// Close ends the responder and waits for it.
func (r *Responder) Close() {
	for _, c := range r.udp {
		c.Close()
	}
	for _, l := range r.tcp {
		l.Close()
	}
	r.wait.Wait()
}

func (r *Responder) serveUDP(udp *net.UDPConn) {
	buf := make([]byte, maxAnswer)
	for {
		_, from, err := udp.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			udp.WriteTo([]byte(r.name), from) // a lost answer shows at the asker
		}
	}
}

func (r *Responder) serveTCP(tcp net.Listener) {
	for {
		c, err := tcp.Accept()
		if err != nil {
			return
		}
		c.SetDeadline(time.Now().Add(time.Second))
		c.Write([]byte(r.name)) // a lost answer shows at the asker
		c.Close()
	}
}

// ErrSilence says that nobody answered in time.
var ErrSilence = errors.New("nobody answered")

// Ask returns the name of who answers at an address, asked from a namespace
// over "udp" or "tcp".
func Ask(ctx context.Context, ns, network string, to netip.Addr) (string, error) {
	var c net.Conn
	err := namespace.Do(ns, func() error {
		var err error
		var d net.Dialer
		c, err = d.DialContext(ctx, network, netip.AddrPortFrom(to, ResponderPort).String())
		return err
	})
	if err != nil {
		return "", fmt.Errorf("ask %v over %s from %s: %w: %w", to, network, ns, ErrSilence, err)
	}
	defer c.Close()
	if until, ok := ctx.Deadline(); ok {
		c.SetDeadline(until)
	}
	buf := make([]byte, maxAnswer)
	if network == "tcp" {
		return readAll(c, buf, ns, to)
	}
	// A datagram may be lost; the question is asked again until the deadline.
	for {
		if _, err := c.Write([]byte("who?")); err != nil && ctx.Err() != nil {
			return "", fmt.Errorf("ask %v over udp from %s: %w: %w", to, ns, ErrSilence, err)
		}
		c.SetReadDeadline(time.Now().Add(askAgain))
		n, err := c.Read(buf)
		if err == nil {
			return string(buf[:n]), nil
		}
		if ctx.Err() != nil {
			return "", fmt.Errorf("ask %v over udp from %s: %w: %w", to, ns, ErrSilence, err)
		}
		if !strings.Contains(err.Error(), "timeout") { // an ICMP error: at once again would be a busy loop
			select {
			case <-ctx.Done():
			case <-time.After(askAgain):
			}
		}
	}
}

// askAgain is how long a UDP answer is waited for before asking again.
const askAgain = 200 * time.Millisecond

func readAll(c net.Conn, buf []byte, ns string, to netip.Addr) (string, error) {
	n := 0
	for n < len(buf) {
		more, err := c.Read(buf[n:])
		n += more
		if err != nil {
			break
		}
	}
	if n == 0 {
		return "", fmt.Errorf("ask %v over tcp from %s: %w", to, ns, ErrSilence)
	}
	return string(buf[:n]), nil
}
