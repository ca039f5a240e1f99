// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
)

// CutServed removes the senders' ends of conversations of a protocol with virtual
// addresses of which left says so, by the member that serves each: the next packet
// begins it anew. Each that is removed is told to ended, if that is not nil. One that a
// packet begins anew while it is removed is removed with it, and begins once more.
func (d *Datapath) CutServed(protocol uint8, left func(ConnectionKey, MAC) bool, ended func(ConnectionKey, Connection)) (removed int, err error) {
	now, err := ticksNow()
	if err != nil {
		return 0, err
	}
	for _, name := range slices.Backward(connectionTables) {
		var cut []layoutConnectionKey
		err := d.eachConnection(name, func(key *layoutConnectionKey, value *layoutConnectionValue) {
			member := memberOf(value)
			if key.Protocol != protocol || member == (MAC{}) || !left(connectionKeyOf(key), member) {
				return
			}
			cut = append(cut, *key)
			if ended != nil {
				ended(connectionKeyOf(key), connectionOf(now, value))
			}
		})
		if err != nil {
			return removed, err
		}
		for i := range cut {
			if err := d.maps[name].Delete(&cut[i]); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				return removed, fmt.Errorf("cut connection in table %s: %w", name, err)
			}
			removed++
		}
	}
	return removed, nil
}
