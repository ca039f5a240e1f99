// SPDX-License-Identifier: Apache-2.0

package command

import (
	"fmt"
	"strings"

	"github.com/weft-network/weft/api"
)

// effectWord is what a kind does, in a table: empty for one that is in force.
func effectWord(info api.Info) string {
	word, _, _ := strings.Cut(info.Effect(), ":")
	return word
}

// effectFields say in a description what has no effect yet.
func effectFields(o api.Object) [][2]string {
	info, _ := api.KindInfo(o.Head().Kind)
	if effect := info.Effect(); effect != "" {
		return [][2]string{{"effect", effect}}
	}
	if fields := api.SetWithoutEffect(o); len(fields) > 0 {
		return [][2]string{{"no effect yet", strings.Join(fields, ", ")}}
	}
	return nil
}

// sayStoredOnly tells a person which of the objects that were written nothing
// follows from yet.
func (s *session) sayStoredOnly(operations []api.Operation) {
	said := map[string]bool{}
	for _, op := range operations {
		if op.Op == api.OpDelete {
			continue
		}
		info, _ := api.KindInfo(op.Object.Head().Kind)
		text := ""
		if info.Effect() != "" {
			text = fmt.Sprintf("%s: stored; has no effect yet", info.Kind)
		} else if fields := api.SetWithoutEffect(op.Object); len(fields) > 0 {
			text = fmt.Sprintf("%s: stored; %s: no effect yet", info.Kind, strings.Join(fields, ", "))
		}
		if text != "" && !said[text] {
			said[text] = true
			fmt.Fprintln(s.Err, text)
		}
	}
}
