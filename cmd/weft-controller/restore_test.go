// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/store/external"
)

func makeDomain(t *testing.T, c *client.Client, name string) {
	t.Helper()
	_, err := c.Create(t.Context(), &api.Domain{Header: api.Header{Kind: api.KindDomain, Meta: api.Meta{Name: name}}})
	check(t, err)
}

// backup writes one through the API, with an embedded or an external etcd.
func backup(t *testing.T, c *client.Client) (file string, h api.BackupHeader) {
	t.Helper()
	var data bytes.Buffer
	h, err := c.Backup(t.Context(), &data)
	check(t, err)
	file = filepath.Join(t.TempDir(), "backup")
	check(t, os.WriteFile(file, data.Bytes(), 0o600))
	return file, h
}

// copyPKI makes a data directory that holds only the authority of another.
func copyPKI(t *testing.T, from string) string {
	t.Helper()
	dir := t.TempDir()
	check(t, os.CopyFS(filepath.Join(dir, "pki"), os.DirFS(filepath.Join(from, "pki"))))
	return dir
}

func restoreTo(t *testing.T, file, dir string) error {
	return restore(t.Context(), io.Discard, file, dir, filepath.Join(dir, "pki"), nil)
}

// What was there at the backup is there after a restore to an empty directory,
// and what came later is not. Credentials go on; revisions and epoch have grown;
// watches from before are told to read again.
func TestBackupAndRestore(t *testing.T) {
	for name, o := range map[string]options{
		"embedded": {dataDir: t.TempDir()},
		"external": {dataDir: t.TempDir(), etcd: external.Config{Endpoints: []string{etcdMember(t)}}},
	} {
		old := start(t, o)
		before := old.admin()
		makeDomain(t, before, "kept")
		host := join(t, before, "h")
		file, h := backup(t, before)
		makeDomain(t, before, "late")
		latest, err := before.List(t.Context(), api.KindDomain, client.ListOptions{})
		check(t, err)
		had := host.connect(t)
		old.end()

		dir := copyPKI(t, old.dir)
		check(t, restoreTo(t, file, dir))
		fresh := start(t, options{dataDir: dir})
		c := fresh.admin()
		list, err := c.List(t.Context(), api.KindDomain, client.ListOptions{})
		check(t, err)
		var names []string
		for _, d := range list.Items {
			names = append(names, d.Head().Meta.Name)
		}
		if got := strings.Join(names, " "); got != "default-domain kept" {
			t.Errorf("%s: after the restore there are %s", name, got)
		}
		if list.Revision <= latest.Revision {
			t.Errorf("%s: revision %d after the restore, %d had been given out", name, list.Revision, latest.Revision)
		}
		host.streams = join(t, c, "h").streams // known already, so it gets its UUID again
		if has := host.connect(t); has.Epoch != had.Epoch+1 || has.Revision <= had.Revision {
			t.Errorf("%s: the host had version %v and is sent %v", name, had, has)
		}
		makeDomain(t, c, "late") // the name is free, and nothing of the old one is left
		var e *api.Error
		for _, err := range c.Watch(t.Context(), client.WatchOptions{Revision: h.Revision}) {
			if !errors.As(err, &e) || e.Code != api.CodeGone {
				t.Errorf("%s: a watch from before the restore: %v, want %s", name, err, api.CodeGone)
			}
			break
		}
		_, again := backup(t, c)
		if again.Epoch != h.Epoch+1 || again.Authority != h.Authority {
			t.Errorf("%s: epoch %d and authority %s, before %d and %s", name, again.Epoch, again.Authority, h.Epoch, h.Authority)
		}
		fresh.end()
	}
}

// A restore that cannot be right changes nothing.
func TestRestoreRefuses(t *testing.T) {
	old := start(t, options{dataDir: t.TempDir()})
	file, _ := backup(t, old.admin())
	old.end()
	other := start(t, options{dataDir: t.TempDir()})
	other.admin()
	other.end()
	whole, err := os.ReadFile(file)
	check(t, err)
	write := func(change func([]byte) []byte) string {
		name := filepath.Join(t.TempDir(), "backup")
		check(t, os.WriteFile(name, change(bytes.Clone(whole)), 0o600))
		return name
	}
	full := copyPKI(t, old.dir)
	check(t, os.WriteFile(filepath.Join(full, "precious"), nil, 0o600))
	for _, c := range []struct{ file, dir, want string }{
		{file, full, "holds precious"},
		{file, old.dir, "holds "},
		{file, t.TempDir(), "holds no certificate authority"},
		{file, copyPKI(t, other.dir), "copy the old controller's pki"},
		{filepath.Join(t.TempDir(), "none"), copyPKI(t, old.dir), "no such file"},
		{write(func(b []byte) []byte { return b[:len(b)-1] }), copyPKI(t, old.dir), "checksum"},
		{write(func(b []byte) []byte { return b[:len(b)/3] }), copyPKI(t, old.dir), "checksum"},
		{write(func(b []byte) []byte { b[len(b)/2] ^= 1; return b }), copyPKI(t, old.dir), "checksum"},
		{write(func(b []byte) []byte { return b[:20] }), copyPKI(t, old.dir), "does not begin"},
		{write(func([]byte) []byte { return nil }), copyPKI(t, old.dir), "does not begin"},
	} {
		before, err := os.ReadDir(c.dir)
		check(t, err)
		if err := restoreTo(t, c.file, c.dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("restore: %v, want %q", err, c.want)
		}
		after, err := os.ReadDir(c.dir)
		check(t, err)
		if len(after) != len(before) {
			t.Errorf("%s: the directory held %v, now %v", c.want, before, after)
		}
	}
}
