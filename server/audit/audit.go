// SPDX-License-Identifier: Apache-2.0

// Package audit keeps who tried to change what in files of one JSON entry a
// line, bounded in number and size, the oldest given up first.
//
// An entry is handed to the kernel before the reply is sent, so a controller
// that crashes loses none; a machine that loses power may lose the last ones,
// as they are not synced one by one. Each controller keeps its own.
package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/weft-network/weft/api"
)

const (
	// fileBytes is when a new file is begun: quick to search, and large enough
	// for some 50,000 entries.
	fileBytes = 16 << 20
	// filesMax bounds the files: 128 MiB in all.
	filesMax = 8
	// lineMax bounds an entry; longer causes are cut.
	lineMax = 64 << 10
	// causeMax is how much of an error is kept, textMax of anything else: senders
	// choose the names of what they try to change.
	causeMax = 2048
	textMax  = 1024

	current = "audit.jsonl"
)

// Log is the audit of one controller.
type Log struct {
	dir       string
	fileBytes int64
	filesMax  int

	// mu guards everything that follows.
	mu   sync.Mutex
	file *os.File
	size int64
}

// Open opens the log in a directory, which it makes.
func Open(dir string) (*Log, error) { return open(dir, fileBytes, filesMax) }

func open(dir string, fileBytes int64, filesMax int) (*Log, error) {
	l := &Log{dir: dir, fileBytes: fileBytes, filesMax: filesMax}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the audit: %w", err)
	}
	if err := l.begin(); err != nil {
		return nil, err
	}
	return l, nil
}

// begin opens the current file. A last line that was cut off by the end of the
// machine is ended, so that the next entry has one of its own.
func (l *Log) begin() error {
	f, err := os.OpenFile(l.path(0), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open the audit: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Size() > 0 {
		last := make([]byte, 1)
		if _, err = f.ReadAt(last, info.Size()-1); err == nil && last[0] != '\n' {
			_, err = f.Write([]byte{'\n'})
		}
	}
	if err != nil {
		return errors.Join(fmt.Errorf("open the audit: %w", err), f.Close())
	}
	l.file, l.size = f, info.Size()
	return nil
}

// path is the nth newest file; 0 is the one that is written.
func (l *Log) path(n int) string {
	if n == 0 {
		return filepath.Join(l.dir, current)
	}
	return filepath.Join(l.dir, fmt.Sprintf("%s.%d", current, n))
}

// Close closes the log.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := errors.Join(l.file.Sync(), l.file.Close())
	if err != nil {
		return fmt.Errorf("close the audit: %w", err)
	}
	return nil
}

// Add appends an entry.
func (l *Log) Add(e api.AuditEntry) error {
	e.Time = e.Time.UTC()
	e.Cause = cut(e.Cause, causeMax)
	for _, text := range []*string{&e.Who, &e.Orchestrator, &e.Op, &e.Object, &e.UUID, &e.Outcome} {
		*text = cut(*text, textMax)
	}
	e.Kind = api.Kind(cut(string(e.Kind), textMax))
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write the audit: %w", err)
	}
	line = append(line, '\n')
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > 0 && l.size+int64(len(line)) > l.fileBytes {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	n, err := l.file.Write(line)
	l.size += int64(n)
	if err != nil {
		return fmt.Errorf("write the audit: %w", err)
	}
	return nil
}

// cut shortens a text to a number of bytes.
func cut(text string, bytes int) string {
	return strings.ToValidUTF8(text[:min(len(text), bytes)], "")
}

// rotate begins a new file and gives up the oldest.
func (l *Log) rotate() error {
	err := l.file.Sync()
	for n := l.filesMax - 1; n > 0 && err == nil; n-- {
		if err = os.Rename(l.path(n-1), l.path(n)); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("begin a new file of the audit: %w", err)
	}
	old := l.file
	if err := l.begin(); err != nil {
		return err // the old one is written on
	}
	return old.Close()
}

// Find returns the newest entries that are selected, the oldest of them first.
func (l *Log) Find(q api.AuditQuery) ([]api.AuditEntry, error) {
	readers, err := l.readers()
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, r := range readers {
			r.Close() // they were only read
		}
	}()
	var found []api.AuditEntry
	for _, r := range readers { // the newest file first
		entries, older, err := search(r, q)
		if err != nil {
			return nil, err
		}
		found = append(entries, found...)
		if older || len(found) >= q.Limit {
			break
		}
	}
	return found[max(0, len(found)-q.Limit):], nil
}

// readers opens all files as they are now, the newest first: what is renamed
// or removed meanwhile stays readable.
func (l *Log) readers() ([]*os.File, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var readers []*os.File
	for n := range l.filesMax {
		f, err := os.Open(l.path(n))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			for _, r := range readers {
				r.Close()
			}
			return nil, fmt.Errorf("read the audit: %w", err)
		}
		readers = append(readers, f)
	}
	return readers, nil
}

// search returns the last entries of a file that are selected, and whether the
// file begins before the time that is asked for. Lines that are no entries are
// passed over: the machine may have ended within one.
func search(r io.Reader, q api.AuditQuery) (found []api.AuditEntry, older bool, err error) {
	lines := bufio.NewReaderSize(r, lineMax)
	for first := true; ; {
		line, err := nextLine(lines)
		if errors.Is(err, io.EOF) {
			return found, older, nil
		}
		if err != nil {
			return nil, false, fmt.Errorf("read the audit: %w", err)
		}
		var e api.AuditEntry
		if json.Unmarshal(line, &e) != nil {
			continue
		}
		if first {
			first, older = false, e.Time.Before(q.Since)
		}
		if !q.Matches(e) {
			continue
		}
		if found = append(found, e); len(found) >= 2*q.Limit {
			found = slices.Clone(found[len(found)-q.Limit:])
		}
	}
}

// nextLine reads a line; one that is longer than any entry is empty.
func nextLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	long := false
	for errors.Is(err, bufio.ErrBufferFull) {
		long = true
		_, err = r.ReadSlice('\n')
	}
	if long {
		return nil, err
	}
	if errors.Is(err, io.EOF) && len(line) > 0 {
		err = nil
	}
	return bytes.TrimSpace(line), err
}
