// SPDX-License-Identifier: Apache-2.0

package hoststream

import (
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// namesBit marks the numbers of the tables of names; no VRF has it.
const namesBit = 1 << 31

// NamesFrom is less than any number of a table of names, and greater than all others.
const NamesFrom = namesBit

// NamesOf is the number of the table in which the names of a project are.
// Hardly ever do two projects share one; a host then has the names of both.
func NamesOf(project string) uint32 { return uint32(xxhash.Sum64String(project)) | namesBit }

// balancersBit marks the numbers of the tables of load-balancers, which are split
// by load-balancer, for a network may have very many; no VRF has it.
const balancersBit = 1 << 30

// BalancerParts is into how many tables the load-balancers of a network are split.
const BalancerParts = 64

// BalancersIn is the number of the table of one part of a network's load-balancers.
func BalancersIn(vrf, part uint32) uint32 { return balancersBit | part<<24 | vrf }

// BalancersOf is the number of the table in which a load-balancer is.
func BalancersOf(vrf uint32, balancer string) uint32 {
	return BalancersIn(vrf, uint32(xxhash.Sum64String(balancer))%BalancerParts)
}

// BalancersVRF is the VRF of a table of load-balancers; 0: it is none.
func BalancersVRF(table uint32) uint32 {
	if table&namesBit != 0 || table&balancersBit == 0 {
		return 0
	}
	return table & (1<<24 - 1)
}

// TableOf tells of which network (by VRF) or of which projects' names a row is,
// by its key: that is the table of a TableSum. Rows of neither are in table 0.
func TableOf(key string) uint32 {
	class, rest, _ := strings.Cut(key, "/")
	switch class {
	case "route", "vrf", "tunnel-source", "subnet", "mac":
		number, _, _ := strings.Cut(rest, "/")
		n, _ := strconv.ParseUint(number, 10, 32) // no number: as any other row
		return uint32(n)
	case "listener", "member":
		number, rest, _ := strings.Cut(rest, "/")
		balancer, _, _ := strings.Cut(rest, "/")
		if n, err := strconv.ParseUint(number, 10, 24); err == nil {
			return BalancersOf(uint32(n), balancer)
		}
	case "name":
		project, _, _ := strings.Cut(rest, "/")
		return NamesOf(project)
	}
	return 0
}

// SumOf is what a row adds to the sum of its table. hash is that of its body.
func SumOf(key string, hash uint64) uint64 {
	buffer := make([]byte, 0, 128)
	buffer = append(append(buffer, key...), 0)
	return xxhash.Sum64(binary.BigEndian.AppendUint64(buffer, hash))
}

// Sums sums up rows by table, ordered as the first row of each.
func Sums(rows []*RowHash) []*TableSum {
	var sums []*TableSum
	of := map[uint32]*TableSum{}
	for _, r := range rows {
		table := TableOf(r.Key)
		s := of[table]
		if s == nil {
			s = &TableSum{Table: table}
			of[table] = s
			sums = append(sums, s)
		}
		s.Sum += SumOf(r.Key, r.Hash)
	}
	return sums
}
