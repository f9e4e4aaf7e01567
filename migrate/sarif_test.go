package migrate

import (
	"encoding/json"
	"strings"
	"testing"
)

// Code scanning takes paths from the directory that the scan ran in, as URIs.
func TestTree_SARIF_Paths(t *testing.T) {
	t.Parallel()
	for dir, want := range map[string]string{".": "my%20app/100%25%C3%A9.tf", "infra/x": "infra/x/my%20app/100%25%C3%A9.tf", "/abs": "my%20app/100%25%C3%A9.tf", "../up": "my%20app/100%25%C3%A9.tf"} {
		found := Tree{Dir: dir, Findings: []Finding{{ID: "no-lock", Severity: Error, File: "my app/100%é.tf", Line: 1, Text: "text"}}}
		data, err := json.Marshal(found.SARIF("1"))
		if err != nil || !strings.Contains(string(data), `"uri":"`+want+`"`) {
			t.Errorf("%s: got %s (%v), want %s", dir, data, err, want)
		}
	}
}

// A key is not a link, and no placeholder.
func TestTree_SARIF_TextIsPlain(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"the key [click](https://evil.example) is odd": `the key \[click\](https://evil.example) is odd`,
		`\[a](b)`:         `\\\[a\](b)`,
		"module.a[0] {0}": "module.a[0] {{0}}",
		"a\nb":            `a\nb`,
	} {
		found := Tree{Dir: ".", Findings: []Finding{{ID: "no-lock", Severity: Note, Text: in}}}
		if got := found.SARIF("1").log.Runs[0].Results[0].Message.Text; got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
