// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
)

func newStore(s *session) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "store",
		Short: "Show how the store is: members, sizes, quota",
		Long: `Show how etcd, in which Weft keeps what is wanted, is: its members, what each
takes on disk and how much of that holds something, the size at which it takes no
more writes, and what a member reports.

The exit code is 1 if a member is full or does not answer.`,
		Example: "  weft store",
		GroupID: groupSee,
		Args:    noArguments,
		RunE:    func(c *cobra.Command, _ []string) error { return s.store(c.Context(), output) },
	}
	outputFlag(c, &output, formatJSON, formatYAML)
	return c
}

func (s *session) store(ctx context.Context, output string) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	state, err := c.StoreState(ctx)
	if err != nil {
		return err
	}
	if done, err := s.encode(output, state); done {
		return err
	}
	fmt.Fprintf(s.Out, "revision %d, epoch %d, up to %d operations a transaction\n\n", state.Revision, state.Epoch, state.MaxTxnOps)
	t, well := storeTable(state)
	if err := s.printer.Print(t); err != nil {
		return err
	}
	switch {
	case state.Full:
		return failure{what: "the store is full and takes no writes", hint: "the controller makes room if it can; if it stays so, raise etcd's quota"}
	case !well:
		return failure{what: "a member of the store is not well"}
	}
	return nil
}

// storeTable shows the members, and tells whether all of them are well.
func storeTable(state api.StoreState) (t api.Table, well bool) {
	t = api.Table{Columns: []string{"MEMBER", "VERSION", "ROLE", "SIZE", "IN-USE", "QUOTA", "OF-QUOTA", "STATUS"}}
	well = true
	for _, m := range state.Members {
		role, status, of := "follower", "ok", ""
		switch {
		case m.Leader:
			role = "leader"
		case m.Version == "": // it did not answer
			role = ""
		}
		switch {
		case m.Error != "":
			status = oneLineKept(m.Error)
		case m.Full:
			status = "full"
		}
		well = well && status == "ok"
		if m.QuotaBytes > 0 {
			of = strconv.FormatInt(m.SizeBytes*100/m.QuotaBytes, 10) + "%"
		}
		endpoint := m.Endpoint
		if endpoint == "" {
			endpoint = "(in the controller)"
		}
		t.Rows = append(t.Rows, []string{endpoint, m.Version, role, mebibytes(m.SizeBytes), mebibytes(m.InUseBytes), mebibytes(m.QuotaBytes), of, status})
	}
	return t, well
}

// mebibytes shows a size; of a member that did not answer it is not known.
func mebibytes(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}
