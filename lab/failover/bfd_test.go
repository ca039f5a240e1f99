// SPDX-License-Identifier: Apache-2.0

package failover

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weft-network/weft/lab/topology"
)

const session = `kind: health-check
meta: {name: session, parent: "red:prod"}
spec:
  probe: {type: bfd, intervalMilliseconds: 100, fall: 3}
  onFault: withdraw
`

// sessions has r2 watched by BFD, with FRR's own for the other end: before it
// runs, while it does, when it hangs, goes on, and ends in order.
func sessions(t *testing.T, l *topology.Lab) {
	apply(t, l, session+port("r2", 2, 12, pairs+"  healthChecks: [\"red:prod:session\"]\n"))
	says := func(what, want string, leading bool) {
		t.Helper()
		began := time.Now()
		eventually(t, func() error {
			if out := weft(t, l, "get", "port", "red:prod:r2", "-o", "wide"); !strings.Contains(out, want) {
				return fmt.Errorf("%s: want %s:\n%s", what, want, out)
			}
			return nil
		})
		t.Logf("%s: said after %v", what, time.Since(began))
		leads(t, l, "192.168.9.0/24", "r2", leading)
	}
	says("before it runs", "session failed: it sends no BFD packets to its gateway", false)
	dir, err := os.MkdirTemp("", "weft-bfd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	conf := filepath.Join(dir, "bfdd.conf")
	text := "bfd\n peer 10.0.0.1 local-address 10.0.0.12\n  receive-interval 100\n  transmit-interval 100\n  detect-multiplier 3\n  no shutdown\n exit\nexit\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	whom, err := user.Lookup("frr") // as whom it runs
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(whom.Uid)
	gid, _ := strconv.Atoi(whom.Gid)
	if err := errors.Join(os.Chown(dir, uid, gid), os.Chown(conf, uid, gid)); err != nil {
		t.Fatal(err)
	}
	err = l.StartIn("r2", "bfdd", "/usr/lib/frr/bfdd", "-f", conf, "--vty_socket", dir, "-i", dir+"/pid", "-z", dir+"/zserv", "-P", "0", "--bfdctl", dir+"/ctl")
	if err != nil {
		t.Fatal(err)
	}
	says("it runs", "session online", true)
	if err := l.Signal("bfdd", syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	says("it hangs", "session failed: no BFD packet came in time", false)
	if err := l.Signal("bfdd", syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	says("it goes on", "session online", true)
	if err := l.Stop("bfdd"); err != nil {
		t.Fatal(err)
	}
	says("it ends", "session failed: ", false)
}
