// SPDX-License-Identifier: Apache-2.0

package spine

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/tenants"
	"github.com/weft-network/weft/lab/topology"
)

// The policies of the test: one for a port, one for its network, in which all
// that a workload gets is marked.
const qosYAML = `kind: qos-policy
meta: {name: slow, parent: red:shop}
spec:
  rules:
  - {type: bandwidth-limit, direction: egress, rate: 800, burst: 80}
  - {type: dscp-mark, dscp: 46}
---
kind: qos-policy
meta: {name: ordinary, parent: red:shop}
spec:
  rules:
  - {type: bandwidth-limit, direction: ingress, rate: 1000000}
`

// testLimits walks from a qos-policy to the packets: what the port's own says,
// what the network's says, over an agent's crash, and that nothing stays.
func testLimits(t *testing.T, s *system) {
	project := redWeb1.Project()
	s.apply(t, strings.ReplaceAll(qosYAML, "red:shop", project))
	setQoS(t, s, "slow")
	setNetworkQoS(t, s, "ordinary")
	row := func() map[string]string {
		t.Helper()
		var found map[string]string
		eventually(t, "the port has its limit", func() (bool, string) {
			all := limitsOf(t, s, redWeb1)
			found = all["egress"]
			return len(all) == 1 && found != nil, fmt.Sprint(all)
		})
		return found
	}
	if got := row()["RATE"]; got != "800 kbit/s, burst 80 kbit" {
		t.Errorf("the port's limit reads %q", got)
	}
	eventually(t, "the other port has the network's limit", func() (bool, string) {
		all := limitsOf(t, s, redWeb2)
		return len(all) == 1 && all["ingress"]["RATE"] == "1000000 kbit/s", fmt.Sprint(all)
	})
	began := time.Now()
	const sent = 400 // of 1,000 bytes: four seconds of the limit
	received, dscp := blast(t, s, redWeb3.V4(), sent)
	bound := int(100_000*time.Since(began).Seconds()+10_000)/1042 + 2 // so much passed until now; nothing had before
	if received < 8 || received > bound || dscp != 46 {
		t.Errorf("%d of %d datagrams arrived with DSCP %d, want from 8 to %d and 46", received, sent, dscp, bound)
	}
	limited, _ := strconv.Atoi(row()["LIMITED"])
	marked, _ := strconv.Atoi(row()["MARKED"])
	if limited < sent-received || marked < received {
		t.Errorf("%d of %d were limited and %d marked, and %d arrived", limited, sent, marked, received)
	}
	for words, want := range map[string]string{"port " + redWeb1.Port(): "limits of h1", "drops --port " + redWeb1.Port(): "egress-limited"} {
		if out := s.weft(t, strings.Fields(words)...); !strings.Contains(out, want) {
			t.Errorf("weft %s does not say %q:\n%s", words, want, out)
		}
	}
	if err := s.lab.Kill(topology.HostName(1)); err != nil {
		t.Fatal(err)
	}
	if received, _ := blast(t, s, redWeb3.V4(), sent); received > sent/2 {
		t.Errorf("%d of %d datagrams arrived while there was no agent", received, sent)
	}
	if err := s.lab.StartAgent(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	wantConnected(t, s, topology.HostName(1))
	if after, _ := strconv.Atoi(row()["LIMITED"]); after < limited {
		t.Errorf("%d were limited after the agent's crash, %d before", after, limited)
	}
	setQoS(t, s, "")
	setNetworkQoS(t, s, "")
	eventually(t, "no limit is left", func() (bool, string) {
		table := s.table(t, topology.HostName(1), api.HostTableLimits)
		return len(table.Rows) == 0, fmt.Sprint(table.Rows)
	})
	if received, dscp := blast(t, s, redWeb3.V4(), sent); received != sent || dscp != 0 {
		t.Errorf("%d of %d datagrams arrived with DSCP %d after the limit was taken off", received, sent, dscp)
	}
}

func qosRef(project, name string) api.Ref {
	if name == "" {
		return api.Ref{}
	}
	return api.ParseRef(project + ":" + name)
}

func setQoS(t *testing.T, s *system, name string) {
	t.Helper()
	p, err := client.Get[*api.Port](t.Context(), s.client, api.ParseRef(redWeb1.Port()))
	if err == nil {
		p.Spec.QoSPolicy = qosRef(redWeb1.Project(), name)
		_, err = s.client.Update(t.Context(), p)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func setNetworkQoS(t *testing.T, s *system, name string) {
	t.Helper()
	n, err := client.Get[*api.Network](t.Context(), s.client, api.ParseRef(redWeb1.NetworkName()))
	if err == nil {
		n.Spec.QoSPolicy = qosRef(redWeb1.Project(), name)
		_, err = s.client.Update(t.Context(), n)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// limitsOf are the rows of host 1's limits that are of a port, by direction.
func limitsOf(t *testing.T, s *system, of tenants.Workload) map[string]map[string]string {
	t.Helper()
	table := s.table(t, topology.HostName(1), api.HostTableLimits)
	all := map[string]map[string]string{}
	for _, row := range table.Rows {
		if !slices.Contains(row, of.Port()) {
			continue
		}
		cells := map[string]string{}
		for i, name := range table.Columns {
			cells[name] = row[i]
		}
		all[cells["DIRECTION"]] = cells
	}
	return all
}

// blast sends datagrams of 1,000 bytes from red web-1 to red web-3 as fast as they
// go, and tells how many arrived and the DSCP of the last one.
func blast(t *testing.T, s *system, to netip.Addr, count int) (received int, dscp byte) {
	t.Helper()
	var server *net.UDPConn
	err := namespace.Do(s.namespace(redWeb3), func() (err error) {
		if server, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 0))); err != nil {
			return err
		}
		raw, err := server.SyscallConn()
		if err != nil {
			return err
		}
		var bad error
		err = raw.Control(func(fd uintptr) {
			bad = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20), unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVTOS, 1))
		})
		return errors.Join(err, bad)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	err = namespace.Do(s.namespace(redWeb1), func() error {
		c, err := net.Dial("udp4", server.LocalAddr().String())
		if err != nil {
			return err
		}
		defer c.Close()
		for range count {
			if _, err := c.Write(make([]byte, 1000)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	data, control := make([]byte, 2048), make([]byte, 64)
	for {
		if err := server.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		_, n, _, _, err := server.ReadMsgUDP(data, control)
		if err != nil {
			return received, dscp // nothing came for a second
		}
		received++
		messages, err := syscall.ParseSocketControlMessage(control[:n])
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			dscp = m.Data[0] >> 2
		}
	}
}
