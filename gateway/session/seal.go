package session

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/gateway/access"
	"github.com/statelatch/statelatch/s3/sigv4"
)

// Credentials are the three parts of a session, as clients use them.
type Credentials struct {
	AccessKeyID     string // ASIA and 16 characters, unique to the session
	SecretAccessKey string // 40 characters
	SessionToken    string // the sealed session
}

const (
	masterKeySize = 32
	maxMasterKeys = 16

	sealVersion  = 1
	saltSize     = 32
	secretSize   = 30 // 40 characters
	maxSealed    = 24 << 10
	sealPurpose  = "statelatch session v1: seal"
	signPurpose  = "statelatch session v1: secret of "
	maxAccessKey = 128
)

// MasterKeys seal and open sessions. They are in a file that all gateways of a bucket have: each line is 32 bytes in
// base64; lines that begin with # are comments. The first seals, all open: a new one is put below the others, and first
// when all files have it; an old one goes when the sessions under it are over. They are safe for concurrent use.
type MasterKeys struct {
	file *watched[[][]byte]
}

// NewMasterKey returns a line for a file of master keys.
func NewMasterKey() string {
	var key [masterKeySize]byte
	_, _ = rand.Read(key[:]) // never fails
	return base64.StdEncoding.EncodeToString(key[:]) + "\n"
}

func openMasterKeys(file string, o Options) (*MasterKeys, error) {
	w, err := watch(file, parseMasterKeys, o)
	if err != nil {
		return nil, err
	}
	return &MasterKeys{w}, nil
}

func parseMasterKeys(data []byte) ([][]byte, error) {
	var keys [][]byte
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(key) != masterKeySize {
			return nil, fmt.Errorf("line %d: want %d random bytes in base64, such as 'openssl rand -base64 %[2]d' makes", n,
				masterKeySize)
		}
		if slices.ContainsFunc(keys, func(k []byte) bool { return string(k) == string(key) }) {
			return nil, fmt.Errorf("line %d: the key is there before: remove one", n)
		}
		keys = append(keys, key)
	}
	switch {
	case len(keys) == 0:
		return nil, fmt.Errorf("there is no key in it: put the output of 'openssl rand -base64 %d' there", masterKeySize)
	case len(keys) > maxMasterKeys:
		return nil, fmt.Errorf("there are %d keys in it, want at most %d: remove those whose sessions are over", len(keys),
			maxMasterKeys)
	}
	return keys, nil
}

// sealed is a session inside its token.
type sealed struct {
	Name    string            `json:"n"`
	Issuer  string            `json:"i,omitempty"`
	Key     string            `json:"k,omitempty"`
	Claims  map[string]string `json:"c,omitempty"`
	Run     *statelatch.Run   `json:"r,omitempty"`
	Began   int64             `json:"b"` // seconds since 1970, as is
	Expires int64             `json:"e"`
}

// Seal returns the credentials of a session with an ID of its own, which is their access key ID, and an end. The error
// matches [ErrToken] where there are too many claims.
func (m *MasterKeys) Seal(s access.Session) (Credentials, error) {
	if !strings.HasPrefix(s.ID, idPrefix) || s.Expires.IsZero() {
		return Credentials{}, errors.New("a session is sealed with an ID and an end")
	}
	var plain bytes.Buffer
	encoder := json.NewEncoder(&plain)
	encoder.SetEscapeHTML(false) // which makes six bytes of one
	if err := encoder.Encode(sealed{
		Name: s.Principal.Name, Issuer: s.Principal.Issuer, Key: s.Principal.Key, Claims: s.Principal.Claims, Run: s.Run,
		Began: s.Began.Unix(), Expires: s.Expires.Unix(),
	}); err != nil {
		return Credentials{}, err
	}
	token := make([]byte, 1+saltSize, 1+saltSize+plain.Len()+16)
	token[0] = sealVersion
	_, _ = rand.Read(token[1:]) // never fails
	keys, _ := m.file.get()
	aead, nonce, err := newAEAD(keys[0], token[1:])
	if err != nil {
		return Credentials{}, err
	}
	secret, err := secretOf(keys[0], token[1:], s.ID)
	if err != nil {
		return Credentials{}, err
	}
	token = aead.Seal(token, nonce, plain.Bytes(), bound(s.ID))
	c := Credentials{s.ID, secret, base64.RawURLEncoding.EncodeToString(token)}
	if len(c.SessionToken) > maxSealed {
		return Credentials{}, fmt.Errorf("%w: the claims of %s make a session token of %d bytes, want at most %d: have the "+
			"issuer put less into its tokens", ErrToken, s.Principal.Name, len(c.SessionToken), maxSealed)
	}
	return c, nil
}

