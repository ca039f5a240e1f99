// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"net/netip"
	"os"
	"testing"

	"github.com/weft-network/weft/lab/namespace"
)

// More connections than there are ports to begin them from do not run out of ports,
// nor search for them: an end remembers few that are closed.
func TestConnectionsDoNotRunOutOfPorts(t *testing.T) {
	ns := fmt.Sprintf("wl-exchange-%d", os.Getpid())
	t.Cleanup(func() {
		if err := namespace.Delete(ns); err != nil {
			t.Error(err)
		}
	})
	if err := namespace.Create(ns); err != nil {
		t.Fatal(err)
	}
	if err := namespace.Sysctl(ns, "ipv4/ip_local_port_range", "40000 40255"); err != nil {
		t.Fatal(err)
	}
	e, err := newEchoer(ns, senderCPU)
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"127.0.0.1", "::1"} {
		if took, err := connections(ns, netip.MustParseAddr(to), 1000); err != nil || len(took) != 1000 {
			t.Errorf("%d of 1000 connections to %s: %v", len(took), to, err)
		}
	}
	if err := e.close(); err != nil {
		t.Error(err)
	}
}
