// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
)

func newAuthority(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:   "authority",
		Short: "Show and replace the certificate authority",
		Long: `Show and replace the certificate authority. Only administrators may.

A rotation disturbs nobody: "rotate" introduces a new authority beside the old one;
when all controllers accept it, hosts get certificates of it by themselves, and
clients by "weft certificate renew". "show" tells who has not renewed yet. When
nobody is left, "finish" drops the old one.`,
		GroupID: groupRest,
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			return usagef("want a command: weft authority show, rotate or finish")
		},
	}
	c.AddCommand(newAuthorityShow(s), newAuthorityRotate(s), newAuthorityFinish(s))
	return c
}

func newAuthorityShow(s *session) *cobra.Command {
	var output string
	var certificates bool
	c := &cobra.Command{
		Use:   "show",
		Short: "Show the certificate authorities, and who has not renewed",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := s.connect()
			if err != nil {
				return err
			}
			if certificates {
				text, err := client.AuthorityCertificates(c.Context())
				if err == nil {
					_, err = fmt.Fprint(s.Out, text)
				}
				return err
			}
			state, err := client.Authority(c.Context())
			if err != nil {
				return err
			}
			if done, err := s.encode(output, state); done {
				return err
			}
			return s.printAuthority(state)
		},
	}
	c.Flags().BoolVar(&certificates, "certificates", false, "print the certificates alone, in PEM, for ca files of other tools")
	outputFlag(c, &output, formatJSON, formatYAML)
	return c
}

func (s *session) printAuthority(state api.AuthorityState) error {
	t := api.Table{Columns: []string{"AUTHORITY", "CERTIFIES", "EXPIRES"}}
	for _, a := range state.Authorities {
		does := "nobody yet"
		switch {
		case a.Serving && a.Issuing:
			does = "all"
		case a.Serving:
			does = "controllers"
		case a.Issuing:
			does = "hosts, clients"
		}
		t.Rows = append(t.Rows, []string{a.Hash, does, a.NotAfter.UTC().Format(time.RFC3339)})
	}
	if err := s.printer.Print(t); err != nil || state.Phase == api.AuthoritySteady {
		return err
	}
	fmt.Fprintf(s.Out, "\n%s since %s; have not renewed: %d\n", state.Phase, state.Since.UTC().Format(time.RFC3339), len(state.Pending))
	if len(state.Pending) == 0 {
		return nil
	}
	p := api.Table{Columns: []string{"KIND", "NAME", "ORCHESTRATOR", "SERIAL", "NOTED", "EXPIRES"}}
	for _, h := range state.Pending {
		p.Rows = append(p.Rows, []string{h.Kind, h.Name, h.Orchestrator, h.Serial, timeOrNone(h.Noted), timeOrNone(h.NotAfter)})
	}
	return s.printer.Print(p)
}

func timeOrNone(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func newAuthorityRotate(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "rotate",
		Short: "Introduce a new certificate authority beside the present one",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := s.connect()
			if err != nil {
				return err
			}
			state, err := client.RotateAuthority(c.Context())
			if err != nil {
				return err
			}
			return s.printAuthority(state)
		},
	}
}

func newAuthorityFinish(s *session) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "finish",
		Short: "Drop the certificate authority that was replaced",
		Long: `Drop the certificate authority that was replaced. It is refused, and nothing is done,
while somebody would be locked out. With --force they are: such hosts must join
again with a token made for them, such clients need a new credential. Clients that
know only the old authority's certificate or its hash, from a token, go on.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := s.connect()
			if err != nil {
				return err
			}
			state, err := client.FinishAuthority(c.Context(), force)
			if err != nil {
				return err
			}
			return s.printAuthority(state)
		},
	}
	c.Flags().BoolVar(&force, "force", false, "also lock out who has not renewed")
	return c
}

func newCertificate(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:     "certificate",
		Short:   "Renew the certificate of a context",
		GroupID: groupRest,
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			return usagef("want a command: weft certificate renew")
		},
	}
	c.AddCommand(newCertificateRenew(s))
	return c
}

func newCertificateRenew(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "renew",
		Short: "Get a new certificate, and whom to trust, for the context in use",
		Long: `Get a new certificate for a new key, for the context in use or that of --context, and
write both into the configuration together with the authorities to trust. A context
with a token keeps the token, and gets the authorities. The old certificate stays
good until it expires or its authority is dropped.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return s.renewCertificate(c.Context()) },
	}
}

func (s *session) renewCertificate(ctx context.Context) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	file, contexts, err := s.readContexts(false)
	if err != nil {
		return err
	}
	name := s.flags.context
	if name == "" {
		name = contexts.Current
	}
	config, err := contexts.Use(name)
	if err != nil {
		return failure{what: fmt.Sprintf("%s: %v", file, err)}
	}
	done := "knows whom to trust now"
	if config.Certificate == "" {
		if config.CA, err = c.AuthorityCertificates(ctx); err != nil {
			return err
		}
	} else {
		reply, key, err := c.RenewCertificate(ctx)
		if err != nil {
			return err
		}
		config.Certificate, config.Key, config.CA = reply.Certificate, key, reply.CA
		done = "has a new certificate, valid until " + reply.NotAfter.UTC().Format(time.RFC3339)
	}
	contexts.Contexts[name] = config
	if err := writeContexts(file, contexts); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.Out, "context %s %s\n", name, done)
	return err
}
