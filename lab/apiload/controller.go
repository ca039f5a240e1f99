// SPDX-License-Identifier: Apache-2.0

// Package apiload measures the API of a real controller process with etcd inside,
// on a real disk: creations that arrive at fixed times, long lists, and memory.
package apiload

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/weft-network/weft/api/client"
)

const (
	readyTimeout = 30 * time.Second
	stopTimeout  = 15 * time.Second
	// askTimeout bounds one request; only lists come near it.
	askTimeout = time.Minute
)

// controller is a process that was started for the measurement.
type controller struct {
	dir    string
	cmd    *exec.Cmd
	ended  chan error
	config client.Config
	*client.Client
	plain *http.Client
}

// start runs a controller with a new data directory below a folder.
func start(ctx context.Context, binary, below string) (c *controller, err error) {
	dir, err := os.MkdirTemp(below, "weft-load-*")
	if err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	c = &controller{dir: dir, ended: make(chan error, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.stop())
		}
	}()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, fmt.Errorf("make the log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(binary, "--data-dir", dir, "--api-listen", "127.0.0.1:0", "--stream-listen", "127.0.0.1:0", "--log-level", "info")
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", binary, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", binary, err)
	}
	c.cmd = cmd
	ready := make(chan bool, 1)
	go func() { // ends with the process
		ready <- bufio.NewScanner(out).Scan()
		_, _ = io.Copy(io.Discard, out)
		c.ended <- cmd.Wait()
	}()
	select {
	case ok := <-ready:
		if !ok {
			return nil, fmt.Errorf("%s ended before it was ready: see %s", binary, log.Name())
		}
	case <-time.After(readyTimeout):
		return nil, fmt.Errorf("%s was not ready in %v: see %s", binary, readyTimeout, log.Name())
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return c, c.connect()
}

func (c *controller) connect() error {
	data, err := os.ReadFile(filepath.Join(c.dir, "admin.yaml"))
	if err != nil {
		return fmt.Errorf("read the way in: %w", err)
	}
	if c.config, err = client.ParseConfig(data); err != nil {
		return err
	}
	if c.Client, err = client.New(c.config); err != nil {
		return err
	}
	pair, err := tls.X509KeyPair([]byte(c.config.Certificate), []byte(c.config.Key))
	if err != nil {
		return fmt.Errorf("read the way in: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(c.config.CA))
	c.plain = &http.Client{Timeout: askTimeout, Transport: &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}},
	}}
	return nil
}

// stop ends the process and removes its directory.
func (c *controller) stop() error {
	if c.Client != nil {
		c.Close()
		c.plain.CloseIdleConnections()
	}
	var err error
	if c.cmd != nil {
		err = c.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-c.ended:
		case <-time.After(stopTimeout):
			err = errors.Join(fmt.Errorf("the controller did not end in %v", stopTimeout), c.cmd.Process.Kill())
			<-c.ended
		}
	}
	return errors.Join(err, os.RemoveAll(c.dir))
}

// read gets the whole answer to a path as a client would, without decoding it.
func (c *controller) read(ctx context.Context, path string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.config.Server+path, nil)
	if err != nil {
		return nil, err
	}
	reply, err := c.plain.Do(r)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", path, err)
	}
	defer reply.Body.Close()
	data, err := io.ReadAll(reply.Body)
	if err == nil && reply.StatusCode != http.StatusOK {
		err = fmt.Errorf("get %s: %s: %.300s", path, reply.Status, data)
	}
	return data, err
}

// resident is the memory of the process, in bytes.
func (c *controller) resident() (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("read the controller's memory: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmRSS:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("read the controller's memory: /proc tells no VmRSS")
}
