// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/cmd/weft/table"
)

// failure is an error with what the user can do about it.
type failure struct {
	what string
	hint string
}

func (f failure) Error() string { return f.what }

// usageError is a command line that means nothing.
type usageError struct{ text string }

func (u usageError) Error() string { return u.text }

func usagef(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// errNotWell ends a command with exit code 1 after it has printed why.
var errNotWell = errors.New("not well")

// shownReferrers bounds how many referrers an error names.
const shownReferrers = 5

// report prints an error in one or two lines, and returns the exit code.
func (s *session) report(ran *cobra.Command, err error) int {
	var (
		usage  usageError
		fail   failure
		apiErr *api.Error
	)
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, errNotWell):
		return ExitError
	case errors.As(err, &usage), strings.HasPrefix(err.Error(), "unknown command"):
		fmt.Fprintf(s.Err, "error: %s\n", oneLine(err.Error()))
		fmt.Fprintf(s.Err, "  see: %s --help\n", ran.CommandPath())
		return ExitUsage
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(s.Err, "error: interrupted")
		return ExitError
	case errors.As(err, &fail):
		s.complain(fail.what, fail.hint)
	case errors.As(err, &apiErr):
		s.complain(describeError(err, apiErr), s.adviceFor(apiErr))
	default:
		s.complain(err.Error(), "")
	}
	return ExitError
}

// complain prints what happened and what to do.
func (s *session) complain(what, hint string) {
	fmt.Fprintf(s.Err, "error: %s\n", oneLine(what))
	if hint != "" {
		fmt.Fprintf(s.Err, "  %s\n", oneLine(hint))
	}
}

// oneLine keeps errors to one line: text of others may hold anything.
func oneLine(text string) string { return table.Clean(strings.TrimSpace(text)) }

// oneLineKept is oneLine for text whose indentation matters.
func oneLineKept(text string) string { return table.Clean(text) }

// describeError is the server's words and, where they leave it out, the object.
func describeError(err error, e *api.Error) string {
	text := err.Error()
	if e.Object != "" && !strings.Contains(text, e.Object) && !strings.Contains(text, api.BaseName(e.Object)) {
		text = string(e.Kind) + " " + e.Object + ": " + text
	}
	if e.Field != "" && len(e.Problems) == 0 && !strings.Contains(text, e.Field) {
		text += " (" + e.Field + ")"
	}
	return text
}

// adviceFor says what the user can do about an error of the API.
func (s *session) adviceFor(e *api.Error) string {
	switch e.Code {
	case api.CodeNotFound:
		if info, ok := api.KindInfo(e.Kind); ok {
			return "list what there is: weft get " + info.Plural + " -A"
		}
	case api.CodeConflict:
		if len(e.Referrers) > 0 {
			return "needed by " + shorten(e.Referrers)
		}
	case api.CodeForbidden:
		return "weft whoami says who you are; the owner of the object can share it (weft create share --help)"
	case api.CodeUnauthenticated:
		return "check token or certificate in " + s.loaded
	case api.CodePrecondition:
		return "somebody changed it meanwhile: look again and repeat"
	case api.CodeUnavailable:
		if strings.Contains(e.Message, "cannot trust") {
			return "check server, ca and token in " + s.loaded
		}
		if strings.Contains(e.Message, "cannot reach") {
			return "is weft-controller running, and is server right in " + s.loaded + "?"
		}
	case api.CodeExhausted:
		return "add a subnet (weft create subnet --help), or delete what is not used"
	case api.CodeInternal:
		return "this is a fault of Weft: please report it with the controller's log"
	}
	return ""
}

// shorten lists a few of many.
func shorten(names []string) string {
	if len(names) <= shownReferrers {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shownReferrers], ", "), len(names)-shownReferrers)
}

// noArguments refuses arguments.
func noArguments(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if c.HasSubCommands() {
		c.SuggestionsMinimumDistance = 2 // letters wrong
		text := fmt.Sprintf("%s has no command %q", c.CommandPath(), args[0])
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			text += ": did you mean " + strings.Join(near, " or ") + "?"
		}
		return usagef("%s", text)
	}
	return usagef("%s takes no argument, but got %q", c.CommandPath(), args[0])
}

// arguments requires from least to most arguments; most < 0 is any number.
func arguments(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) >= least && (most < 0 || len(args) <= most) {
			return nil
		}
		words := "too few"
		if len(args) > least {
			words = "too many"
		}
		return usagef("%s arguments: want %s", words, strings.TrimSuffix(c.UseLine(), " [flags]"))
	}
}
