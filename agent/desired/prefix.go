// SPDX-License-Identifier: Apache-2.0

package desired

import "net/netip"

// prefix reads a prefix without host bits.
func prefix(raw []byte, length uint32) (netip.Prefix, bool) {
	address, ok := netip.AddrFromSlice(raw)
	if !ok || int(length) > address.BitLen() {
		return netip.Prefix{}, false
	}
	p := netip.PrefixFrom(address, int(length))
	return p, p == p.Masked()
}
