// SPDX-License-Identifier: Apache-2.0

package services

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/names"
	"github.com/weft-network/weft/api/hoststream"
)

// Zones that followed every delta are the zones of the rows that there are,
// whatever came, went, changed or was no name.
func TestZonesEqualThoseOfAllRows(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	table := desired.New()
	followed := zones{}
	for step := range 500 {
		d := &hoststream.Delta{Version: &hoststream.Version{Epoch: 1, Revision: int64(step + 1)}}
		for range 1 + r.IntN(5) {
			key := desired.NameKey{Project: fmt.Sprint("p", r.IntN(3)), Port: fmt.Sprint(r.IntN(8))}
			if r.IntN(3) == 0 {
				d.Delete = append(d.Delete, desired.NameRow(key))
				continue
			}
			n := &hoststream.Name{Project: key.Project, Port: key.Port, Name: []string{"a", "b.a", "", "c.b.a"}[r.IntN(4)] + ".p.weft.internal"}
			for range r.IntN(3) {
				n.Addresses = append(n.Addresses, netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(4))}).AsSlice())
			}
			body, err := proto.Marshal(&hoststream.Row{Body: &hoststream.Row_Name{Name: n}})
			if err != nil {
				t.Fatal(err)
			}
			if r.IntN(10) == 0 {
				body = []byte{0xff} // unreadable: the name that was there is gone
			}
			d.Put = append(d.Put, &hoststream.EncodedRow{Key: desired.NameRow(key), Body: body})
		}
		if err := table.Apply(d); err != nil {
			t.Fatal(err)
		}
		if r.IntN(3) == 0 {
			continue // the services look now and then
		}
		changed := map[desired.NameKey]desired.Name{}
		for _, k := range table.TakeNames() {
			changed[k] = table.Names[k]
		}
		followed = followed.follow(changed)
		fresh := map[string]*names.Zone{}
		for k, n := range table.Names {
			if fresh[k.Project] == nil {
				fresh[k.Project] = names.NewZone()
			}
			fresh[k.Project].Set(k.Port, n.Name, n.Addresses)
		}
		for _, project := range []string{"p0", "p1", "p2"} {
			is, want := followed[project], fresh[project]
			if want == nil || want.Len() == 0 {
				if is != nil {
					t.Fatalf("step %d: project %s has a zone and no names", step, project)
				}
				continue
			}
			if is == nil || !is.Equal(want) {
				t.Fatalf("step %d: project %s does not have its names", step, project)
			}
		}
	}
}
