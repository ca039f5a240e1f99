// SPDX-License-Identifier: Apache-2.0

package dhcp6

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
)

// Summary is what people want to know of a message.
type Summary struct {
	Kind      string // lower case, as RFC 8415 names it
	Client    string // its DUID
	Addresses []netip.Addr
	Time      time.Duration // how long the addresses are valid
}

// maxShown bounds what is kept of a client's own words and wishes.
const maxShown = 64

// Summarize reads a message of a client or to one.
func Summarize(message []byte) (Summary, error) {
	m, err := dhcpv6.MessageFromBytes(message)
	if err != nil {
		return Summary{}, fmt.Errorf("read DHCPv6 message: %w", err)
	}
	s := Summary{Kind: strings.ToLower(m.MessageType.String())}
	if id := m.Options.ClientID(); id != nil {
		raw := id.ToBytes()
		s.Client = hex.EncodeToString(raw[:min(len(raw), maxShown)])
	}
	for _, ia := range m.Options.IANA() {
		for _, given := range ia.Options.Addresses() {
			a, ok := netip.AddrFromSlice(given.IPv6Addr)
			if ok && len(s.Addresses) < maxShown {
				s.Addresses = append(s.Addresses, a)
				s.Time = max(s.Time, given.ValidLifetime)
			}
		}
	}
	return s, nil
}
