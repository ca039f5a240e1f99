// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// logReader hears what the programs tell of frames because rules log.
type logReader struct{ *Events }

func newLogReader(t *testing.T, d *Datapath) logReader {
	t.Helper()
	check(t, d.SetRecording(Recording{Logged: true}))
	events, err := d.OpenEvents()
	check(t, err)
	t.Cleanup(func() { events.Close() })
	events.ring.SetDeadline(time.Unix(1, 0)) // what is there is read, and nothing waited for
	return logReader{events}
}

// compare wants what was told of a frame to be what the oracle tells, and forgets
// it. Ends that get copies are asked in an order that nobody says.
func (l logReader) compare(t *testing.T, what string, o *Oracle) {
	t.Helper()
	var got []loggedFrame
	for {
		e, err := l.Next()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		check(t, err)
		if e.Kind != EventLogged || e.OneOf != 1 || len(e.Frame) == 0 {
			t.Fatalf("%s: told %+v", what, e)
		}
		got = append(got, loggedFrame{e.Ifindex, e.Port, e.VRF, e.In, e.Reason.Name, e.Layer, e.Rule, e.Logged})
	}
	want := *o.Logged
	*o.Logged = nil
	if got, want := linesOf(got), linesOf(want); got != want {
		t.Fatalf("%s: of rules that log it is told\n%s\nwant\n%s", what, got, want)
	}
	for _, l := range want {
		word := "passed"
		if l.Reason != "" {
			word = "refused"
		}
		o.Met[word+", logged"]++
		if l.Logged[0].Audit {
			o.Met[word+", audited"]++
		}
		if len(l.Logged) > 1 {
			o.Met["several rules, logged"]++
		}
	}
}

func linesOf(all []loggedFrame) string {
	lines := make([]string, len(all))
	for i, l := range all {
		lines[i] = fmt.Sprintf("%+v", l)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
