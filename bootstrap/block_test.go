package bootstrap_test

import (
	"strings"
	"testing"

	"github.com/statelatch/statelatch/bootstrap"
)

// An engine that is told to encrypt, without a key, asks for AES256: the block must not override the bucket's default.
func TestBlock_KeepsTheBucketsEncryption(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ algorithm, key, want string }{
		{"AES256", "", "encrypt"}, {"aws:kms", "arn:x:${k}", `"arn:x:$${k}"`}, {"aws:kms", "", ""}, {"aws:kms:dsse", "arn:x", ""}, {"", "", ""},
	} {
		var is bootstrap.Actual
		is.Encryption.Value = bootstrap.Encryption{Algorithm: tc.algorithm, KMSKey: tc.key}
		got := bootstrap.Desired{Bucket: "b", Region: "eu-west-1"}.Block(is, true).String()
		if strings.Contains(got, "encrypt ") != (tc.want != "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s with %q: got %s", tc.algorithm, tc.key, got)
		}
	}
}

// Of a store that is not AWS an engine is told what it need not look at: a region that it does not know, too.
func TestBlock_OfAnotherStore(t *testing.T) {
	t.Parallel()
	for region, want := range map[string]bool{"us-east-1": false, "home": true} {
		b := bootstrap.Block{Bucket: "b", Region: region, Endpoint: "http://localhost:9000", PathStyle: true}
		if got := strings.Contains(b.String(), "skip_region_validation"); got != want || !strings.Contains(b.String(), "use_path_style") {
			t.Errorf("%s: got %s", region, b)
		}
	}
}
