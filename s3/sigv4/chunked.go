package sigv4

import (
	"bufio"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/statelatch/statelatch/s3/s3model"
)

const (
	maxLine     = 4096 // bytes of a chunk header or of a trailer line, its end included
	maxTrailers = 16
)

// chunkSigner computes the chained signatures of chunks and trailer.
type chunkSigner struct {
	key      []byte
	date     string
	scope    string
	previous string
}

// chunk returns the signature of the next chunk.
func (s *chunkSigner) chunk(dataSHA256 string) string {
	s.previous = sign(s.key, algorithm+"-PAYLOAD\n"+s.date+"\n"+s.scope+"\n"+s.previous+"\n"+emptySHA256+"\n"+dataSHA256)
	return s.previous
}

// trailer returns the signature of the trailer, the last in the chain.
func (s *chunkSigner) trailer(trailerSHA256 string) string {
	return sign(s.key, "AWS4-HMAC-SHA256-TRAILER\n"+s.date+"\n"+s.scope+"\n"+s.previous+"\n"+trailerSHA256)
}

// chunkedReader decodes the aws-chunked encoding. It holds one line and the running
// hash of one chunk, never a chunk.
type chunkedReader struct {
	src       *bufio.Reader
	signer    *chunkSigner // nil: chunks are unsigned
	hash      hash.Hash    // of the current chunk; set with signer
	announced map[string]bool
	trailer   map[string]string

	total  int64 // data bytes still to come, as announced
	left   int64 // data bytes left in the current chunk
	inside bool  // the data of a chunk, or its end, comes next
	want   string
	err    error
}

func newChunkedReader(src io.Reader, length int64) *chunkedReader {
	return &chunkedReader{src: bufio.NewReaderSize(src, maxLine), total: length}
}

// announce takes the values of the x-amz-trailer header.
func (c *chunkedReader) announce(values []string) error {
	c.announced = map[string]bool{}
	for _, value := range values {
		for name := range strings.SplitSeq(value, ",") {
			if name = strings.ToLower(strings.TrimSpace(name)); name != "" {
				c.announced[name] = true
			}
		}
	}
	if len(c.announced) == 0 || len(c.announced) > maxTrailers {
		return fail("InvalidRequest", http.StatusBadRequest,
			"A payload with a trailer needs the x-amz-trailer header with 1 to %d names.", maxTrailers)
	}
	return nil
}

// Read implements io.Reader.
func (c *chunkedReader) Read(p []byte) (int, error) {
	if c.err != nil || len(p) == 0 {
		return 0, c.err
	}
	n, err := c.read(p)
	c.err = err
	return n, err
}

func (c *chunkedReader) read(p []byte) (int, error) {
	if !c.inside {
		if err := c.readHeader(); err != nil {
			return 0, err
		}
	}
	n, err := c.src.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	c.total -= int64(n)
	if c.hash != nil {
		c.hash.Write(p[:n])
	}
	if err != nil {
		return n, cut(err)
	}
	if c.left == 0 {
		return n, c.endChunk()
	}
	return n, nil
}

// readHeader reads chunk headers up to one that has data; after the last chunk
// it reads the trailer and returns io.EOF.
func (c *chunkedReader) readHeader() error {
	line, err := c.line(true)
	if err != nil {
		return err
	}
	digits, extension, extended := strings.Cut(line, ";")
	size, err := strconv.ParseUint(digits, 16, 63)
	if err != nil {
		return errChunk("a chunk does not begin with its size in hexadecimal")
	}
	if c.signer != nil {
		signature, ok := strings.CutPrefix(extension, "chunk-signature=")
		if !ok || !isHash(signature) {
			return errChunk("a chunk has no valid chunk-signature")
		}
		c.want = signature
		c.hash.Reset()
	} else if extended {
		return errChunk("a chunk of an unsigned payload has an extension")
	}
	c.left, c.inside = int64(size), true
	if size > 0 {
		if c.left > c.total {
			return errIncomplete
		}
		return nil
	}
	if c.total != 0 {
		return errIncomplete
	}
	return c.finish()
}

