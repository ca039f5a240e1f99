// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api"
)

// A workload of a subnet without gateway is told the way to the metadata
// address by DHCP, and it leads there. In a network of frames only, where nobody
// answers at it, no way is told, but all else is.
func TestMetadataWithoutGateway(t *testing.T) {
	var server net.Listener
	s := serve(t, api.ModeStateful, servedIPv6, func(m *machine) {
		secret := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(secret, []byte(testSecret), 0o600); err != nil {
			t.Fatal(err)
		}
		inside(t, m.ns, func() (err error) { server, err = net.Listen("tcp", "127.0.0.1:0"); return err })
		m.arguments = []string{"--metadata-upstream", "http://" + server.Addr().String(), "--metadata-secret-file", secret}
	})
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "here") })}
	go func() { _ = web.Serve(server) }() // ends with Close
	t.Cleanup(func() { web.Close() })
	rows := servedRows(api.ModeStateful, servedIPv6)
	subnet := rows[desired.SubnetRow(desired.SubnetKey{VRF: 7, ID: "s4"})].GetSubnet()
	subnet.Gateway, subnet.HostRoutes = nil, nil
	rows[desired.PortRow(servedPort)].GetPort().Addresses[0].Gateway = nil
	delete(rows, "route/7/10.0.0.1/32")
	s.controller.set(rows)
	s.controller.settled()
	told := s.client(t, "udhcpc", "-i", "eth0", "-f", "-n", "-q", "-t", "5", "-T", "1", "-s", "SCRIPT", "-O", "staticroutes")
	expect(t, "udhcpc", told, "ip=10.0.0.42\n", "169.254.169.254/32 0.0.0.0")
	inside(t, s.workload, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: servedIPv4.AsSlice(), Mask: net.CIDRMask(24, 32)}}); err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Scope: netlink.SCOPE_LINK, Dst: &net.IPNet{IP: net.IP{169, 254, 169, 254}, Mask: net.CIDRMask(32, 32)}})
	})
	if got := fetch(t, s.workload, "169.254.169.254:80"); got != "200 here" {
		t.Errorf("metadata says %s", got)
	}
	rows[desired.VRFRow(7)].GetVrf().Forwarding = api.ForwardingFrames
	s.controller.set(rows)
	s.controller.settled()
	told = s.client(t, "udhcpc", "-i", "eth0", "-f", "-n", "-q", "-t", "5", "-T", "1", "-s", "SCRIPT", "-O", "staticroutes")
	expect(t, "udhcpc", told, "ip=10.0.0.42\n")
	if strings.Contains(told, "169.254.169.254/32") {
		t.Errorf("in a network of frames only a way to metadata is told:\n%s", told)
	}
}
