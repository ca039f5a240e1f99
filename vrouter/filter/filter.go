// SPDX-License-Identifier: Apache-2.0

// Package filter reads which frames somebody wants to see, in the words that
// tcpdump has for it, and compiles that to eBPF. It does no I/O.
//
// The words are those of pcap-filter(7) for Ethernet, IPv4, IPv6, ARP and the
// protocols above: host, net, port, portrange and proto, with src, dst and the name
// of a protocol before them; protocols by themselves; less and greater; and, or,
// not and parentheses. What they mean is what they mean to tcpdump, which a test
// compares. Names of hosts and services are not looked up.
package filter

import (
	"encoding/binary"
	"slices"
)

// Filter says which frames are wanted. The zero value wants all.
type Filter struct {
	text string
	root node // nil: everything
}

// String is the text that was read.
func (f Filter) String() string { return f.text }

// node is a condition over others, or a test.
type node interface{ isNode() }

type (
	// all of the conditions, in this order.
	all []node
	// any of them.
	some []node
	not  struct{ of node }
)

// where a test's bytes begin.
type where int

const (
	atFrame   where = iota // an offset from the frame's beginning
	atPayload              // from the end of the IPv4 header, which says its length
	atLength               // the length of the frame itself
)

// test compares some bytes of the frame, as a number of the network's order.
type test struct {
	from   where
	offset int
	size   int    // 1, 2 or 4
	mask   uint32 // 0: all of it
	least  uint32 // at least
	most   uint32 // and at most
}

func (all) isNode()  {}
func (some) isNode() {}
func (not) isNode()  {}
func (test) isNode() {}

// is tests for one value.
func is(offset, size int, value uint32) test {
	return test{offset: offset, size: size, least: value, most: value}
}

// masked tests for one value of some bits.
func masked(offset, size int, mask, value uint32) test {
	return test{offset: offset, size: size, mask: mask, least: value & mask, most: value & mask}
}

// Match tells whether a frame is wanted, by the conditions and not by the program
// that is made of them.
func (f Filter) Match(frame []byte) bool {
	if f.root == nil {
		return true
	}
	matched, whole := match(f.root, frame)
	return matched && whole
}

// match tells also whether the frame had all bytes that were looked at: one that
// does not have them is not wanted, whatever else is said.
func match(n node, frame []byte) (matched, whole bool) {
	switch n := n.(type) {
	case all:
		for _, c := range n {
			if matched, whole = match(c, frame); !matched || !whole {
				return false, whole
			}
		}
		return true, true
	case some:
		for _, c := range n {
			if matched, whole = match(c, frame); matched || !whole {
				return matched, whole
			}
		}
		return false, true
	case not:
		matched, whole = match(n.of, frame)
		return !matched, whole
	case test:
		return n.match(frame)
	}
	return false, false
}

func (t test) match(frame []byte) (matched, whole bool) {
	offset := t.offset
	switch t.from {
	case atLength:
		return uint32(len(frame)) >= t.least && uint32(len(frame)) <= t.most, true
	case atPayload:
		if len(frame) <= ipv4 {
			return false, false
		}
		offset += ipv4 + int(frame[ipv4]&0xf)*4
	}
	if offset+t.size > len(frame) {
		return false, false
	}
	word := make([]byte, 4)
	copy(word[4-t.size:], frame[offset:offset+t.size])
	value := binary.BigEndian.Uint32(word)
	if t.mask != 0 {
		value &= t.mask
	}
	return value >= t.least && value <= t.most, true
}

// tests counts what a condition looks at.
func tests(n node) (count int) {
	switch n := n.(type) {
	case all:
		for c := range slices.Values(n) {
			count += tests(c)
		}
	case some:
		for c := range slices.Values(n) {
			count += tests(c)
		}
	case not:
		count = tests(n.of)
	case test:
		count = 1
	}
	return count
}
