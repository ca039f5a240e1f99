// SPDX-License-Identifier: Apache-2.0

package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

const configLong = `Show and change the client configuration: which controllers there are, with which
credentials, and which of them is in use. Each is a context.

The file is the one of --config, else $WEFT_CONFIG, else ~/.config/weft/config.yaml.
A file with a single configuration, as a controller writes to admin.yaml, is read
as one context called ` + client.SingleContext + `, and keeps that form until a second one is added.`

func newConfig(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:     "config",
		Short:   "Show and change which controllers are known, and the one in use",
		Long:    configLong,
		GroupID: groupRest,
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			return usagef("want a command: weft config get-contexts, use-context, set-context or delete-context")
		},
	}
	c.AddCommand(newGetContexts(s), newUseContext(s), newSetContext(s), newDeleteContext(s))
	return c
}

func newGetContexts(s *session) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "get-contexts",
		Short: "List the contexts",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			_, contexts, err := s.readContexts(false)
			if err != nil {
				return err
			}
			t := api.Table{Columns: []string{"NAME", "CURRENT", "SERVER", "PROJECT", "CREDENTIAL"}, Rows: [][]string{}}
			for _, name := range contexts.Names() {
				config := contexts.Contexts[name]
				t.Rows = append(t.Rows, []string{name, yesNo(name == contexts.Current), config.Server, config.Project, credential(config)})
			}
			return s.printTable(output, t)
		},
	}
	outputFlag(c, &output, formatJSON, formatYAML, formatName)
	return c
}

// credential says how a configuration makes itself known.
func credential(c client.Config) string {
	switch {
	case c.Login != nil:
		return "login"
	case c.TokenFile != "":
		return "token file"
	case c.Token != "":
		return "token"
	case c.Certificate != "":
		return "certificate"
	}
	return "none"
}

func newUseContext(s *session) *cobra.Command {
	return &cobra.Command{
		Use:               "use-context NAME",
		Short:             "Use another context from now on",
		Args:              arguments(1, 1),
		ValidArgsFunction: s.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			file, contexts, err := s.readContexts(false)
			if err != nil {
				return err
			}
			if _, err := contexts.Use(args[0]); err != nil {
				return failure{what: fmt.Sprintf("%s: %v", file, err)}
			}
			contexts.Current = args[0]
			if err := writeContexts(file, contexts); err != nil {
				return err
			}
			_, err = fmt.Fprintf(s.Out, "context %s is in use\n", args[0])
			return err
		},
	}
}

// contextOptions are the flags of set-context.
type contextOptions struct{ from, server, project, token string }

func newSetContext(s *session) *cobra.Command {
	var o contextOptions
	c := &cobra.Command{
		Use:   "set-context NAME [--from FILE]",
		Short: "Add a context, or change one",
		Long: `Add a context, or change one. --from takes over the configuration of another file,
such as a controller's admin.yaml or what "weft token create -o config" prints; the
other flags change single fields. The first context is in use at once.`,
		Example:           "  weft config set-context lab --from admin.yaml\n  weft config set-context lab --project default-domain:shop",
		Args:              arguments(1, 1),
		ValidArgsFunction: s.completeContexts,
		RunE:              func(_ *cobra.Command, args []string) error { return s.setContext(args[0], o) },
	}
	f := c.Flags()
	f.StringVar(&o.from, "from", "", "configuration `FILE` to take over")
	f.StringVar(&o.server, "context-server", "", "`URL` of the API")
	f.StringVar(&o.project, "context-project", "", "`DOMAIN:PROJECT` in which names are looked up")
	f.StringVar(&o.token, "token-file", "", "`FILE` that holds a token")
	return c
}

