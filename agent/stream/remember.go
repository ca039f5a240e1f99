// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/weft-network/weft/agent/desired"
)

// remembered is the file of addresses that controllers told.
type remembered struct {
	Streams []string `json:"streams"` // host:port, those worth trying first at the beginning
}

// Recall reads the addresses that Keep wrote; none where there is no file.
func Recall(path string) ([]string, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var r remembered
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		return nil, fmt.Errorf("read the controllers' addresses from %s: %w", path, err)
	}
	return r.Streams, nil
}

// Keep writes addresses for the next start.
func Keep(path string, addresses []string) error {
	data, err := json.MarshalIndent(remembered{addresses}, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the controllers' addresses: %w", err)
	}
	return desired.WriteFile(path, append(data, '\n'))
}
