// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
)

func newCreateDomain(s *session) *cobra.Command {
	return s.creation(creation{
		kind: api.KindDomain, args: "NAME", short: "Make a domain, the root of names",
		example: "  weft create domain acme",
		build: func(_ context.Context, name string) ([]api.Operation, error) {
			d, err := fresh[*api.Domain](s, api.KindDomain, name)
			return creates(d), err
		},
	})
}

func newCreateProject(s *session) *cobra.Command {
	var group bool
	c := s.creation(creation{
		kind: api.KindProject, args: "[DOMAIN:]NAME", short: "Make a project, a tenant",
		long: `With --default-security-group it gets the security-group "default" that ports
without one of their own have: everything may leave, and what enters comes from
ports of the same group, as in OpenStack.`,
		example: "  weft create project acme:web\n  weft create project acme:shop --default-security-group",
		build: func(_ context.Context, name string) ([]api.Operation, error) {
			p, err := fresh[*api.Project](s, api.KindProject, name)
			objects := []api.Object{p}
			if group {
				objects = append(objects, defaultSecurityGroup(fullName(p))...)
			}
			return creates(objects...), err
		},
	})
	c.Flags().BoolVar(&group, "default-security-group", false, "with a security-group for ports that name none")
	return c
}

// defaultSecurityGroup makes a project's default security-group as OpenStack
// has it: of both families everything may leave, and members reach each other.
func defaultSecurityGroup(project string) []api.Object {
	g := api.New(api.KindSecurityGroup).(*api.SecurityGroup)
	g.Meta.Name, g.Meta.Parent, g.Spec.Default = "default", api.Ref{Name: project}, true
	group := api.Ref{Name: fullName(g)}
	objects := []api.Object{g}
	for _, side := range []api.Side{api.Egress, api.Ingress} {
		for _, family := range []api.Family{api.IPv4, api.IPv6} {
			r := api.New(api.KindSecurityGroupRule).(*api.SecurityGroupRule)
			r.Meta.Name, r.Meta.Parent = string(side)+"-"+strings.ToLower(string(family)), group
			r.Spec.Direction, r.Spec.Family = side, family
			if side == api.Ingress {
				r.Spec.RemoteGroup = group
			}
			objects = append(objects, r)
		}
	}
	return objects
}

func newCreateOrchestrator(s *session) *cobra.Command {
	var platform, identity, domain string
	c := s.creation(creation{
		kind: api.KindOrchestrator, args: "NAME --platform PLATFORM", short: "Make an orchestrator, a system that writes intent",
		long:    "Tokens are bound to it, and it owns all that is made with them, see \"weft token create\".",
		example: "  weft create orchestrator k8s-1 --platform kubernetes --domain default-domain",
		build: func(_ context.Context, name string) ([]api.Operation, error) {
			o, err := fresh[*api.Orchestrator](s, api.KindOrchestrator, name)
			if err != nil {
				return nil, err
			}
			if err := needed("platform", platform, string(api.PlatformKubernetes)); err != nil {
				return nil, err
			}
			o.Spec.Platform, o.Spec.Identity = api.Platform(platform), identity
			if domain != "" {
				o.Spec.Domain, err = s.ref(api.KindDomain, domain)
			}
			return creates(o), err
		},
	})
	c.Flags().StringVar(&platform, "platform", "", "`PLATFORM`: kubernetes, openstack, vcenter or weft")
	c.Flags().StringVar(&identity, "identity", "", "the system's own `ID`; a second system that claims the name is refused by it")
	c.Flags().StringVar(&domain, "domain", "", "`DOMAIN` of its projects")
	return c
}

