// SPDX-License-Identifier: Apache-2.0

package policy

import "github.com/weft-network/weft/api"

// holdsOf are the drafts that hold a change.
func holdsOf(s api.Snapshot) (holds []*api.Draft) {
	for _, d := range api.ListOf[*api.Draft](s, api.KindDraft) {
		if d.Spec.Hold != nil {
			holds = append(holds, d)
		}
	}
	return holds
}
