// SPDX-License-Identifier: Apache-2.0

package command_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/cmd/weft/command"
)

// What cannot be meant is refused before anybody is asked, and says what can be.
func TestCaptureRefusesWhatItCannotDo(t *testing.T) {
	for line, words := range map[string]string{
		"capture web-1 port http":               "write numbers",
		"capture web-1 tcp and":                 "it ends where",
		"capture web-1 --direction up":          "in, out or both",
		"capture web-1 --sample 5":              "1/N",
		"capture web-1 --sample 1/0":            "1/N",
		"capture web-1 --snaplen -1":            "positive",
		"capture":                               "too few arguments",
		"capture web-1 --duration -2s":          "positive",
		"capture web-1 host db-1 or tcp":        "names are not looked up",
		"capture web-1 --sample 1/100000000000": "1/N",
	} {
		var out, bad bytes.Buffer
		code := command.Run(t.Context(), command.World{In: strings.NewReader(""), Out: &out, Err: &bad, Now: time.Now}, strings.Fields(line))
		if code == command.ExitOK || !strings.Contains(bad.String(), words) || out.Len() > 0 {
			t.Errorf("%s: code %d and %q, want %q in it", line, code, bad.String(), words)
		}
	}
}
