// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/lab/topology"
)

// Memory is what the tables of a host's packet path take in its kernel, in MB
// by what they are for. The agent's own is none of it.
type Memory map[string]float64

// String says it in a line.
func (m Memory) String() string {
	var words []string
	sum := 0.0
	for _, feature := range slices.Sorted(maps.Keys(m)) {
		sum += m[feature]
		words = append(words, fmt.Sprintf("%s %.1f", feature, m[feature]))
	}
	return fmt.Sprintf("%.1f MB (%s)", sum, strings.Join(words, ", "))
}

// kernelMemory asks the n-th host.
func kernelMemory(ctx context.Context, l *topology.Lab, n int) (Memory, error) {
	c, err := l.Client()
	if err != nil {
		return nil, err
	}
	t, err := c.HostTable(ctx, api.Ref{Name: topology.HostName(n)}, api.HostTableCapacity)
	if err != nil {
		return nil, err
	}
	feature, memory := slices.Index(t.Columns, "FEATURE"), slices.Index(t.Columns, "MEMORY")
	if feature < 0 || memory < 0 {
		return nil, fmt.Errorf("read memory of %s's tables: columns %v", topology.HostName(n), t.Columns)
	}
	m := Memory{}
	for _, row := range t.Rows {
		mb, _ := strconv.ParseFloat(strings.TrimSuffix(row[memory], " MB"), 64) // "-" where the kernel does not tell
		m[row[feature]] += mb
	}
	return m, nil
}
