// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/lab/namespace"
)

// exchangePort is where echoers listen.
const exchangePort = 5301

// exchangeTimeout bounds each wait of an exchange.
var exchangeTimeout = unix.Timeval{Sec: 5}

// echoer answers every byte with itself, one connection after the other, on a
// thread of its own with blocking calls: what Go's scheduler adds would hide
// what the path costs. With a core of its own it has to be woken for each byte,
// as on another host; on the client's core the path is nearly all there is.
type echoer struct {
	listener int
	cpu      int
	ended    chan struct{}
	failed   error // to be moved to its CPU; read it after ended
}

func sockaddr(a netip.Addr, port int) (unix.Sockaddr, int) {
	if a.Is4() {
		return &unix.SockaddrInet4{Port: port, Addr: a.As4()}, unix.AF_INET
	}
	return &unix.SockaddrInet6{Port: port, Addr: a.As16()}, unix.AF_INET6
}

func newEchoer(ns string, cpu int) (*echoer, error) {
	e := &echoer{listener: -1, cpu: cpu, ended: make(chan struct{})}
	err := namespace.Do(ns, func() (err error) {
		e.listener, err = unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err == nil {
		err = unix.SetsockoptInt(e.listener, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if err == nil { // both families
		err = unix.SetsockoptInt(e.listener, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
	}
	if err == nil {
		err = unix.Bind(e.listener, &unix.SockaddrInet6{Port: exchangePort})
	}
	if err == nil {
		err = unix.Listen(e.listener, 64)
	}
	if err != nil {
		if e.listener >= 0 {
			unix.Close(e.listener)
		}
		return nil, fmt.Errorf("listen in %s: %w", ns, err)
	}
	go e.serve()
	return e, nil
}

func (e *echoer) serve() {
	defer close(e.ended)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	e.failed = onCPU(e.cpu, e.accept)
}

func (e *echoer) accept() error {
	for {
		c, _, err := unix.Accept4(e.listener, unix.SOCK_CLOEXEC)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ECONNABORTED) {
			continue
		}
		if err != nil {
			return nil // closed
		}
		answer(c)
		unix.Close(c)
	}
}

func answer(c int) {
	prepare(c)
	var b [1]byte
	for {
		if n, err := again(unix.Read, c, b[:]); n != 1 || err != nil {
			return
		}
		if _, err := again(unix.Write, c, b[:]); err != nil {
			return
		}
	}
}

// again goes on after signals, which Go sends its own threads.
func again(call func(int, []byte) (int, error), fd int, b []byte) (n int, err error) {
	for {
		if n, err = call(fd, b); !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// prepare sends at once and waits for ever on nothing; a socket that refuses
// would show in the figures.
func prepare(fd int) {
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &exchangeTimeout)
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &exchangeTimeout)
}

func (e *echoer) close() error {
	unix.Shutdown(e.listener, unix.SHUT_RDWR) // wakes accept
	<-e.ended
	return errors.Join(e.failed, unix.Close(e.listener))
}

// connect opens a connection; the caller is on a thread in the namespace.
func connect(to netip.Addr) (int, error) {
	address, family := sockaddr(to, exchangePort)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	prepare(fd)
	err = unix.Connect(fd, address)
	if errors.Is(err, unix.EINTR) { // it goes on by itself
		err = connected(fd)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// connected waits for the end of a connect that a signal interrupted.
func connected(fd int) error {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, int(exchangeTimeout.Sec)*1000)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		case n == 0:
			return unix.ETIMEDOUT
		}
		code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			err = unix.Errno(code)
		}
		return err
	}
}

// exchange sends a byte and waits for it.
func exchange(fd int) error {
	b := [1]byte{7}
	if _, err := again(unix.Write, fd, b[:]); err != nil {
		return err
	}
	n, err := again(unix.Read, fd, b[:])
	if err == nil && n != 1 {
		err = errors.New("the other side closed")
	}
	return err
}

// exchanges times a number of requests over one connection.
func exchanges(ns string, to netip.Addr, count int) ([]time.Duration, error) {
	return timed(ns, to, count, func() (func() error, func(), error) {
		fd, err := connect(to)
		return func() error { return exchange(fd) }, func() { unix.Close(fd) }, err
	})
}

// remembered is how many closed connections an end keeps for a minute. Where all
// are kept their ports stay taken, and some 14,000 connections to one server later
// each has to search for a port that is free, which takes milliseconds.
const remembered = "64"

// connections times a number of connections with one request each.
func connections(ns string, to netip.Addr, count int) ([]time.Duration, error) {
	if err := namespace.Sysctl(ns, "ipv4/tcp_max_tw_buckets", remembered); err != nil {
		return nil, err
	}
	return timed(ns, to, count, func() (func() error, func(), error) {
		return func() error {
			fd, err := connect(to)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return exchange(fd)
		}, func() {}, nil
	})
}

// timed does something many times on a thread in a namespace. The first tenth
// warms up and is not counted.
func timed(ns string, to netip.Addr, count int, begin func() (once func() error, end func(), err error)) (all []time.Duration, err error) {
	err = namespace.Do(ns, func() error {
		once, end, err := begin()
		if err != nil {
			return err
		}
		defer end()
		return onCPU(senderCPU, func() error {
			for i := range count + count/10 {
				start := time.Now()
				if err := once(); err != nil {
					return err
				}
				if i >= count/10 {
					all = append(all, time.Since(start))
				}
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("exchange bytes with %v from %s: %w", to, ns, err)
	}
	return all, nil
}
