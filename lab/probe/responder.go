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

	"github.com/weft-network/weft/lab/namespace"
)

// ResponderPort is where responders listen, UDP and TCP, IPv4 and IPv6.
const ResponderPort = 7007

// maxAnswer is the longest name a responder gives.
const maxAnswer = 256

// Responder answers everything with its name.
type Responder struct {
	name string
	udp  net.PacketConn
	tcp  net.Listener
	wait sync.WaitGroup
}

// Answering starts a responder inside a namespace. Close ends it.
func Answering(ns, name string) (*Responder, error) {
	r := &Responder{name: name}
	err := namespace.Do(ns, func() error {
		var err error
		address := fmt.Sprintf("[::]:%d", ResponderPort)
		if r.udp, err = net.ListenPacket("udp", address); err != nil {
			return err
		}
		if r.tcp, err = net.Listen("tcp", address); err != nil {
			r.udp.Close()
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("start responder in %s: %w", ns, err)
	}
	r.wait.Go(r.serveUDP)
	r.wait.Go(r.serveTCP)
	return r, nil
}

// Close ends the responder and waits for it.
func (r *Responder) Close() {
	r.udp.Close()
	r.tcp.Close()
	r.wait.Wait()
}

func (r *Responder) serveUDP() {
	buf := make([]byte, maxAnswer)
	for {
		_, from, err := r.udp.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			r.udp.WriteTo([]byte(r.name), from) // a lost answer shows at the asker
		}
	}
}

func (r *Responder) serveTCP() {
	for {
		c, err := r.tcp.Accept()
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
