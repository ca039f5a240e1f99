// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"fmt"
	"io"
	"path"
	"strings"
)

// archive writes an initramfs: a cpio archive in the format "newc" that
// Documentation/driver-api/early-userspace/buffer-format.rst of Linux describes.
type archive struct {
	to    io.Writer
	inode int
	made  map[string]bool // directories
	size  int
	err   error
}

func newArchive(to io.Writer) *archive { return &archive{to: to, made: map[string]bool{".": true}} }

const (
	modeDirectory = 0o040755
	modeFile      = 0o100755
	modeLink      = 0o120777
)

// file adds a file, and the directories above it.
func (a *archive) file(name string, content []byte) { a.entry(name, modeFile, content) }

// link adds a symbolic link.
func (a *archive) link(name, target string) { a.entry(name, modeLink, []byte(target)) }

// directory adds an empty directory.
func (a *archive) directory(name string) {
	name = strings.TrimPrefix(path.Clean(name), "/")
	if a.made[name] {
		return
	}
	a.made[name] = true
	a.entry(name, modeDirectory, nil)
}

func (a *archive) entry(name string, mode int, content []byte) {
	name = strings.TrimPrefix(path.Clean(name), "/")
	if parent := path.Dir(name); parent != "." {
		a.directory(parent)
	}
	a.inode++
	a.record(name, mode, a.inode, content)
}

func (a *archive) record(name string, mode, inode int, content []byte) {
	a.write(fmt.Appendf(nil, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0))
	a.write(append([]byte(name), 0))
	a.pad()
	a.write(content)
	a.pad()
}

func (a *archive) pad() { a.write(make([]byte, (4-a.size%4)%4)) }

func (a *archive) write(b []byte) {
	if a.err != nil {
		return
	}
	var n int
	n, a.err = a.to.Write(b)
	a.size += n
}

// close ends the archive and returns the first error.
func (a *archive) close() error {
	a.record("TRAILER!!!", 0, 0, nil)
	return a.err
}