func (s *session) setContext(name string, o contextOptions) error {
	file, contexts, err := s.readContexts(true)
	if err != nil {
		return err
	}
	config := contexts.Contexts[name]
	if o.from != "" {
		data, err := os.ReadFile(o.from)
		if err != nil {
			return failure{what: fmt.Sprintf("read %s: %v", o.from, err)}
		}
		other, err := client.ParseContexts(data)
		if err == nil {
			config, err = other.Use("")
		}
		if err != nil {
			return failure{what: fmt.Sprintf("%s: %v", o.from, err)}
		}
	}
	if o.token != "" {
		data, err := os.ReadFile(o.token)
		if err != nil {
			return failure{what: fmt.Sprintf("read %s: %v", o.token, err)}
		}
		config.Token, config.Certificate, config.Key = strings.TrimSpace(string(data)), "", ""
		config.TokenFile, config.Login = "", nil
	}
	if o.server != "" {
		config.Server = o.server
	}
	if o.project != "" {
		config.Project = o.project
	}
	probe, err := client.New(config)
	if err != nil {
		return failure{what: fmt.Sprintf("context %s: %v", name, err), hint: "--from takes over a whole configuration, --context-server and --token-file single fields"}
	}
	probe.Close()
	if contexts.Contexts == nil {
		contexts.Contexts = map[string]client.Config{}
	}
	contexts.Contexts[name] = config
	if contexts.Current == "" {
		contexts.Current = name
	}
	if err := writeContexts(file, contexts); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.Out, "context %s set: %s\n", name, config.Server)
	return err
}

func newDeleteContext(s *session) *cobra.Command {
	return &cobra.Command{
		Use:               "delete-context NAME",
		Short:             "Forget a context and its credentials",
		Args:              arguments(1, 1),
		ValidArgsFunction: s.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			file, contexts, err := s.readContexts(false)
			if err == nil {
				_, err = contexts.Use(args[0])
			}
			if err != nil {
				return failure{what: fmt.Sprintf("%s: %v", file, err)}
			}
			delete(contexts.Contexts, args[0])
			if contexts.Current == args[0] {
				contexts.Current = ""
			}
			if err := writeContexts(file, contexts); err != nil {
				return err
			}
			_, err = fmt.Fprintf(s.Out, "context %s deleted\n", args[0])
			return err
		},
	}
}

// configFile is the file in use: that of --config, else the one the environment
// names, else the user's own.
func (s *session) configFile() string {
	switch {
	case s.flags.config != "":
		return s.flags.config
	case s.ConfigFile != "":
		return s.ConfigFile
	}
	return s.HomeConfig
}

// readContexts reads the configuration file; none is no error if it may be new.
func (s *session) readContexts(mayBeNew bool) (string, client.Contexts, error) {
	file := s.configFile()
	data, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && mayBeNew:
		return file, client.Contexts{}, nil
	case errors.Is(err, fs.ErrNotExist):
		return file, client.Contexts{}, failure{
			what: fmt.Sprintf("no client configuration: %s does not exist", file),
			hint: "name one with --config or $WEFT_CONFIG; a controller writes its administrators' to admin.yaml in its data directory",
		}
	case err != nil:
		return file, client.Contexts{}, failure{what: fmt.Sprintf("read client configuration: %v", err)}
	}
	contexts, err := client.ParseContexts(data)
	if err != nil {
		return file, contexts, failure{what: fmt.Sprintf("%s: %v", file, err), hint: "want YAML with server, ca, certificate and key, or server and token; or contexts with several such"}
	}
	return file, contexts, nil
}

// writeContexts replaces the file as a whole: it holds credentials, and half
// of it would be worse than the old one.
func writeContexts(file string, contexts client.Contexts) error {
	var value any = contexts
	if config, single := contexts.Contexts[client.SingleContext]; single && len(contexts.Contexts) == 1 && contexts.Current == client.SingleContext {
		value = config
	}
	data, err := yaml.Marshal(value)
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	folder := filepath.Dir(file)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return failure{what: fmt.Sprintf("write client configuration: %v", err)}
	}
	temporary, err := os.CreateTemp(folder, ".config-*")
	if err != nil {
		return failure{what: fmt.Sprintf("write client configuration: %v", err)}
	}
	defer os.Remove(temporary.Name()) // fails once it is renamed
	_, err = temporary.Write(data)    // CreateTemp makes it 0600
	if err = errors.Join(err, temporary.Close()); err == nil {
		err = os.Rename(temporary.Name(), file)
	}
	if err != nil {
		return failure{what: fmt.Sprintf("write client configuration: %v", err)}
	}
	return nil
}

// completeContexts completes one name of a context.
func (s *session) completeContexts(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	_, contexts, err := s.readContexts(false)
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return contexts.Names(), cobra.ShellCompDirectiveNoFileComp
}
