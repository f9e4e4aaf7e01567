// Package sigv4 verifies AWS Signature Version 4 on the server's side, for S3:
// requests signed in the Authorization header or in the query (presigned URLs),
// and bodies that are hashed, unsigned, or sent in signed or unsigned chunks
// with or without trailers. Session tokens are part of what is signed. For other services it
// verifies requests whose body is at hand.
//
// A request that [Verifier.Verify] accepts was made by someone who knows the
// secret, for this host, method, path, query and signed headers, within the allowed
// time. The body is not covered until [Body.Read] has returned io.EOF: data
// is handed out while it streams, so a caller must not act on it before. Memory does not
// grow with the size of a body or of a chunk.
//
// Not provided: Signature Version 2, SigV4A (ECDSA), signed POST
// policies, and protection against replay within the allowed time.
package sigv4

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/statelatch/statelatch/s3/s3model"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	timeFormat = "20060102T150405Z"
	dayFormat  = "20060102"

	// maxSkew is what S3 allows between its clock and the client's.
	maxSkew = 15 * time.Minute
	// maxExpires is the longest life S3 gives a presigned URL.
	maxExpires = 7 * 24 * time.Hour
)

// Verifier checks signatures. Its methods are safe for concurrent use if Lookup and Now are.
type Verifier struct {
	// Lookup returns the key of an access key ID and a session token, which is empty where the request carries none.
	// Required. Its errors are [ErrUnknownKey], [ErrInvalidToken] and [ErrExpiredToken], or another *s3model.Error;
	// any other is InternalError. It is called before the signature is verified.
	Lookup func(ctx context.Context, accessKeyID, sessionToken string) (Key, error)
	// Service is whom requests must be signed for; empty means "s3".
	Service string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Key is what signs, and whose it is.
type Key struct {
	Secret string // the secret access key; never empty
	Who    any    // whom it names, for [Signature.Who]; the verifier does not look at it
}

// What Lookup says of keys and tokens that it does not accept.
var (
	// ErrUnknownKey: no such access key ID
	ErrUnknownKey = fail("InvalidAccessKeyId", http.StatusForbidden, "The access key ID is not known to this store.")
	// ErrInvalidToken: the session token is not one of the key's; With says why
	ErrInvalidToken = fail("InvalidToken", http.StatusBadRequest, "The session token is malformed or otherwise invalid.")
	// ErrExpiredToken: the session is over
	ErrExpiredToken = fail("ExpiredToken", http.StatusBadRequest, "The session token has expired; ask for a new one.")
)

// OneKey is a Lookup that knows one key pair, and no session.
func OneKey(accessKeyID, secret string) func(context.Context, string, string) (Key, error) {
	return func(_ context.Context, id, token string) (Key, error) {
		switch {
		case token != "":
			return Key{}, ErrInvalidToken.With("The request carries a session token, but this store issues none; unset "+
				"AWS_SESSION_TOKEN and use a plain key pair.", nil)
		case id != accessKeyID:
			return Key{}, ErrUnknownKey
		}
		return Key{Secret: secret}, nil
	}
}

// Signature is the verified signature of a request.
type Signature struct {
	AccessKeyID string    // who signed
	Who         any       // what Lookup said of the key
	Region      string    // as in the credential scope; whether it is right is the caller's to decide
	Presigned   bool      // the signature was in the query
	Date        time.Time // when it was signed, by the client's clock, to the second

	payload string // the value of x-amz-content-sha256
	chunks  chunkSigner
}

// claim is what a request says about its own signature, before any of it is believed.
type claim struct {
	accessKeyID   string
	day           string
	region        string
	service       string
	token         string   // the session token; empty: none
	signedHeaders []string // lower case, strictly ascending
	signature     string   // lower-case hex
	date          time.Time
	payload       string
	expires       time.Duration // presigned only
	presigned     bool
}

// scope is the credential scope of the claim.
func (c *claim) scope() string { return c.day + "/" + c.region + "/" + c.service + "/aws4_request" }

// Verify checks the signature of r. It reads no body; see [Signature.Body].
// Every error is an *s3model.Error with AWS's code and status.
func (v *Verifier) Verify(r *http.Request) (*Signature, error) { return v.verify(r, "") }

// VerifyWhole is Verify for a request whose body was read, which most services other than S3 want hashed without
// a header that says so. It knows the path "/" only, which all services encode alike, and no presigned URLs.
func (v *Verifier) VerifyWhole(r *http.Request, body []byte) (*Signature, error) {
	if r.URL.Path != "/" {
		return nil, fail("InvalidURI", http.StatusBadRequest, "The path of the request must be /.")
	}
	return v.verify(r, sha256Hex(string(body)))
}

// verify checks the signature of r; whole is the hash of the body where that is known.
func (v *Verifier) verify(r *http.Request, whole string) (*Signature, error) {
	query, err := ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	c := &claim{service: cmp.Or(v.Service, "s3")}
	if err := c.parse(r, query, whole); err != nil {
		return nil, err
	}
	if err := v.checkTime(c); err != nil {
		return nil, err
	}
	if err := checkSignedHeaders(r, c); err != nil {
		return nil, err
	}
	holder, err := v.lookup(r.Context(), c)
	if err != nil {
		return nil, err
	}
	key := signingKey(holder.Secret, c.day, c.region, c.service)
	amzDate := c.date.Format(timeFormat)
	want := sign(key, algorithm+"\n"+amzDate+"\n"+c.scope()+"\n"+sha256Hex(canonicalRequest(r, query, c)))
	if !equal(want, c.signature) {
		return nil, fail("SignatureDoesNotMatch", http.StatusForbidden,
			"The signature does not match the request; check the secret access key and that no proxy changes the host, path, "+
				"query or headers.")
	}
	if whole == "" && isHash(c.payload) && r.ContentLength == 0 && c.payload != emptySHA256 {
		return nil, errPayloadHash
	}
	return &Signature{
		AccessKeyID: c.accessKeyID,
		Who:         holder.Who,
		Region:      c.region,
		Presigned:   c.presigned,
		Date:        c.date,
		payload:     c.payload,
		chunks:      chunkSigner{key: key, date: amzDate, scope: c.scope(), previous: want},
	}, nil
}

// lookup is Lookup with errors that have a code.
func (v *Verifier) lookup(ctx context.Context, c *claim) (Key, error) {
	key, err := v.Lookup(ctx, c.accessKeyID, c.token)
	var refused *s3model.Error
	switch {
	case errors.As(err, &refused):
		return Key{}, refused
	case err != nil:
		return Key{}, s3model.ErrInternal.With("", err)
	case key.Secret == "":
		return Key{}, ErrUnknownKey
	}
	return key, nil
}

// checkTime refuses requests signed too long ago or in the future.
func (v *Verifier) checkTime(c *claim) error {
	now := time.Now
	if v.Now != nil {
		now = v.Now
	}
	age := now().Sub(c.date)
	if !c.presigned {
		if age > maxSkew || age < -maxSkew {
			return fail("RequestTimeTooSkewed", http.StatusForbidden,
				"The request was signed at %s, which is more than %s from the clock of this store (%s); set the clocks.",
				c.date.Format(time.RFC3339), maxSkew, now().UTC().Format(time.RFC3339))
		}
		return nil
	}
	if age < -maxSkew {
		return fail("AccessDenied", http.StatusForbidden, "Request is not valid yet")
	}
	if age > c.expires {
		return fail("AccessDenied", http.StatusForbidden, "Request has expired")
	}
	return nil
}

// checkSignedHeaders refuses requests whose host or x-amz-* headers somebody could have changed.
func checkSignedHeaders(r *http.Request, c *claim) error {
	signed := make(map[string]bool, len(c.signedHeaders))
	for _, name := range c.signedHeaders {
		signed[name] = true
	}
	if !signed["host"] {
		return malformed(c.presigned, "SignedHeaders must include host.")
	}
	for name := range r.Header {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-amz-") && !signed[lower] {
			return fail("AccessDenied", http.StatusForbidden,
				"There were headers present in the request which were not signed: %s", lower)
		}
	}
	return nil
}

// signingKey derives the key of a day, region and service, as the specification has it.
func signingKey(secret, day, region, service string) []byte {
	key := []byte("AWS4" + secret)
	for _, part := range []string{day, region, service, "aws4_request"} {
		key = hmacSHA256(key, part)
	}
	return key
}

func sign(key []byte, stringToSign string) string {
	return hex.EncodeToString(hmacSHA256(key, stringToSign))
}

func hmacSHA256(key []byte, data string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(data))
	return h.Sum(nil)
}

// equal compares signatures in a time that tells nothing about where they differ.
func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

func fail(code string, status int, format string, args ...any) *s3model.Error {
	return &s3model.Error{Code: code, Status: status, Message: fmt.Sprintf(format, args...)}
}

// malformed is the refusal of a signature that cannot be parsed, under the code
// that AWS uses for the place it stood in.
func malformed(presigned bool, format string, args ...any) *s3model.Error {
	if presigned {
		return fail("AuthorizationQueryParametersError", http.StatusBadRequest, format, args...)
	}
	return fail("AuthorizationHeaderMalformed", http.StatusBadRequest, "The authorization header is malformed; "+format,
		args...)
}

func sha256Hex(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
