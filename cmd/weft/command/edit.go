// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// defaultEditor is there on every system that people log in to.
const defaultEditor = "vi"

func newEdit(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:   "edit KIND NAME",
		Short: "Change an object in an editor",
		Long: `Open an object in $VISUAL, $EDITOR or vi, and write it back when the editor ends.
What is removed is cleared. If the object is refused, or was changed by somebody
else meanwhile, the editor opens again with the reason on top; ending it without
another change gives up, and leaves the text in a file that is named.`,
		Example:           "  weft edit network web",
		GroupID:           groupChange,
		Args:              arguments(1, 2),
		ValidArgsFunction: s.completeTargets,
		RunE:              func(c *cobra.Command, args []string) error { return s.edit(c.Context(), args) },
	}
	s.draftFlag(c)
	return c
}

func (s *session) edit(ctx context.Context, args []string) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	targets, err := s.parseTargets(args)
	if err != nil {
		return err
	}
	if len(targets) != 1 {
		return usagef("want one object: weft edit KIND NAME")
	}
	o, err := s.current(ctx, c, targets[0].info.Kind, targets[0].ref)
	if err != nil {
		return err
	}
	text, err := editable(o)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "weft-edit-")
	if err != nil {
		return failure{what: fmt.Sprintf("edit: %v", err)}
	}
	e := editing{s: s, c: c, file: filepath.Join(folder, string(o.Head().Kind)+".yaml"), object: o, original: text}
	kept, err := e.run(ctx)
	if !kept {
		err = errors.Join(err, os.RemoveAll(folder))
	}
	return err
}

// editable is an object as it is opened: what can be changed, and what tells
// which object it is.
func editable(o api.Object) (string, error) {
	shown := api.Clone(o)
	revision := shown.Head().Meta.Revision
	forgetReadOnly(shown)
	data, err := yaml.Marshal(shown)
	head := fmt.Sprintf("# %s, revision %d. Lines that begin with # are ignored;\n# an empty file gives up.\n", slashed(o), revision)
	return head + string(data), err
}

// editing is one edit command.
type editing struct {
	s        *session
	c        *client.Client
	file     string
	object   api.Object // as it was last read: its revision is the precondition
	original string     // the text of that object
}

// run opens the editor until the object is written or the user gives up, and
// tells whether the text was kept.
func (e *editing) run(ctx context.Context) (bool, error) {
	text := e.original
	for {
		edited, err := e.open(ctx, text)
		switch {
		case err != nil:
			return true, failure{what: fmt.Sprintf("edit %s: %v", slashed(e.object), err), hint: "the text is in " + e.file}
		case strings.TrimSpace(withoutComments(edited)) == "", withoutComments(edited) == withoutComments(e.original):
			fmt.Fprintf(e.s.Out, "%s %s\n", slashed(e.object), e.s.printer.Word("unchanged"))
			return false, nil
		}
		problem := e.write(ctx, edited)
		if problem == nil {
			fmt.Fprintf(e.s.Out, "%s %s\n", slashed(e.object), e.s.printer.Word("configured")+e.s.aside(false))
			return false, nil
		}
		if edited == text { // it was opened with a problem and closed as it was
			return true, failure{what: fmt.Sprintf("edit %s: %v", slashed(e.object), problem), hint: "the text is in " + e.file}
		}
		if text, err = e.again(ctx, edited, problem); err != nil {
			return true, err
		}
	}
}

// open shows a text in the editor and returns what it became.
func (e *editing) open(ctx context.Context, text string) (string, error) {
	if err := os.WriteFile(e.file, []byte(text), 0o600); err != nil {
		return "", err
	}
	editor := e.s.Editor
	if editor == "" {
		editor = defaultEditor
	}
	// The variable may hold arguments, as in "code --wait"; the shell reads them.
	command := exec.CommandContext(ctx, "sh", "-c", editor+` "$1"`, "sh", e.file)
	command.Stdin, command.Stdout, command.Stderr = e.s.In, e.s.Out, e.s.Err
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("run %s: %w", editor, err)
	}
	data, err := os.ReadFile(e.file)
	return string(data), err
}

// write puts the edited object in place of the one that was read.
func (e *editing) write(ctx context.Context, text string) error {
	docs, err := e.s.parseDocuments(filepath.Base(e.file), []byte(text))
	if err != nil {
		return err
	}
	if len(docs) != 1 {
		return errors.New("the file holds more than one object")
	}
	o, is := docs[0].object, e.object.Head()
	h := o.Head()
	if h.Kind != is.Kind || h.Meta.UUID != is.Meta.UUID {
		return fmt.Errorf("kind and meta.uuid say which object it is and cannot change: want %s %s", is.Kind, is.Meta.UUID)
	}
	h.Meta.Revision = is.Meta.Revision
	if e.s.flags.draft == "" {
		_, err = e.c.Update(ctx, o)
		return err
	}
	_, err = e.s.transact(ctx, e.c, []api.Operation{{Op: api.OpUpdate, Object: o}}, 0, false)
	return err
}

// again is the text to open after a problem. After a change by somebody else
// that is shown, and the next write is on top of it.
func (e *editing) again(ctx context.Context, edited string, problem error) (string, error) {
	notes := []string{"error: " + oneLine(problem.Error())}
	var known *api.Error
	if errors.As(problem, &known) && known.Code == api.CodePrecondition {
		newest, err := e.s.current(ctx, e.c, e.object.Head().Kind, api.RefTo(e.object))
		if err != nil {
			return "", err
		}
		text, err := editable(newest)
		if err != nil {
			return "", err
		}
		notes = append(notes, "This is what changed meanwhile; writing now overwrites it:")
		notes = append(notes, diffLines(withoutComments(e.original), withoutComments(text))...)
		e.object, e.original = newest, text
	}
	head := ""
	for _, n := range notes {
		head += "# " + n + "\n"
	}
	return head + withoutComments(edited), nil
}

// withoutComments leaves out the lines that begin with #.
func withoutComments(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			b.WriteString(line)
		}
	}
	return b.String()
}
