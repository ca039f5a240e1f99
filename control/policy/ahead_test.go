// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/routing"
)

// What is asked at a port does not depend on how many projects there are beside
// its own: of many, what their sets say is found ahead on another core.
func TestManyProjectsAskWhatFewDo(t *testing.T) {
	const fewProjects, manyProjects, hosts = 20, 300, 7
	few, many := policy.Derive(routing.Derive(cluster(fewProjects, hosts))), policy.Derive(routing.Derive(cluster(manyProjects, hosts)))
	asked := 0
	for _, p := range cluster(fewProjects, hosts).List(api.KindPort) {
		uuid := p.Head().Meta.UUID
		want, got := few.Port(uuid), many.Port(uuid)
		for d, layers := range want.Rulesets {
			for l, r := range layers {
				is := got.Rulesets[d][l]
				if (r == nil) != (is == nil) || r != nil && r.ID != is.ID {
					t.Errorf("%s, %s %s: asked is another ruleset among %d projects than among %d", p.Head().Meta.FQName, policy.Direction(d), policy.Layer(l), manyProjects, fewProjects)
				}
				if r != nil {
					asked++
				}
			}
		}
	}
	if asked < fewProjects*4 {
		t.Errorf("%d rulesets are asked at the ports of %d projects: the test shows little", asked, fewProjects)
	}
}
