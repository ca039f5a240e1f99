// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// balancerFlags are the flags of create load-balancer.
type balancerFlags struct {
	network            string
	ips                []string
	listeners, members []string
	locality           string
	affinity           int
	provider           string
	certificates       []string
}

const createBalancerLong = `With the load-balancer come its virtual addresses, one from each subnet of the
network (or those of --ip), and for each --listener a listener and a pool of the same name,
e.g. tcp-80, with every --member in it. A LISTENER is PROTOCOL/PORT, or
PROTOCOL/PORT:TARGET where members listen on another port. The protocols tcp, udp and sctp
are for provider native; http, https and tcp for provider haproxy, a pair of proxies on two
hosts: of https TLS ends there, with the certificates of --certificate, and members speak
http. A certificate is a file DOMAIN/PROJECT/NAME.pem below the agents' --certificates.`

func newCreateBalancer(s *session) *cobra.Command {
	var f balancerFlags
	c := s.creation(creation{
		kind: api.KindLoadBalancer, args: "NAME --network NETWORK [--ip IP]... [--listener LISTENER]... [--member PORT]...", short: "Make a load-balancer with its addresses, listeners, pools and members",
		long: createBalancerLong,
		example: `  weft create load-balancer web --network services --listener tcp/80:8080 --member web-1 --member web-2
  weft create load-balancer dns --network services --ip 10.96.0.53 --listener udp/53 --listener tcp/53 --member dns-1
  weft create load-balancer shop --network services --provider haproxy --listener http/80:8080 --listener https/443:8080 --certificate shop --member web-1`,
		build: func(ctx context.Context, name string) ([]api.Operation, error) { return s.buildBalancer(ctx, f, name) },
	})
	c.Flags().StringVar(&f.network, "network", "", "`NETWORK` of the virtual addresses")
	c.Flags().StringSliceVar(&f.ips, "ip", nil, "virtual `ADDRESS`, in place of one from each subnet; may be repeated")
	c.Flags().StringSliceVar(&f.listeners, "listener", nil, "`LISTENER` as tcp/80 or tcp/80:8080; may be repeated")
	c.Flags().StringSliceVar(&f.members, "member", nil, "`PORT` of a workload that serves; may be repeated")
	c.Flags().StringVar(&f.provider, "provider", "", "`WORD` native (when absent) or haproxy")
	c.Flags().StringSliceVar(&f.certificates, "certificate", nil, "`NAME` of a certificate for listeners of https, the first for clients that name no host; may be repeated")
	c.Flags().StringVar(&f.locality, "locality", "", "`WORD` any, prefer-host or only-host: which members a client's host chooses")
	c.Flags().IntVar(&f.affinity, "affinity", 0, "`SECONDS` that a silent client keeps its member; not when absent")
	return c
}

// buildBalancer makes the operations of a load-balancer and of all below it.
func (s *session) buildBalancer(ctx context.Context, f balancerFlags, name string) ([]api.Operation, error) {
	l, err := fresh[*api.LoadBalancer](s, api.KindLoadBalancer, name)
	if err != nil {
		return nil, err
	}
	if err := needed("network", f.network, "services"); err != nil {
		return nil, err
	}
	l.Spec.Provider = f.provider
	addresses, err := s.freeAddresses(ctx, l, f.network, f.ips)
	if err != nil {
		return nil, err
	}
	var objects []api.Object
	for _, a := range addresses {
		l.Spec.Addresses = append(l.Spec.Addresses, api.Ref{Name: fullName(a)})
		objects = append(objects, a)
	}
	objects = append(objects, l)
	for _, words := range f.listeners {
		more, err := s.listenerOf(l, words, f)
		if err != nil {
			return nil, err
		}
		objects = append(objects, more...)
	}
	return creates(objects...), nil
}

// freeAddresses makes an address for an object per --ip, or per subnet of the network in of.
func (s *session) freeAddresses(ctx context.Context, l api.Object, of string, words []string) (all []*api.Address, err error) {
	ips, err := parseAddresses("ip", words)
	if err != nil {
		return nil, err
	}
	ref, err := s.ref(api.KindNetwork, of)
	if err != nil {
		return nil, err
	}
	c, err := s.connect()
	if err != nil {
		return nil, err
	}
	network, err := client.Get[*api.Network](ctx, c, ref)
	if err != nil {
		return nil, err
	}
	add := func(suffix string, spec api.AddressSpec) {
		a := api.New(api.KindAddress).(*api.Address)
		a.Meta.Name, a.Meta.Parent, a.Spec = nameWithin(parentName(network.Meta.FQName), fullName(l))+"-"+suffix, api.RefTo(network), spec
		all = append(all, a)
	}
	for _, ip := range ips {
		add(addressWord(ip), api.AddressSpec{IP: ip})
	}
	if len(ips) > 0 {
		return all, nil
	}
	subnets, err := client.ListOf[*api.Subnet](ctx, c, client.ListOptions{Parent: api.RefTo(network)})
	if err != nil {
		return nil, err
	}
	for _, subnet := range subnets.Items {
		add(subnet.Meta.Name, api.AddressSpec{Subnet: api.RefTo(subnet)})
	}
	return all, nil
}

