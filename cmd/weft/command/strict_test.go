// SPDX-License-Identifier: Apache-2.0

package command_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/store"
)

const strictRule = "kind: address-group\nmeta: {name: offices}\nspec: {ranges: [192.0.2.0/24]}\n"

// endHolds is the controller that leads, as far as this command sees it: of each
// draft that holds a change it says what it waits for, and then deletes it. What
// it saw is returned when it is stopped.
func (r real) endHolds(t *testing.T, says ...api.DraftStatus) (seen func() []*api.Draft) {
	t.Helper()
	var holds []*api.Draft
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			for _, d := range api.ListOf[*api.Draft](r.store.Latest(), api.KindDraft) {
				if ended := slices.ContainsFunc(holds, func(h *api.Draft) bool { return h.Meta.UUID == d.Meta.UUID }); d.Spec.Hold != nil && !ended {
					holds = append(holds, d)
					r.endHold(t, d, says)
				}
			}
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	}()
	return func() []*api.Draft { close(stop); <-ended; return holds }
}

func (r real) endHold(t *testing.T, d *api.Draft, says []api.DraftStatus) {
	for _, status := range says {
		if err := r.store.PutStatus(t.Context(), api.KindDraft, d.Meta.UUID, status); err != nil {
			t.Error(err)
		}
		wait := time.NewTimer(time.Second) // several times longer than from one look to the next
		select {
		case <-wait.C:
		case <-t.Context().Done():
			return
		}
	}
	admin := api.Identity{Name: "controller", Orchestrator: api.AdministratorsName, Role: api.RoleAdmin}
	gone := api.New(api.KindDraft)
	gone.Head().Meta.UUID = d.Meta.UUID
	if _, err := r.store.Commit(t.Context(), admin, []api.Operation{{Op: api.OpDelete, Object: gone}}, store.CommitOptions{}); err != nil {
		t.Error(err)
	}
}

// connect says of all hosts whether they are connected.
func (r real) connect(t *testing.T, connected bool) (hosts []*api.Host) {
	t.Helper()
	hosts = api.ListOf[*api.Host](r.store.Latest(), api.KindHost)
	for _, h := range hosts {
		if err := r.store.PutStatus(t.Context(), api.KindHost, h.Meta.UUID, api.HostStatus{Connected: connected}); err != nil {
			t.Fatal(err)
		}
	}
	return hosts
}

// TestStrict makes strict changes: the hold is written with them, and the command
// ends when it has ended.
func TestStrict(t *testing.T) {
	r := startReal(t)
	r.connect(t, true)
	seen := r.endHolds(t)
	wantPieces(t, "apply", must(t, r.config, strictRule, "apply", "--strict", "-f", "-"), "offices created", "all hosts have it")
	must(t, r.config, "", "draft", "create", "d")
	must(t, r.config, strings.ReplaceAll(strictRule, "offices", "sites"), "draft", "add", "d", "-f", "-")
	wantPieces(t, "commit", must(t, r.config, "", "draft", "commit", "d", "--strict", "--strict-timeout", "90s"), "sites created", "all hosts have it")
	// What changes nothing holds nothing, and a dry run neither.
	if text := must(t, r.config, strictRule, "apply", "--strict", "-f", "-"); strings.Contains(text, "all hosts") {
		t.Errorf("nothing changed, and it was held: %s", text)
	}
	must(t, r.config, strings.ReplaceAll(strictRule, "offices", "others"), "apply", "--strict", "--dry-run", "-f", "-")
	holds := seen()
	if len(holds) != 2 || holds[0].Spec.Hold.Seconds != 30 || holds[1].Spec.Hold.Seconds != 90 || holds[1].Meta.Name != "d" {
		t.Errorf("held were %+v", holds)
	}
}

// TestStrictSaysForWhomItWaits, and when a hold ends without all hosts, without whom.
func TestStrictSaysForWhomItWaits(t *testing.T) {
	r := startReal(t)
	r.connect(t, true)
	waits := api.DraftStatus{Behind: 12, Waiting: []api.HeldHost{{Host: "h1", Why: "has not acknowledged the change"}}}
	expired := api.DraftStatus{Behind: 1, Waiting: []api.HeldHost{{Host: "h2", Why: "not connected"}}, Expired: true}
	seen := r.endHolds(t, waits, expired)
	_, errOut, code := run(t, r.config, bytes.NewBufferString(strictRule), "apply", "--strict", "-f", "-")
	seen()
	wantPieces(t, "progress", errOut, "held; waiting for h1 (has not acknowledged the change), and 11 more\n")
	wantPieces(t, "the end", errOut, "the change is made, but not all hosts confirmed within 30s", "h2 (not connected)")
	if code != 1 {
		t.Errorf("exit %d", code)
	}
}

// TestStrictNamesHostsThatAreAway, and changes nothing, unless it is to do without them.
func TestStrictNamesHostsThatAreAway(t *testing.T) {
	r := startReal(t)
	hosts := r.connect(t, false)
	seen := r.endHolds(t)
	_, errOut, code := run(t, r.config, bytes.NewBufferString(strictRule), "apply", "--strict", "-f", "-")
	wantPieces(t, "apply", errOut, "not connected: "+hosts[0].Meta.Name, "--without-absent-hosts")
	if _, _, there := run(t, r.config, nil, "get", "address-group", "offices"); code != 1 || there != 1 {
		t.Errorf("exit %d, and of what was not to be changed %d", code, there)
	}
	out, errOut, code := run(t, r.config, bytes.NewBufferString(strictRule), "apply", "--strict", "--without-absent-hosts", "-f", "-")
	wantPieces(t, "without", errOut, "not waiting for "+hosts[0].Meta.Name)
	wantPieces(t, "without", out, "offices created")
	holds := seen()
	if code != 0 || len(holds) != 1 || len(holds[0].Spec.Hold.Without) != len(hosts) {
		t.Errorf("exit %d, held were %+v", code, holds)
	}
}

// TestStrictRefuses what it cannot do, in words.
func TestStrictRefuses(t *testing.T) {
	r := startReal(t)
	r.connect(t, true)
	must(t, r.config, "", "draft", "create", "staged")
	must(t, r.config, "", "create", "draft", "other", "--set", "hold={seconds: 5}")
	for _, c := range []struct {
		args []string
		want string
		code int
	}{
		{[]string{"--strict"}, "other", 1},
		{[]string{"--strict", "--strict-timeout", "1h"}, "--strict-timeout is 1h0m0s, want at least 1s and at most 10m0s", 2},
		{[]string{"--strict", "--draft", "staged"}, "weft draft commit staged --strict", 2},
	} {
		_, errOut, code := run(t, r.config, bytes.NewBufferString(strictRule), append([]string{"apply", "-f", "-"}, c.args...)...)
		if code != c.code || !strings.Contains(errOut, c.want) {
			t.Errorf("%v: exit %d, want %d: %s", c.args, code, c.code, errOut)
		}
	}
	wantPieces(t, "get", must(t, r.config, "", "get", "drafts"), "HOLD", "held")
	_, errOut, _ := run(t, r.config, nil, "draft", "list", "other")
	wantPieces(t, "list", errOut, "other holds a change that is committed: held")
}
