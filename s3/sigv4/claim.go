package sigv4

import (
	"net/http"
	"net/mail"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const maxSignedHeaders = 128

// securityToken is the header, or the parameter, that carries a session token.
const securityToken = "X-Amz-Security-Token"

// parse finds the signature in the header or the query, and parses it. whole is the hash of the body where that is
// known.
func (c *claim) parse(r *http.Request, query url.Values, whole string) error {
	header := r.Header.Values("Authorization")
	inQuery := query.Has("X-Amz-Algorithm") || query.Has("X-Amz-Signature") || query.Has("X-Amz-Credential")
	switch {
	case len(header) > 1, len(header) == 1 && inQuery:
		return fail("InvalidArgument", http.StatusBadRequest,
			"Only one auth mechanism allowed; the request has more than one signature.")
	case len(header) == 0 && !inQuery && query.Has("AWSAccessKeyId") && query.Has("Signature"):
		return errSigV2
	case len(header) == 0 && (!inQuery || whole != ""):
		return fail("AccessDenied", http.StatusForbidden, "Access denied; the request is not signed.")
	}
	// A header must be signed if it is there, and a query is signed as a whole.
	switch tokens := slices.Concat(r.Header.Values(securityToken), query[securityToken]); len(tokens) {
	case 0:
	case 1:
		c.token = tokens[0]
	default:
		return fail("InvalidArgument", http.StatusBadRequest,
			"The request has %d session tokens, want one %s.", len(tokens), securityToken)
	}
	if inQuery {
		return c.parsePresigned(r, query)
	}
	return c.parseHeader(r, header[0], whole)
}

var errSigV2 = fail("InvalidRequest", http.StatusBadRequest,
	"The authorization mechanism you have provided is not supported. Please use "+algorithm+".")

// checkAlgorithm tells the algorithms we know but do not support from nonsense.
func checkAlgorithm(name string, presigned bool) error {
	switch {
	case name == algorithm:
		return nil
	case name == "AWS":
		return errSigV2
	case strings.HasPrefix(name, "AWS4-ECDSA-"):
		return fail("NotImplemented", http.StatusNotImplemented,
			"SigV4A is not supported; sign with %s for one region.", algorithm)
	case presigned:
		return malformed(true, "X-Amz-Algorithm only supports %q", algorithm)
	}
	return fail("InvalidArgument", http.StatusBadRequest, "Unsupported Authorization Type; use %s.", algorithm)
}

func (c *claim) parseHeader(r *http.Request, value, whole string) error {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(value), " ")
	if err := checkAlgorithm(scheme, false); err != nil {
		return err
	}
	fields := map[string]string{}
	for field := range strings.SplitSeq(rest, ",") {
		name, val, ok := strings.Cut(strings.TrimSpace(field), "=")
		if _, twice := fields[name]; !ok || twice {
			return malformed(false, "it must have Credential, SignedHeaders and Signature once each.")
		}
		fields[name] = val
	}
	if err := c.setCredential(fields["Credential"]); err != nil {
		return err
	}
	if err := c.setSignedHeaders(fields["SignedHeaders"]); err != nil {
		return err
	}
	if err := c.setSignature(fields["Signature"]); err != nil {
		return err
	}
	date, ok := requestDate(r)
	if !ok {
		return fail("AccessDenied", http.StatusForbidden,
			"AWS authentication requires a valid Date or x-amz-date header")
	}
	if err := c.setDate(date); err != nil {
		return err
	}
	payload := r.Header.Get("X-Amz-Content-Sha256")
	switch {
	case whole != "" && payload != "" && payload != whole:
		return errPayloadHash
	case whole != "":
		payload = whole
	case payload == "":
		return fail("InvalidRequest", http.StatusBadRequest,
			"Missing required header for this request: x-amz-content-sha256")
	}
	return c.setPayload(payload)
}

// requestDate is x-amz-date, or the Date header where that is missing.
func requestDate(r *http.Request) (time.Time, bool) {
	if s := r.Header.Get("X-Amz-Date"); s != "" {
		t, err := time.Parse(timeFormat, s)
		return t, err == nil
	}
	s := r.Header.Get("Date")
	if t, err := time.Parse(timeFormat, s); err == nil {
		return t, true
	}
	t, err := ParseTime(s)
	return t, err == nil
}

// ParseTime parses the date of a header: in the forms of HTTP, and in that of mail, with a zone such
// as +0000, which several languages write. The result is in UTC.
func ParseTime(s string) (time.Time, error) {
	t, err := http.ParseTime(s)
	if err != nil {
		t, err = mail.ParseDate(s)
	}
	return t.UTC(), err
}

