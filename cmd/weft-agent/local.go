// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/agent/hostroute"
	"github.com/weft-network/weft/agent/link"
	"github.com/weft-network/weft/agent/services"
	"github.com/weft-network/weft/vrouter"
)

// localServices are what this host answers its own workloads with.
type localServices struct {
	device    int // of the host path
	labelNear int // the ends of the label path
	labelFar  int
	dns       *services.Keeper
	metadata  *services.Keeper            // nil: no metadata server is known
	fabric    map[string]*services.Keeper // by the name of the service
	servers   map[string]fabricServer     // of these
	requests  *vrouter.Requests
	socket    *services.Socket
	services  *services.Services
	keeper    *hostroute.Keeper // of routes to workloads in the underlay
	routing   hostroute.Facts   // when the agent started
	upstreams []netip.AddrPort
	server    *url.URL // of metadata
	secret    []byte
}

// ownAliases are the addresses of this host's end of the host path.
var ownAliases = []netip.Prefix{
	netip.PrefixFrom(vrouter.AliasAddress(vrouter.HostAlias, false), vrouter.AliasRange4.Bits()),
	netip.PrefixFrom(vrouter.AliasAddress(vrouter.HostAlias, true), 64),
}

// openLocal makes the host path and opens all that the services need. The
// packet path is attached before the host path comes up.
func (a agent) openLocal(ctx context.Context) (l *localServices, err error) {
	l = &localServices{fabric: map[string]*services.Keeper{}}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if l.upstreams, err = a.upstreams(); err != nil {
		return l, err
	}
	if err = l.readMetadata(a.flags.metadataUpstream, a.flags.metadataSecretFile); err != nil {
		return l, err
	}
	if l.servers, err = fabricServers(a.flags.services); err != nil {
		return l, err
	}
	if l.device, err = a.links.EnsureHostPath(ownAliases); err != nil {
		return l, err
	}
	if err = a.path.AttachHost(l.device); err != nil {
		return l, err
	}
	if err = a.links.StartHostPath(); err != nil {
		return l, err
	}
	if l.labelNear, l.labelFar, err = a.links.EnsureLabelPath(); err != nil {
		return l, err
	}
	if err = a.path.AttachLabel(l.labelFar); err != nil {
		return l, err
	}
	if err = a.links.StartLabelPath(); err != nil {
		return l, err
	}
	if l.keeper, err = hostroute.Open(a.path, a.flags.hostRoutes == hostRoutesAuto, a.log); err != nil {
		return l, err
	}
	if l.routing, err = l.keeper.Read(a.underlay.Addresses); err != nil {
		return l, err
	}
	l.listen(ctx, a.log)
	if l.requests, err = a.path.OpenRequests(); err != nil {
		return l, err
	}
	l.socket, err = services.OpenSocket()
	return l, err
}

// readMetadata reads where the metadata server is and the secret shared with it.
func (l *localServices) readMetadata(server, secretFile string) error {
	if server == "" {
		return nil
	}
	u, err := url.Parse(server)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("read --metadata-upstream: %q is not a URL such as http://192.0.2.10:8775", server)
	}
	if secretFile == "" {
		return errors.New("read --metadata-secret-file: it is required with --metadata-upstream, for the server must know who asks")
	}
	secret, err := os.ReadFile(secretFile)
	if err != nil {
		return fmt.Errorf("read metadata secret: %w", err)
	}
	if l.secret = bytes.TrimSpace(secret); len(l.secret) == 0 {
		return fmt.Errorf("read metadata secret: %s is empty", secretFile)
	}
	l.server = u
	return nil
}

// facts are what the packet path must know.
func (l *localServices) facts() datapath.Local {
	f := datapath.Local{Balances: true, HostDevice: l.device, HostMAC: link.HostPathMAC, LabelDevice: l.labelNear, DNS: l.dns.Port(), Ways: l.routing.Ways, Own: l.routing.Own}
	if l.metadata != nil {
		f.Metadata = l.metadata.Port()
	}
	f.Fabric = map[datapath.Fabric]uint16{}
	for name, x := range l.fabric {
		if l.servers[name].streams != "" {
			f.Fabric[datapath.Fabric{Name: name}] = x.Port()
		}
		if l.servers[name].datagrams != "" {
			f.Fabric[datapath.Fabric{Name: name, UDP: true}] = x.Port()
		}
	}
	return f
}

