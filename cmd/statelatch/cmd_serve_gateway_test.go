package main

import (
	"os"
	"path/filepath"
	"testing"
)

// What cannot be a gateway is said before anything is served.
func TestServe_GatewayRefused(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("ana", "aws_access_key_id = ANAANAANAANAANAANAANA\naws_secret_access_key = 0123456789012345678901234567890123456789\n")
	rules := `key "ana" { file = "ana" }
allow "people" {
  keys   = ["*"]
  states = ["*"]
  may    = ["read"]
}
`
	good := write("good.hcl", rules)
	stored := write("stored.hcl", "store = \"s3://demo\"\n"+rules)
	bad := write("bad.hcl", `allow "x" { may = ["fly"] }`)
	noKey := write("nokey.hcl", `key "bob" { file = "bob" }
allow "people" {
  keys   = ["*"]
  states = ["*"]
  may    = ["read"]
}
`)
	for _, tc := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"-config", good, "-check"}, 0, "1 static key, 1 rule. Nothing is wrong with it."},
		{[]string{"-config", bad, "-check"}, 2, "bad.hcl:1: "},
		{[]string{"-config", noKey, "-check"}, 1, "bob"},
		{[]string{"-config", filepath.Join(dir, "none.hcl"), "-check"}, 1, "none.hcl"},
		{[]string{"-check"}, 2, "-check wants -config FILE"},
		{[]string{"-store", "s3://demo"}, 2, "-store wants -config FILE"},
		{[]string{"-weak-release"}, 2, "-weak-release is for a gateway"},
		{[]string{"-advertise", "http://x"}, 2, "-advertise is for a gateway"},
		{[]string{"-audit", "file:x"}, 2, "-audit is for a gateway"},
		{[]string{"-store", "s3://demo", "-config", good, "-data", dir}, 2, "-data is for a store on this machine"},
		{[]string{"-config", stored, "-bucket", "b12"}, 2, "-bucket is for a store on this machine"},
		{[]string{"-config", good, "-env"}, 2, "-env is for a store without -config"},
		{[]string{"-store", "demo/", "-config", good, "-addr", "127.0.0.1:0"}, 2, "demo"},
		{[]string{"-store", "s3://demo", "-config", good, "-addr", "0.0.0.0:0"}, 2, "without TLS"},
	} {
		s.want(s.run(append([]string{"serve"}, tc.args...)...), tc.code, tc.says)
	}
}
