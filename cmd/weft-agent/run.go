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
	"github.com/weft-network/weft/vrouter"
)

// flags of the run command.
type flags struct {
	erase.Directories
	name, controller, token, tokenFile, logFormat string
	streams                                       []string
	tunnelAddresses                               []string
	dnsUpstreams                                  []string
	metadataUpstream, metadataSecretFile          string
	services                                      []string
	tunnelPort                                    int
}

// vxlanPort is the port of VXLAN (RFC 7348).
const vxlanPort = 4789

func runCommand() *cobra.Command {
	var f flags
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the agent; ending it leaves all traffic flowing",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return run(c.Context(), f) },
	}
	directoryFlags(c, &f.Directories)
	hostname, _ := os.Hostname() // without one the flag is required, which join says
	s := c.Flags()
	s.StringVar(&f.name, "name", hostname, "name of this host")
	s.StringVar(&f.controller, "controller", "", "URL of a controller's API, to join; not needed afterwards")
	s.StringVar(&f.token, "token", "", "token of role join; not needed after joining (others can read a command line: prefer --token-file)")
	s.StringVar(&f.tokenFile, "token-file", "", "file with the token")
	s.StringSliceVar(&f.streams, "stream", nil, "host:port of a controller's stream listener, instead of those learned when joining; repeatable")
	s.StringSliceVar(&f.tunnelAddresses, "tunnel-address", nil, "own underlay address for tunnels, at most one a family; repeatable (default: that of the default route's interface)")
	s.IntVar(&f.tunnelPort, "tunnel-port", vxlanPort, "UDP port of the tunnels, the same on all hosts")
	s.StringSliceVar(&f.dnsUpstreams, "dns-upstream", nil, "address or address:port of a DNS server to ask what is no workload's name; repeatable (default: those of /etc/resolv.conf)")
	s.StringVar(&f.metadataUpstream, "metadata-upstream", "", "URL of the server to which what workloads ask at 169.254.169.254 and fe80::a9fe:a9fe is passed on (default: nobody answers)")
	s.StringVar(&f.metadataSecretFile, "metadata-secret-file", "", "file with the secret by which the metadata server knows that the headers saying who asks are ours")
	s.StringSliceVar(&f.services, "service", nil, "name=host:port of a service of the fabric (TCP) that networks may have at an address of theirs; repeatable")
	s.StringVar(&f.logFormat, "log-format", "text", "text or json")
	return c
}

func logger(format string) (*slog.Logger, error) {
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, nil)), nil
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, nil)), nil
	}
	return nil, fmt.Errorf("read --log-format: %q is not text or json", format)
}

// run opens what the agent stands on, from the bottom up, and then works.
func run(ctx context.Context, f flags) error {
	log, err := logger(f.logFormat)
	if err != nil {
		return err
	}
	given, err := addresses(f.tunnelAddresses)
	if err != nil {
		return err
	}
	dir, err := state.Open(f.State)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := bpffs.Ensure(f.BPF); err != nil {
		return err
	}
	path, err := vrouter.Load(vrouter.Options{PinDir: f.BPF})
	if err != nil {
		return err
	}
	defer path.Close()
	links, err := link.Open(path.AttachPort, path.Detach)
	if err != nil {
		return err
	}
	defer links.Close()
	underlay, mtu, err := links.UnderlayOf(given)
	if err != nil {
		return err
	}
	identity, err := identify(ctx, f, dir, underlay, mtu, log)
	if err != nil {
		return err
	}
	if len(f.streams) > 0 {
		identity.Streams = f.streams
	}
	a := agent{flags: f, dir: dir, path: path, links: links, identity: identity, underlay: underlayOf(underlay, mtu), log: log}
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

// joinPause is how long to wait before asking a controller again that does not answer.
const joinPause = 2 * time.Second

// identify reads who this host is, or joins.
func identify(ctx context.Context, f flags, dir state.Dir, underlay []netip.Addr, mtu int, log *slog.Logger) (join.Identity, error) {
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
		identity, err = join.Join(ctx, join.Request{Name: f.name, Controller: f.controller, Token: token, Addresses: underlay, MTU: mtu})
		if err == nil {
			log.Info("joined", "host", f.name, "controller", f.controller, "streams", identity.Streams)
			return identity, identity.Save(dir.Path())
		}
		var refused *api.Error
		if errors.As(err, &refused) && refused.Code != api.CodeUnavailable && refused.Code != api.CodeTimeout {
			return identity, err
		}
		log.Warn("cannot join yet", "error", err, "retry", joinPause)
		select {
		case <-ctx.Done():
			return identity, err
		case <-time.After(joinPause):
		}
	}
}
