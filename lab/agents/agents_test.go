// SPDX-License-Identifier: Apache-2.0

package agents

import (
	"context"
	"maps"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// patience bounds the whole test.
const patience = 3 * time.Minute

// TestStory lets ports come and go while streams break and the controller
// restarts. At the end every agent has exactly what a computation from all
// objects gives, and a reconnect then lists no rows.
func TestStory(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	dir := t.TempDir()
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", dir, "../../cmd/weft-controller").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	c, err := NewController(filepath.Join(dir, "weft-controller"), dir)
	check(t, err)
	defer c.Close()
	check(t, c.Start(ctx))
	admin, err := c.Client()
	check(t, err)
	defer admin.Close()
	w := World{Hosts: 20, Networks: 20, Ports: 10}
	crowd, err := NewCrowd(ctx, c, admin, w.Hosts)
	check(t, err)
	check(t, w.Fill(ctx, admin))
	crowd.Connect()
	defer crowd.Disconnect()
	check(t, crowd.WaitSync(ctx, nil))

	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	made := map[int][]api.Object{} // by the number of the port
	for step := range 150 {
		switch n := r.IntN(60); {
		case n == 0:
			crowd.meter.cut()
		case n == 1 && step > 50:
			c.Stop()
			check(t, c.Start(ctx))
		case n < 20 && len(made) > 0:
			for port, objects := range made {
				_, err := admin.Transaction(ctx, drop(objects), false)
				check(t, err)
				delete(made, port)
				break
			}
		default:
			port := w.Ports + step
			reply, err := admin.Transaction(ctx, w.makePort(r.IntN(w.Networks), port, r.IntN(w.Hosts)), false)
			check(t, err)
			made[port] = reply.Objects
		}
	}
	compare(t, ctx, admin, crowd)

	since, up := crowd.Opened(), crowd.meter.up.Load()
	crowd.meter.cut()
	check(t, crowd.WaitSync(ctx, since))
	rows, sent := int64(crowd.Rows()), crowd.meter.up.Load()-up
	// Listed, each row would take some 40 bytes.
	if t.Logf("%d rows, %d bytes to resume", rows, sent); sent > 20*rows {
		t.Errorf("seed %d: %d agents with %d rows that are all as they should be sent %d bytes to resume", seed, w.Hosts, rows, sent)
	}
}

// compare waits until every agent has what follows from all objects.
func compare(t *testing.T, ctx context.Context, admin *client.Client, crowd *Crowd) {
	t.Helper()
	plan, err := recompute(ctx, admin)
	check(t, err)
	hosts, err := client.ListOf[*api.Host](ctx, admin, client.ListOptions{})
	check(t, err)
	for i, h := range hosts.Items {
		if h.Meta.Name != crowd.agents[i].name {
			t.Fatalf("host %d is %s, want %s", i, h.Meta.Name, crowd.agents[i].name)
		}
		want := map[string]uint64{}
		for _, row := range plan.For(h.Meta.UUID) {
			want[row.Key] = row.Hash
		}
		until(t, ctx, func() bool { return maps.Equal(crowd.agents[i].ledger.hashes(), want) },
			"%s does not get the %d rows that follow from the objects", h.Meta.Name, len(want))
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// until waits until something holds.
func until(t *testing.T, ctx context.Context, holds func() bool, format string, args ...any) {
	t.Helper()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf(format, args...)
		case <-time.After(poll):
		}
	}
}
