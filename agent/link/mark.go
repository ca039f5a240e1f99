// SPDX-License-Identifier: Apache-2.0

package link

import (
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
)

const (
	// group is the link group ("weft" in ASCII) of every interface we make. The
	// kernel sets it as the interface comes into being, so there is no moment at
	// which one of ours could be taken for somebody else's.
	group = 0x77656674

	portAlias   = "weft:port:"
	tunnelAlias = "weft:tunnel"

	// TunnelName is the name of the vxlan device.
	TunnelName = "weft-vxlan"
)

// HostName is the name of the host side of a port's veth pair: "wf" and the
// last eleven hexadecimal digits of its UUID (names have at most 15 bytes). Two
// ports that share them are told apart by the alias.
func HostName(port string) string {
	digits := strings.ReplaceAll(port, "-", "")
	return "wf" + digits[max(0, len(digits)-11):]
}

// Ours tells whether we made an interface.
func Ours(l netlink.Link) bool { return marked(l) }

func marked(l netlink.Link) bool { return l.Attrs().Group == group }

// portOf returns the UUID of the port that an interface of ours belongs to;
// empty for one whose creation was interrupted.
func portOf(l netlink.Link) (string, bool) {
	if n := l.Attrs().Name; !marked(l) || l.Type() != "veth" || n == HostPathName || n == PathEndName || n == LabelNearName || n == LabelFarName {
		return "", false
	}
	uuid, _ := strings.CutPrefix(l.Attrs().Alias, portAlias)
	return uuid, true
}

// foreign is the refusal to touch an interface that is not ours.
func foreign(name string) error {
	return fmt.Errorf("interface %s exists and was not made by weft: rename or remove it", name)
}
