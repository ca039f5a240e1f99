// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/agent/bpffs"
	"github.com/weft-network/weft/agent/erase"
	"github.com/weft-network/weft/agent/join"
	"github.com/weft-network/weft/agent/link"
	"github.com/weft-network/weft/agent/state"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/cmd/journal"
	"github.com/weft-network/weft/vrouter"
)

// flags of the run command.
type flags struct {
	erase.Directories
	name, controller, token, tokenFile string
	metricsListen, attachment          string
	nameGiven                          bool
	streams                            []string
	tunnelAddresses                    []string
	dnsUpstreams                       []string
	metadataUpstream                   string
	metadataSecretFile                 string
	services                           []string
	hostRoutes                         string
	tunnelPort                         int
	tendEvery                          time.Duration
	log                                journal.Options
	tableSizes                         map[string]int64
	timeouts                           map[string]string
	portMetrics                        int
	proxies, certificates              string
	record                             recordFlags
}

// The words of --host-routes.
const (
	hostRoutesAuto = "auto"
	hostRoutesNone = "none"
)

// vxlanPort is the port of VXLAN (RFC 7348).
const vxlanPort = 4789

func runCommand() *cobra.Command {
	var f flags
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the agent; ending it leaves all traffic flowing",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			f.nameGiven = c.Flags().Changed("name")
			err := run(c.Context(), f)
			if err != nil && c.Context().Err() != nil { // told to end: what was interrupted is no failure
				fmt.Fprintln(os.Stderr, "weft-agent: stopped before it was ready:", err)
				return nil
			}
			return err
		},
	}
	directoryFlags(c, &f.Directories)
	hostname, _ := os.Hostname() // without one the flag is required, which join says
	s := c.Flags()
	s.StringVar(&f.name, "name", hostname, "name of this host")
	s.StringVar(&f.controller, "controller", "", "URL of a controller's API, to join; not needed afterwards")
	s.StringVar(&f.token, "token", "", "token of role join; not needed after joining (others can read a command line: prefer --token-file)")
	s.StringVar(&f.tokenFile, "token-file", "", "file with the token")
	s.StringSliceVar(&f.streams, "stream", nil, "host:port of a controller's stream listener, instead of all that controllers tell; repeatable")
	s.StringSliceVar(&f.tunnelAddresses, "tunnel-address", nil, "own underlay address for tunnels, at most four a family; repeatable (default: that of the default route's interface)")
	s.IntVar(&f.tunnelPort, "tunnel-port", vxlanPort, "UDP port of the tunnels, the same on all hosts")
	s.StringSliceVar(&f.dnsUpstreams, "dns-upstream", nil, "address or address:port of a DNS server to ask what is no workload's name; repeatable (default: those of /etc/resolv.conf)")
	s.StringVar(&f.metadataUpstream, "metadata-upstream", "", "URL of the server to which what workloads ask at 169.254.169.254 and fe80::a9fe:a9fe is passed on (default: nobody answers)")
	s.StringVar(&f.metadataSecretFile, "metadata-secret-file", "", "file with the secret by which the metadata server knows that the headers saying who asks are ours")
	s.StringSliceVar(&f.services, "service", nil, "name=host:port, or name=host:port/udp, of a service of the fabric that networks may have at an address of theirs; repeatable")
	s.StringVar(&f.hostRoutes, "host-routes", hostRoutesAuto, "routes to workloads that other hosts have in the underlay: auto (where those hosts are neighbours) or none (a routing daemon or the fabric does it)")
	s.StringVar(&f.metricsListen, "metrics-listen", "", "loopback address for /metrics, /livez and /readyz without credentials (default: none)")
	s.IntVar(&f.portMetrics, "port-metrics", 256, "export counters of each port by itself while at most this many are plugged; 0: never")
	s.StringVar(&f.attachment, "attachment", string(vrouter.AttachAuto), "how programs are attached to interfaces: auto, tcx (Linux 6.6 and newer) or clsact")
	s.DurationVar(&f.tendEvery, "certificate-check", 10*time.Minute, "how often to ask, at random moments about so far apart, whether the host's certificate is to be renewed")
	s.StringToInt64Var(&f.tableSizes, "table-size", nil, "TABLE=ENTRIES of the packet path, see weft get capacity --host; repeatable. Another size is another layout: the tables are filled anew beside the old ones, and connections are taken over")
	s.StringToStringVar(&f.timeouts, "connection-timeout", nil, "STATE=TIME, or PROTOCOL=TIME of established ones, after which a connection without packets is forgotten: opening, closing, closed, reset, sctp-opening, sctp-closing, tcp, udp, sctp, icmp or other; repeatable")
	s.StringVar(&f.proxies, "proxies", proxiesAuto, "whether the host may have proxies of load-balancers (provider haproxy): auto (where HAProxy 2.6 or newer and keepalived are found) or none")
	s.StringVar(&f.certificates, "certificates", "/etc/weft/certificates", "directory of certificates that load-balancers name, as DOMAIN/PROJECT/NAME.pem with chain and key")
	f.record.add(s)
	f.log.Flags(s)
	return c
}

