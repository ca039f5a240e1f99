// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/lab/namespace"
)

const (
	datagramPort = 5302
	// datagramSize makes an Ethernet frame of 64 bytes, the smallest, in IPv4.
	datagramSize = 18
	// datagramBatch is how many one system call sends or receives, so that what
	// system calls cost does not hide what the path costs.
	datagramBatch = 64
	senderCPU     = 0 // which receives for all veths too, see rpsCPUs
	receiverCPU   = 1
)

// message is struct mmsghdr of the kernel.
type message struct {
	header unix.Msghdr
	length uint32
	_      [4]byte
}

// batch is room for messages of datagramSize bytes on a connected socket.
type batch struct {
	messages [datagramBatch]message
	vectors  [datagramBatch]unix.Iovec
	bytes    [datagramBatch][datagramSize]byte
}

func newBatch() *batch {
	b := &batch{}
	for i := range b.messages {
		b.vectors[i].Base = &b.bytes[i][0]
		b.vectors[i].SetLen(datagramSize)
		b.messages[i].header.Iov = &b.vectors[i]
		b.messages[i].header.SetIovlen(1)
	}
	return b
}

// move sends or receives up to a batch of messages and returns how many.
func (b *batch) move(call uintptr, fd int, flags uintptr) (int, error) {
	n, _, errno := unix.Syscall6(call, uintptr(fd), uintptr(unsafe.Pointer(&b.messages)), datagramBatch, flags, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// onCPU runs f with the thread, which the caller has locked, on one CPU.
func onCPU(cpu int, f func() error) error {
	var before, only unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("read the thread's CPUs: %w", err)
	}
	only.Set(cpu)
	if err := unix.SchedSetaffinity(0, &only); err != nil {
		return fmt.Errorf("move the thread to CPU %d: %w", cpu, err)
	}
	return errors.Join(f(), unix.SchedSetaffinity(0, &before))
}

// sink counts the datagrams that arrive at a workload.
type sink struct {
	fd    int
	count atomic.Uint64
	stop  atomic.Bool
	ended chan error
}

func newSink(ns string) (*sink, error) {
	s := &sink{fd: -1, ended: make(chan error, 1)}
	err := namespace.Do(ns, func() (err error) {
		s.fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err == nil {
		err = errors.Join(
			unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0), // both families
			unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
			unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 20_000}),
			unix.Bind(s.fd, &unix.SockaddrInet6{Port: datagramPort}))
	}
	if err != nil {
		if s.fd >= 0 {
			unix.Close(s.fd)
		}
		return nil, fmt.Errorf("listen for datagrams in %s: %w", ns, err)
	}
	go func() { s.ended <- namespace.Do(ns, func() error { return onCPU(receiverCPU, s.receive) }) }()
	return s, nil
}

func (s *sink) receive() error {
	b := newBatch()
	for !s.stop.Load() {
		n, err := b.move(unix.SYS_RECVMMSG, s.fd, unix.MSG_WAITFORONE)
		if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("receive datagrams: %w", err)
		}
		s.count.Add(uint64(n))
	}
	return nil
}

func (s *sink) close() error {
	s.stop.Store(true)
	return errors.Join(<-s.ended, unix.Close(s.fd))
}

// flood sends datagrams as fast as one core can and returns how many, how long
// it took, and how much of that the thread was on its core.
func flood(ns string, to netip.Addr, seconds int) (sent uint64, took, ran time.Duration, err error) {
	address, family := sockaddr(to, datagramPort)
	err = namespace.Do(ns, func() error {
		fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, address); err != nil {
			return err
		}
		return onCPU(senderCPU, func() error {
			b := newBatch()
			start, used := time.Now(), threadTime()
			for took < time.Duration(seconds)*time.Second {
				n, err := b.move(unix.SYS_SENDMMSG, fd, 0)
				if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) {
					return err
				}
				sent += uint64(n)
				took = time.Since(start)
			}
			ran = threadTime() - used
			return nil
		})
	})
	if err != nil {
		return 0, 0, 0, fmt.Errorf("send datagrams to %v from %s: %w", to, ns, err)
	}
	return sent, took, ran, nil
}

// threadTime is what the calling thread has run, in user space and the kernel.
func threadTime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
