// SPDX-License-Identifier: Apache-2.0

package attachment_test

import (
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/attachment"
)

// The UUID is for ever: ports that were made by one release are found by another.
func TestPortIsForEver(t *testing.T) {
	const uid = "0a1b2c3d-0000-4000-8000-000000000001"
	got, err := attachment.Port("k8s", uid, "eth0")
	if want := "f5b3c0e2-3066-5ca6-8cfa-a7cd14306c0e"; err != nil || got != want || !api.IsUUID(got) {
		t.Errorf("port %s, %v; want %s", got, err, want)
	}
	for _, other := range [][3]string{{"k8s-2", uid, "eth0"}, {"k8s", uid, "net1"}, {"k8s", "0a1b2c3d00004000800000000000000a", "eth0"}} {
		if is, err := attachment.Port(other[0], other[1], other[2]); err != nil || is == got {
			t.Errorf("port of %v is %s, %v", other, is, err)
		}
	}
	for _, odd := range [][3]string{{"", uid, "eth0"}, {"k8s", "", "eth0"}, {"k8s", uid, ""}, {"k8s/" + uid, "x", "eth0"}} {
		if is, err := attachment.Port(odd[0], odd[1], odd[2]); err == nil {
			t.Errorf("port of %q is %s", odd, is)
		}
	}
}
