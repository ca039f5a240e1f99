// SPDX-License-Identifier: Apache-2.0

// Command weft-controller is the control plane: intent in etcd, the API in
// front of it, and the stream to the hosts.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/cmd/journal"
	"github.com/weft-network/weft/store/external"
)

// version is set by the build.
var version = "unknown"

// defaultDataDir is where a packaged controller keeps its data.
const defaultDataDir = "/var/lib/weft-controller"

// defaultLife of certificates: a year.
const defaultLife = 365 * 24 * time.Hour

// options are the command's flags, read once.
type options struct {
	dataDir         string
	pkiDir          string
	etcd            external.Config
	apiListen       []string
	streamListen    []string
	advertise       []string
	streamAdvertise []string
	metricsListen   string
	oidcConfig      string
	log             journal.Options
	certificateLife time.Duration
	now             func() time.Time // of certificates; nil: the clock
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	collectSooner()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "weft-controller: %v\n", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var o options
	c := &cobra.Command{
		Use:   "weft-controller",
		Short: "Weft's control plane: API, store and the stream to the hosts",
		Long: `weft-controller keeps what orchestrators want in etcd, serves the API in front
of it, works out what each host must have, and sends that to the agents.

By default etcd runs inside this process, in DATA-DIR. With --etcd-endpoints it
is a cluster of its own, and several controllers may use it: all of them serve,
one of them writes statuses. They need the same certificate authority: start
the first, and copy its pki directory to the others before they start. When the
authority is replaced later ("weft authority rotate"), they learn of it by
themselves.

At its first start it makes a certificate authority, its own certificate and
DATA-DIR/admin.yaml, with which "weft --config DATA-DIR/admin.yaml" speaks as
administrator. It prints "ready" when it serves.`,
		Version:       version,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.pkiDir == "" {
				o.pkiDir = filepath.Join(o.dataDir, "pki")
			}
			log, err := journal.New(o.log, "weft-controller", os.Stderr)
			if err != nil {
				return err
			}
			if o.certificateLife < leastLife {
				return fmt.Errorf("read --certificate-life: %v is less than %v", o.certificateLife, leastLife)
			}
			err = run(cmd.Context(), o, log)
			if err != nil && cmd.Context().Err() != nil { // told to end: what was interrupted is no failure
				log.Info("stopped before it was ready", "reason", err)
				return nil
			}
			return err
		},
	}
	c.AddCommand(restoreCommand())
	f := c.Flags()
	f.StringVar(&o.dataDir, "data-dir", defaultDataDir, "directory of etcd, certificates and admin.yaml")
	f.StringVar(&o.pkiDir, "pki-dir", "", "directory of the certificate authority; several controllers need copies of one (default DATA-DIR/pki)")
	f.StringSliceVar(&o.etcd.Endpoints, "etcd-endpoints", nil, "client URLs of an etcd cluster that belongs to Weft alone; without, etcd runs in this process")
	f.StringVar(&o.etcd.CA, "etcd-ca", "", "file with the certificate authority of the etcd cluster, in PEM")
	f.StringVar(&o.etcd.Certificate, "etcd-cert", "", "file with this controller's client certificate for etcd, in PEM")
	f.StringVar(&o.etcd.Key, "etcd-key", "", "file with the key of --etcd-cert, in PEM")
	f.StringArrayVar(&o.apiListen, "api-listen", []string{"127.0.0.1:7443"}, "address of the API: host:port, or fd:N for an inherited socket (repeatable)")
	f.StringArrayVar(&o.streamListen, "stream-listen", []string{"127.0.0.1:7444"}, "address of the stream to the agents (repeatable)")
	f.StringArrayVar(&o.advertise, "advertise", nil, "name or IP address by which others reach this controller; goes into its certificate (repeatable)")
	f.StringArrayVar(&o.streamAdvertise, "stream-advertise", nil, "host:port of the stream that joining hosts are told (repeatable; default: the --stream-listen addresses)")
	f.StringVar(&o.oidcConfig, "oidc-config", "", "file that says whose ID tokens (OpenID Connect) are accepted and which groups have which role; see doc/access.md")
	f.StringVar(&o.metricsListen, "metrics-listen", "", "loopback address, host:port, at which Prometheus may read metrics without credentials; empty: only at /metrics of the API, with credentials")
	f.DurationVar(&o.certificateLife, "certificate-life", defaultLife, "how long the certificates of hosts, clients and this controller are good for; each is renewed by itself when two thirds have passed, but clients' by weft certificate renew")
	o.log.Flags(f)
	return c
}
