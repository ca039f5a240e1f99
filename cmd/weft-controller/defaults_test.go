// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// A new install has Tungsten's default networks, and no others; starting again
// makes none twice.
func TestControllerHasDefaultNetworks(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		p := start(t, options{dataDir: dir})
		c := p.admin()
		list, err := c.List(t.Context(), api.KindNetwork, client.ListOptions{})
		check(t, err)
		var names []string
		for _, n := range list.Items {
			names = append(names, n.Head().Meta.FQName)
		}
		slices.Sort(names)
		if want := []string{
			"default-domain:default-project:__link_local__",
			"default-domain:default-project:dci-network",
			"default-domain:default-project:default-virtual-network",
			"default-domain:default-project:ip-fabric",
		}; !slices.Equal(names, want) {
			t.Errorf("networks: %v", names)
		}
		p.end()
	}
}
