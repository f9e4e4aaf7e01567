package bootstrap

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/hashicorp/aws-sdk-go-base/v2/validation"
	"github.com/statelatch/statelatch/bucket/s3bucket"
)

// Block is a backend "s3" to paste. Empty fields are left out.
type Block struct {
	Bucket, Region string // where the states are
	Encrypt        bool   // ask for encryption
	KMSKey         string // with this key; empty: the store's own
	Endpoint       string // of a store other than AWS
	PathStyle      bool   // the bucket's name is in the path, not in the host
	// TokenFile is a file with an OIDC token, which the endpoint exchanges for a session itself; empty: there is none.
	TokenFile string
}

// Block is the backend for a bucket that is set up: d is what was wanted of it, is what it is.
func (d Desired) Block(is Actual, pathStyle bool) Block {
	b := Block{Bucket: d.Bucket, Region: d.Region}
	// Engines that are told to encrypt ask for AES256, or for KMS with a key that they name. Any other default of the
	// bucket they would override.
	switch by := is.Encryption.Value; {
	case by.Algorithm == string(types.ServerSideEncryptionAes256):
		b.Encrypt = true
	case by.Algorithm == string(types.ServerSideEncryptionAwsKms) && by.KMSKey != "":
		b.Encrypt, b.KMSKey = true, by.KMSKey
	}
	if !s3bucket.OnAWS(d.Endpoint) {
		b.Endpoint, b.PathStyle = d.Endpoint, pathStyle
	}
	return b
}

// String is the block in the engines' language.
func (b Block) String() string {
	var s strings.Builder
	// A configuration is no template here, but what looks like one must not become one.
	quote := func(s string) string { return strings.NewReplacer("${", "$${", "%{", "%%{").Replace(strconv.Quote(s)) }
	line := func(format string, args ...any) { fmt.Fprintf(&s, format+"\n", args...) }
	line("terraform {\n  backend \"s3\" {")
	line("    bucket       = %s", quote(b.Bucket))
	line("    key          = \"example/terraform.tfstate\"")
	line("    region       = %s", quote(b.Region))
	line("    use_lockfile = true")
	if b.Encrypt {
		line("    encrypt      = true")
	}
	if b.KMSKey != "" {
		line("    kms_key_id   = %s", quote(b.KMSKey))
	}
	if b.Endpoint != "" {
		endpoints := "s3 = " + quote(b.Endpoint)
		if b.TokenFile != "" {
			endpoints += ", sts = " + quote(b.Endpoint)
		}
		line("\n    endpoints                   = { %s }", endpoints)
		if b.PathStyle {
			line("    use_path_style              = true")
		}
		line("    skip_credentials_validation = true\n    skip_requesting_account_id  = true\n    " +
			"skip_metadata_api_check     = true")
		if validation.SupportedRegion(b.Region) != nil { // one that engines do not know
			line("    skip_region_validation      = true")
		}
	}
	if b.TokenFile != "" {
		line("\n    assume_role_with_web_identity = {")
		line("      role_arn                = \"arn:aws:iam::000000000000:role/statelatch\"")
		line("      web_identity_token_file = %s\n    }", quote(b.TokenFile))
	}
	line("  }\n}")
	return s.String()
}
