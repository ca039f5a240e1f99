// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// endorsementsMax bounds how many former authorities' endorsements a server
// shows: tokens that name an older one are refused.
const endorsementsMax = 3

// sealInfo binds derived keys to their one use.
const sealInfo = "weft: key of a certificate authority, sealed for controllers that have the one before"

// State says which authorities a Weft has. It is the same at all its
// controllers and holds no key in the clear.
type State struct {
	// Generation counts changes.
	Generation int64 `json:"generation"`
	// Serving is the hash of the authority that certifies the controllers, and
	// that tokens name; Issuing that of hosts and clients. They differ while an
	// authority is being replaced.
	Serving string `json:"serving"`
	Issuing string `json:"issuing"`
	// Trusted are all that are accepted.
	Trusted []Authority `json:"trusted"`
	// Endorsements let those who know a former authority trust a later one.
	Endorsements []Endorsement `json:"endorsements,omitempty"`
	// Since is when it became so.
	Since time.Time `json:"since"`
}

// Authority is one of them.
type Authority struct {
	Hash        string `json:"hash"`        // SHA-256 of the certificate's DER in hex
	Certificate string `json:"certificate"` // PEM
	// Sealed is its key, encrypted with one derived from the key of the authority
	// with hash SealedBy. Controllers have that, and nobody else.
	Sealed   []byte `json:"sealed,omitempty"`
	SealedBy string `json:"sealedBy,omitempty"`
}

// Endorsement is the certificate of a successor's key by its predecessor.
type Endorsement struct {
	By          string `json:"by"`          // PEM: the predecessor
	Certificate string `json:"certificate"` // PEM
}

// Has tells whether an authority is accepted.
func (s State) Has(hash string) bool {
	return slices.ContainsFunc(s.Trusted, func(a Authority) bool { return a.Hash == hash })
}

// Next returns the hash of the authority that is to replace the serving one, or "".
func (s State) Next() string {
	for _, a := range s.Trusted {
		if a.Hash != s.Serving {
			return a.Hash
		}
	}
	return ""
}

// Switched is the state in which the next authority certifies hosts and clients.
func (s State) Switched(now time.Time) State {
	s.Issuing = s.Next()
	return s.changed(now)
}

// Finished is the state in which only the next authority is left.
func (s State) Finished(now time.Time) State {
	next := s.Next()
	s.Serving, s.Issuing = next, next
	s.Trusted = slices.DeleteFunc(slices.Clone(s.Trusted), func(a Authority) bool { return a.Hash != next })
	return s.changed(now)
}

func (s State) changed(now time.Time) State {
	s.Generation++
	s.Since = now.UTC().Truncate(time.Second)
	return s
}

// member is an authority as one controller has it. It never changes.
type member struct {
	hash string
	key  crypto.Signer
	cert *x509.Certificate
}

func newMember(key crypto.Signer, cert *x509.Certificate) *member {
	return &member{hash: hashOf(cert), key: key, cert: cert}
}

