// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

const transcript4 = `PING 10.0.1.12 (10.0.1.12) 56(84) bytes of data.
[1793605132.480129] no answer yet for icmp_seq=1
[1793605132.580129] 64 bytes from 10.0.1.12: icmp_seq=2 ttl=63 time=0.062 ms
[1793605132.580140] 64 bytes from 10.0.1.12: icmp_seq=2 ttl=63 time=0.071 ms (DUP!)
[1793605132.680200] 64 bytes from 10.0.1.12: icmp_seq=3 ttl=64 time=1.5 ms

--- 10.0.1.12 ping statistics ---
3 packets transmitted, 2 received, 33.3333% packet loss, time 200ms
rtt min/avg/max/mdev = 0.062/0.781/1.500/0.719 ms
`

const transcript6 = `PING fd00:1::12(fd00:1::12) 56 data bytes
[1793605132.580129] 64 bytes from fd00:1::12: icmp_seq=1 ttl=64 time=0.062 ms

--- fd00:1::12 ping statistics ---
2 packets transmitted, 1 received, +1 errors, 50% packet loss, time 200ms
`

func TestAnswerReadsPing(t *testing.T) {
	a, err := parseAnswer("ping", transcript4)
	if err != nil {
		t.Fatal(err)
	}
	if a.Sent != 3 || a.Received != 2 || len(a.Replies) != 2 || !slices.Equal(a.TTLs(), []int{63, 64}) {
		t.Errorf("IPv4: sent %d, received %d, TTLs %v, replies %+v; want 3, 2, [63 64] and no duplicate", a.Sent, a.Received, a.TTLs(), a.Replies)
	}
	first := a.Replies[0]
	if first.Seq != 2 || first.From != "10.0.1.12" || first.RTT != "0.062 ms" || first.At.UnixMicro() != 1793605132580129 {
		t.Errorf("IPv4: first reply is %+v", first)
	}
	a, err = parseAnswer("ping", transcript6)
	if err != nil {
		t.Fatal(err)
	}
	if a.Sent != 2 || a.Received != 1 || len(a.Replies) != 1 || a.Replies[0].From != "fd00:1::12" {
		t.Errorf("IPv6: %+v", a)
	}
}

func TestAnswerRefusesOutputWithoutStatistics(t *testing.T) {
	if _, err := parseAnswer("ping -x", "ping: socket: Operation not permitted"); err == nil || !strings.Contains(err.Error(), "ping -x") {
		t.Errorf("error is %v, want one that names the command", err)
	}
}

func TestArgvIsBounded(t *testing.T) {
	argv := Ping{To: netip.MustParseAddr("fd00::1"), Interval: 20 * time.Millisecond, Limit: 1500 * time.Millisecond}.argv()
	line := strings.Join(argv, " ")
	if !strings.Contains(line, "-6") || !strings.Contains(line, "-i 0.02") || !strings.Contains(line, "-w 2 ") {
		t.Errorf("arguments are %q", line)
	}
}
