package endpoint

import (
	"crypto/md5"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/statelatch/statelatch/s3/s3model"
	"github.com/statelatch/statelatch/s3/sigv4"
)

const (
	maxUserMetadata = 2048 // bytes of names and values together
	maxObjectTags   = 10
	maxBucketTags   = 50
)

// systemMetadata are the headers that are kept with an object and given back.
var systemMetadata = []string{
	"content-type", "cache-control", "content-disposition", "content-encoding", "content-language", "expires",
}

// checkHeaders refuses headers that ask for something this store does not do.
// conditions are those that the operation evaluates.
func (c *call) checkHeaders(conditions []string) error {
	reads := c.r.Method == http.MethodGet || c.r.Method == http.MethodHead
	for name, values := range c.r.Header {
		lower := strings.ToLower(name)
		switch {
		case !reads && isCondition(lower) && !slices.Contains(conditions, lower):
			return notImplemented("The condition " + lower + " is not supported for this operation.")
		case strings.HasPrefix(lower, "x-amz-object-lock-"),
			lower == "x-amz-website-redirect-location",
			lower == "x-amz-write-offset-bytes",
			lower == "content-range" && !reads:
			return notImplemented("A header you provided implies functionality that is not implemented: " + lower)
		case strings.HasPrefix(lower, "x-amz-grant-"):
			return errNoACLs
		case len(values) > 1 && strings.HasPrefix(lower, "x-amz-") && !strings.HasPrefix(lower, "x-amz-meta-") &&
			lower != "x-amz-trailer":
			// For the signature this is one header with a comma in it; we would read its first part.
			return invalidRequest("The header " + lower + " is repeated.")
		}
	}
	for _, name := range []string{"X-Amz-Expected-Bucket-Owner", "X-Amz-Source-Expected-Bucket-Owner"} {
		if v, ok := c.r.Header[name]; ok && v[0] != ownerAccount {
			return s3model.ErrAccessDenied.With("The bucket is not owned by the account that the request expects; buckets of "+
				"this store belong to "+ownerAccount+".", nil)
		}
	}
	if !reads {
		if err := checkACL(c.r.Header.Get("X-Amz-Acl")); err != nil {
			return err
		}
		if v := c.r.Header.Get("X-Amz-Storage-Class"); v != "" && v != "STANDARD" {
			return refuse("InvalidStorageClass", http.StatusBadRequest,
				"The storage class you specified is not valid; this store has only STANDARD.")
		}
	}
	return nil
}

// isCondition also finds the conditions of operations we do not know.
func isCondition(name string) bool {
	for _, part := range []string{"if-match", "if-none-match", "if-modified-since", "if-unmodified-since"} {
		if strings.Contains(name, part) && !strings.HasPrefix(name, "x-amz-meta-") {
			return true
		}
	}
	return false
}

var errNoACLs = refuse("AccessControlListNotSupported", http.StatusBadRequest,
	"The bucket does not allow ACLs: there is one owner, who has full control.")

// checkACL accepts the canned ACLs that give nothing to anybody but the owner.
func checkACL(acl string) error {
	switch acl {
	case "", "private", "bucket-owner-full-control", "bucket-owner-read":
		return nil
	}
	return errNoACLs
}

// writeConditions are the headers that writes of objects evaluate.
var writeConditions = []string{"if-match", "if-none-match"}

// writeCondition is the condition of a write, as S3 allows it.
func (c *call) writeCondition() (s3model.Condition, error) {
	match, hasMatch := c.r.Header["If-Match"]
	none, hasNone := c.r.Header["If-None-Match"]
	switch {
	case hasMatch && hasNone:
		return s3model.Condition{}, notImplemented("If-Match and If-None-Match cannot be used together.")
	case hasNone:
		c.condition = "If-None-Match"
		if len(none) != 1 || none[0] != "*" {
			return s3model.Condition{}, notImplemented("If-None-Match of a write must be *.")
		}
		return s3model.Condition{IfAbsent: true}, nil
	case hasMatch:
		c.condition = "If-Match"
		etag, ok := parseETag(match)
		if !ok {
			return s3model.Condition{}, notImplemented("If-Match of a write must be one ETag.")
		}
		return s3model.Condition{IfMatch: etag}, nil
	}
	return s3model.Condition{}, nil
}

// validHeaderValue says whether a text that came in a query can be sent as a header.
func validHeaderValue(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// parseETag takes one strong ETag, quoted or not, or *.
func parseETag(values []string) (string, bool) {
	if len(values) != 1 {
		return "", false
	}
	s := strings.TrimSpace(values[0])
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
		if s == "*" {
			return "", false
		}
	}
	return s, s != "" && !strings.ContainsAny(s, "\", \t") && !strings.HasPrefix(s, "W/")
}

// metadata collects what is kept with an object.
func (c *call) metadata() (map[string]string, error) {
	out := map[string]string{}
	for _, name := range systemMetadata {
		if values := c.r.Header.Values(name); len(values) > 0 {
			out[name] = strings.Join(values, ",")
		}
	}
	// aws-chunked describes the transfer, not the object.
	if v, ok := out["content-encoding"]; ok {
		var kept []string
		for coding := range strings.SplitSeq(v, ",") {
			if coding = strings.TrimSpace(coding); coding != "" && !strings.EqualFold(coding, "aws-chunked") {
				kept = append(kept, coding)
			}
		}
		if out["content-encoding"] = strings.Join(kept, ","); len(kept) == 0 {
			delete(out, "content-encoding")
		}
	}
	size := 0
	for name, values := range c.r.Header {
		lower := strings.ToLower(name)
		if short, ok := strings.CutPrefix(lower, "x-amz-meta-"); ok {
			out[lower] = strings.Join(values, ",")
			size += len(short) + len(out[lower])
		}
	}
	if size > maxUserMetadata {
		return nil, refuse("MetadataTooLarge", http.StatusBadRequest,
			"Your metadata headers exceed the maximum allowed metadata size of 2048 bytes.")
	}
	return out, nil
}

