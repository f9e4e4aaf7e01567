package endpoint

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"strings"
)

const (
	fullObject = "FULL_OBJECT"
	composite  = "COMPOSITE"
)

var (
	tableCRC32C = crc32.MakeTable(crc32.Castagnoli)
	// The NVM Express polynomial, bit-reversed.
	tableCRC64NVME = crc64.MakeTable(0x9a6c9329ac4bc9b5)
)

// checksumAlgorithm is one of S3's additional checksums.
type checksumAlgorithm struct {
	name   string // as in x-amz-checksum-algorithm and in XML elements behind "Checksum"
	header string // lower case
	size   int    // bytes
	new    func() hash.Hash
	// types are those that S3 allows for a multipart object, its default first.
	types []string
}

var checksumAlgorithms = []*checksumAlgorithm{
	{"CRC32", "x-amz-checksum-crc32", 4, func() hash.Hash { return crc32.NewIEEE() }, []string{composite, fullObject}},
	{
		"CRC32C", "x-amz-checksum-crc32c", 4, func() hash.Hash { return crc32.New(tableCRC32C) },
		[]string{composite, fullObject},
	},
	{
		"CRC64NVME", "x-amz-checksum-crc64nvme", 8, func() hash.Hash { return crc64.New(tableCRC64NVME) },
		[]string{fullObject},
	},
	{"SHA1", "x-amz-checksum-sha1", sha1.Size, sha1.New, []string{composite}},
	{"SHA256", "x-amz-checksum-sha256", sha256.Size, sha256.New, []string{composite}},
}

func checksumByName(name string) *checksumAlgorithm {
	for _, a := range checksumAlgorithms {
		if strings.EqualFold(a.name, name) {
			return a
		}
	}
	return nil
}

func checksumByHeader(header string) *checksumAlgorithm {
	for _, a := range checksumAlgorithms {
		if a.header == header {
			return a
		}
	}
	return nil
}

// valid says whether value is a checksum of this algorithm in base64.
func (a *checksumAlgorithm) valid(value string) bool {
	sum, err := base64.StdEncoding.Strict().DecodeString(value)
	return err == nil && len(sum) == a.size
}
