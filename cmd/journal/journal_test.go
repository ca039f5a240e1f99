// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestFormatsAndLevels(t *testing.T) {
	var b bytes.Buffer
	log, err := New(Options{"json", "warn"}, "weft-x", &b)
	if err != nil {
		t.Fatal(err)
	}
	log.Info("not this")
	log.Warn("this", "host", "h1")
	var line map[string]any
	if err := json.Unmarshal(b.Bytes(), &line); err != nil || line["msg"] != "this" || line["host"] != "h1" || line["process"] != "weft-x" || line["level"] != "WARN" {
		t.Errorf("JSON %q, %v", b.String(), err)
	}
	b.Reset()
	if log, err = New(Options{"text", "debug"}, "weft-x", &b); err != nil {
		t.Fatal(err)
	}
	log.Debug("this", "host", "h1")
	if !strings.Contains(b.String(), "level=DEBUG msg=this process=weft-x host=h1") {
		t.Errorf("text %q", b.String())
	}
	for _, bad := range []Options{{"xml", "info"}, {"text", "loud"}, {}} {
		if _, err := New(bad, "x", &b); err == nil || !strings.Contains(err.Error(), "--log-") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
