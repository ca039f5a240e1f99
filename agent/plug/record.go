// SPDX-License-Identifier: Apache-2.0

package plug

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/link"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/attachment"
)

// Record is what outlives the agent of one plug. It is written before the
// interface is made, so that nothing is ever made that nobody remembers.
type Record struct {
	Port  string     `json:"port"` // UUID
	Name  string     `json:"name"` // fully qualified
	Place link.Place `json:"place"`
	// Given is what the interface got that was made for the workload; nil if it
	// was not made here, or by an agent that did not say.
	Given *link.Settings `json:"given,omitempty"`
	// Attachment is by what a container runtime calls it; nil if none asked.
	Attachment *attachment.Key `json:"attachment,omitempty"`
	// GoneSince is when the interface was first missed; zero while it is there.
	GoneSince time.Time `json:"goneSince,omitzero"`

	adopted bool // found by its mark, without a file
}

// Records is a directory with one file a plug.
type Records struct{ dir string }

// OpenRecords makes the directory if need be.
func OpenRecords(dir string) (Records, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Records{}, fmt.Errorf("create directory of plugs: %w", err)
	}
	return Records{dir}, nil
}

func (r Records) path(port string) string { return filepath.Join(r.dir, port+".json") }

// Save writes a record.
func (r Records) Save(rec Record) error {
	if !api.IsUUID(rec.Port) { // it becomes a file name
		return fmt.Errorf("save plug: %q is not a UUID", rec.Port)
	}
	data, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		return fmt.Errorf("save plug of port %s: %w", rec.Port, err)
	}
	return desired.WriteFile(r.path(rec.Port), append(data, '\n'))
}

// Remove deletes a record. Absence is success.
func (r Records) Remove(port string) error {
	if err := os.Remove(r.path(port)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove plug of port %s: %w", port, err)
	}
	return nil
}

// All reads the records. Files that are not records are returned as errors
// beside those that are.
func (r Records) All() ([]Record, error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, fmt.Errorf("list plugs: %w", err)
	}
	var all []Record
	var bad error
	for _, e := range entries {
		uuid, isRecord := strings.CutSuffix(e.Name(), ".json")
		if !isRecord || strings.HasPrefix(uuid, ".") {
			continue
		}
		var rec Record
		data, err := os.ReadFile(filepath.Join(r.dir, e.Name()))
		if err == nil {
			err = json.Unmarshal(data, &rec)
		}
		if err == nil && rec.Port != uuid {
			err = fmt.Errorf("it is about port %q", rec.Port)
		}
		if err != nil {
			bad = errors.Join(bad, fmt.Errorf("read plug %s: %w", e.Name(), err))
			continue
		}
		all = append(all, rec)
	}
	return all, bad
}
