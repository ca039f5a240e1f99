// SPDX-License-Identifier: Apache-2.0

// Package external connects to an etcd cluster that runs on its own, for a Weft
// of several controllers. The cluster belongs to Weft alone.
package external

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"sort"
	"time"

	"github.com/coreos/go-semver/semver"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

const (
	// maxTxnOps is the most that is asked for: what the embedded etcd is set to.
	maxTxnOps = 8192
	// minTxnOps is etcd's default; less is nowhere allowed to be set by accident.
	minTxnOps = 128
	// dialTimeout and the keepalives find a member that vanished within 13 s,
	// while the others answer.
	dialTimeout      = 5 * time.Second
	keepaliveTime    = 10 * time.Second
	keepaliveTimeout = 3 * time.Second
	// probeTimeout bounds one question to one member.
	probeTimeout = 3 * time.Second
	// sendMax lets requests of etcd's own limit through with their framing.
	sendMax = 4 << 20
	// startRetry is how soon a cluster that does not answer is asked again.
	startRetry = 500 * time.Millisecond
)

// oldest is the oldest etcd whose alarms, quota and downgrade rules we know.
var oldest = semver.New("3.6.0")

// Config says where the cluster is and who we are.
type Config struct {
	// Endpoints are client URLs of its members. Only https, but for loopback addresses.
	Endpoints []string
	// CA, Certificate and Key are files in PEM.
	CA          string
	Certificate string
	Key         string
}

// Cluster is a connection to etcd.
type Cluster struct {
	client    *clientv3.Client
	endpoints []string
	maxOps    int
}

// Connect connects, and waits for the cluster to answer until ctx ends.
func Connect(ctx context.Context, c Config, log *slog.Logger) (*Cluster, error) {
	config, err := c.client()
	if err != nil {
		return nil, err
	}
	client, err := clientv3.New(config)
	if err != nil {
		return nil, fmt.Errorf("connect to etcd at %v: %w", c.Endpoints, err)
	}
	e := &Cluster{client: client, endpoints: c.Endpoints}
	for {
		if err = e.examine(ctx, config, log); err == nil {
			return e, nil
		}
		var wrong *unfit
		if errors.As(err, &wrong) {
			break
		}
		log.Warn("etcd does not answer, will try again", "endpoints", c.Endpoints, "error", err)
		timer := time.NewTimer(startRetry)
		select {
		case <-timer.C:
			continue
		case <-ctx.Done():
			timer.Stop()
		}
		break
	}
	client.Close()
	return nil, err
}

// Client calls the cluster.
func (e *Cluster) Client() *clientv3.Client { return e.client }

// MaxTxnOps is how many operations one transaction may have at every member
// that answered.
func (e *Cluster) MaxTxnOps() int { return e.maxOps }

// Close ends the connection.
func (e *Cluster) Close() { e.client.Close() }

// unfit is what asking again does not change.
type unfit struct{ text string }

func (u *unfit) Error() string { return u.text }

// examine asks every member for its version and limits. One that is down counts
// when it refuses a transaction later.
func (e *Cluster) examine(ctx context.Context, config clientv3.Config, log *slog.Logger) error {
	e.maxOps = 0
	var failures []error
	for _, endpoint := range e.endpoints {
		ops, err := examineMember(ctx, config, endpoint)
		var wrong *unfit
		switch {
		case errors.As(err, &wrong):
			return err
		case err != nil:
			failures = append(failures, err)
		case e.maxOps == 0 || ops < e.maxOps:
			e.maxOps = ops
		}
	}
	if e.maxOps == 0 {
		return errors.Join(failures...)
	}
	for _, err := range failures {
		log.Warn("a member of etcd does not answer", "error", err)
	}
	log.Info("connected to etcd", "endpoints", e.endpoints, "max-txn-ops", e.maxOps)
	return nil
}