func hashOf(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// State returns the present state, which is the caller's.
func (ca *CA) State() State {
	ca.mu.RLock()
	defer ca.mu.RUnlock()
	s := ca.state
	s.Trusted, s.Endorsements = slices.Clone(s.Trusted), slices.Clone(s.Endorsements)
	return s
}

// Introduce makes a new authority beside the serving one and returns the state
// in which it is accepted. Nothing has changed before all controllers Adopt it.
func (ca *CA) Introduce() (State, error) {
	s := ca.State()
	if s.Next() != "" {
		return s, fmt.Errorf("introduce an authority: one is being introduced already, with the SHA-256 %s", s.Next())
	}
	old := ca.serving()
	fresh, err := ca.create()
	if err != nil {
		return s, fmt.Errorf("introduce an authority: %w", err)
	}
	sealed, err := seal(old, fresh)
	if err != nil {
		return s, fmt.Errorf("introduce an authority: %w", err)
	}
	cross, err := ca.endorse(old, fresh)
	if err != nil {
		return s, fmt.Errorf("introduce an authority: %w", err)
	}
	s.Trusted = append(slices.Clone(s.Trusted), Authority{
		Hash: fresh.hash, Certificate: string(encodeCertificate(fresh.cert.Raw)), Sealed: sealed, SealedBy: old.hash,
	})
	s.Endorsements = append(slices.Clone(s.Endorsements), Endorsement{By: string(encodeCertificate(old.cert.Raw)), Certificate: string(encodeCertificate(cross))})
	s.Endorsements = s.Endorsements[max(0, len(s.Endorsements)-endorsementsMax):]
	return s.changed(ca.now()), nil
}

// endorse certifies a successor's key as that of an authority.
func (ca *CA) endorse(old, fresh *member) ([]byte, error) {
	template := ca.template(fresh.cert.Subject, fresh.cert.NotAfter.Sub(ca.now()))
	template.NotBefore = fresh.cert.NotBefore
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	template.SubjectKeyId = fresh.cert.SubjectKeyId
	if template.NotAfter.After(old.cert.NotAfter) {
		template.NotAfter = old.cert.NotAfter
	}
	return x509.CreateCertificate(rand.Reader, template, old.cert, fresh.key.Public(), old.key)
}

// Adopt makes a state this controller's. Keys that it does not have yet it
// opens with those it has, and keeps; keys of authorities that are accepted no
// more it removes. It can be repeated, also after a crash in the middle.
func (ca *CA) Adopt(s State) error {
	if err := ca.adopt(s); err != nil {
		return fmt.Errorf("adopt the certificate authorities of generation %d: %w", s.Generation, err)
	}
	return nil
}

func (ca *CA) adopt(s State) error {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	members := map[string]*member{}
	for _, a := range s.Trusted {
		m, err := ca.member(a)
		if err != nil {
			return err
		}
		members[a.Hash] = m
	}
	serving, issuing := members[s.Serving], members[s.Issuing]
	if serving == nil || issuing == nil {
		return errors.New("the one that serves or issues is not among those that are accepted")
	}
	for hash, m := range members { // first all keys are safe on disk
		if hash != s.Serving {
			if err := writePair(ca.pathOf(hash), m.key, m.cert.Raw); err != nil {
				return err
			}
		}
	}
	if main, ok := ca.members[ca.state.Serving]; ok && main.hash != s.Serving && s.Has(main.hash) {
		if err := writePair(ca.pathOf(main.hash), main.key, main.cert.Raw); err != nil {
			return err
		}
	}
	if err := writePair(filepath.Join(ca.dir, fileCA), serving.key, serving.cert.Raw); err != nil {
		return err
	}
	for hash := range ca.members { // and then what is not needed goes
		if members[hash] == nil || hash == s.Serving {
			if err := os.Remove(ca.pathOf(hash)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	ca.members, ca.state, ca.verified = members, s, nil
	return writeFile(filepath.Join(ca.dir, fileCACert), ca.bundle(), 0o644)
}

// member finds an authority's key: here, or sealed with one that is here.
func (ca *CA) member(a Authority) (*member, error) {
	if m := ca.members[a.Hash]; m != nil {
		return m, nil
	}
	block, _ := pem.Decode([]byte(a.Certificate))
	if block == nil {
		return nil, fmt.Errorf("authority %s: no certificate in PEM", a.Hash)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("authority %s: %w", a.Hash, err)
	}
	if hashOf(cert) != a.Hash {
		return nil, fmt.Errorf("authority %s: its certificate has the hash %s", a.Hash, hashOf(cert))
	}
	by := ca.members[a.SealedBy]
	if by == nil {
		return nil, fmt.Errorf("the key of authority %s is not here, nor that of %s which could open it: copy the pki directory of another controller to this one", a.Hash, a.SealedBy)
	}
	key, err := unseal(by, a.Sealed, cert)
	if err != nil {
		return nil, err
	}
	return newMember(key, cert), nil
}

// readMembers reads the authorities of the directory beside the main one.
func (ca *CA) readMembers() error {
	paths, err := filepath.Glob(filepath.Join(ca.dir, "ca-*.pem"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		key, cert, err := readPair(path)
		if err != nil {
			return err
		}
		m := newMember(key, cert)
		ca.members[m.hash] = m
	}
	return nil
}

func (ca *CA) pathOf(hash string) string {
	return filepath.Join(ca.dir, "ca-"+hash[:min(16, len(hash))]+".pem")
}

// seal encrypts a key for those who have another one: AES-256-GCM, with a key
// derived by HKDF-SHA256 (RFC 5869).
func seal(by, what *member) ([]byte, error) {
	plain, err := x509.MarshalPKCS8PrivateKey(what.key)
	if err != nil {
		return nil, err
	}
	box, err := boxOf(by, what.hash)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, box.NonceSize())
	rand.Read(nonce) // never fails, as crypto/rand says
	return box.Seal(nonce, nonce, plain, []byte(by.hash+what.hash)), nil
}

func unseal(by *member, sealed []byte, cert *x509.Certificate) (crypto.Signer, error) {
	hash := hashOf(cert)
	box, err := boxOf(by, hash)
	if err != nil {
		return nil, err
	}
	if len(sealed) < box.NonceSize() {
		return nil, fmt.Errorf("open the key of authority %s: it is cut off", hash)
	}
	plain, err := box.Open(nil, sealed[:box.NonceSize()], sealed[box.NonceSize():], []byte(by.hash+hash))
	if err != nil {
		return nil, fmt.Errorf("open the key of authority %s: %w", hash, err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return nil, fmt.Errorf("open the key of authority %s: %w", hash, err)
	}
	key, ok := parsed.(crypto.Signer)
	if !ok || !sameKey(key, cert) {
		return nil, fmt.Errorf("open the key of authority %s: it is another's", hash)
	}
	return key, nil
}

func boxOf(by *member, salt string) (cipher.AEAD, error) {
	secret, err := x509.MarshalPKCS8PrivateKey(by.key)
	if err != nil {
		return nil, err
	}
	key, err := hkdf.Key(sha256.New, secret, []byte(salt), sealInfo, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
