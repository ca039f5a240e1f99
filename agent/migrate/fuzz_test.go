// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"strings"
	"testing"
)

// FuzzRow: a connection that another host tells is read or refused, and what is read
// is told so that the next host reads the same.
func FuzzRow(f *testing.F) {
	c := idle(7)
	f.Add(strings.Join(rowOf(&c), "|"))
	f.Add("6|[fe80::1%a]:1|[::ffff:10.0.0.1]:2|0|-1s|1h|1|2|3|4|of a later release")
	f.Add("6|10.0.0.1:1|10.0.0.2:2|255|2562047h47m16.854775807s|1ns|18446744073709551615|0|0|0")
	f.Add("||||")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parse(strings.Split(text, "|"))
		if err != nil {
			return
		}
		if c.Idle < 0 || c.Age < 0 || c.Local.Addr().Zone() != "" || c.Remote.Addr().Is4In6() || !moves(&c) {
			t.Errorf("%q is taken as %+v", text, c)
		}
		again, err := parse(rowOf(&c))
		if err != nil || again != c {
			t.Errorf("%+v is told as %q, and that is %+v (%v)", c, rowOf(&c), again, err)
		}
	})
}