// spoken are the protocols of a listener and its pool by how --listener calls them.
type spoken struct {
	listener, pool string
	proxied        bool // needs provider haproxy
}

var listenerWords = map[string]spoken{
	"tcp": {"TCP", "TCP", false}, "udp": {"UDP", "UDP", false}, "sctp": {"SCTP", "SCTP", false},
	"http": {"HTTP", "HTTP", true}, "https": {"TERMINATED_HTTPS", "HTTP", true},
}

// listenerOf makes a listener with its pool and members from PROTOCOL/PORT[:TARGET].
func (s *session) listenerOf(l *api.LoadBalancer, words string, f balancerFlags) ([]api.Object, error) {
	bad := usagef("--listener %q: want PROTOCOL/PORT or PROTOCOL/PORT:TARGET, e.g. tcp/80:8080, with tcp, udp or sctp, or with --provider haproxy tcp, http or https", words)
	protocol, ports, ok := strings.Cut(words, "/")
	listened, aimed, mapped := strings.Cut(ports, ":")
	port, err := strconv.Atoi(listened)
	if !ok || err != nil {
		return nil, bad
	}
	target := port
	if mapped {
		if target, err = strconv.Atoi(aimed); err != nil {
			return nil, bad
		}
	}
	spoken, known := listenerWords[protocol]
	if !known || (f.provider == api.ProviderHAProxy) != spoken.proxied && protocol != "tcp" {
		return nil, bad
	}
	if protocol == "https" && len(f.certificates) == 0 {
		return nil, usagef("--listener %q: give the name of a certificate, e.g. --certificate shop", words)
	}
	name, of := protocol+"-"+listened, api.Ref{Name: fullName(l)}
	pool := api.New(api.KindPool).(*api.Pool)
	pool.Meta.Name, pool.Meta.Parent = name, of
	pool.Spec.Protocol, pool.Spec.Locality = spoken.pool, f.locality
	if f.affinity != 0 {
		pool.Spec.Affinity = &api.Affinity{By: "source-address", Seconds: f.affinity}
	}
	listener := api.New(api.KindListener).(*api.Listener)
	listener.Meta.Name, listener.Meta.Parent = name, of
	listener.Spec.Protocol, listener.Spec.Port, listener.Spec.Pool = spoken.listener, port, api.Ref{Name: fullName(pool)}
	if protocol == "https" {
		listener.Spec.TLS = &api.ListenerTLS{Certificates: f.certificates}
	}
	objects := []api.Object{pool, listener}
	for _, word := range f.members {
		at, err := s.ref(api.KindPort, word)
		if err != nil {
			return nil, err
		}
		m := api.New(api.KindMember).(*api.Member)
		m.Meta.Name, m.Meta.Parent = api.BaseName(at.String()), api.Ref{Name: fullName(pool)}
		m.Spec.Port, m.Spec.TargetPort = at, target
		objects = append(objects, m)
	}
	return objects, nil
}

func newCreateMember(s *session) *cobra.Command {
	var port, ip string
	var target, weight int
	var backup bool
	c := s.creation(creation{
		kind: api.KindMember, args: "LOAD-BALANCER:POOL:NAME --port PORT --target NUMBER", short: "Make a member of a pool",
		long:    "The member is a port, or an address that a port of the load-balancer's project has.",
		example: "  weft create member web:tcp-80:web-3 --port web-3 --target 8080\n  weft create member web:tcp-80:spare --port web-4 --target 8080 --backup",
		build: func(_ context.Context, name string) ([]api.Operation, error) {
			m, err := fresh[*api.Member](s, api.KindMember, name)
			if err != nil {
				return nil, err
			}
			m.Spec.TargetPort, m.Spec.Backup = target, backup
			if weight >= 0 {
				m.Spec.Weight = &weight
			}
			if port != "" {
				if m.Spec.Port, err = s.ref(api.KindPort, port); err != nil {
					return nil, err
				}
			}
			if ip != "" {
				ips, err := parseAddresses("ip", []string{ip})
				if err != nil {
					return nil, err
				}
				m.Spec.IP = ips[0]
			}
			return creates(m), nil
		},
	})
	c.Flags().StringVar(&port, "port", "", "`PORT` of the workload")
	c.Flags().StringVar(&ip, "ip", "", "its `ADDRESS`, or which of the port's")
	c.Flags().IntVar(&target, "target", 0, "transport port `NUMBER` that it listens on")
	c.Flags().IntVar(&weight, "weight", -1, "its `SHARE` of new connections, 0 to 256; 1 when absent")
	c.Flags().BoolVar(&backup, "backup", false, "choose it only when no other is there")
	return c
}
