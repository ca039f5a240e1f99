// SPDX-License-Identifier: Apache-2.0

package haproxy

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/weft-network/weft/api"
)

var (
	httpMethod = regexp.MustCompile(`^[A-Z]{1,16}$`)
	// cipherWords are names in OpenSSL's lists, with its signs.
	cipherWords = regexp.MustCompile(`^[A-Za-z0-9_+!@=.:-]+$`)
	alpnWord    = regexp.MustCompile(`^[A-Za-z0-9./-]{1,64}$`)
	serverName  = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,253}$`)
)

// certificate is the path of a certificate with its key. Its name follows from its content: what
// changes it changes the configuration, and a process never reads half of a new one.
func (r *render) certificate(name string) (path string, err error) {
	text, there := r.Certificates[name]
	if !there {
		return "", fmt.Errorf("certificate %q is not on this host", name)
	}
	if _, err := tls.X509KeyPair(text, text); err != nil {
		return "", fmt.Errorf("certificate %q cannot be used: %s", name, strings.TrimPrefix(err.Error(), "tls: "))
	}
	return r.store(text, ".pem"), nil
}

// authority is the path of certificates that others are checked with.
func (r *render) authority(name string) (path string, err error) {
	text, there := r.Certificates[name]
	if !there {
		return "", fmt.Errorf("authority %q is not on this host", name)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(text) {
		return "", fmt.Errorf("authority %q has no certificate in PEM", name)
	}
	return r.store(text, ".pem"), nil
}

func (r *render) store(text []byte, kind string) string {
	sum := sha256.Sum256(text)
	name := certificates + "/" + hex.EncodeToString(sum[:16]) + kind
	r.Files[name] = text
	return r.path(name)
}

// secured is the words of a listener's TLS. Without a certificate, or without the means to check
// clients that it must check, the port stays closed.
func (r *render) secured(l *Listener) (words []string, ok bool) {
	t := l.TLS
	if t == nil || len(t.Certificates) == 0 {
		r.fault(l.ID, NoCertificate, "it names no certificate: the port is closed")
		return nil, false
	}
	var list strings.Builder
	var wrong error
	for _, name := range t.Certificates {
		path, err := r.certificate(name)
		if err != nil {
			wrong = errors.Join(wrong, err)
			continue
		}
		list.WriteString(path + "\n")
	}
	problem := ""
	if wrong != nil {
		problem = strings.ReplaceAll(wrong.Error(), "\n", "; ")
	}
	if list.Len() == 0 {
		r.fault(l.ID, NoCertificate, "%s: the port is closed", problem)
		return nil, false
	}
	more, err := r.bindTLS(t)
	if err != nil {
		r.fault(l.ID, Unfit, "%v: the port is closed", err)
		return nil, false
	}
	if problem != "" {
		r.partly(l.ID, NoCertificate, "%s: clients that ask for it get another one", problem)
	}
	return append([]string{"ssl", "crt-list", r.store([]byte(list.String()), ".list")}, more...), true
}

// bindTLS is the words for what is spoken and who may speak.
func (r *render) bindTLS(t *api.ListenerTLS) (words []string, err error) {
	if len(t.Versions) > 0 {
		least, most := t.Versions[0], t.Versions[0]
		for _, v := range t.Versions {
			least, most = min(least, v), max(most, v)
		}
		if !strings.HasPrefix(least, "TLSv1.") || !strings.HasPrefix(most, "TLSv1.") || !token.MatchString(least+most) {
			return nil, fmt.Errorf("versions %q are not known here", t.Versions)
		}
		words = append(words, "ssl-min-ver", least, "ssl-max-ver", most)
	}
	if t.Ciphers != "" {
		if !cipherWords.MatchString(t.Ciphers) {
			return nil, fmt.Errorf("ciphers %q are none in OpenSSL's words", t.Ciphers)
		}
		words = append(words, ciphers(t.Ciphers)...)
	}
	offered := t.ALPN
	if len(offered) == 0 {
		offered = []string{"h2", "http/1.1"}
	}
	for _, a := range offered {
		if !alpnWord.MatchString(a) {
			return nil, fmt.Errorf("alpn %q is no name of a protocol", a)
		}
	}
	words = append(words, "alpn", strings.Join(offered, ","))
	if t.ClientAuth == "" || t.ClientAuth == "none" {
		return words, nil
	}
	verify, known := map[string]string{"optional": "optional", "mandatory": "required"}[t.ClientAuth]
	if !known {
		return nil, fmt.Errorf("clientAuth %q is not known here", t.ClientAuth)
	}
	path, err := r.authority(t.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("clients cannot be checked: %w", err)
	}
	return append(words, "ca-file", path, "verify", verify), nil
}

// ciphers sorts suites by the words that HAProxy has for those of TLS 1.3 and for others.
func ciphers(list string) (words []string) {
	var old, suites []string
	for _, c := range strings.Split(list, ":") {
		switch {
		case c == "":
		case strings.HasPrefix(c, "TLS_"):
			suites = append(suites, c)
		default:
			old = append(old, c)
		}
	}
	if len(old) > 0 {
		words = append(words, "ciphers", strings.Join(old, ":"))
	}
	if len(suites) > 0 {
		words = append(words, "ciphersuites", strings.Join(suites, ":"))
	}
	return words
}

// spokenSecurely tells whether a pool's members can be spoken with as it says; else nobody speaks
// with them.
func (r *render) spokenSecurely(p *Pool) bool {
	var err error
	if p.TLS.Name != "" && !serverName.MatchString(p.TLS.Name) {
		err = fmt.Errorf("tls name %q is no name of a host", p.TLS.Name)
	}
	if p.TLS.Authority != "" && err == nil {
		_, err = r.authority(p.TLS.Authority)
	}
	if p.TLS.Certificate != "" && err == nil {
		_, err = r.certificate(p.TLS.Certificate)
	}
	if err != nil {
		r.fault(p.ID, NoCertificate, "%v: its members are not spoken with", err)
	}
	return err == nil
}

// memberTLS is the words of TLS with a pool's members.
func (r *render) memberTLS(u use) (words []string) {
	t := u.pool.TLS
	if t == nil {
		return nil
	}
	words = []string{"ssl", "verify", "none"}
	if t.Authority != "" { // spokenSecurely has read it
		path, _ := r.authority(t.Authority)
		words = []string{"ssl", "verify", "required", "ca-file", path}
	}
	if t.Certificate != "" {
		if path, err := r.certificate(t.Certificate); err == nil {
			words = append(words, "crt", path)
		}
	}
	if t.Name != "" {
		words = append(words, "sni", "str("+t.Name+")", "check-sni", t.Name)
		if t.Authority != "" {
			words = append(words, "verifyhost", t.Name)
		}
	}
	return words
}
