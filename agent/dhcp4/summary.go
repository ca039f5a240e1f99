// SPDX-License-Identifier: Apache-2.0

package dhcp4

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Summary is what people want to know of a message.
type Summary struct {
	Kind     string // lower case, as RFC 2131 names it
	Client   string // its identifier
	HostName string // what the client calls itself
	Vendor   string // what kind of client it says it is
	Address  netip.Addr
	Time     time.Duration // of the lease
}

// maxWords bounds what is kept of the client's own words.
const maxWords = 64

// Summarize reads a message of a client or to one.
func Summarize(message []byte) (Summary, error) {
	m, err := dhcpv4.FromBytes(message)
	if err != nil {
		return Summary{}, fmt.Errorf("read DHCP message: %w", err)
	}
	s := Summary{
		Kind: strings.ToLower(m.MessageType().String()), Client: m.ClientHWAddr.String(),
		HostName: printable(m.HostName()), Vendor: printable(m.ClassIdentifier()), Time: m.IPAddressLeaseTime(0),
	}
	if id := m.Options.Get(dhcpv4.OptionClientIdentifier); len(id) > 0 {
		s.Client = hex.EncodeToString(id[:min(len(id), maxWords)])
	}
	for _, ip := range [][]byte{m.YourIPAddr, m.RequestedIPAddress(), m.ClientIPAddr} {
		if a, ok := netip.AddrFromSlice(ip); ok && !a.Unmap().IsUnspecified() {
			s.Address = a.Unmap()
			break
		}
	}
	return s, nil
}

// printable keeps what a terminal shows as it is.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, text[:min(len(text), maxWords)])
}
