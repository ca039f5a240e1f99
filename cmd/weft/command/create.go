// SPDX-License-Identifier: Apache-2.0

package command

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
)

// createOptions are the flags every create command has.
type createOptions struct {
	uuid        string
	displayName string
	description string
	labels      map[string]string
	dryRun      bool
	output      string
}

const createLong = `Make an object, and with it what usually belongs to it: a network with its
subnets, a port with its addresses and its binding. All of it is made in one
transaction, or none of it.

Printed is what was made, with everything that was allocated (VNI, addresses,
MAC).

Kinds that have no command of their own are made by their fields:
  weft create tag tier-web --set type=tier --set value=web
What fields a kind has is in doc/reference. With -f objects are made as files
say; one that is there already is a refusal, see "weft apply" for the other.`

func newCreate(s *session) *cobra.Command {
	var files []string
	var dryRun bool
	c := &cobra.Command{
		Use:     "create KIND NAME | -f FILE...",
		Short:   "Make an object and what belongs to it",
		Long:    createLong,
		GroupID: groupChange,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if len(files) == 0 {
				return usagef("weft create wants a kind: weft create network NAME")
			}
			return s.createFiles(c.Context(), files, dryRun)
		},
	}
	filesFlag(c, &files)
	c.Flags().BoolVar(&dryRun, "dry-run", false, "check and show, but change nothing")
	s.draftFlag(c)
	c.AddCommand(
		newCreateDomain(s), newCreateProject(s), newCreateOrchestrator(s), newCreateHost(s),
		newCreateIPAM(s), newCreateSubnetPool(s), newCreateNetwork(s), newCreateSubnet(s), newCreatePort(s), newCreateAddress(s), newCreateBinding(s),
		newCreatePolicy(s), newCreateAttachment(s), newCreateShare(s), newCreateBalancer(s), newCreateMember(s), newCreateSourceNAT(s),
	)
	s.addByFields(c)
	return c
}

// creation is one create command: its words, and how arguments become operations.
type creation struct {
	kind     api.Kind
	args     string // of the usage line, "NAME"
	short    string
	long     string
	example  string
	optional bool // the name may be absent
	// build turns the name into operations. The common flags are about the
	// first object that is created.
	build func(ctx context.Context, name string) ([]api.Operation, error)
}

// command makes the cobra command of a creation with the flags all have.
func (s *session) creation(n creation) *cobra.Command {
	var o createOptions
	info, _ := api.KindInfo(n.kind)
	least := 1
	if n.optional {
		least = 0
	}
	c := &cobra.Command{
		Use:               string(n.kind) + " " + n.args,
		Aliases:           []string{info.Plural, info.Short},
		Short:             n.short,
		Long:              strings.TrimSpace(n.short + ".\n\n" + n.long),
		Example:           n.example,
		Args:              arguments(least, 1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			return s.create(c.Context(), o, n, name)
		},
	}
	f := c.Flags()
	f.StringVar(&o.uuid, "uuid", "", "`UUID` of the object; a random one when absent")
	f.StringVar(&o.displayName, "display-name", "", "free `TEXT` shown to people")
	f.StringVar(&o.description, "description", "", "free `TEXT`")
	f.StringToStringVarP(&o.labels, "label", "l", nil, "`KEY=VALUE`, may be repeated")
	f.BoolVar(&o.dryRun, "dry-run", false, "check and show, but change nothing")
	outputFlag(c, &o.output, formatJSON, formatYAML, formatName)
	if slices.Contains(api.Draftable(), n.kind) {
		s.draftFlag(c)
	}
	return c
}

// create builds the operations, does them, and prints what was made.
func (s *session) create(ctx context.Context, o createOptions, n creation, name string) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	operations, err := n.build(ctx, name)
	if err != nil {
		return err
	}
	if err := o.fill(n.kind, operations); err != nil {
		return err
	}
	made, err := s.transact(ctx, c, operations, 0, o.dryRun)
	if err != nil {
		return err
	}
	s.sayStoredOnly(operations)
	if done, err := s.encode(o.output, list{made.Revision, made.Objects}); done {
		return err
	}
	if o.output == formatName {
		return s.names(made.Objects)
	}
	return s.printMade(n.kind, operations, made.Objects, o.dryRun)
}

