// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// readPair reads a key and its certificate from one file.
func readPair(path string) (crypto.Signer, *x509.Certificate, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	var key crypto.Signer
	var cert *x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "PRIVATE KEY":
			parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, nil, fmt.Errorf("read key in %s: %w", path, err)
			}
			key, _ = parsed.(crypto.Signer)
		case "CERTIFICATE":
			if cert, err = x509.ParseCertificate(block.Bytes); err != nil {
				return nil, nil, fmt.Errorf("read certificate in %s: %w", path, err)
			}
		}
	}
	if key == nil || cert == nil {
		return nil, nil, fmt.Errorf("read %s: it does not hold a key and a certificate", path)
	}
	if !sameKey(key, cert) {
		return nil, nil, fmt.Errorf("read %s: key and certificate do not belong together", path)
	}
	return key, cert, nil
}

func sameKey(key crypto.Signer, cert *x509.Certificate) bool {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(cert.PublicKey)
}

func writePair(path string, key crypto.Signer, der []byte) error {
	text, err := encodeKey(key)
	if err != nil {
		return err
	}
	return writeFile(path, append(text, encodeCertificate(der)...), 0o600)
}

// writeFile replaces a file so that after a crash it is the old or the new one,
// whole.
func writeFile(path string, data []byte, mode os.FileMode) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
