// SPDX-License-Identifier: Apache-2.0

package dhcp4

import (
	"slices"
	"strconv"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// forClient leaves out the options that are for other clients.
func forClient(options []Option, q *dhcpv4.DHCPv4) (told []Option) {
	for _, o := range options {
		if o.isFor(q) {
			told = append(told, o)
		}
	}
	return told
}

func (o Option) isFor(q *dhcpv4.DHCPv4) bool {
	if len(o.Architectures) > 0 && !slices.ContainsFunc(architectures(q), func(a iana.Arch) bool { return slices.Contains(o.Architectures, uint16(a)) }) {
		return false
	}
	return o.UserClass == "" || slices.Contains(q.UserClass(), o.UserClass)
}

// architectures are what a client says its machine is: in an option of its own
// (RFC 4578), or, in firmware that is older, as part of its vendor class:
// PXEClient:Arch:00007:UNDI:003016.
func architectures(q *dhcpv4.DHCPv4) []iana.Arch {
	if said := q.ClientArch(); len(said) > 0 {
		return said
	}
	_, rest, found := strings.Cut(q.ClassIdentifier(), ":Arch:")
	if !found {
		return nil
	}
	digits, _, _ := strings.Cut(rest, ":")
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return nil
	}
	return []iana.Arch{iana.Arch(n)}
}

// httpClient begins the vendor class of firmware that boots by HTTP. It takes a
// boot file only from who says that it is meant (UEFI, section 24.7.3).
const httpClient = "HTTPClient"

func acceptHTTP(r, q *dhcpv4.DHCPv4) {
	if strings.HasPrefix(q.ClassIdentifier(), httpClient) && r.Options.Has(dhcpv4.OptionBootfileName) && !r.Options.Has(dhcpv4.OptionClassIdentifier) {
		r.UpdateOption(dhcpv4.OptClassIdentifier(httpClient))
	}
}
