package sigv4

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// The values of x-amz-content-sha256 that are not hashes.
const (
	unsignedPayload          = "UNSIGNED-PAYLOAD"
	streamingSigned          = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	streamingSignedTrailer   = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
	streamingUnsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
)

const emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

var (
	errPayloadHash = fail("XAmzContentSHA256Mismatch", http.StatusBadRequest,
		"The provided 'x-amz-content-sha256' header does not match what was computed.")
	errMissingLength = fail("MissingContentLength", http.StatusLengthRequired,
		"You must provide the Content-Length HTTP header (with a chunked payload: x-amz-decoded-content-length).")
	errIncomplete = fail("IncompleteBody", http.StatusBadRequest,
		"You did not provide the number of bytes specified by the Content-Length HTTP header.")
)

// Body is the decoded payload of a request. Data that Read returned is verified
// only when Read has returned io.EOF; any other error means that it must be discarded.
type Body struct {
	src     io.Reader
	chunked *chunkedReader // nil unless the payload is aws-chunked
	length  int64
	seen    int64
	hash    hash.Hash // nil unless the payload's hash is signed
	want    string
	err     error
}

// Body returns the payload of r, which s was made from. It reads nothing yet, so
// that a refusal can still come before "100 Continue".
// Errors: MissingContentLength, InvalidRequest.
func (s *Signature) Body(r *http.Request) (*Body, error) {
	b := &Body{src: r.Body, length: r.ContentLength}
	if b.src == nil {
		b.src = http.NoBody
	}
	if strings.HasPrefix(s.payload, "STREAMING-") {
		length, err := strconv.ParseInt(r.Header.Get("X-Amz-Decoded-Content-Length"), 10, 64)
		if err != nil || length < 0 {
			return nil, errMissingLength
		}
		b.length = length
		b.chunked = newChunkedReader(b.src, length)
		if s.payload != streamingUnsignedTrailer {
			signer := s.chunks
			b.chunked.signer = &signer
			b.chunked.hash = sha256.New()
		}
		if s.payload != streamingSigned {
			if err := b.chunked.announce(r.Header.Values("X-Amz-Trailer")); err != nil {
				return nil, err
			}
		}
		b.src = b.chunked
		return b, nil
	}
	for _, name := range []string{"X-Amz-Trailer", "X-Amz-Decoded-Content-Length"} {
		if r.Header.Get(name) != "" {
			// The client framed its body in chunks; they would be taken for the data.
			return nil, fail("InvalidRequest", http.StatusBadRequest,
				"The header %s needs a chunked payload, which x-amz-content-sha256 does not announce.", strings.ToLower(name))
		}
	}
	if b.length < 0 {
		return nil, errMissingLength
	}
	if s.payload != unsignedPayload {
		b.hash, b.want = sha256.New(), s.payload
	}
	return b, nil
}

// Len is the length of the decoded payload in bytes, as the client announced it. Read enforces it.
func (b *Body) Len() int64 { return b.length }

// Announces says whether the trailer of the payload will carry the header name (lower case).
func (b *Body) Announces(name string) bool {
	return b.chunked != nil && b.chunked.announced[name]
}

// Announced returns the names (lower case) of the headers that the trailer will carry.
func (b *Body) Announced() []string {
	if b.chunked == nil {
		return nil
	}
	names := make([]string, 0, len(b.chunked.announced))
	for name := range b.chunked.announced {
		names = append(names, name)
	}
	return names
}

// Trailer returns a header of the trailer; it is there once Read has returned io.EOF.
func (b *Body) Trailer(name string) string {
	if b.chunked == nil || !errors.Is(b.err, io.EOF) {
		return ""
	}
	return b.chunked.trailer[name]
}

// Read implements io.Reader. It returns io.EOF only when the length, the hash and all
// signatures were right. Errors: IncompleteBody, XAmzContentSHA256Mismatch,
// SignatureDoesNotMatch, InvalidRequest, MalformedTrailerError; others come from the connection.
func (b *Body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.src.Read(p)
	b.seen += int64(n)
	if b.hash != nil {
		b.hash.Write(p[:n])
	}
	switch {
	case b.seen > b.length, errors.Is(err, io.ErrUnexpectedEOF):
		err = errIncomplete
	case errors.Is(err, io.EOF):
		err = b.finish()
	}
	b.err = err
	return n, err
}

func (b *Body) finish() error {
	if b.seen != b.length {
		return errIncomplete
	}
	if b.hash != nil && hex.EncodeToString(b.hash.Sum(nil)) != b.want {
		return errPayloadHash
	}
	return io.EOF
}
