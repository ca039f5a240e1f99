// SPDX-License-Identifier: Apache-2.0

package external

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
)

// Member is one member of a cluster that is made anew.
type Member struct {
	Name string
	// PeerURL is where the other members reach it.
	PeerURL string
}

// goodName is a member's name that is a directory's as well.
var goodName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)

// ParseMember reads NAME=URL. Only https, but for loopback addresses. The URL is a host
// and a port and nothing else: etcd cuts its list of members at commas.
func ParseMember(text string) (Member, error) {
	name, peer, _ := strings.Cut(text, "=")
	u, err := url.Parse(peer)
	if err != nil || !goodName.MatchString(name) || u.Hostname() == "" || u.Port() == "" || u.Path != "" || strings.ContainsAny(peer, ",?#@") || u.Scheme != "https" && u.Scheme != "http" {
		return Member{}, fmt.Errorf("read etcd member %q: want NAME=https://HOST:PORT, the URL being where other members reach it", text)
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "http" && u.Hostname() != "localhost" && !ip.IsLoopback() {
		return Member{}, fmt.Errorf("read etcd member %q: it is without TLS and not on this machine: use https", text)
	}
	return Member{name, peer}, nil
}

// MemberDir is the data directory that Restore makes for a member.
func MemberDir(dir string, m Member) string { return filepath.Join(dir, "etcd-"+m.Name) }

// Restore makes the data directories of a new cluster from a snapshot, one for
// each member. The token tells its members from those of any other cluster. The
// revisions are those of the snapshot.
func Restore(dir, file, token string, members []Member) error {
	var cluster []string
	for _, m := range members {
		cluster = append(cluster, m.Name+"="+m.PeerURL)
	}
	for _, m := range members {
		to := MemberDir(dir, m)
		err := snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
			SnapshotPath: file, Name: m.Name, OutputDataDir: to, PeerURLs: []string{m.PeerURL},
			InitialCluster: strings.Join(cluster, ","), InitialClusterToken: token,
		})
		if err != nil {
			return fmt.Errorf("restore member %s of etcd to %s: %w", m.Name, to, err)
		}
		if err := os.Chmod(to, 0o700); err != nil {
			return fmt.Errorf("restore member %s of etcd: close its directory to others: %w", m.Name, err)
		}
	}
	return nil
}
