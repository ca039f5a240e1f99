// SPDX-License-Identifier: Apache-2.0

package records

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/weft-network/weft/api"
)

// file takes records as lines of JSON. When it is full it becomes NAME.1, that
// becomes NAME.2, and so on.
type file struct {
	path string
	max  int64
	kept int
	of   string // a word for metrics
	out  *os.File
	size int64
}

// standardOutput is the name of what is no file.
const standardOutput = "-"

// fileMode: records are of all tenants.
const (
	fileMode = 0o600
	dirMode  = 0o700
)

func openFile(path string, max int64, kept int) (*file, error) {
	f := &file{path: path, max: max, kept: kept, of: "file"}
	if path == standardOutput {
		f.out = os.Stdout
		return f, nil
	}
	if max <= 0 || kept < 0 {
		return nil, fmt.Errorf("open file of records %s: it needs room for at least a byte", path)
	}
	return f, f.open()
}

func (f *file) open() (err error) {
	if f.out, err = os.OpenFile(f.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, fileMode); err != nil {
		return fmt.Errorf("open file of records: %w", err)
	}
	info, err := f.out.Stat()
	if err != nil {
		return fmt.Errorf("open file of records: %w", err)
	}
	f.size = info.Size()
	return f.endLine()
}

// endLine ends a line that was cut when the machine failed, so that those after
// it can be read.
func (f *file) endLine() error {
	if f.size == 0 {
		return nil
	}
	before, err := os.Open(f.path)
	if err != nil {
		return fmt.Errorf("read file of records: %w", err)
	}
	defer before.Close()
	last := make([]byte, 1)
	if _, err := before.ReadAt(last, f.size-1); err != nil {
		return fmt.Errorf("read file of records: %w", err)
	}
	if last[0] == '\n' {
		return nil
	}
	n, err := f.out.WriteString("\n")
	f.size += int64(n)
	if err != nil {
		return fmt.Errorf("write file of records: %w", err)
	}
	return nil
}

func (f *file) name() string { return f.path }
func (f *file) kind() string { return f.of }

// write writes all lines or none.
func (f *file) write(_ context.Context, all []api.Record) (leftOut int, err error) {
	var lines bytes.Buffer
	for _, r := range all {
		if err := json.NewEncoder(&lines).Encode(r); err != nil {
			return 0, fmt.Errorf("encode record: %w", err)
		}
	}
	if err := f.make(); err != nil {
		return 0, err
	}
	if f.path != standardOutput && f.size > 0 && f.size+int64(lines.Len()) > f.max {
		if err := f.rotate(); err != nil {
			return 0, err
		}
	}
	n, err := f.out.Write(lines.Bytes())
	f.size += int64(n)
	if err != nil && n > 0 {
		// All are given again: what is there of them would be there twice.
		if err := f.out.Truncate(f.size - int64(n)); err == nil {
			f.size -= int64(n)
		}
	}
	if err != nil {
		return 0, fmt.Errorf("write records: %w", err)
	}
	return 0, nil
}

// make opens a file that is made when there is something to write.
func (f *file) make() error {
	switch {
	case f.out != nil:
		return nil
	case f.path == standardOutput:
		f.out = os.Stdout
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(f.path), dirMode); err != nil {
		return fmt.Errorf("make directory of records: %w", err)
	}
	return f.open()
}

func (f *file) numbered(n int) string {
	if n == 0 {
		return f.path
	}
	return f.path + "." + strconv.Itoa(n)
}

func (f *file) rotate() error {
	if err := f.out.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
		return fmt.Errorf("close file of records: %w", err)
	}
	for n := f.kept; n > 0; n-- {
		if err := os.Rename(f.numbered(n-1), f.numbered(n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("keep file of records: %w", err)
		}
	}
	if f.kept == 0 {
		if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove file of records: %w", err)
		}
	}
	return f.open()
}

func (f *file) close() error {
	if f.path == standardOutput || f.out == nil {
		return nil
	}
	return f.out.Close()
}
