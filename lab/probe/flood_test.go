// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/lab/namespace"
)

// What a flood sends from an address that nobody has arrives whole, in both families.
func TestFloodArrives(t *testing.T) {
	asker, other := pair(t)
	r, err := Answering(other, "other", 80)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for from, to := range map[string]string{"10.0.0.99": "10.0.0.2", "fd00::99": "fd00::2"} {
		connected(t, asker, to) // what waits for an answer of the neighbour is dropped beyond some
		before := segments(t, other)
		const count = 200
		sent, err := Flood{Namespace: asker, From: netip.MustParseAddr(from), To: netip.MustParseAddr(to), Port: 443, Count: count}.Run(10 * time.Second)
		if err != nil || sent != count {
			t.Fatalf("sent %d from %s: %v", sent, from, err)
		}
		wait(t, func() bool { return segments(t, other)["InSegs"]-before["InSegs"] >= count })
		if after := segments(t, other); after["InCsumErrors"] != before["InCsumErrors"] {
			t.Errorf("from %s: %d wrong checksums", from, after["InCsumErrors"]-before["InCsumErrors"])
		}
	}
}

// connected waits until a namespace connects to an address.
func connected(t *testing.T, ns, to string) {
	t.Helper()
	wait(t, func() bool {
		found, err := Sweep(ns, []Attempt{{To: netip.MustParseAddr(to), Protocol: ProtocolTCP, Port: 80}}, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		return found[0].Finding == Connected
	})
}

// segments are a namespace's counters of TCP, of both families.
func segments(t *testing.T, ns string) map[string]int {
	t.Helper()
	counters := map[string]int{}
	err := namespace.Do(ns, func() error {
		text, err := os.ReadFile("/proc/thread-self/net/snmp")
		if err != nil {
			return err
		}
		var lines [][]string
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); f[0] == "Tcp:" {
				lines = append(lines, f)
			}
		}
		if len(lines) != 2 {
			return fmt.Errorf("read the counters of TCP: %d lines", len(lines))
		}
		for _, name := range []string{"InSegs", "InCsumErrors"} {
			i := slices.Index(lines[0], name)
			if counters[name], err = strconv.Atoi(lines[1][max(0, i)]); err != nil {
				return fmt.Errorf("read counter %s: %w", name, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return counters
}