// listen opens what the services hear; what cannot be opened now is tried again
// while the agent runs.
func (l *localServices) listen(ctx context.Context, log *slog.Logger) {
	keep := func(name string, packets bool) *services.Keeper {
		k := &services.Keeper{Name: name, Packets: packets, Log: log, Pause: services.KeepPause, Listen: services.Listen}
		k.Open(ctx)
		return k
	}
	l.dns = keep("DNS", true)
	if l.server != nil {
		l.metadata = keep("metadata", false)
	}
	for name, server := range l.servers {
		l.fabric[name] = keep(name, server.datagrams != "")
	}
}

// keepers are all services that listen, by name.
func (l *localServices) keepers() []*services.Keeper {
	all := []*services.Keeper{l.dns, l.metadata}
	for _, name := range slices.Sorted(maps.Keys(l.fabric)) {
		all = append(all, l.fabric[name])
	}
	return slices.DeleteFunc(all, func(k *services.Keeper) bool { return k == nil })
}

// failures says which services are not served, nil if all are.
func (l *localServices) failures() error {
	var all []error
	for _, k := range l.keepers() {
		all = append(all, k.Failure())
	}
	return errors.Join(all...)
}

// run answers until the context ends.
func (l *localServices) run(ctx context.Context, loop *host.Loop) error {
	group, ctx := errgroup.WithContext(ctx)
	s := l.services
	group.Go(func() error { return s.Run(ctx) })
	l.dns.Serve = services.NewDNS(s, l.upstreams).Run
	if l.metadata != nil {
		l.metadata.Serve = services.NewMetadata(s, l.server, l.secret).Run
	}
	for name, k := range l.fabric {
		k.Serve = services.NewRelay(s, name, l.servers[name].streams, l.servers[name].datagrams).Run
	}
	moved := func(ctx context.Context) error {
		return loop.Do(ctx, func(c *host.Core) { c.SetLocal(l.facts()) })
	}
	for _, k := range l.keepers() {
		group.Go(func() error { return k.Run(ctx, moved) })
	}
	return group.Wait()
}

func (l *localServices) close() {
	for _, k := range l.keepers() {
		k.Close()
	}
	if l.keeper != nil {
		l.keeper.Close()
	}
	if l.requests != nil {
		_ = l.requests.Close() // a second time is harmless
	}
	if l.socket != nil {
		_ = l.socket.Close() // nothing is in it
	}
}

// fabricServer is where a service of the fabric is, host:port of each transport;
// empty: it is not asked by that one.
type fabricServer struct{ streams, datagrams string }

// fabricServers reads which services of the fabric there are.
func fabricServers(flags []string) (map[string]fabricServer, error) {
	servers := map[string]fabricServer{}
	for _, text := range flags {
		name, to, ok := strings.Cut(text, "=")
		to, datagrams := strings.CutSuffix(to, "/udp")
		host, port, err := net.SplitHostPort(strings.TrimSuffix(to, "/tcp"))
		if !ok || name == "" || err != nil || host == "" || port == "" {
			return nil, fmt.Errorf("read --service: %q is not name=host:port or name=host:port/udp", text)
		}
		server := servers[name]
		at := &server.streams
		if datagrams {
			at = &server.datagrams
		}
		if *at != "" {
			return nil, fmt.Errorf("read --service: %s is given twice", name)
		}
		*at = net.JoinHostPort(host, port)
		servers[name] = server
	}
	return servers, nil
}

// upstreams are the DNS servers for names that are no workload's.
func (a agent) upstreams() ([]netip.AddrPort, error) {
	if len(a.flags.dnsUpstreams) == 0 {
		servers, err := services.SystemUpstreams("/etc/resolv.conf")
		if err != nil {
			a.log.Warn("workloads resolve only each other's names; give --dns-upstream", "error", err)
		}
		return servers, nil
	}
	var servers []netip.AddrPort
	for _, text := range a.flags.dnsUpstreams {
		at, err := netip.ParseAddrPort(text)
		if err != nil {
			ip, ipErr := netip.ParseAddr(text)
			if ipErr != nil {
				return nil, fmt.Errorf("read --dns-upstream: %q is neither an address nor address:port", text)
			}
			at = netip.AddrPortFrom(ip, 53)
		}
		servers = append(servers, at)
	}
	return servers, nil
}
