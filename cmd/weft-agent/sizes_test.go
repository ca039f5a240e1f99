// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/weft-network/weft/vrouter"
)

func TestTableSizes(t *testing.T) {
	got, err := sizesOf(map[string]int64{"routes": 7, "connections": 9})
	if want := (vrouter.Sizes{Routes4: 7, Routes6: 7, Connections: 9}); err != nil || got != want {
		t.Errorf("sizes %+v (%v), want %+v", got, err, want)
	}
	for given, words := range map[string]map[string]int64{"no table is named": {"pizzas": 4}, "not from 1": {"ports": 0}} {
		if _, err := sizesOf(words); err == nil || !strings.Contains(err.Error(), given) {
			t.Errorf("%v: error %v, want %q", words, err, given)
		}
	}
}
