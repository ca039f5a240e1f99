// SPDX-License-Identifier: Apache-2.0

package store

import (
	"testing"

	"github.com/weft-network/weft/api"
)

// Who takes the routes of another owner's networks, or puts its own among
// them, needs the route-target's share with verb route; it cannot be taken
// back while in use, and a community is one object, whoever writes its number.
func TestRouteTargetsOfOthersNeedTheVerbRoute(t *testing.T) {
	w := newWorld(t)
	w.orchestrators()
	target := named("blue-own:p:t")
	w.create(blue, object(t, api.KindRouteTarget, "t", "blue-own:p", "target: '64513:100'"))
	imports := func(name string) api.Object {
		return object(t, api.KindNetwork, name, "green-own:p", "importTargets: ['blue-own:p:t']")
	}
	exports := func(name string) api.Object {
		return object(t, api.KindNetwork, name, "green-own:p", "exportTargets: ['blue-own:p:t']")
	}
	w.refused(api.CodeInvalid, "there is no route-target", green, api.OpCreate, imports("n"))
	w.refused(api.CodeConflict, "64513:100", green, api.OpCreate, object(t, api.KindRouteTarget, "mine", "green-own:p", "target: '64513:100'"))
	weak := share("s", projectOf(blue), api.KindRouteTarget, target, api.KindOrchestrator, named("green"), api.VerbAttach, api.VerbJoin)
	w.create(blue, weak)
	for _, o := range []api.Object{imports("n"), exports("n")} {
		w.refused(api.CodeForbidden, "verb route", green, api.OpCreate, o)
	}
	strong := share("s", projectOf(blue), api.KindRouteTarget, target, api.KindOrchestrator, named("green"), api.VerbRoute)
	w.update(blue, strong)
	w.create(green, imports("n"), exports("m"))
	w.refused(api.CodeConflict, "", blue, api.OpDelete, strong)
	w.refused(api.CodeConflict, "", blue, api.OpUpdate, weak)
	w.refused(api.CodeConflict, "", blue, api.OpDelete, object(t, api.KindRouteTarget, "t", "blue-own:p", "target: '64513:100'"))
	w.remove(green, imports("n"), exports("m"))
	w.remove(blue, strong)
}

// Interface routes are routes of the port's network, for everybody in it: in
// another owner's network they need its share with verb route, which lasts as
// long as they do.
func TestInterfaceRoutesInOthersNetworksNeedTheVerbRoute(t *testing.T) {
	w := newWorld(t)
	w.orchestrators()
	w.create(blue, network("n", projectOf(blue)))
	w.create(green, object(t, api.KindRouteTable, "r", "green-own:p", "routes: [{prefix: 0.0.0.0/0}]"))
	with := func(tables string) api.Object {
		return object(t, api.KindPort, "p", "green-own:p", "network: 'blue-own:p:n', routeTables: ["+tables+"]")
	}
	w.create(blue, share("attach", projectOf(blue), api.KindNetwork, named("blue-own:p:n"), api.GranteeAll, api.Ref{}, api.VerbAttach))
	e := w.refused(api.CodeForbidden, "verb route", green, api.OpCreate, with("'green-own:p:r'"))
	if e.Field != "spec.routeTables" {
		t.Errorf("field %s", e.Field)
	}
	w.create(green, with(""))
	w.refused(api.CodeForbidden, "verb route", green, api.OpUpdate, with("'green-own:p:r'"))
	route := share("route", projectOf(blue), api.KindNetwork, named("blue-own:p:n"), api.KindOrchestrator, named("green"), api.VerbRoute)
	w.create(blue, route)
	w.update(green, with("'green-own:p:r'"))
	w.refused(api.CodeConflict, "", blue, api.OpDelete, route)
	w.update(green, with(""))
	w.remove(blue, route)
	// In a network of one's own nothing is asked.
	w.create(green, network("own", projectOf(green)))
	w.create(green, object(t, api.KindPort, "q", "green-own:p", "network: 'green-own:p:own', routeTables: ['green-own:p:r']"))
}
