package main

import (
	"fmt"
	"strings"
)

// backendBlock is a backend "s3" to paste. Empty fields are left out.
type backendBlock struct {
	bucket, region string
	encrypt        bool
	kmsKey         string
	endpoint       string // of a store other than AWS
	pathStyle      bool
	foreignRegion  bool // one that engines do not know
}

func (b backendBlock) String() string {
	var s strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&s, format+"\n", args...) }
	line("terraform {\n  backend \"s3\" {")
	line("    bucket       = %q", b.bucket)
	line("    key          = \"example/terraform.tfstate\"")
	line("    region       = %q", b.region)
	line("    use_lockfile = true")
	if b.encrypt {
		line("    encrypt      = true")
	}
	if b.kmsKey != "" {
		line("    kms_key_id   = %q", b.kmsKey)
	}
	if b.endpoint != "" {
		line("\n    endpoints                   = { s3 = %q }", b.endpoint)
		if b.pathStyle {
			line("    use_path_style              = true")
		}
		line("    skip_credentials_validation = true\n    skip_requesting_account_id  = true\n    skip_metadata_api_check     = true")
		if b.foreignRegion {
			line("    skip_region_validation      = true")
		}
	}
	line("  }\n}")
	return s.String()
}
