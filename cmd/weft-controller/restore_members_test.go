// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/store/external"
)

// free is a loopback URL at which nobody listens at the moment.
func free(t *testing.T) url.URL {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	return url.URL{Scheme: "http", Host: l.Addr().String()}
}

// restoredCluster runs members on data directories that a restore has made, as an
// operator would, and returns their client URLs.
func restoredCluster(t *testing.T, dir string, members []external.Member) (endpoints []string) {
	t.Helper()
	var started []*embed.Etcd
	for _, m := range members {
		c := embed.NewConfig()
		c.Name, c.Dir, c.LogLevel = m.Name, external.MemberDir(dir, m), "fatal"
		peer, err := url.Parse(m.PeerURL)
		check(t, err)
		at := free(t)
		c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
		c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{at}, []url.URL{at}
		c.InitialCluster = m.Name + "=" + m.PeerURL // etcd takes what the directory says
		e, err := embed.StartEtcd(c)
		check(t, err)
		t.Cleanup(e.Close)
		endpoints, started = append(endpoints, at.String()), append(started, e)
	}
	for _, e := range started {
		select {
		case <-e.Server.ReadyNotify():
		case <-time.After(30 * time.Second):
			t.Fatal("the restored cluster does not form")
		}
	}
	return endpoints
}

func domains(t *testing.T, c *client.Client) (string, int64) {
	t.Helper()
	list, err := c.List(t.Context(), api.KindDomain, client.ListOptions{})
	check(t, err)
	var names []string
	for _, d := range list.Items {
		names = append(names, d.Head().Meta.Name)
	}
	return strings.Join(names, " "), list.Revision
}

// A backup becomes a cluster of three members, with everything of the backup,
// a higher epoch, and revisions above all that were given out; controllers and
// hosts of before go on with it.
func TestRestoreToACluster(t *testing.T) {
	old := start(t, options{dataDir: t.TempDir(), etcd: external.Config{Endpoints: []string{etcdMember(t)}}})
	before := old.admin()
	makeDomain(t, before, "kept")
	host := join(t, before, "h")
	file, _ := backup(t, before)
	makeDomain(t, before, "late")
	_, latest := domains(t, before)
	had := host.connect(t)
	old.end()

	var members []external.Member
	for _, name := range []string{"a", "b", "c"} {
		at := free(t)
		members = append(members, external.Member{Name: name, PeerURL: at.String()})
	}
	dir := copyPKI(t, old.dir)
	var told strings.Builder
	check(t, restore(t.Context(), &told, file, dir, filepath.Join(dir, "pki"), members))
	if !strings.Contains(told.String(), external.MemberDir(dir, members[2])) || !strings.Contains(told.String(), "epoch 2") {
		t.Errorf("it says %q", told.String())
	}
	if err := restore(t.Context(), io.Discard, file, dir, filepath.Join(dir, "pki"), members); err == nil || !strings.Contains(err.Error(), "holds etcd-a") {
		t.Errorf("a second restore over the first: %v", err)
	}
	endpoints := restoredCluster(t, dir, members)

	// The very controller of before, in its own data directory.
	fresh := start(t, options{dataDir: old.dir, etcd: external.Config{Endpoints: endpoints}})
	check(t, os.Remove(filepath.Join(old.dir, "admin.yaml")))
	c := fresh.admin()
	names, revision := domains(t, c)
	if names != "default-domain kept" || revision <= latest {
		t.Errorf("after the restore there are %s at revision %d; %d had been given out", names, revision, latest)
	}
	host.streams = join(t, c, "h").streams
	if has := host.connect(t); has.Epoch != had.Epoch+1 || has.Revision <= had.Revision {
		t.Errorf("the host had version %v and is sent %v", had, has)
	}
	makeDomain(t, c, "late")
	fresh.end()
}

// A controller whose etcd was emptied, or put back as it was, does not serve it
// as if nothing had been: all hosts would lose their networks.
func TestLostStoreIsNotABeginning(t *testing.T) {
	one := start(t, options{dataDir: t.TempDir(), etcd: external.Config{Endpoints: []string{etcdMember(t)}}})
	one.admin()
	one.end()
	again := start(t, options{dataDir: one.dir, etcd: external.Config{Endpoints: []string{etcdMember(t)}}})
	if err := <-again.done; err == nil || !strings.Contains(err.Error(), "etcd is empty") {
		t.Errorf("an empty etcd in its place: %v", err)
	}
	check(t, os.WriteFile(filepath.Join(one.dir, servedFile), []byte("7\n"), 0o600))
	member := etcdMember(t)
	dir := copyPKI(t, one.dir)
	two := start(t, options{dataDir: dir, etcd: external.Config{Endpoints: []string{member}}})
	two.admin()
	two.end()
	older := start(t, options{dataDir: one.dir, etcd: external.Config{Endpoints: []string{member}}})
	if err := <-older.done; err == nil || !strings.Contains(err.Error(), "old copy") {
		t.Errorf("an older epoch in its place: %v", err)
	}
	check(t, os.Remove(filepath.Join(one.dir, servedFile)))
	check(t, os.Remove(filepath.Join(one.dir, "admin.yaml")))
	anew := start(t, options{dataDir: one.dir, etcd: external.Config{Endpoints: []string{member}}})
	anew.admin()
	anew.end()
}

func TestMembersAreRead(t *testing.T) {
	for _, text := range []string{"", "a", "a=", "a=b", "a=http://192.0.2.1:2380", "a=http://[2001:db8::1]:2380", "a=https://192.0.2.1", "../a=https://192.0.2.1:2380", "a=ftp://127.0.0.1:1", "a=https://192.0.2.1:2380/x"} {
		if m, err := external.ParseMember(text); err == nil {
			t.Errorf("%q is read as %v", text, m)
		}
	}
	for _, text := range []string{"a=https://192.0.2.1:2380", "b-1=https://[2001:db8::1]:2380", "c=http://[::1]:2380"} {
		if _, err := external.ParseMember(text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}
