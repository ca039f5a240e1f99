// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cespare/xxhash/v2"
	"github.com/weft-network/weft/api/hoststream"
	"google.golang.org/protobuf/proto"
)

// A file is the magic, the xxHash64 of the rest, and one encoded Delta with
// all rows, which says more if they are on their way to a version.
const (
	magic      = "weft-desired-1\n\x00"
	headLength = len(magic) + 8
)

// ErrDamaged says that a file is not what Save wrote. Going on without it costs
// a full transfer from the controller, and headless re-plugs until then.
var ErrDamaged = errors.New("file is damaged")

// Encode returns the contents of the file for the table as it is.
func (t *Table) Encode() ([]byte, error) {
	d := &hoststream.Delta{Version: &hoststream.Version{Epoch: t.version.Epoch, Revision: t.version.Revision}, More: t.partial}
	for _, k := range t.Keys() {
		d.Put = append(d.Put, &hoststream.EncodedRow{Key: k, Body: t.bodies[k]})
	}
	body, err := proto.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encode desired rows: %w", err)
	}
	data := append([]byte(magic), make([]byte, 8)...)
	binary.BigEndian.PutUint64(data[len(magic):], xxhash.Sum64(body))
	return append(data, body...), nil
}

// Open reads a table from a file; one that does not exist is empty.
func Open(path string) (*Table, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return New(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read desired rows: %w", err)
	}
	t, err := decode(data)
	if err != nil {
		return nil, fmt.Errorf("read desired rows from %s: %w", path, err)
	}
	return t, nil
}

// decode reads what Encode returned.
func decode(data []byte) (*Table, error) {
	if len(data) < headLength || string(data[:len(magic)]) != magic ||
		binary.BigEndian.Uint64(data[len(magic):]) != xxhash.Sum64(data[headLength:]) {
		return nil, ErrDamaged
	}
	var d hoststream.Delta
	if err := proto.Unmarshal(data[headLength:], &d); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	t := New()
	if err := t.Apply(&d); err != nil {
		return nil, err
	}
	t.partial = d.More
	return t, nil
}

// WriteFile replaces a file in one step that survives a power failure.
func WriteFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(f.Name()) // fails after the rename, as it should
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
