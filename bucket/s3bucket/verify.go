package s3bucket

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/statelatch/statelatch"
)

// What a store says of a body, next to its length: a checksum of the whole, where it has one and is asked for it, or an
// ETag that is the MD5 of the bytes.

const (
	checksumPrefix = "X-Amz-Checksum-"
	nvmePolynomial = 0x9a6c9329ac4bc9b5
)

type checksum struct {
	name string
	hash func() hash.Hash
}

// checksums are those of S3 that Go can compute, the ones that prove most first.
var checksums = []checksum{
	{"Sha256", sha256.New},
	{"Sha512", sha512.New},
	{"Sha1", sha1.New},
	{"Md5", md5.New},
	{"Crc64nvme", func() hash.Hash { return crc64.New(crc64.MakeTable(nvmePolynomial)) }},
	{"Crc32c", func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }},
	{"Crc32", func() hash.Hash { return crc32.NewIEEE() }},
}

// sentChecksums are those of a body that is sent.
var sentChecksums = checksums[:1]

// claim is what a store says of the bytes of an object, and what the bytes say that pass by.
type claim struct {
	what string // as the error names it
	want []byte
	hash hash.Hash
}

// claimOf is what an answer says of the bytes of its object, by one of the checksums given or by the ETag; nil if
// nothing that can be checked.
func (b *Bucket) claimOf(header http.Header, etag string, among []checksum) *claim {
	if !b.objects.SkipS3Checksum && !strings.EqualFold(header.Get(checksumPrefix+"Type"),
		string(types.ChecksumTypeComposite)) {
		for _, c := range among {
			// One that ends in "-N" is of the checksums of N parts, and no base64.
			want, err := base64.StdEncoding.DecodeString(header.Get(checksumPrefix + c.name))
			if err == nil && len(want) == c.hash().Size() {
				return &claim{strings.ToUpper(c.name), want, c.hash()}
			}
		}
	}
	if sum := b.md5Of(header, etag); sum != nil {
		return &claim{"MD5", sum, md5.New()}
	}
	return nil
}

// md5Of is the MD5 that an ETag is, nil if it is something else: of an object in parts, of one that is encrypted with a
// key of KMS or of the customer, or in a directory bucket.
func (b *Bucket) md5Of(header http.Header, etag string) []byte {
	if hasOwnKey(header) || strings.HasSuffix(b.name, "--x-s3") || strings.HasSuffix(b.name, "--xa-s3") {
		return nil
	}
	sum, err := hex.DecodeString(strings.Trim(etag, `"`))
	if err != nil || len(sum) != md5.Size {
		return nil
	}
	return sum
}

// hasOwnKey reports whether an object is encrypted otherwise than with the store's own key, in the words of any store:
// the ETag is then of the encrypted bytes, or random.
func hasOwnKey(header http.Header) bool {
	for name, values := range header {
		name, value := strings.ToLower(name), strings.ToLower(strings.Join(values, ","))
		switch {
		case strings.HasSuffix(name, "server-side-encryption") && value != "" && value != "aes256", // x-amz-, x-obs-, x-oss-
			strings.Contains(name, "server-side-encryption-customer"),
			strings.Contains(name, "kms-key"), strings.HasSuffix(name, "encryption-algorithm"), // x-goog-
			name == "ibm-sse-kp-enabled" && value == "true":
			return true
		}
	}
	return false
}

// holds reports whether the bytes that were seen are those that the store means.
func (c *claim) holds() bool { return string(c.hash.Sum(nil)) == string(c.want) }

// altered is the error for a body that is not what the store says it is, or that the store says is not what was sent.
func (c *call) altered(kind error, what string, want, got []byte) error {
	se := c.error(kind, "")
	se.Err = fmt.Errorf("%w: their %s is %x by the word of the store, and %x by the bytes %s; does something between "+
		"here and the store change bodies?",
		statelatch.ErrAltered, what, want, got, c.which)
	return se
}

// confirm compares what the answer to a write says with what was sent. Confirmed is that the store has those bytes; it
// may have said nothing that tells.
func (c *call) confirm(sums digests, etag string) (confirmed bool, err error) {
	said := c.bucket.claimOf(c.header, etag, sentChecksums)
	if said == nil {
		return false, nil
	}
	sent := sums.md5
	if said.hash.Size() == sha256.Size {
		sent = sums.sha256
	}
	if string(sent) != string(said.want) {
		return false, c.altered(statelatch.ErrAmbiguous, said.what, said.want, sent)
	}
	return true, nil
}

// askChecksum asks for the checksum of the object with its bytes. The SDK's own option would also check it, with less:
// it knows no ETag, takes a composite for the whole where only the type says so, and hands out the last bytes before it
// has seen that they are wrong.
func askChecksum(stack *middleware.Stack) error {
	return smithyhttp.SetHeaderValue(checksumPrefix+"Mode", string(types.ChecksumModeEnabled))(stack)
}

// isBadRequest reports whether a store says that it cannot do anything with a request.
func isBadRequest(err error) bool {
	se, ok := errors.AsType[*statelatch.StoreError](err)
	return ok && (se.Status == http.StatusBadRequest || se.Status == http.StatusNotImplemented) &&
		!errors.Is(se.Kind, statelatch.ErrDenied)
}
