package endpoint

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/statelatch/statelatch/s3/s3model"
	"github.com/statelatch/statelatch/s3/sigv4"
)

// payload is the body of a request with every checksum that came with it. Read
// returns io.EOF only when the length, the signature and all checksums were right.
type payload struct {
	body *sigv4.Body

	md5     hash.Hash
	wantMD5 string

	algorithm *checksumAlgorithm // nil: no additional checksum
	sum       hash.Hash
	want      string // empty: it comes in the trailer

	result s3model.Checksum
	err    error
}

// payload prepares the body of the request for reading; nothing is read yet.
func (c *call) payload() (*payload, error) {
	body, err := c.sig.Body(c.r)
	if err != nil {
		return nil, err
	}
	p := &payload{body: body}
	if err := p.setMD5(c.r.Header); err != nil {
		return nil, err
	}
	return p, p.setChecksum(c.r.Header)
}

func (p *payload) setMD5(h http.Header) error {
	values, ok := h["Content-Md5"]
	if !ok {
		return nil
	}
	sum, err := base64.StdEncoding.DecodeString(h.Get("Content-Md5"))
	if err != nil || len(sum) != md5.Size || len(values) != 1 {
		return refuse("InvalidDigest", http.StatusBadRequest, "The Content-MD5 you specified is not valid.")
	}
	p.md5, p.wantMD5 = md5.New(), base64.StdEncoding.EncodeToString(sum)
	return nil
}

func (p *payload) setChecksum(h http.Header) error {
	header, err := checksumHeader(h)
	if err != nil {
		return err
	}
	for _, name := range p.body.Announced() {
		if strings.HasPrefix(name, "x-amz-checksum-") && checksumByHeader(name) == nil {
			return unsupportedChecksum(name)
		}
		if header != "" || checksumByHeader(name) == nil {
			return invalidRequest("The trailer must carry exactly one checksum that this store knows, and no " +
				"header another one.")
		}
		header = name
	}
	named := h.Get("X-Amz-Sdk-Checksum-Algorithm")
	if header == "" {
		if named != "" {
			return invalidRequest("x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or " +
				"x-amz-trailer headers were found.")
		}
		return nil
	}
	a := checksumByHeader(header)
	if named != "" && !strings.EqualFold(named, a.name) {
		return invalidRequest("Value for x-amz-sdk-checksum-algorithm header is invalid.")
	}
	if !p.body.Announces(header) {
		if p.want = h.Get(header); !a.valid(p.want) {
			return invalidRequest("Value for " + header + " header is invalid.")
		}
	}
	p.algorithm, p.sum = a, a.new()
	return nil
}

func unsupportedChecksum(header string) error {
	return notImplemented("The checksum " + header + " is not supported; use CRC32, CRC32C, CRC64NVME, SHA1 or SHA256.")
}

// checksumHeader returns the name of the one x-amz-checksum-* header that carries a value.
func checksumHeader(h http.Header) (string, error) {
	found := ""
	for name, values := range h {
		name = strings.ToLower(name)
		if !strings.HasPrefix(name, "x-amz-checksum-") {
			continue
		}
		switch name {
		case "x-amz-checksum-mode", "x-amz-checksum-algorithm", "x-amz-checksum-type":
			continue
		}
		if checksumByHeader(name) == nil {
			return "", unsupportedChecksum(name)
		}
		if found != "" || len(values) != 1 {
			return "", invalidRequest("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
		}
		found = name
	}
	return found, nil
}

// hasChecksum says whether the integrity of the body is covered by more than the signature.
func (p *payload) hasChecksum() bool { return p.md5 != nil || p.algorithm != nil }

// Read implements io.Reader.
func (p *payload) Read(b []byte) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	n, err := p.body.Read(b)
	if p.md5 != nil {
		p.md5.Write(b[:n])
	}
	if p.sum != nil {
		p.sum.Write(b[:n])
	}
	if errors.Is(err, io.EOF) {
		err = p.verify()
	} else if err != nil {
		err = connectionError(err)
	}
	p.err = err
	return n, err
}

// verify compares the checksums once the body has ended.
func (p *payload) verify() error {
	if p.md5 != nil && base64.StdEncoding.EncodeToString(p.md5.Sum(nil)) != p.wantMD5 {
		return refuse("BadDigest", http.StatusBadRequest, "The Content-MD5 you specified did not match what we received.")
	}
	if p.algorithm == nil {
		return io.EOF
	}
	if p.want == "" {
		if p.want = p.body.Trailer(p.algorithm.header); !p.algorithm.valid(p.want) {
			return invalidRequest("Value for " + p.algorithm.header + " trailing header is invalid.")
		}
	}
	got := base64.StdEncoding.EncodeToString(p.sum.Sum(nil))
	if got != p.want {
		return refuse("BadDigest", http.StatusBadRequest,
			fmt.Sprintf("The %s you specified did not match the calculated checksum.", p.algorithm.name))
	}
	p.result = s3model.Checksum{Algorithm: p.algorithm.name, Value: got, Type: fullObject}
	return io.EOF
}

// finish is the store's last question before it commits.
func (p *payload) finish() (s3model.Checksum, error) {
	if !errors.Is(p.err, io.EOF) {
		return s3model.Checksum{}, s3model.ErrInternal.With("", errors.New("the store did not read the body to its end"))
	}
	return p.result, nil
}

// connectionError tells a refusal of the body from a connection that failed.
func connectionError(err error) error {
	var e *s3model.Error
	if errors.As(err, &e) {
		return err
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		e := refuse("RequestTimeout", http.StatusBadRequest,
			"Your socket connection to the server was not read from or written to within the timeout period.")
		return e.With("", err)
	}
	e = refuse("IncompleteBody", http.StatusBadRequest, "The connection ended before the body was complete.")
	return e.With("", err)
}

// document reads a whole request document, verified, up to the limit of its size.
func (c *call) document() ([]byte, error) {
	p, err := c.payload()
	if err != nil {
		return nil, err
	}
	return readDocument(p, maxDocument)
}

func readDocument(p *payload, limit int64) ([]byte, error) {
	if p.body.Len() > limit {
		return nil, refuse("MaxMessageLengthExceeded", http.StatusBadRequest,
			fmt.Sprintf("Your request was too big; its document may have %d MiB.", limit>>20))
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(p); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
