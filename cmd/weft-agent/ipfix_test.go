// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"strings"
	"testing"
)

// A collector that is no part of Weft reads from an agent's IPFIX the conversations of
// both families and the packet that policy denied, with what came and names. tshark is
// that collector: it reads the messages off the wire to a socket that listens.
func TestIPFIXOfAnAgent(t *testing.T) {
	const collector = "127.0.0.1:4739"
	m := twoHosts(t, tunnels4)
	m[0].arguments = []string{"--record", "sessions,drops", "--record-ipfix", "udp://" + collector, "--record-ipfix-enterprise", "32473", "--record-only", "project=d:p"}
	inside(t, m[0].ns, func() error {
		l, err := net.ListenPacket("udp", collector) // so that the agent is not refused
		if err == nil {
			t.Cleanup(func() { l.Close() })
		}
		return err
	})
	file, _ := sniffing(t, m[0].ns, "lo", 10_000, "udp", "port", "4739")
	w := plugGuarded(t, m, told)
	var want [][]string
	for i, ip := range ips(10) {
		from := ips(11)[i]
		reaches(t, w[11], ip.String())
		c, err := dial(t, w[11], ip, 8080, answered)
		if err != nil {
			t.Fatal(err)
		}
		if err := says(c, "a word", answered); err != nil {
			t.Fatal(err)
		}
		c.Close()
		refuses(t, w[11], ip, 8082)
		way := []string{fmt.Sprintf("SrcAddr: %v\n", from), fmt.Sprintf("DstAddr: %v\n", ip), "Protocol: TCP (6)", "VRFname: d:p:net100\n", "Observation Domain Name: " + m[0].ns + "\n"}
		want = append(want,
			append([]string{"DstPort: 8080\n", "Firewall Event: Flow created (1)"}, way...),
			append([]string{"DstPort: 8080\n", "Firewall Event: Flow deleted (2)"}, way...),
			append([]string{"DstPort: 8082\n", "Firewall Event: Flow denied (3)"}, way...),
		)
	}
	eventually(t, func() error {
		text := tshark(t, file, "-V")
		flows := strings.Split(text, "\n            Flow ")[1:]
		for _, w := range want {
			if !anyHasAll(flows, w) {
				return fmt.Errorf("no record has all of %q among these: %s", w, text)
			}
		}
		return nil
	})
}

// anyHasAll tells whether one of the texts has all the words.
func anyHasAll(texts, words []string) bool {
	for _, text := range texts {
		missing := 0
		for _, w := range words {
			if !strings.Contains(text, w) {
				missing++
			}
		}
		if missing == 0 {
			return true
		}
	}
	return false
}
