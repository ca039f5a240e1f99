// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// BackupFormat begins the header of every backup, with its version.
const BackupFormat = "weft-backup/1"

// backupChunk is how much of a backup is held at a time.
const backupChunk = 64 << 10

// BackupHeader is the first line of a backup, in JSON. After it come a snapshot
// of etcd and the SHA-256 of everything before, 32 bytes.
type BackupHeader struct {
	Format string `json:"format"`
	// Epoch and Revision are those of the store when the backup began; it holds
	// at least that.
	Epoch    uint64 `json:"epoch"`
	Revision int64  `json:"revision"`
	// Authority is the SHA-256 of the certificate authority, whose key is not in
	// the backup.
	Authority string    `json:"authority"`
	CreatedAt time.Time `json:"createdAt"`
}

// WriteBackup writes a backup: header, snapshot and checksum.
func WriteBackup(to io.Writer, h BackupHeader, snapshot io.Reader) error {
	line, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	sum := sha256.New()
	both := io.MultiWriter(to, sum)
	if _, err := both.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	if _, err := io.CopyBuffer(both, onlyReader{snapshot}, make([]byte, backupChunk)); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	if _, err := to.Write(sum.Sum(nil)); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	return nil
}

// onlyReader hides that a reader could write itself in pieces of any size.
type onlyReader struct{ io.Reader }

// ReadBackup reads a backup to its end, checks it, and copies all of it to one
// writer and the snapshot alone to another. What it has copied by then is worth
// nothing if it returns an error.
func ReadBackup(from io.Reader, all, snapshot io.Writer) (BackupHeader, error) {
	var h BackupHeader
	fail := func(err error) (BackupHeader, error) {
		return h, fmt.Errorf("read backup: %w", err)
	}
	in := bufio.NewReaderSize(from, backupChunk)
	line, err := in.ReadSlice('\n')
	if err != nil || json.Unmarshal(line, &h) != nil || h.Format == "" {
		return fail(errors.New("it does not begin as a backup of Weft"))
	}
	if h.Format != BackupFormat {
		return fail(fmt.Errorf("it has the format %q, this version reads %q", h.Format, BackupFormat))
	}
	sum := sha256.New()
	if _, err := io.MultiWriter(all, sum).Write(line); err != nil {
		return fail(err)
	}
	body := io.MultiWriter(all, sum, snapshot)
	var tail []byte // what may be the checksum
	buffer := make([]byte, backupChunk)
	for {
		n, err := in.Read(buffer)
		tail = append(tail, buffer[:n]...)
		if more := len(tail) - sha256.Size; more > 0 {
			if _, err := body.Write(tail[:more]); err != nil {
				return fail(err)
			}
			tail = append(tail[:0], tail[more:]...)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fail(err)
		}
	}
	if !bytes.Equal(tail, sum.Sum(nil)) {
		return fail(errors.New("its checksum is wrong: it is damaged, or not all of it is here"))
	}
	if _, err := all.Write(tail); err != nil {
		return fail(err)
	}
	return h, nil
}
