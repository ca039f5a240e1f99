// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/cmd/weft/table"
)

// Exit codes.
const (
	ExitOK    = 0
	ExitError = 1 // the API refused, or what was asked about is not well
	ExitUsage = 2 // the command line itself is wrong
)

// DefaultProject is where names are looked up unless another project is named.
const DefaultProject = "default-domain:default-project"

// World is all that a command takes from its process.
type World struct {
	In         io.Reader
	Out        io.Writer
	Err        io.Writer
	Colour     bool   // Out is a terminal that wants colours
	ConfigFile string // from the environment, "" when unset
	HomeConfig string // where the user's own configuration would be
	Version    string
	Editor     string // command that edits a file, "" for the default
	Controller string // path of weft-controller, "" where there is none
	Now        func() time.Time
}

// Run executes a command line and returns the exit code.
func Run(ctx context.Context, w World, args []string) int {
	s := &session{World: w, printer: table.Printer{W: w.Out, Colour: w.Colour}}
	root := newRoot(s)
	root.SetArgs(args)
	root.SetIn(w.In)
	root.SetOut(w.Out)
	root.SetErr(w.Err)
	ran, err := root.ExecuteContextC(ctx)
	if s.client != nil {
		s.client.Close()
	}
	return s.report(ran, err)
}

// session is one execution of the program.
type session struct {
	World
	printer table.Printer
	flags   struct {
		config  string
		context string
		server  string
		project string
		draft   string // of the commands that stage
	}
	config  client.Config
	loaded  string // file the configuration came from
	client  *client.Client
	project string
}

const rootLong = `weft asks and tells Weft, one virtual network for everything in a data centre.

Four commands answer most questions:
  get       what is there: objects of any kind, and the live tables of any host
  describe  everything about one object
  why       the chain from an object to the kernel: where does it stop?
  drops     which packets were dropped, where, and why

Names: an object is named by its path, domain:project:name. What is missing on
the left is taken from --project, so "web" is the same as
"default-domain:default-project:web". Full names and UUIDs always work, and so
does KIND/NAME wherever KIND NAME does.

Exit codes: 0 done, 1 refused or not well, 2 the command line is wrong.`

// newRoot builds the tree of commands.
func newRoot(s *session) *cobra.Command {
	root := &cobra.Command{
		Use:               "weft",
		Short:             "One virtual network for everything in a data centre",
		Long:              rootLong,
		SilenceUsage:      true,
		SilenceErrors:     true,
		DisableAutoGenTag: true,
		Args:              noArguments,
		RunE:              func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	f := root.PersistentFlags()
	f.StringVar(&s.flags.config, "config", "", "client configuration `FILE` (default $WEFT_CONFIG, then ~/.config/weft/config.yaml)")
	f.StringVar(&s.flags.context, "context", "", "`CONTEXT` of the configuration to use, in place of the current one")
	f.StringVar(&s.flags.server, "server", "", "`URL` of the API, in place of the configuration's")
	f.StringVarP(&s.flags.project, "project", "p", "", "`DOMAIN:PROJECT` in which names are looked up (default the configuration's, then "+DefaultProject+")")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usagef("%v", err) })
	root.AddGroup(
		&cobra.Group{ID: groupSee, Title: "See:"},
		&cobra.Group{ID: groupChange, Title: "Change:"},
		&cobra.Group{ID: groupRest, Title: "Access and the rest:"},
	)
	root.AddCommand(
		newFlows(s),
		newGet(s), newDescribe(s), newWhy(s), newPort(s), newDrops(s), newCapture(s), newPolicy(s), newTrace(s), newReach(s), newCheck(s), newCapacity(s), newRoutes(s), newBalancer(s), newNAT(s), newTree(s), newHosts(s), newEvents(s), newAudit(s), newStore(s),
		newCreate(s), newApply(s), newDiff(s), newEdit(s), newDelete(s), newDraft(s), newAttach(s), newDetach(s),
		newConfig(s), newLogin(s), newOrchestrator(s), newToken(s), newCertificate(s), newAuthority(s), newBackup(s), newRestore(s), newWhoAmI(s), newVersion(s), newReference(s),
	)
	root.SetHelpCommandGroupID(groupRest)
	root.SetCompletionCommandGroupID(groupRest)
	return root
}

// The groups of commands in the help.
const (
	groupSee    = "see"
	groupChange = "change"
	groupRest   = "rest"
)
