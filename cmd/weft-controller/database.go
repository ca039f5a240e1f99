// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-network/weft/control"
	"github.com/weft-network/weft/store"
	"github.com/weft-network/weft/store/embedded"
	"github.com/weft-network/weft/store/external"
	"github.com/weft-network/weft/store/peers"
)

// leaderWork is what one controller of several is elected for.
const leaderWork = "status"

// database is etcd, in this process or elsewhere.
type database struct {
	client    *clientv3.Client
	maxTxnOps int
	local     store.Local
	shared    bool         // other controllers may use it too
	failed    <-chan error // nil if it cannot fail for good
	close     func()
}

func openDatabase(ctx context.Context, o options, log *slog.Logger) (*database, error) {
	if len(o.etcd.Endpoints) > 0 {
		cluster, err := external.Connect(ctx, o.etcd, log)
		if err != nil {
			return nil, err
		}
		return &database{client: cluster.Client(), maxTxnOps: cluster.MaxTxnOps(), shared: true, close: cluster.Close}, nil
	}
	if o.etcd.CA != "" || o.etcd.Certificate != "" || o.etcd.Key != "" {
		return nil, fmt.Errorf("read flags: --etcd-ca, --etcd-cert and --etcd-key are for --etcd-endpoints, which is not given")
	}
	etcd, err := embedded.Start(ctx, o.dataDir)
	if err != nil {
		return nil, err
	}
	return &database{client: etcd.Client(), maxTxnOps: embedded.MaxTxnOps, local: etcd, failed: etcd.Failed(), close: etcd.Close}, nil
}

// colleagues are the other controllers, as control sees them.
type colleagues struct {
	*peers.Peers
	objects *store.Store
}

// Lead calls work whenever this controller is the one to write statuses; it
// then also looks after etcd.
func (c colleagues) Lead(ctx context.Context, work func(context.Context, control.StatusWriter)) {
	c.Peers.Lead(ctx, func(ctx context.Context, term store.Term) {
		var wait sync.WaitGroup
		wait.Go(func() { c.objects.Upkeep(ctx) })
		work(ctx, c.objects.During(term))
		wait.Wait()
	})
}

// upkeep looks after etcd if there is only this controller.
func (d *database) upkeep(ctx context.Context, objects *store.Store) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	if !d.shared {
		wait.Go(func() { objects.Upkeep(ctx) })
	}
	return func() { cancel(); wait.Wait() }
}

// peers is this controller's part among several; none where there is only one.
func (d *database) peers(objects *store.Store, addresses []string, log *slog.Logger) control.Peers {
	if !d.shared {
		return nil
	}
	return colleagues{peers.New(d.client, addresses[0], leaderWork, log), objects}
}
