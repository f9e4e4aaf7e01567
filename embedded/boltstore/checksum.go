package boltstore

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"strings"

	"github.com/statelatch/statelatch/s3/s3model"
)

// The types of a checksum, as S3 names them.
const (
	fullObject = "FULL_OBJECT"
	composite  = "COMPOSITE"
)

// algorithm is an additional checksum of S3.
type algorithm struct {
	name string
	new  func() hash.Hash
	// polynomial (reflected) and width of a CRC, whose values for two halves give the
	// value for the whole. 0 for a digest.
	polynomial uint64
	width      uint
}

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	nvme       = crc64.MakeTable(nvmePolynomial)
)

const nvmePolynomial = 0x9a6c9329ac4bc9b5

var algorithms = []algorithm{
	{name: "CRC32", new: func() hash.Hash { return crc32.NewIEEE() }, polynomial: crc32.IEEE, width: 32},
	{name: "CRC32C", new: func() hash.Hash { return crc32.New(castagnoli) }, polynomial: crc32.Castagnoli, width: 32},
	{name: "CRC64NVME", new: func() hash.Hash { return crc64.New(nvme) }, polynomial: nvmePolynomial, width: 64},
	{name: "SHA1", new: sha1.New},
	{name: "SHA256", new: sha256.New},
}

func findAlgorithm(name string) (*algorithm, error) {
	for i := range algorithms {
		if strings.EqualFold(algorithms[i].name, name) {
			return &algorithms[i], nil
		}
	}
	return nil, s3model.ErrInvalidRequest.With(fmt.Sprintf("The checksum algorithm %q is not known.", name), nil)
}

// kind is the type of the checksum of a multipart object: what was asked for or, as on
// S3, of the whole object for CRC64NVME and composed for the others.
func (a *algorithm) kind(asked string) string {
	switch {
	case asked != "":
		return asked
	case a.name == "CRC64NVME":
		return fullObject
	}
	return composite
}

// decodeSum reads a checksum's value.
func (a *algorithm) decodeSum(value string) ([]byte, error) {
	sum, err := base64.StdEncoding.DecodeString(value)
	if err != nil || len(sum) != a.new().Size() {
		return nil, damaged("%s checksum %q", a.name, value)
	}
	return sum, nil
}

func encodeSum(sum []byte) string { return base64.StdEncoding.EncodeToString(sum) }

// compose is the checksum of the parts' checksums, with their number.
func (a *algorithm) compose(sums [][]byte) string {
	h := a.new()
	for _, s := range sums {
		h.Write(s)
	}
	return fmt.Sprintf("%s-%d", encodeSum(h.Sum(nil)), len(sums))
}

// combine is the CRC of the whole from the CRCs of the parts.
func (a *algorithm) combine(sums [][]byte, sizes []int64) []byte {
	var whole uint64
	for i, s := range sums {
		// Appending n bytes multiplies what came before by x^(8n).
		whole = a.multiply(a.power(uint64(sizes[i])), whole) ^ toUint(s)
	}
	b := binary.BigEndian.AppendUint64(nil, whole)
	return b[8-a.width/8:]
}

func toUint(b []byte) uint64 {
	var n uint64
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}

// multiply is the product of two polynomials modulo the CRC's. The most significant bit
// is the coefficient of x^0, as in the value of a reflected CRC.
func (a *algorithm) multiply(x, y uint64) uint64 {
	var product uint64
	for bit := uint64(1) << (a.width - 1); bit != 0 && x != 0; bit >>= 1 {
		if x&bit != 0 {
			product ^= y
			x ^= bit
		}
		if y&1 != 0 {
			y = y>>1 ^ a.polynomial
		} else {
			y >>= 1
		}
	}
	return product
}

// power is x^(8n) modulo the CRC's polynomial.
func (a *algorithm) power(n uint64) uint64 {
	result := uint64(1) << (a.width - 1) // x^0
	square := result >> 8                // x^8
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			result = a.multiply(square, result)
		}
		square = a.multiply(square, square)
	}
	return result
}