// run opens what the agent stands on, from the bottom up, and then works.
func run(ctx context.Context, f flags) error {
	log, err := journal.New(f.log, "weft-agent", os.Stderr)
	if err != nil {
		return err
	}
	log = log.With("host", f.name)
	if f.tendEvery <= 0 {
		return fmt.Errorf("read --certificate-check: %v is not a time to wait", f.tendEvery)
	}
	if f.hostRoutes != hostRoutesAuto && f.hostRoutes != hostRoutesNone {
		return fmt.Errorf("read --host-routes: %q is neither %s nor %s", f.hostRoutes, hostRoutesAuto, hostRoutesNone)
	}
	if f.proxies != proxiesAuto && f.proxies != proxiesNone {
		return fmt.Errorf("read --proxies: %q is neither %s nor %s", f.proxies, proxiesAuto, proxiesNone)
	}
	given, err := addresses(f.tunnelAddresses)
	if err != nil {
		return err
	}
	attachment, err := vrouter.ParseAttachment(f.attachment)
	if err != nil {
		return err
	}
	sizes, err := sizesOf(f.tableSizes)
	if err != nil {
		return err
	}
	timeouts, err := timeoutsOf(f.timeouts)
	if err != nil {
		return err
	}
	dir, err := state.Open(f.State)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := f.isNamed(dir); err != nil {
		return err
	}
	if err := bpffs.Ensure(f.BPF); err != nil {
		return err
	}
	path, err := vrouter.Load(vrouter.Options{PinDir: f.BPF, Sizes: sizes, Attachment: attachment, Timeouts: timeouts})
	if err != nil {
		return err
	}
	defer path.Close()
	links, err := link.Open(path.AttachPort, path.Detach)
	if err != nil {
		return err
	}
	defer links.Close()
	underlay, err := links.UnderlayOf(given)
	if err != nil {
		return err
	}
	identity, err := identify(ctx, f, dir, underlay, log)
	if err != nil {
		return err
	}
	a := agent{flags: f, dir: dir, path: path, links: links, identity: identity, underlay: underlay, given: given, log: log}
	return a.work(ctx)
}

func addresses(texts []string) ([]netip.Addr, error) {
	var all []netip.Addr
	for _, t := range texts {
		a, err := netip.ParseAddr(t)
		if err != nil {
			return nil, fmt.Errorf("read --tunnel-address: %w", err)
		}
		all = append(all, a)
	}
	return all, nil
}

// isNamed refuses a state directory that is another host's than was named,
// before anything is made on the host.
func (f *flags) isNamed(dir state.Dir) error {
	identity, err := join.Load(dir.Path())
	if err == nil && f.nameGiven && f.name != identity.Host.Name {
		return fmt.Errorf("read --name: the state directory %s is that of host %s, not of %s: give another --state-dir, or first stop the agent and run weft-agent uninstall", dir.Path(), identity.Host.Name, f.name)
	}
	return nil // that it cannot be read is said where it is needed
}

// joinPause is how long to wait before asking a controller again that does not answer.
const joinPause = 2 * time.Second

// identify reads who this host is, or joins.
func identify(ctx context.Context, f flags, dir state.Dir, underlay link.Underlay, log *slog.Logger) (join.Identity, error) {
	identity, err := join.Load(dir.Path())
	if !errors.Is(err, join.ErrNotJoined) {
		return identity, err
	}
	token := f.token
	if f.tokenFile != "" {
		data, err := os.ReadFile(f.tokenFile)
		if err != nil {
			return identity, fmt.Errorf("read token: %w", err)
		}
		token = string(data)
	}
	if f.controller == "" || strings.TrimSpace(token) == "" || f.name == "" {
		return identity, fmt.Errorf("%w: --name, --controller and --token or --token-file are required once", join.ErrNotJoined)
	}
	for {
		identity, err = join.Join(ctx, join.Request{Name: f.name, Controller: f.controller, Token: token, Addresses: underlay.Addresses, MTU: underlay.MTU, Encapsulations: encapsulations})
		if err == nil {
			log.Info("joined", "controller", f.controller, "streams", identity.Streams)
			return identity, identity.Save(dir.Path())
		}
		var refused *api.Error
		if errors.As(err, &refused) && refused.Code != api.CodeUnavailable && refused.Code != api.CodeTimeout {
			return identity, err
		}
		log.Warn("cannot join yet", "error", err, "retry", joinPause)
		select {
		case <-ctx.Done():
			return identity, fmt.Errorf("stopped before the host had joined: %w", ctx.Err())
		case <-time.After(joinPause):
		}
	}
}
