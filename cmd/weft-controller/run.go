// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control"
	"github.com/weft-network/weft/server"
	"github.com/weft-network/weft/store"
)

// stopTimeout bounds how long requests in flight may take at the end.
const stopTimeout = 5 * time.Second

// run is the controller from start to end, top to bottom.
func run(ctx context.Context, o options, log *slog.Logger) error {
	people, err := openPeople(o)
	if err != nil {
		return err
	}
	// Sockets first: a port that is taken is found before anything is made.
	apiListeners, streamListeners, err := openSockets(o)
	if err != nil {
		return err
	}
	defer closeAll(slices.Concat(apiListeners, streamListeners))

	db, err := openDatabase(ctx, o, log)
	if err != nil {
		return err
	}
	defer db.close()
	who, err := identify(ctx, o, db, apiListeners, streamListeners, log)
	if err != nil {
		return err
	}
	objects, err := openStore(ctx, o, db, log)
	if err != nil {
		return err
	}
	defer objects.Close()
	defer db.upkeep(ctx, objects)()

	controller := control.New(controlOptions(o, db, objects, who, apiListeners, streamListeners, log))
	controller.Start(ctx)
	defer controller.Stop()
	defer who.run(ctx, objects, controller.Recheck)()

	account, err := openAccount(o.dataDir, log)
	if err != nil {
		return err
	}
	defer account.close()
	rest := server.New(server.Options{
		Metrics:     account.handler(),
		Audit:       account.audit,
		Colleagues:  controller,
		Store:       objects,
		Views:       controller.Views(),
		CA:          who.ca,
		Certificate: who.certificate,
		Authority:   who.keeper,
		People:      people,
		Ready:       readiness(controller, who),
		Streams:     streamAddresses(o, streamListeners),
		Log:         log,
	})
	if err := account.export(o.metricsListen, objects.Metrics(), controller.Metrics(), rest.Metrics()); err != nil {
		return err
	}
	failed := serveAll(rest, apiListeners)
	defer stop(rest, log)

	log.Info("ready", "version", version, "api", addresses(apiListeners), "stream", addresses(streamListeners), "config", who.adminConfig)
	tellReady(log)
	return wait(ctx, failed, controller, db, objects, log)
}

// controlOptions is what the part that serves hosts stands on.
func controlOptions(o options, db *database, objects *store.Store, who *identity, apiListeners, streamListeners []net.Listener, log *slog.Logger) control.Options {
	return control.Options{
		Intent:   objects,
		Status:   objects,
		Peers:    db.peers(objects, addresses(apiListeners), log),
		Name:     addresses(apiListeners)[0],
		Streams:  streamAddresses(o, streamListeners),
		API:      peerAddresses(o, apiListeners),
		Ask:      asker{who.ca}.table,
		AskAudit: asker{who.ca}.audit,
		Commit: func(ctx context.Context, by api.Identity, operations []api.Operation) (int64, error) {
			result, err := objects.Commit(ctx, by, operations, store.CommitOptions{})
			return result.Revision, err
		},
		Epoch:     objects.Epoch(),
		Listeners: streamListeners,
		TLS:       who.certificate.TLS(tls.RequireAndVerifyClientCert),
		Authority: who,
		Log:       log,
	}
}

// openStore opens the store, unless it is older than the one that was served
// from this data directory.
func openStore(ctx context.Context, o options, db *database, log *slog.Logger) (*store.Store, error) {
	epoch, err := store.StoredEpoch(ctx, db.client)
	if err != nil {
		return nil, err
	}
	if err := sameStore(o.dataDir, epoch); err != nil {
		return nil, err
	}
	objects, err := store.Open(ctx, db.client, store.Options{DefaultNetworks: true, MaxTxnOps: db.maxTxnOps, Local: db.local, Log: log})
	if err != nil {
		return nil, err
	}
	if err := remember(o.dataDir, objects.Epoch()); err != nil {
		objects.Close()
		return nil, err
	}
	return objects, nil
}

// readiness is what must hold besides the store for the controller to be of use.
func readiness(controller *control.Service, who *identity) []server.Check {
	return []server.Check{
		{Name: "derived", Holds: func(context.Context) error { return controller.Ready() }},
		{Name: "authorities", Holds: func(context.Context) error { return who.keeper.Err() }},
	}
}

// wait returns when the controller is told to stop, or cannot go on.
func wait(ctx context.Context, failed <-chan error, controller *control.Service, db *database, objects *store.Store, log *slog.Logger) error {
	select {
	case <-ctx.Done():
		log.Info("stopping")
		return nil
	case err := <-failed:
		return err
	case <-controller.Done():
		return controller.Err()
	case err := <-objects.Failed():
		return err
	case err := <-db.failed:
		return fmt.Errorf("etcd stopped: %w", err)
	}
}

// stop ends the API, letting requests in flight finish for a while.
func stop(rest *server.Server, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := rest.Close(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		log.Warn("the API did not end cleanly", "error", err)
	}
}

// openSockets listens at all addresses of the flags.
func openSockets(o options) (apiListeners, streamListeners []net.Listener, err error) {
	if apiListeners, err = listenAll(o.apiListen); err != nil {
		return nil, nil, fmt.Errorf("serve the API: %w", err)
	}
	if streamListeners, err = listenAll(o.streamListen); err != nil {
		closeAll(apiListeners)
		return nil, nil, fmt.Errorf("serve the stream: %w", err)
	}
	return apiListeners, streamListeners, nil
}

// tellReady tells whoever started the controller that it serves.
func tellReady(log *slog.Logger) {
	if _, err := fmt.Fprintln(os.Stdout, "ready"); err != nil {
		log.Warn("nobody reads standard output", "error", err)
	}
}

// serveAll serves the API on all listeners until it is closed.
func serveAll(rest *server.Server, listeners []net.Listener) <-chan error {
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { failed <- rest.Serve(l) }() // ends with rest.Close
	}
	return failed
}

func closeAll(ls []net.Listener) {
	for _, l := range ls {
		l.Close()
	}
}

// certificateNames are all names under which the controller may be called.
func certificateNames(advertised []string, listeners []net.Listener) []string {
	names := append([]string{"localhost", "127.0.0.1", "::1"}, advertised...)
	if host, err := os.Hostname(); err == nil {
		names = append(names, host)
	}
	for _, l := range listeners {
		if tcp, ok := l.Addr().(*net.TCPAddr); ok && !tcp.IP.IsUnspecified() {
			names = append(names, tcp.IP.String())
		}
	}
	return names
}

// reachable turns a listening address into one that a client on this machine
// can call.
func reachable(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return a.String()
	}
	return net.JoinHostPort("localhost", fmt.Sprint(tcp.Port))
}

// streamAddresses are what joining hosts are told to connect to.
func streamAddresses(o options, listeners []net.Listener) []string {
	if len(o.streamAdvertise) > 0 {
		return o.streamAdvertise
	}
	return addresses(listeners)
}

func addresses(ls []net.Listener) []string {
	var all []string
	for _, l := range ls {
		all = append(all, reachable(l.Addr()))
	}
	return all
}
