// SPDX-License-Identifier: Apache-2.0

package command

import (
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/cmd/weft/table"
)

// TestCheckSaysWhatIsNotExact: an assertion that holds as far as is known is not shown
// as one that holds, and it is said of whom more is not known.
func TestCheckSaysWhatIsNotExact(t *testing.T) {
	var out, errOut strings.Builder
	s := &session{World: World{Out: &out, Err: &errOut}, printer: table.Printer{W: &out}, project: "d:p"}
	err := s.printChecked(api.Check{Verdicts: []api.Checked{
		{Assertion: "never port/a to port/b", Holds: true, Pairs: 1, NotExact: []string{"port d:p:a: portSecurity is off"}},
		{Assertion: "never cidr/10.0.0.0/8 to port/b", Pairs: 1, Counter: &api.CounterExample{To: api.Ref{Name: "d:p:b"}, Packet: "tcp from 10.0.0.0:49152 to 10.1.0.5:22", Allowed: true}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.Contains(got, "yes, not exact") || !strings.Contains(got, "\n  addresses to port b: tcp from 10.0.0.0:49152 to 10.1.0.5:22 is allowed\n") {
		t.Errorf("printed is\n%s", got)
	}
	if got, want := errOut.String(), "not exact: never port/a to port/b: port d:p:a: portSecurity is off\n"; got != want {
		t.Errorf("said is %q, want %q", got, want)
	}
}