func newCreateHost(s *session) *cobra.Command {
	var addresses []string
	var mtu int
	c := s.creation(creation{
		kind: api.KindHost, args: "NAME --tunnel-address IP", short: "Make a host by hand",
		long:    "Hosts usually come into being when their agent joins with a token of role join.",
		example: "  weft create host h1 --tunnel-address 192.0.2.1 --tunnel-address 2001:db8::1",
		build: func(_ context.Context, name string) ([]api.Operation, error) {
			h, err := fresh[*api.Host](s, api.KindHost, name)
			if err != nil {
				return nil, err
			}
			if err := needed("tunnel-address", strings.Join(addresses, ""), "192.0.2.1"); err != nil {
				return nil, err
			}
			h.Spec.UnderlayMTU = mtu
			h.Spec.TunnelAddresses, err = parseAddresses("tunnel-address", addresses)
			return creates(h), err
		},
	})
	c.Flags().StringSliceVar(&addresses, "tunnel-address", nil, "`IP` of the host in the underlay; may be repeated, for both families and for several uplinks")
	c.Flags().IntVar(&mtu, "underlay-mtu", 0, "largest IP packet of the underlay, `BYTES`")
	return c
}

func newCreateShare(s *session) *cobra.Command {
	var what, to string
	var verbs []string
	c := s.creation(creation{
		kind: api.KindShare, args: "NAME --target KIND/NAME --to GRANTEE --verb VERB", short: "Let others refer to an object",
		long: `A grantee is all, or orchestrator/NAME, domain/NAME or project/NAME.

Verbs: see (read it, name it in a rule), attach (put ports and addresses on it),
join (put it under a network-policy), route, edit (write it).`,
		example: "  weft create share backbone-for-web --target network/backbone --to project/acme:web --verb attach",
		build: func(_ context.Context, name string) ([]api.Operation, error) {
			share, err := fresh[*api.Share](s, api.KindShare, name)
			if err != nil {
				return nil, err
			}
			return creates(share), s.fillShare(share, what, to, verbs)
		},
	})
	c.Flags().StringVar(&what, "target", "", "shared object as `KIND/NAME`")
	c.Flags().StringVar(&to, "to", "", "`GRANTEE`: all, orchestrator/NAME, domain/NAME or project/NAME")
	c.Flags().StringSliceVar(&verbs, "verb", nil, "`VERB`: see, attach, join, route or edit; may be repeated")
	return c
}

// fillShare reads the flags of a share.
func (s *session) fillShare(share *api.Share, what, to string, verbs []string) error {
	for _, n := range []struct{ flag, value, example string }{
		{"target", what, "network/backbone"}, {"to", to, "project/acme:web"}, {"verb", strings.Join(verbs, ""), "attach"},
	} {
		if err := needed(n.flag, n.value, n.example); err != nil {
			return err
		}
	}
	shared, err := s.parseSlashed(what)
	if err != nil {
		return err
	}
	share.Spec.TargetKind, share.Spec.Target = shared.info.Kind, shared.ref
	for _, v := range verbs {
		share.Spec.Verbs = append(share.Spec.Verbs, api.Verb(v))
	}
	if to == string(api.GranteeAll) {
		share.Spec.GranteeKind = api.GranteeAll
		return nil
	}
	grantee, err := s.parseSlashed(to)
	if err != nil {
		return err
	}
	share.Spec.GranteeKind, share.Spec.Grantee = grantee.info.Kind, grantee.ref
	return nil
}

// parseAddresses reads the addresses of a flag.
func parseAddresses(flag string, words []string) ([]netip.Addr, error) {
	var addresses []netip.Addr
	for _, w := range words {
		a, err := netip.ParseAddr(w)
		if err != nil {
			return nil, usagef("--%s %q: want an address such as 10.0.1.5 or 2001:db8::5", flag, w)
		}
		addresses = append(addresses, a)
	}
	return addresses, nil
}

// parsePrefix reads the range of a flag.
func parsePrefix(flag, word string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(word)
	if err != nil {
		return p, usagef("--%s %q: want a range such as 10.0.1.0/24 or 2001:db8::/64", flag, word)
	}
	return p, nil
}
