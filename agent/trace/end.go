// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

// end tells the verdict and what whoever follows the packet needs.
func (a *answer) end(t vrouter.Trace, reason vrouter.Reason) {
	a.add(api.TraceVerdict, t.Verdict, api.TracedHow)
	if reason.Name != "" {
		a.add(api.TraceReason, reason.Name, api.TracedHow)
		a.add(api.TraceText, reason.Text, api.TracedHow)
	}
	id, is := a.ports[t.Redirect]
	if t.VLAN != 0 {
		id, is = a.tagged[tag{t.Redirect, int(t.VLAN)}]
	}
	if is && t.Verdict == "delivered" {
		a.add("workload", a.names[id], api.TracedHow)
		a.add(api.TraceReceiver, id, api.TracedHow)
	}
	a.copies(t)
	if t.Verdict == "routed" {
		a.follow(t)
	}
	if t.Tunnel != nil && t.Verdict == "answered" {
		a.add("answer", fmt.Sprintf("through the tunnel, VNI %d to %v", t.Tunnel.VNI, t.Tunnel.Remote), api.TracedHow)
		return
	}
	if t.Tunnel == nil {
		return
	}
	local := t.Tunnel.Local
	if !local.IsValid() { // the kernel would choose
		if local = a.underlay.IPv4; t.Tunnel.Remote.Is6() {
			local = a.underlay.IPv6
		}
	}
	a.add(api.TraceRemote, t.Tunnel.Remote.String(), api.TracedHow)
	a.add(api.TraceLocal, local.String(), api.TracedHow)
	a.add(api.TraceVNI, strconv.FormatUint(uint64(t.Tunnel.VNI), 10), api.TracedHow)
	a.frame(t)
	if t.Tunnel.Encapsulation == vrouter.EncapsulationMPLSUDP {
		a.add(api.TraceLabelled, "true", api.TracedHow)
	}
	for _, f := range a.Underlay.Toward(t.Tunnel.Remote, local) {
		if f[0] != "tunnel device" || t.Tunnel.Encapsulation == vrouter.EncapsulationVXLAN {
			a.add(f[0], f[1], api.QueriedHow)
		}
	}
}

func (a *answer) frame(t vrouter.Trace) {
	a.add(api.TraceFrame, strings.TrimRight(hex.EncodeToString(t.Frame), "0")+pad(t.Frame), api.TracedHow)
	a.add(api.TraceFrameSize, strconv.Itoa(len(t.Frame)), api.TracedHow)
}

// copies tells where those of a flooded frame go.
func (a *answer) copies(t vrouter.Trace) {
	for _, c := range t.Copies {
		switch {
		case c.Tunnel != nil:
			a.add("copy", fmt.Sprintf("VNI %d to %v", c.Tunnel.VNI, c.Tunnel.Remote), api.TracedHow)
		case c.VLAN != 0:
			a.add("copy", fmt.Sprintf("to port %s, VLAN %d of interface %s", a.names[a.tagged[tag{c.Redirect, int(c.VLAN)}]], c.VLAN, a.devices[c.Redirect]), api.TracedHow)
		default:
			a.add("copy", fmt.Sprintf("to port %s on interface %s", a.names[a.ports[c.Redirect]], a.devices[c.Redirect]), api.TracedHow)
		}
	}
}

// follow says on which host the workload is that a frame without encapsulation
// is for, if it is for one.
func (a *answer) follow(t vrouter.Trace) {
	_, to := endsOf(t.Frame)
	if !to.IsValid() {
		return
	}
	_ = a.Loop.Do(a.ctx, func(c *host.Core) { // fails only at the end
		rows := c.Rows()
		for bits := to.BitLen(); bits >= 0; bits-- {
			r, is := rows.Routes[desired.RouteKey{VRF: a.port.VRF, Prefix: netip.PrefixFrom(to, bits).Masked()}]
			if !is {
				continue
			}
			if e, known := rows.Endpoints[r.Host]; known {
				a.add(api.TraceNextHost, e.Name, api.ReadHow)
				a.frame(t)
			}
			return
		}
	})
}

// pad completes the last byte of hexadecimal text whose zeros at the end were cut.
func pad(frame []byte) string {
	if len(strings.TrimRight(hex.EncodeToString(frame), "0"))%2 == 1 {
		return "0"
	}
	return ""
}
