package main

import (
	"fmt"
	"strconv"
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
	// A configuration is no template here, but what looks like one must not become one.
	quote := func(s string) string { return strings.NewReplacer("${", "$${", "%{", "%%{").Replace(strconv.Quote(s)) }
	line := func(format string, args ...any) { fmt.Fprintf(&s, format+"\n", args...) }
	line("terraform {\n  backend \"s3\" {")
	line("    bucket       = %s", quote(b.bucket))
	line("    key          = \"example/terraform.tfstate\"")
	line("    region       = %s", quote(b.region))
	line("    use_lockfile = true")
	if b.encrypt {
		line("    encrypt      = true")
	}
	if b.kmsKey != "" {
		line("    kms_key_id   = %s", quote(b.kmsKey))
	}
	if b.endpoint != "" {
		line("\n    endpoints                   = { s3 = %s }", quote(b.endpoint))
		if b.pathStyle {
			line("    use_path_style              = true")
		}
		line("    skip_credentials_validation = true\n    skip_requesting_account_id  = true\n    " +
			"skip_metadata_api_check     = true")
		if b.foreignRegion {
			line("    skip_region_validation      = true")
		}
	}
	line("  }\n}")
	return s.String()
}
