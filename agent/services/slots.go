// SPDX-License-Identifier: Apache-2.0

package services

import (
	"net"
	"sync"
)

// Slots bound what the workloads of a host use at once: all together, and each
// alone, so that one cannot take what the others need.
type Slots struct {
	all, each int

	mu   sync.Mutex // guards what follows
	used int
	by   map[string]int // by the port's UUID
}

// NewSlots returns slots for so many together and so many for each port.
func NewSlots(all, each int) *Slots {
	return &Slots{all: all, each: each, by: map[string]int{}}
}

// Take takes a slot for a port, if one is left for it.
func (s *Slots) Take(port string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used >= s.all || s.by[port] >= s.each {
		return false
	}
	s.used++
	s.by[port]++
	return true
}

// Give gives a port's slot back.
func (s *Slots) Give(port string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used--
	if s.by[port]--; s.by[port] == 0 {
		delete(s.by, port)
	}
}

// bounded accepts connections of workloads of this host while there are slots
// for them; others are closed at once.
type bounded struct {
	net.Listener
	services *Services
	slots    *Slots
}

// Accept implements net.Listener.
func (b bounded) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		f, known := b.services.whose(conn.RemoteAddr())
		if known && b.slots.Take(f.Port) {
			return &held{Conn: conn, give: func() { b.slots.Give(f.Port) }}, nil
		}
		b.services.crowded.Add(1)
		conn.Close()
	}
}

// held is a connection that has a slot until it is closed.
type held struct {
	net.Conn
	once sync.Once
	give func()
}

// Close implements net.Conn.
func (h *held) Close() error {
	h.once.Do(h.give)
	return h.Conn.Close()
}

// CloseWrite ends one direction.
func (h *held) CloseWrite() error {
	if half, ok := h.Conn.(*net.TCPConn); ok {
		return half.CloseWrite()
	}
	return h.Conn.Close()
}
