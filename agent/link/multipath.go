// SPDX-License-Identifier: Apache-2.0

package link

import (
	"encoding/binary"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// hashedUplink is the interface through which the kernel sends a packet of UDP between two
// addresses of IPv6, in the network namespace of the caller.
//
// Among the hops of a multipath route it picks by a hash of addresses and protocol, whose
// seed is another one after each boot, and it does so for frames that the packet path sends
// out of one of the interfaces, too: such a frame would be sent to the router behind another
// interface. So what is asked must be what is sent. Of IPv4 the kernel picks among the hops of
// the interface alone.
func hashedUplink(source, remote netip.Addr) (index int, known bool) {
	request := nl.NewNetlinkRequest(unix.RTM_GETROUTE, unix.NLM_F_REQUEST)
	request.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET6, Dst_len: 128, Src_len: 128}})
	request.AddData(nl.NewRtAttr(unix.RTA_DST, remote.AsSlice()))
	request.AddData(nl.NewRtAttr(unix.RTA_SRC, source.AsSlice()))
	request.AddData(nl.NewRtAttr(unix.RTA_IP_PROTO, []byte{unix.IPPROTO_UDP}))
	answers, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE)
	if err != nil || len(answers) == 0 || len(answers[0]) < unix.SizeofRtMsg {
		return 0, false
	}
	attributes, err := nl.ParseRouteAttr(answers[0][unix.SizeofRtMsg:])
	if err != nil {
		return 0, false
	}
	for _, a := range attributes {
		if a.Attr.Type == unix.RTA_OIF && len(a.Value) == 4 {
			return int(binary.NativeEndian.Uint32(a.Value)), true
		}
	}
	return 0, false
}