func examineMember(ctx context.Context, config clientv3.Config, endpoint string) (int, error) {
	config.Endpoints = []string{endpoint}
	client, err := clientv3.New(config)
	if err != nil {
		return 0, fmt.Errorf("connect to etcd at %s: %w", endpoint, err)
	}
	defer client.Close()
	one, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	status, err := client.Status(one, endpoint)
	if err != nil {
		return 0, fmt.Errorf("ask etcd at %s for its version: %w", endpoint, err)
	}
	version, err := semver.NewVersion(status.Version)
	if err != nil || version.LessThan(*oldest) {
		return 0, &unfit{fmt.Sprintf("etcd at %s has version %s; Weft needs %s or newer: upgrade it", endpoint, status.Version, oldest)}
	}
	return probe(ctx, client, endpoint)
}

// probe finds the largest transaction a member takes, by sending ones that read
// nothing and write nothing. A member that takes the largest we ask for is
// asked once.
func probe(ctx context.Context, client *clientv3.Client, endpoint string) (int, error) {
	takes := func(n int) (bool, error) {
		compare := make([]clientv3.Cmp, n)
		for i := range compare {
			compare[i] = clientv3.Compare(clientv3.CreateRevision("probe"), ">", 0)
		}
		one, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		_, err := client.Txn(one).If(compare...).Commit()
		if errors.Is(err, rpctypes.ErrTooManyOps) {
			return false, nil
		}
		return err == nil, err
	}
	most, err := takes(maxTxnOps)
	if err != nil || most {
		return maxTxnOps, probeFailed(endpoint, err)
	}
	// The first number that is too many, minus one.
	n := sort.Search(maxTxnOps, func(n int) bool {
		if err != nil {
			return true
		}
		var ok bool
		ok, err = takes(n)
		return !ok
	}) - 1
	if err == nil && n < minTxnOps {
		return 0, &unfit{fmt.Sprintf("etcd at %s takes %d operations in a transaction, Weft needs %d: raise its --max-txn-ops", endpoint, n, minTxnOps)}
	}
	return n, probeFailed(endpoint, err)
}

func probeFailed(endpoint string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("ask etcd at %s how large a transaction it takes: %w", endpoint, err)
}

// client is the configuration of etcd's client.
func (c Config) client() (clientv3.Config, error) {
	config := clientv3.Config{
		Endpoints: c.Endpoints, DialTimeout: dialTimeout,
		DialKeepAliveTime: keepaliveTime, DialKeepAliveTimeout: keepaliveTimeout,
		// No pings where nothing is asked: etcd takes offence and hangs up.
		PermitWithoutStream: false,
		MaxCallSendMsgSize:  sendMax, Logger: zap.NewNop(), // what fails is reported where it was asked for
	}
	secure := false
	for _, e := range c.Endpoints {
		u, err := url.Parse(e)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			return config, fmt.Errorf("connect to etcd: endpoint %q is not of the form https://HOST:PORT", e)
		}
		ip := net.ParseIP(u.Hostname())
		if u.Scheme == "http" && u.Hostname() != "localhost" && !ip.IsLoopback() {
			return config, fmt.Errorf("connect to etcd: endpoint %q is without TLS and not on this machine: give its members certificates and use https", e)
		}
		secure = secure || u.Scheme == "https"
	}
	if !secure {
		return config, nil
	}
	if c.CA == "" || c.Certificate == "" || c.Key == "" {
		return config, fmt.Errorf("connect to etcd at %v: a CA, a certificate and a key are required: etcd without client certificates is open to everybody", c.Endpoints)
	}
	text, err := os.ReadFile(c.CA)
	if err != nil {
		return config, fmt.Errorf("connect to etcd: read its CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return config, fmt.Errorf("connect to etcd: %s holds no certificate in PEM", c.CA)
	}
	if _, err := tls.LoadX509KeyPair(c.Certificate, c.Key); err != nil {
		return config, fmt.Errorf("connect to etcd: read our certificate: %w", err)
	}
	config.TLS = &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: pool,
		// Read anew for each connection, so that a renewed file needs no restart.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
			return &pair, err
		},
	}
	return config, nil
}