// endChunk checks the signature and the line end behind the data of a chunk.
func (c *chunkedReader) endChunk() error {
	if err := c.checkChunk(); err != nil {
		return err
	}
	line, err := c.line(true)
	if err != nil {
		return err
	}
	if line != "" {
		return errChunk("a chunk is longer than its header says")
	}
	c.inside = false
	return nil
}

func (c *chunkedReader) checkChunk() error {
	if c.signer != nil && !equal(c.signer.chunk(hex.EncodeToString(c.hash.Sum(nil))), c.want) {
		return fail("SignatureDoesNotMatch", http.StatusForbidden, "The signature of a chunk does not match its data.")
	}
	return nil
}

// finish checks the last chunk, reads the trailer and insists on the end of the body.
func (c *chunkedReader) finish() error {
	if err := c.checkChunk(); err != nil {
		return err
	}
	if c.announced != nil {
		if err := c.readTrailer(); err != nil {
			return err
		}
	} else if line, err := c.line(true); err != nil {
		return err
	} else if line != "" {
		return errChunk("there is a trailer that was not announced")
	}
	// Some clients (minio-go) end the trailer twice.
	line, err := c.src.ReadSlice('\n')
	if err == nil && strings.Trim(string(line), "\r\n") == "" {
		line, err = c.src.ReadSlice('\n')
	}
	switch {
	case len(line) > 0:
		return errChunk("there is data behind the last chunk")
	case !errors.Is(err, io.EOF):
		return err
	}
	return io.EOF
}

func (c *chunkedReader) readTrailer() error {
	const signatureName = "x-amz-trailer-signature"
	c.trailer = map[string]string{}
	var signed strings.Builder
	for range 2 * (maxTrailers + 1) {
		// AWS's own description of the format ends trailer lines with a bare
		// line feed, and with a blank line before the signature.
		line, err := c.line(false)
		if err != nil {
			return err
		}
		if line == "" {
			if c.signer == nil {
				return c.checkTrailer()
			}
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if c.signer != nil && name == signatureName {
			sum := sha256Hex(signed.String())
			if !equal(c.signer.trailer(sum), value) {
				return fail("SignatureDoesNotMatch", http.StatusForbidden, "The signature of the trailer does not match.")
			}
			if line, err := c.line(false); err != nil && !errors.Is(err, errIncomplete) {
				return err
			} else if line != "" {
				return errTrailer("there is data behind the signature of the trailer")
			}
			return c.checkTrailer()
		}
		if _, twice := c.trailer[name]; !ok || twice || !c.announced[name] {
			return errTrailer("a line is malformed, repeated, or not announced in x-amz-trailer")
		}
		c.trailer[name] = value
		signed.WriteString(name + ":" + value + "\n")
	}
	return errTrailer("it does not end")
}

func (c *chunkedReader) checkTrailer() error {
	if len(c.trailer) != len(c.announced) {
		return errTrailer("a header that x-amz-trailer announced is missing")
	}
	return nil
}

// line reads one line, without its end. The buffer's size is the limit of its length.
func (c *chunkedReader) line(needCR bool) (string, error) {
	raw, err := c.src.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", errChunk("a line is longer than " + strconv.Itoa(maxLine) + " bytes")
	}
	if err != nil {
		return "", cut(err)
	}
	raw = raw[:len(raw)-1]
	if n := len(raw); n > 0 && raw[n-1] == '\r' {
		raw = raw[:n-1]
	} else if needCR {
		return "", errChunk("a line does not end with CR LF")
	}
	return string(raw), nil
}

// cut turns the end of a body in the middle of something into a refusal.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errIncomplete
	}
	return err
}

func errChunk(what string) *s3model.Error {
	return fail("InvalidRequest", http.StatusBadRequest, "The aws-chunked payload is malformed: %s.", what)
}

func errTrailer(what string) *s3model.Error {
	return fail("MalformedTrailerError", http.StatusBadRequest,
		"The trailer of the request is malformed: %s.", what)
}
