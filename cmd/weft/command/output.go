// SPDX-License-Identifier: Apache-2.0

package command

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/weft-network/weft/api"
)

// The output formats.
const (
	formatTable = ""
	formatWide  = "wide"
	formatJSON  = "json"
	formatYAML  = "yaml"
	formatName  = "name"
)

// outputFlag adds -o with the formats a command knows.
func outputFlag(c *cobra.Command, to *string, formats ...string) {
	c.Flags().StringVarP(to, "output", "o", formatTable, "print as `FORMAT` for programs: "+strings.Join(formats, ", "))
	check := c.PreRunE
	c.PreRunE = func(c *cobra.Command, args []string) error {
		if *to != formatTable && !slices.Contains(formats, *to) {
			return usagef("-o %q: want one of %s", *to, strings.Join(formats, ", "))
		}
		if check != nil {
			return check(c, args)
		}
		return nil
	}
	// The only error is a flag that does not exist.
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
}

// encode prints a value as JSON or YAML and tells whether the format is one of them.
func (s *session) encode(format string, value any) (bool, error) {
	var data []byte
	var err error
	switch format {
	case formatJSON:
		data, err = json.MarshalIndent(value, "", "  ")
		data = append(data, '\n')
	case formatYAML:
		data, err = yaml.Marshal(value)
	default:
		return false, nil
	}
	if err != nil {
		return true, fmt.Errorf("encode output: %w", err)
	}
	_, err = s.Out.Write(data)
	return true, err
}

// names prints KIND/NAME of each object, which every command reads again.
func (s *session) names(objects []api.Object) error {
	for _, o := range objects {
		if _, err := fmt.Fprintln(s.Out, slashed(o)); err != nil {
			return err
		}
	}
	return nil
}

// slashed is an object as KIND/NAME.
func slashed(o api.Object) string {
	h := o.Head()
	return string(h.Kind) + "/" + h.Meta.FQName
}

// list is the form in which several objects are printed and applied.
type list struct {
	Revision int64        `json:"revision,omitempty"`
	Items    []api.Object `json:"items"`
}