// fill puts the common flags on the first object of the kind that is made: what it
// refers to comes before it.
func (o createOptions) fill(kind api.Kind, operations []api.Operation) error {
	if o.uuid != "" && !api.IsUUID(strings.ToLower(o.uuid)) {
		return usagef("--uuid %q: want a UUID such as 6d1b3c5e-0f5a-4c55-9d3e-0123456789ab", o.uuid)
	}
	for _, op := range operations {
		if op.Op != api.OpCreate || op.Object.Head().Kind != kind {
			continue
		}
		m := &op.Object.Head().Meta
		m.UUID = strings.ToLower(o.uuid)
		m.DisplayName, m.Description, m.Labels = o.displayName, o.description, o.labels
		break
	}
	return nil
}

// printMade says what a transaction made, the first object of the kind before those
// that came with it.
func (s *session) printMade(kind api.Kind, operations []api.Operation, objects []api.Object, dryRun bool) error {
	order := make([]int, len(objects))
	for i := range order {
		order[i] = i
	}
	first := slices.IndexFunc(objects, func(o api.Object) bool { return o.Head().Kind == kind })
	slices.SortStableFunc(order, func(a, b int) int {
		switch first {
		case a:
			return -1
		case b:
			return 1
		}
		return 0
	})
	for n, i := range order {
		o, word := objects[i], "created"
		if i < len(operations) && operations[i].Op == api.OpUpdate {
			word = "changed"
		}
		indent := ""
		if n > 0 {
			indent = "  "
		}
		line := fmt.Sprintf("%s%s %s %s", indent, o.Head().Kind, o.Head().Meta.FQName, s.printer.Word(word))
		if facts := factsOf(o); facts != "" {
			line += ": " + facts
		}
		if _, err := fmt.Fprintln(s.Out, line+s.aside(dryRun)); err != nil {
			return err
		}
	}
	return nil
}

// factsOf is what a person wants to know of an object that was just made.
func factsOf(o api.Object) string {
	project := projectName(o.Head().Meta.FQName)
	switch o := o.(type) {
	case *api.Network:
		return fmt.Sprintf("VNI %d", o.Spec.VNI)
	case *api.Subnet:
		return fmt.Sprintf("%v, gateway %v", o.Spec.CIDR, o.Spec.Gateway)
	case *api.Port:
		return fmt.Sprintf("network %s, MAC %s", refName(project, o.Spec.Network), o.Spec.MAC)
	case *api.Address:
		if o.Spec.Port.IsZero() {
			return fmt.Sprintf("%v, reserved", o.Spec.IP)
		}
		return o.Spec.IP.String()
	case *api.Listener:
		return fmt.Sprintf("%s %d", o.Spec.Protocol, o.Spec.Port)
	case *api.Member:
		return fmt.Sprintf("%s port %d", cmp.Or(refName(project, o.Spec.Port), text(o.Spec.IP)), o.Spec.TargetPort)
	case *api.Binding:
		if o.Spec.Active {
			return "active on " + o.Spec.Host.String()
		}
		return "not active on " + o.Spec.Host.String()
	case *api.NetworkPolicy:
		return policyRules(nil, o)
	case *api.NetworkPolicyAttachment:
		return refName(project, o.Spec.Network) + " under " + refName(project, o.Spec.Policy)
	case *api.Share:
		return fmt.Sprintf("%s/%s to %s for %s", o.Spec.TargetKind, refName(project, o.Spec.Target), granteeText(o), joinWords(o.Spec.Verbs))
	case *api.Orchestrator:
		return "platform " + string(o.Spec.Platform)
	case *api.Host:
		return joinWords(o.Spec.TunnelAddresses)
	}
	return ""
}

// fresh makes an object of T's kind, named by what was given on the command
// line: its parent is what the full name says.
func fresh[T api.Object](s *session, kind api.Kind, name string) (T, error) {
	o := api.New(kind).(T)
	full, err := completeName(s.project, kind, name)
	if err != nil {
		return o, err
	}
	m := &o.Head().Meta
	m.Name = api.BaseName(full)
	m.Parent = api.Ref{Name: parentName(full)}
	return o, nil
}

// creates makes one create operation per object.
func creates(objects ...api.Object) []api.Operation {
	operations := make([]api.Operation, len(objects))
	for i, o := range objects {
		operations[i] = api.Operation{Op: api.OpCreate, Object: o}
	}
	return operations
}

// fullName is the name an object will have.
func fullName(o api.Object) string {
	m := o.Head().Meta
	return api.JoinName(m.Parent.Name, m.Name)
}

// needed refuses a flag that was not given.
func needed(flag, value, example string) error {
	if value == "" {
		return usagef("--%s is required, e.g. --%s %s", flag, flag, example)
	}
	return nil
}
