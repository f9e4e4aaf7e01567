package statelatch

import (
	"strings"
	"testing"
)

// Nothing is known of a bucket while credentials are looked for: no "s3://" stands for it.
func TestStoreError_NoBucket(t *testing.T) {
	t.Parallel()
	for want, e := range map[string]*StoreError{
		"open: " + ErrDenied.Error():         {Kind: ErrDenied, Op: "open"},
		"get s3://b/k: " + ErrDenied.Error(): {Kind: ErrDenied, Op: "get", Bucket: "b", Key: "k"},
		"list s3://b: " + ErrDenied.Error():  {Kind: ErrDenied, Op: "list", Bucket: "b"},
	} {
		if got := e.Error(); !strings.HasPrefix(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
