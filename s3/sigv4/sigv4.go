// Package sigv4 verifies AWS Signature Version 4 on the server's side, for S3:
// requests signed in the Authorization header or in the query (presigned URLs),
// and bodies that are hashed, unsigned, or sent in signed or unsigned chunks
// with or without trailers.
//
// A request that [Verifier.Verify] accepts was made by someone who knows the
// secret, for this host, method, path, query and signed headers, within the allowed
// time. The body is not covered until [Body.Read] has returned io.EOF: data
// is handed out while it streams, so a caller must not act on it before. Memory does not
// grow with the size of a body or of a chunk.
//
// Not provided: Signature Version 2, SigV4A (ECDSA), session tokens, signed POST
// policies, and protection against replay within the allowed time.
package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
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
	// Lookup returns the secret of an access key. Required.
	Lookup func(accessKeyID string) (secret string, ok bool)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Signature is the verified signature of a request.
type Signature struct {
	AccessKeyID string // who signed
	Region      string // as in the credential scope; whether it is right is the caller's to decide
	Presigned   bool   // the signature was in the query

	payload string // the value of x-amz-content-sha256
	chunks  chunkSigner
}

// claim is what a request says about its own signature, before any of it is believed.
type claim struct {
	accessKeyID   string
	day           string
	region        string
	signedHeaders []string // lower case, strictly ascending
	signature     string   // lower-case hex
	date          time.Time
	payload       string
	expires       time.Duration // presigned only
	presigned     bool
}

// scope is the credential scope of the claim.
func (c *claim) scope() string { return c.day + "/" + c.region + "/s3/aws4_request" }

// Verify checks the signature of r. It reads no body; see [Signature.Body].
// Every error is an *s3model.Error with AWS's code and status.
func (v *Verifier) Verify(r *http.Request) (*Signature, error) {
	query, err := ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	c, err := parseClaim(r, query)
	if err != nil {
		return nil, err
	}
	if err := v.checkTime(c); err != nil {
		return nil, err
	}
	if err := checkSignedHeaders(r, c); err != nil {
		return nil, err
	}
	if r.Header.Get("X-Amz-Security-Token") != "" || query.Has("X-Amz-Security-Token") {
		return nil, fail("InvalidToken", http.StatusBadRequest,
			"The request carries a session token, but this store issues none; unset AWS_SESSION_TOKEN and use a plain key pair.")
	}
	secret, ok := v.Lookup(c.accessKeyID)
	if !ok || secret == "" {
		return nil, fail("InvalidAccessKeyId", http.StatusForbidden, "The access key ID is not known to this store.")
	}

	key := signingKey(secret, c.day, c.region)
	amzDate := c.date.Format(timeFormat)
	want := sign(key, algorithm+"\n"+amzDate+"\n"+c.scope()+"\n"+sha256Hex(canonicalRequest(r, query, c)))
	if !equal(want, c.signature) {
		return nil, fail("SignatureDoesNotMatch", http.StatusForbidden,
			"The signature does not match the request; check the secret access key and that no proxy changes the host, path, "+
				"query or headers.")
	}
	if isHash(c.payload) && r.ContentLength == 0 && c.payload != emptySHA256 {
		return nil, errPayloadHash
	}
	return &Signature{
		AccessKeyID: c.accessKeyID,
		Region:      c.region,
		Presigned:   c.presigned,
		payload:     c.payload,
		chunks:      chunkSigner{key: key, date: amzDate, scope: c.scope(), previous: want},
	}, nil
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
func signingKey(secret, day, region string) []byte {
	key := []byte("AWS4" + secret)
	for _, part := range []string{day, region, "s3", "aws4_request"} {
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
