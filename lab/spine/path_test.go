// SPDX-License-Identifier: Apache-2.0

package spine

import (
	"strings"
	"testing"

	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/tenants"
)

// testPath follows the way between joined networks with the tools people use:
// one router, which is the gateway of the sender's subnet.
func testPath(t *testing.T, s *system) {
	t.Helper()
	for _, to := range redDB1.Addresses() {
		gateway := tenants.Web.V4.Addr().Next().String()
		if to.Is6() {
			gateway = tenants.Web.V6.Addr().Next().String()
		}
		for _, argv := range [][]string{{"traceroute", "-n", "-m", "4", to.String()}, {"tracepath", "-n", "-m", "4", to.String()}} {
			out, err := namespace.Run(s.namespace(redWeb1), argv...)
			if err != nil || !strings.Contains(out, gateway+" ") || strings.Contains(out, "*") {
				t.Errorf("%v: %v, want only %s between\n%s", argv, err, gateway, out)
			}
			if argv[0] == "tracepath" && !strings.Contains(out, "Resume: pmtu 1500 hops 2") {
				t.Errorf("%v: want 1500 bytes and two hops\n%s", argv, out)
			}
		}
	}
}