func (c *claim) parsePresigned(r *http.Request, query url.Values) error {
	for _, name := range []string{
		"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires",
		"X-Amz-SignedHeaders", "X-Amz-Signature",
	} {
		if len(query[name]) != 1 || query.Get(name) == "" {
			return malformed(true, "Query-string authentication version 4 requires the X-Amz-Algorithm, "+
				"X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters, "+
				"once each; see %s.", name)
		}
	}
	if err := checkAlgorithm(query.Get("X-Amz-Algorithm"), true); err != nil {
		return err
	}
	c.presigned = true
	if err := c.setCredential(query.Get("X-Amz-Credential")); err != nil {
		return err
	}
	if err := c.setSignedHeaders(query.Get("X-Amz-SignedHeaders")); err != nil {
		return err
	}
	if err := c.setSignature(query.Get("X-Amz-Signature")); err != nil {
		return err
	}
	date, err := time.Parse(timeFormat, query.Get("X-Amz-Date"))
	if err != nil {
		return malformed(true, `X-Amz-Date must be in the ISO8601 Long Format "yyyyMMdd'T'HHmmss'Z'"`)
	}
	if err := c.setDate(date); err != nil {
		return err
	}
	seconds, err := strconv.ParseInt(query.Get("X-Amz-Expires"), 10, 64)
	switch {
	case err != nil:
		return malformed(true, "X-Amz-Expires should be a number")
	case seconds < 0:
		return malformed(true, "X-Amz-Expires must be non-negative")
	case seconds > int64(maxExpires/time.Second):
		return malformed(true, "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires "+
			"must be less than 604800 seconds")
	}
	c.expires = time.Duration(seconds) * time.Second

	payload := r.Header.Get("X-Amz-Content-Sha256")
	if payload == "" {
		payload = query.Get("X-Amz-Content-Sha256")
	}
	if payload == "" {
		payload = unsignedPayload
	}
	if strings.HasPrefix(payload, "STREAMING-") {
		return malformed(true, "a presigned URL cannot have a chunked payload.")
	}
	return c.setPayload(payload)
}

func (c *claim) setCredential(s string) error {
	parts := strings.Split(s, "/")
	if len(parts) != 5 || parts[0] == "" {
		return malformed(c.presigned, "the Credential is mal-formed; expecting "+
			"\"<YOUR-AKID>/YYYYMMDD/REGION/%s/aws4_request\".", c.service)
	}
	if _, err := time.Parse(dayFormat, parts[1]); err != nil || len(parts[1]) != len(dayFormat) {
		return malformed(c.presigned, "incorrect date format in the credential; it must be in the format \"yyyyMMdd\".")
	}
	if parts[2] == "" {
		return malformed(c.presigned, "the region in the credential is empty.")
	}
	if parts[3] != c.service {
		return malformed(c.presigned, "incorrect service %q in the credential; this endpoint belongs to %q.", parts[3],
			c.service)
	}
	if parts[4] != "aws4_request" {
		return malformed(c.presigned, "incorrect terminal %q in the credential; it must be \"aws4_request\".", parts[4])
	}
	c.accessKeyID, c.day, c.region = parts[0], parts[1], parts[2]
	return nil
}

func (c *claim) setSignedHeaders(s string) error {
	names := strings.Split(s, ";")
	if len(names) > maxSignedHeaders {
		return malformed(c.presigned, "there are more than %d SignedHeaders.", maxSignedHeaders)
	}
	for i, name := range names {
		// The order matters beyond style: a list with repeated names could cover less than it seems to.
		if name == "" || name != strings.ToLower(name) || (i > 0 && names[i-1] >= name) {
			return malformed(c.presigned, "SignedHeaders must be lower-case names in ascending order, separated by semicolons.")
		}
	}
	c.signedHeaders = names
	return nil
}

func (c *claim) setSignature(s string) error {
	if !isHash(s) {
		return malformed(c.presigned, "the Signature must be 64 lower-case hexadecimal digits.")
	}
	c.signature = s
	return nil
}

func (c *claim) setDate(t time.Time) error {
	if t.Format(dayFormat) != c.day {
		return malformed(c.presigned, "invalid credential date %q; this date is not the same as X-Amz-Date: %q.", c.day,
			t.Format(dayFormat))
	}
	c.date = t
	return nil
}

func (c *claim) setPayload(s string) error {
	switch s {
	case unsignedPayload, streamingSigned, streamingSignedTrailer, streamingUnsignedTrailer:
	default:
		if strings.HasPrefix(s, "STREAMING-AWS4-ECDSA-") {
			return fail("NotImplemented", http.StatusNotImplemented, "SigV4A payloads are not supported.")
		}
		if !isHash(s) {
			return fail("InvalidArgument", http.StatusBadRequest,
				"x-amz-content-sha256 must be %s, %s, %s, %s or a valid sha256 value.",
				unsignedPayload, streamingUnsignedTrailer, streamingSigned, streamingSignedTrailer)
		}
	}
	c.payload = s
	return nil
}

// isHash says whether s is a SHA-256 in lower-case hexadecimal.
func isHash(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if (s[i] < '0' || s[i] > '9') && (s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return true
}
