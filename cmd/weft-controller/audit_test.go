// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/server/pki"
)

// What was asked of any controller is found at each, in order, and with --local
// only at the one that was asked. One that is dead is named; when it is back, so
// is what it noted, once.
func TestAuditAcrossControllers(t *testing.T) {
	c := newCluster(t, 3)
	var admins []*client.Client
	for i := range c.dirs {
		admins = append(admins, c.admin(i))
	}
	var all []string
	for n := range 7 {
		name := fmt.Sprint("d", n)
		_, err := admins[n%3].Create(t.Context(), &api.Domain{Header: api.Header{Kind: api.KindDomain, Meta: api.Meta{Name: name}}})
		check(t, err)
		all = append(all, name)
	}
	of := func(i int) (own []string) {
		for n := i; n < len(all); n += 3 {
			own = append(own, all[n])
		}
		return own
	}
	for i, admin := range admins {
		eventually(t, "controllers know each other", func() error { return found(t, admin, api.AuditQuery{}, all, 3, 0) })
		check(t, found(t, admin, api.AuditQuery{Local: true}, of(i), 1, 0))
		check(t, found(t, admin, api.AuditQuery{Limit: 4}, all[3:], 3, 0))
		check(t, found(t, admin, api.AuditQuery{Object: "d4"}, []string{"d4"}, 3, 0))
	}
	c.kill(2)
	without := slices.DeleteFunc(slices.Clone(all), func(name string) bool { return slices.Contains(of(2), name) })
	check(t, found(t, admins[0], api.AuditQuery{}, without, 3, 1)) // within its lease
	c.start(2)
	c.admin(2).Close()
	eventually(t, "what the third noted is back, once", func() error { return found(t, admins[1], api.AuditQuery{}, all, 3, 0) })
}

// found says how an answer about domains that were created differs from these
// names and from the numbers of controllers that were asked and did not answer.
func found(t *testing.T, admin *client.Client, q api.AuditQuery, want []string, asked, silent int) error {
	t.Helper()
	q.Kind, q.Outcome = api.KindDomain, "done"
	a, err := admin.Audit(t.Context(), q)
	if err != nil {
		return err
	}
	var names []string
	at := map[string]string{} // controller by what it noted
	for _, e := range a.Items {
		names = append(names, e.Object)
		at[e.Object] = e.Controller
	}
	missing := 0
	for _, c := range a.Controllers {
		if c.Error != "" {
			missing++
		}
	}
	if !slices.Equal(names, want) || len(a.Controllers) != asked || missing != silent {
		return fmt.Errorf("%v of %+v, want %v of %d, %d silent", names, a.Controllers, want, asked, silent)
	}
	if len(want) > 3 && (at["d3"] == at["d4"] || at["d4"] == "") {
		return fmt.Errorf("who was asked for d3 and d4: %v", at)
	}
	return nil
}

// A controller is asked at the next address if one does not answer.
func TestColleagueIsAskedAtTheNextAddress(t *testing.T) {
	c := start(t, options{dataDir: t.TempDir()})
	admin := c.admin()
	defer c.end()
	ca, err := pki.Open(filepath.Join(c.dir, "pki"), time.Now)
	check(t, err)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	check(t, err)
	defer silent.Close()
	good := strings.TrimPrefix(admin.Server(), "https://")
	for what, addresses := range map[string][]string{"refuses": {freePort(t), good}, "is silent": {silent.Addr().String(), good}} {
		if _, err := (asker{ca}).audit(t.Context(), addresses, api.AuditQuery{Local: true}); err != nil {
			t.Errorf("after one that %s: %v", what, err)
		}
	}
	var refused *api.Error
	if _, err := (asker{ca}).table(t.Context(), []string{good}, "6b0b2ef5-5d4f-4a40-9aa1-93cbe4ab4d54", api.HostTableDrops); !errors.As(err, &refused) || refused.Code != api.CodeNotFound {
		t.Errorf("a host that does not exist: %v", err)
	}
}
