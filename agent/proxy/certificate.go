// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// maxCertificate bounds a file with a certificate, its chain and its key.
const maxCertificate = 1 << 20

// plainName is what a certificate or a project may be called to be a file's name: no way leads out
// of the project's directory.
var plainName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,252}$`)

// certificates reads those that a load-balancer names, from DIR/DOMAIN/PROJECT/NAME.pem. One that is not
// there is left out, which the renderer says of who names it; any other failure is returned too.
func certificates(dir, balancer string, named map[string]bool) (map[string][]byte, error) {
	found := map[string][]byte{}
	var bad error
	parts := strings.Split(balancer, ":")
	if len(parts) != 3 || !plainName.MatchString(parts[0]) || !plainName.MatchString(parts[1]) {
		return found, nil // nor can there be a directory
	}
	for name := range named {
		if !plainName.MatchString(name) {
			continue
		}
		text, err := readBounded(filepath.Join(dir, parts[0], parts[1], name+".pem"))
		switch {
		case err == nil:
			found[name] = text
		case !errors.Is(err, os.ErrNotExist):
			bad = errors.Join(bad, fmt.Errorf("read certificate %s: %w", name, err))
		}
	}
	return found, bad
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if i, err := f.Stat(); err != nil || !i.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s is no file", path))
	}
	text, err := io.ReadAll(io.LimitReader(f, maxCertificate+1))
	if err == nil && len(text) > maxCertificate {
		err = fmt.Errorf("%s has more than %d bytes", path, maxCertificate)
	}
	return text, err
}
