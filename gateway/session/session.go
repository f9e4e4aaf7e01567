// Package session tells whom keys and tokens name. Static keys are pairs in files. Tokens of OpenID Connect issuers,
// and static keys, are exchanged for sessions: sealed under a master key that gateways share, so that none of them
// remembers any, and each opens what another sealed.
//
// A session says who, and until when; it gives no right (see package access). What cannot be told from it is whether it
// was copied: whoever has its three parts is the process.
package session

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/statelatch/statelatch/gateway/access"
	"github.com/statelatch/statelatch/s3/sigv4"
)

// Options are what a Registry needs beside its configuration. The zero value is ready.
type Options struct {
	// Transport asks the issuers; nil means one with the proxies of the environment.
	Transport http.RoundTripper
	Logger    *slog.Logger     // gets what is wrong with files and issuers; nil discards it
	Now       func() time.Time // the clock; nil means time.Now
}

// Registry knows static keys, issuers and the sessions of both. Its files are read again when they change: one that
// cannot be used then is logged, and what it contained goes on, but the key of a file that is gone names nobody. It is
// safe for concurrent use, and has nothing to close.
type Registry struct {
	lasts   time.Duration // a session at most
	master  *MasterKeys   // nil: there are no sessions
	keys    []staticKey
	issuers []*issuer
	now     func() time.Time
}

// Open reads the files that cfg names. It asks no issuer yet.
func Open(cfg *access.Config, o Options) (*Registry, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Registry{lasts: cfg.Session, now: o.Now}
	var errs []error
	if cfg.MasterKeyFile != "" {
		var err error
		if r.master, err = openMasterKeys(cfg.MasterKeyFile, o); err != nil {
			errs = append(errs, fmt.Errorf("master_key_file: %w", err))
		}
	}
	ids := map[string]string{}
	for _, k := range cfg.Keys {
		file, err := watch(k.File, parseKeyPair, o)
		if err != nil {
			errs = append(errs, fmt.Errorf("key %q: %w", k.Name, err))
			continue
		}
		pair, _ := file.get()
		if other, twice := ids[pair.ID]; twice {
			errs = append(errs, fmt.Errorf("key %q: %s has the access key ID of key %q: each needs its own pair", k.Name, k.File,
				other))
		}
		ids[pair.ID] = k.Name
		r.keys = append(r.keys, staticKey{name: k.Name, file: file})
	}
	for _, is := range cfg.Issuers {
		r.issuers = append(r.issuers, newIssuer(is, o))
	}
	return r, errors.Join(errs...)
}

// staticKey is a pair in a file.
type staticKey struct {
	name string
	file *watched[KeyPair]
}

// Lookup says whom an access key ID and a session token (empty: none) name: it is a [sigv4.Verifier]'s, and Who is an
// [access.Session]. Its errors are those that Lookup of a verifier has.
func (r *Registry) Lookup(_ context.Context, accessKeyID, sessionToken string) (sigv4.Key, error) {
	if sessionToken == "" {
		for _, k := range r.keys {
			if pair, there := k.file.get(); there && pair.ID == accessKeyID {
				return sigv4.Key{Secret: pair.Secret, Who: access.Session{Principal: access.KeyPrincipal(k.name)}}, nil
			}
		}
		return sigv4.Key{}, unknownKey(accessKeyID)
	}
	if r.master == nil {
		return sigv4.Key{}, sigv4.ErrInvalidToken.With("The request carries a session token, but this gateway has no "+
			"master_key_file, and so no sessions; unset AWS_SESSION_TOKEN and use a plain key pair.", nil)
	}
	s, secret, err := r.master.Open(accessKeyID, sessionToken, r.now())
	if err != nil {
		return sigv4.Key{}, err
	}
	if !r.current(s) {
		return sigv4.Key{}, sigv4.ErrInvalidToken.With("The session is of a key or an issuer that this gateway no longer "+
			"has.", nil)
	}
	return sigv4.Key{Secret: secret, Who: s}, nil
}

func unknownKey(id string) error {
	if strings.HasPrefix(id, idPrefix) {
		return sigv4.ErrUnknownKey.With("The access key ID is that of a session, but the request carries no session token; "+
			"set AWS_SESSION_TOKEN.", nil)
	}
	return sigv4.ErrUnknownKey
}

// current says whether the configuration still has what a session was begun with.
func (r *Registry) current(s access.Session) bool {
	if s.Principal.Key != "" {
		for _, k := range r.keys {
			if k.name == s.Principal.Key {
				_, there := k.file.get()
				return there
			}
		}
		return false
	}
	for _, is := range r.issuers {
		if is.Name == s.Principal.Issuer {
			return is.URL == s.Principal.Claims["iss"]
		}
	}
	return false
}

// Identify verifies a token of an issuer and says whom it names. The session has no ID yet; see [Registry.Begin].
// Errors match [ErrToken], [ErrTokenExpired] or [ErrIssuer], and can be shown to who sent the token.
func (r *Registry) Identify(ctx context.Context, token string) (access.Session, error) {
	if len(token) > maxToken {
		return access.Session{}, fmt.Errorf("%w: it has %d characters, want at most %d", ErrToken, len(token), maxToken)
	}
	claims, err := unverified(token)
	if err != nil {
		return access.Session{}, err
	}
	url, _ := claims["iss"].(string)
	for _, is := range r.issuers {
		if is.URL == url {
			return is.identify(ctx, token)
		}
	}
	return access.Session{}, fmt.Errorf("%w: its issuer is %q, which this gateway does not know", ErrToken, url)
}

// Begin begins a session of whom s names, for as long as is asked for, but no longer than the configuration says and no
// shorter than [access.MinSession]; zero asks for the longest. It returns the session as it will be opened. Errors
// match [ErrNoSessions], or [ErrToken] where there are too many claims.
func (r *Registry) Begin(s access.Session, lasts time.Duration) (access.Session, Credentials, error) {
	if r.master == nil {
		return access.Session{}, Credentials{}, ErrNoSessions
	}
	if lasts == 0 || lasts > r.lasts {
		lasts = r.lasts
	}
	s.Began = r.now().UTC().Truncate(time.Second)
	s.Expires = s.Began.Add(max(lasts, access.MinSession))
	s.ID = newID()
	c, err := r.master.Seal(s)
	return s, c, err
}

// ErrNoSessions means that there is nothing to seal sessions with.
var ErrNoSessions = errors.New("this gateway has no master_key_file, and so no sessions")

// idPrefix is what the access key IDs of sessions begin with, as AWS's do.
const idPrefix = "ASIA"

// newID is an access key ID that no other session has.
func newID() string {
	var random [10]byte
	_, _ = rand.Read(random[:]) // never fails
	return idPrefix + base32.StdEncoding.EncodeToString(random[:])
}

// gone says whether an error is that there is no file.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) }
