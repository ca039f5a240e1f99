// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/api/hoststream"
)

// ErrUnlike says that a row is not what its controller takes it for, before or
// after a change of it: it has to be sent whole.
var ErrUnlike = errors.New("the row is not what the controller takes it for")

// changed are the rows that a delta changes, as they are then.
func (t *Table) changed(d *hoststream.Delta) (rows []*hoststream.EncodedRow, err error) {
	for _, c := range d.Change {
		body, err := changedSelector(t.bodies[c.Key], c)
		if err != nil {
			return nil, fmt.Errorf("change row %s by delta %d: %w", c.Key, d.Sequence, err)
		}
		rows = append(rows, &hoststream.EncodedRow{Key: c.Key, Body: body})
	}
	return rows, nil
}

// changedSelector is the body of a selector's row with and without some identities.
func changedSelector(body []byte, c *hoststream.SelectorChange) ([]byte, error) {
	var row hoststream.Row
	if err := proto.Unmarshal(body, &row); err != nil || xxhash.Sum64(body) != c.Was || row.GetSelector() == nil {
		return nil, errors.Join(ErrUnlike, err)
	}
	went := make(map[uint64]bool, len(c.Went))
	for _, id := range c.Went {
		went[id] = true
	}
	s := row.GetSelector()
	s.Identities = append(slices.DeleteFunc(s.Identities, func(id uint64) bool { return went[id] }), c.Came...)
	slices.Sort(s.Identities)
	after, err := proto.MarshalOptions{Deterministic: true}.Marshal(&row)
	if err != nil || xxhash.Sum64(after) != c.Is {
		return nil, errors.Join(ErrUnlike, err)
	}
	return after, nil
}