// Open returns the session that was sealed, and its secret access key. Errors are [sigv4.ErrInvalidToken], also for the
// token of another access key ID, and [sigv4.ErrExpiredToken].
func (m *MasterKeys) Open(accessKeyID, sessionToken string, now time.Time) (access.Session, string, error) {
	if len(sessionToken) > maxSealed || len(accessKeyID) > maxAccessKey {
		return access.Session{}, "", sigv4.ErrInvalidToken
	}
	token, err := base64.RawURLEncoding.Strict().DecodeString(sessionToken)
	if err != nil || len(token) < 1+saltSize || token[0] != sealVersion {
		return access.Session{}, "", sigv4.ErrInvalidToken
	}
	salt, box := token[1:1+saltSize], token[1+saltSize:]
	keys, _ := m.file.get()
	for _, key := range keys {
		aead, nonce, err := newAEAD(key, salt)
		if err != nil {
			return access.Session{}, "", err
		}
		plain, err := aead.Open(nil, nonce, box, bound(accessKeyID))
		if err != nil {
			continue // of another key, or not ours at all
		}
		var in sealed
		if err := json.Unmarshal(plain, &in); err != nil {
			return access.Session{}, "", fmt.Errorf("read a session that was sealed here: %w", err)
		}
		s := access.Session{
			ID:        accessKeyID,
			Principal: access.Principal{Name: in.Name, Issuer: in.Issuer, Key: in.Key, Claims: in.Claims},
			Run:       in.Run, Began: time.Unix(in.Began, 0).UTC(), Expires: time.Unix(in.Expires, 0).UTC(),
		}
		if !now.Before(s.Expires) {
			return access.Session{}, "", sigv4.ErrExpiredToken.With("The session ended at "+s.Expires.Format(time.RFC3339)+
				"; begin another.", nil)
		}
		secret, err := secretOf(key, salt, accessKeyID)
		return s, secret, err
	}
	return access.Session{}, "", sigv4.ErrInvalidToken
}

// newAEAD is the cipher of one session, whose key and nonce nothing else is sealed with.
func newAEAD(master, salt []byte) (aead cipher.AEAD, nonce []byte, err error) {
	const keySize, nonceSize = 32, 12
	derived, err := hkdf.Key(sha256.New, master, salt, sealPurpose, keySize+nonceSize)
	if err != nil {
		return nil, nil, err
	}
	block, err := aes.NewCipher(derived[:keySize])
	if err != nil {
		return nil, nil, err
	}
	aead, err = cipher.NewGCM(block)
	return aead, derived[keySize:], err
}

// bound is what a token is only good with.
func bound(accessKeyID string) []byte { return append([]byte{sealVersion}, accessKeyID...) }

// secretOf is the secret access key of a session, which only who has the master key can tell.
func secretOf(master, salt []byte, accessKeyID string) (string, error) {
	secret, err := hkdf.Key(sha256.New, master, salt, signPurpose+accessKeyID, secretSize)
	return base64.RawURLEncoding.EncodeToString(secret), err
}

// signPeers is what keeps signatures among gateways apart from what else is derived of a master key.
const signPeers = "statelatch peers 1 "

// sign is the signature of a text under a master key, in base64url.
func sign(master []byte, text string) string {
	mac := hmac.New(sha256.New, master)
	mac.Write([]byte(signPeers + text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Sign signs a text for other gateways that have the master keys. It is not ok without any.
func (r *Registry) Sign(text string) (signature string, ok bool) {
	if r.master == nil {
		return "", false
	}
	keys, _ := r.master.file.get()
	return sign(keys[0], text), true
}

// Signed reports whether a gateway that has one of the master keys has signed a text.
func (r *Registry) Signed(text, signature string) bool {
	if r.master == nil {
		return false
	}
	keys, _ := r.master.file.get()
	for _, key := range keys {
		if hmac.Equal([]byte(sign(key, text)), []byte(signature)) {
			return true
		}
	}
	return false
}
