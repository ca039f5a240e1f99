// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

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

func TestConnectionTimeouts(t *testing.T) {
	got, err := timeoutsOf(map[string]string{"udp": "30s", "opening": "5s"})
	if want := (vrouter.Timeouts{UDP: 30 * time.Second, Opening: 5 * time.Second}); err != nil || got != want {
		t.Errorf("time-outs %+v (%v), want %+v", got, err, want)
	}
	for given, words := range map[string]map[string]string{
		"nothing is named": {"pizza": "4s"}, "not from 1s": {"tcp": "10ms"}, "to 720h": {"tcp": "721h"}, "invalid duration": {"tcp": "soon"},
	} {
		if _, err := timeoutsOf(words); err == nil || !strings.Contains(err.Error(), given) {
			t.Errorf("%v: error %v, want %q", words, err, given)
		}
	}
}

// Every time-out can be given.
func TestEveryTimeoutHasAName(t *testing.T) {
	var all vrouter.Timeouts
	named := slices.Collect(maps.Values(timeoutFields(&all)))
	for _, f := range reflect.VisibleFields(reflect.TypeOf(all)) {
		if !slices.Contains(named, reflect.ValueOf(&all).Elem().FieldByIndex(f.Index).Addr().Interface().(*time.Duration)) {
			t.Errorf("--connection-timeout has no name for %s", f.Name)
		}
	}
}

// Every table that has a size can be given one.
func TestEveryTableHasASize(t *testing.T) {
	var s vrouter.Sizes
	fields := sizeFields(&s)
	for _, f := range reflect.VisibleFields(reflect.TypeOf(s)) {
		field, is := reflect.ValueOf(&s).Elem().FieldByIndex(f.Index).Addr().Interface().(*uint32)
		named := slices.ContainsFunc(slices.Collect(maps.Values(fields)), func(targets []*uint32) bool { return slices.Contains(targets, field) })
		if is && !named {
			t.Errorf("--table-size has no name for %s", f.Name)
		}
	}
}
