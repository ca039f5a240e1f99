// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// Capacity is the condition of a host whose packet path's tables have little
// room left, or none: what does not fit is not in its kernel. The condition is
// absent while there is room.
const Capacity = "Capacity"

// The reasons of Capacity.
const (
	reasonFull       = "table-full"
	reasonNearlyFull = "table-nearly-full" // nine tenths
)

// capacity returns the conditions of a host with what it last said of its tables.
func capacity(old []api.Condition, tables []*hoststream.TableUse, now time.Time) []api.Condition {
	if len(tables) == 0 {
		return without(old, Capacity)
	}
	reason := reasonNearlyFull
	var words []string
	for _, t := range tables {
		how := "is more than nine tenths full, of"
		if t.Full {
			how, reason = "is full: it holds", reasonFull
		}
		words = append(words, fmt.Sprintf("%s %s %d entries", t.Table, how, t.Size))
	}
	message := strings.Join(words, "; ") + "; weft get capacity --host shows all, weft-agent run --table-size makes room"
	return conditionOf(old, api.Condition{Type: Capacity, Reason: reason, Message: bounded(message)}, now)
}

// without returns conditions but for those of a type; nil for none.
func without(old []api.Condition, kind string) []api.Condition {
	others := slices.DeleteFunc(slices.Clone(old), func(c api.Condition) bool { return c.Type == kind })
	if len(others) == 0 {
		return nil
	}
	return others
}

// conditionOf returns conditions with one that does not hold, since when it is
// so for the same reason.
func conditionOf(old []api.Condition, c api.Condition, now time.Time) []api.Condition {
	c.Since = now.UTC().Truncate(time.Second)
	if n := slices.IndexFunc(old, func(o api.Condition) bool { return o.Type == c.Type }); n >= 0 && old[n].Status == c.Status && old[n].Reason == c.Reason {
		c.Since = old[n].Since
	}
	all := append(without(old, c.Type), c)
	slices.SortFunc(all, func(a, b api.Condition) int { return strings.Compare(a.Type, b.Type) })
	return all
}