// taggingHeader parses x-amz-tagging, which has the form of a query.
func (c *call) taggingHeader() (map[string]string, error) {
	raw := c.r.Header.Get("X-Amz-Tagging")
	if raw == "" {
		return nil, nil
	}
	values, err := sigv4.ParseQuery(raw)
	if err != nil {
		return nil, invalidArgument("The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query " +
			"parameters without tag name duplicates.")
	}
	tags := map[string]string{}
	for key, v := range values {
		if len(v) != 1 {
			return nil, invalidArgument("The header 'x-amz-tagging' has the tag key " + strconv.Quote(key) + " more than once.")
		}
		tags[key] = v[0]
	}
	return tags, checkTags(tags, maxObjectTags)
}

const (
	headerSSE     = "X-Amz-Server-Side-Encryption"
	headerSSEC    = "X-Amz-Server-Side-Encryption-Customer-"
	headerSrcSSEC = "X-Amz-Copy-Source-Server-Side-Encryption-Customer-"
)

// writeEncryption is how the client wants a body to be kept.
func (c *call) writeEncryption() (s3model.Encryption, error) {
	enc, err := c.customerKey(headerSSEC)
	if err != nil {
		return enc, err
	}
	value, given := c.r.Header.Get(headerSSE), c.r.Header.Values(headerSSE)
	switch {
	case len(given) == 0:
		if c.r.Header.Get(headerSSE+"-Aws-Kms-Key-Id") != "" || c.r.Header.Get(headerSSE+"-Context") != "" {
			return enc, invalidArgument("x-amz-server-side-encryption-aws-kms-key-id and -context need " +
				"x-amz-server-side-encryption: aws:kms, and " + noKMS)
		}
		return enc, nil
	case enc.CustomerKey != nil:
		return enc, invalidArgument("Server Side Encryption with Customer provided key is incompatible with the encryption " +
			"method specified.")
	case value == "AES256" && len(given) == 1:
		if c.r.Header.Get(headerSSE+"-Aws-Kms-Key-Id") != "" {
			return enc, invalidArgument("A KMS key cannot be used with AES256; " + noKMS)
		}
		enc.SSES3 = true
		return enc, nil
	case value == "aws:kms", value == "aws:kms:dsse":
		return enc, notImplemented("x-amz-server-side-encryption " + value + " is not possible: " + noKMS)
	}
	return enc, refuse("InvalidArgument", http.StatusBadRequest,
		"The encryption method specified is not supported; use AES256.")
}

const noKMS = "this store has no KMS; use AES256 or SSE-C."

// readEncryption is the key that the client gives to read with.
func (c *call) readEncryption() (s3model.Encryption, error) {
	if len(c.r.Header.Values(headerSSE)) > 0 {
		return s3model.Encryption{},
			invalidArgument("x-amz-server-side-encryption header is not supported for this operation.")
	}
	return c.customerKey(headerSSEC)
}

// customerKey parses the three SSE-C headers that begin with prefix.
func (c *call) customerKey(prefix string) (s3model.Encryption, error) {
	var enc s3model.Encryption
	h := c.r.Header
	algorithm, key, sum := h.Get(prefix+"Algorithm"), h.Get(prefix+"Key"), h.Get(prefix+"Key-Md5")
	// Empty headers count: who sends them wants the body encrypted and has lost the key.
	if len(h.Values(prefix+"Algorithm"))+len(h.Values(prefix+"Key"))+len(h.Values(prefix+"Key-Md5")) == 0 {
		return enc, nil
	}
	if !c.overTrustedTransport() {
		return enc, invalidRequest("Requests specifying Server Side Encryption with Customer provided keys must be made " +
			"over a secure connection.")
	}
	if algorithm == "" || key == "" || sum == "" {
		return enc, invalidArgument("Requests specifying Server Side Encryption with Customer provided keys must provide " +
			"the algorithm, the secret key and its MD5.")
	}
	if algorithm != "AES256" {
		return enc, refuse("InvalidEncryptionAlgorithmError", http.StatusBadRequest,
			"The Encryption request you specified is not valid. Supported value: AES256.")
	}
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil || len(raw) != 32 {
		return enc, invalidArgument("The secret key was invalid for the specified algorithm; it must be 32 bytes in base64.")
	}
	digest := md5.Sum(raw)
	if subtle.ConstantTimeCompare([]byte(base64.StdEncoding.EncodeToString(digest[:])), []byte(sum)) != 1 {
		return enc, invalidArgument("The calculated MD5 hash of the key did not match the hash that was provided.")
	}
	enc.CustomerKey, enc.CustomerMD5 = raw, sum
	return enc, nil
}

// setEncryption reports how a body is kept.
func (c *call) setEncryption(enc s3model.Encryption) {
	h := c.w.Header()
	if enc.SSES3 {
		h.Set(headerSSE, "AES256")
	}
	if enc.CustomerMD5 != "" {
		h.Set(headerSSEC+"Algorithm", "AES256")
		h.Set(headerSSEC+"Key-Md5", enc.CustomerMD5)
	}
}

func (c *call) setVersion(id string) {
	if id != "" {
		c.w.Header().Set("X-Amz-Version-Id", id)
	}
}

func (c *call) setChecksum(sum s3model.Checksum) {
	if a := checksumByName(sum.Algorithm); a != nil && sum.Value != "" {
		c.w.Header().Set(a.header, sum.Value)
		c.w.Header().Set("X-Amz-Checksum-Type", sum.Type)
	}
}
