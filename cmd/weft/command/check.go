// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

const checkLong = `Check whether assertions about who may talk to whom hold. They are computed from
what control compiled for the hosts, for all protocols and ports and all pairs of
workloads, not tried out.

A file is YAML or JSON: a list of assertions, or one a document:

  - name: guests never reach the database
    never: {from: network/guests, to: security-group/db}
  - never: {from: tag/dev, to: tag/prod, protocol: tcp, port: 22}
  - allows: {from: network/web, to: db-1, protocol: tcp, ports: {from: 5432, to: 5433}}

"never" says that nothing of it is allowed from any to any, whatever they may send
from and be reached at: allowed address pairs, what lies behind them, and what they may
take by speaking for it (of active-standby pairs, and in slaac subnets), too. "allows"
says that all of it is from each to each, by each of their own addresses. from and to
are as in "weft reach", one of the two may be addresses; protocol, port or ports,
icmpType and family (4 or 6) may be left out: then it is all. An assertion is about
at most 1048576 pairs of ports. About ports with portSecurity off, which may use any
address, and networks that forward l2 the answer says that it is not exact.

The exit code is 0 if all hold, 1 if one does not; a packet and what each layer
says about it are shown. With --draft it is whether they would hold after what a
draft stages. "weft apply --check FILE" and "weft draft commit --check FILE" change
nothing unless they would hold.`

func newCheck(s *session) *cobra.Command {
	var draft, output string
	c := &cobra.Command{
		Use:     "check FILE...",
		Short:   "Check assertions about who may talk to whom",
		Long:    checkLong,
		Example: "  weft check promises.yaml\n  weft check promises.yaml --draft opening\n  weft apply -f site/ --check promises.yaml",
		GroupID: groupSee,
		Args:    arguments(1, -1),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := s.connect()
			if err != nil {
				return err
			}
			operations, err := s.stagedOperations(c.Context(), client, draft)
			if err != nil {
				return err
			}
			assertions, err := s.allAssertions(args)
			if err != nil {
				return err
			}
			answer, err := client.Check(c.Context(), api.CheckRequest{Assertions: assertions, Operations: operations})
			if err != nil {
				return err
			}
			return s.sayChecked(answer, output)
		},
	}
	c.Flags().StringVar(&draft, "draft", "", "whether they would hold after this `DRAFT` is committed")
	outputFlag(c, &output, formatJSON, formatYAML)
	return c
}

// stagedOperations are the writes of a draft; none without one.
func (s *session) stagedOperations(ctx context.Context, c *client.Client, name string) ([]api.Operation, error) {
	if name == "" {
		return nil, nil
	}
	d, err := s.draft(ctx, c, name)
	if err != nil {
		return nil, err
	}
	return d.Operations()
}

// allAssertions reads files; there are none without files.
func (s *session) allAssertions(files []string) (all []api.Assertion, err error) {
	for _, file := range files {
		found, err := s.assertions(file)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	if len(all) == 0 && len(files) > 0 {
		return nil, failure{what: "no assertion in " + strings.Join(files, ", ")}
	}
	return all, nil
}

// sayChecked prints an answer; that one does not hold is an error.
func (s *session) sayChecked(answer api.Check, output string) error {
	done, err := s.encode(output, answer)
	if !done {
		err = s.printChecked(answer)
	}
	if err == nil && !answer.Holds() {
		return errNotWell
	}
	return err
}

// printChecked shows each assertion, and of those that do not hold why not.
func (s *session) printChecked(answer api.Check) error {
	t := api.Table{Columns: []string{"HOLDS", "PAIRS", "ASSERTION"}}
	for _, v := range answer.Verdicts {
		holds := "yes"
		switch {
		case !v.Holds:
			holds = "no"
		case len(v.NotExact) > 0:
			holds = "yes, not exact"
		}
		t.Rows = append(t.Rows, []string{holds, fmt.Sprint(v.Pairs), v.Assertion})
	}
	if err := s.printer.Print(t); err != nil {
		return err
	}
	for _, v := range answer.Verdicts {
		s.sayNotExact(v.Assertion+": ", v.NotExact)
		if v.Holds {
			continue
		}
		allowed := "is not allowed"
		if v.Counter.Allowed {
			allowed = "is allowed"
		}
		if _, err := fmt.Fprintln(s.Out); err != nil {
			return err
		}
		lines := []string{v.Assertion, fmt.Sprintf("  %s to %s: %s %s", s.side(v.Counter.From), s.side(v.Counter.To), v.Counter.Packet, allowed)}
		for _, verdict := range v.Counter.Verdicts {
			lines = append(lines, "  "+verdict)
		}
		for _, line := range lines {
			if _, err := fmt.Fprintln(s.Out, oneLineKept(line)); err != nil {
				return err
			}
		}
	}
	return nil
}

// side names an end of a packet.
func (s *session) side(port api.Ref) string {
	if port.IsZero() {
		return "addresses"
	}
	return "port " + refName(s.project, port)
}

// sayNotExact says about whom an answer knows not everything.
func (s *session) sayNotExact(what string, all []string) {
	for _, text := range all {
		fmt.Fprintf(s.Err, "not exact: %s\n", oneLine(what+text))
	}
}

// assertions reads a file.
func (s *session) assertions(file string) ([]api.Assertion, error) {
	data, err := s.readFile(file)
	if err != nil {
		return nil, failure{what: fmt.Sprintf("read %s: %v", file, err)}
	}
	var all []api.Assertion
	for i, part := range splitDocuments(string(data)) {
		text, err := yaml.YAMLToJSONStrict([]byte(part))
		if err == nil && string(text) == "null" {
			continue
		}
		var some []api.Assertion
		if err == nil {
			if text[0] != '[' {
				text = []byte("[" + string(text) + "]")
			}
			err = api.DecodeStrictly(text, &some)
		}
		for n := range some {
			if err == nil {
				err = s.completeAssertion(&some[n])
			}
		}
		if err != nil {
			return nil, failure{what: fmt.Sprintf("%s, document %d: %v", file, i+1, err), hint: "weft check --help shows what an assertion looks like"}
		}
		all = append(all, some...)
	}
	return all, nil
}

func (s *session) completeAssertion(a *api.Assertion) (err error) {
	for _, e := range []*api.Encounter{a.Never, a.Allows} {
		if e == nil {
			continue
		}
		if e.From, err = s.workloads(e.From); err != nil {
			return err
		}
		if e.To, err = s.workloads(e.To); err != nil {
			return err
		}
	}
	return nil
}
