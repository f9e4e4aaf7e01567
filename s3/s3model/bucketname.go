package s3model

import (
	"net/netip"
	"strings"
)

// BucketNameRules says in words what [ValidBucketName] accepts.
const BucketNameRules = "3 to 63 lower-case letters, digits, '-' and '.', beginning and ending with a letter or " +
	"digit, not an IP address"

// ValidBucketName applies S3's rules for the names of general purpose buckets.
func ValidBucketName(name string) bool {
	if len(name) < 3 || len(name) > 63 || strings.Contains(name, "..") {
		return false
	}
	for i := range len(name) {
		ch := name[i]
		alnum := ('a' <= ch && ch <= 'z') || ('0' <= ch && ch <= '9')
		if !alnum && (i == 0 || i == len(name)-1 || (ch != '-' && ch != '.')) {
			return false
		}
	}
	for _, prefix := range []string{"xn--", "sthree-", "amzn-s3-demo-"} {
		if strings.HasPrefix(name, prefix) {
			return false
		}
	}
	for _, suffix := range []string{"-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"} {
		if strings.HasSuffix(name, suffix) {
			return false
		}
	}
	_, err := netip.ParseAddr(name)
	return err != nil
}
