package sarif_test

import (
	"testing"

	"github.com/statelatch/statelatch/internal/sarif"
)

// A key is not a link, and no placeholder.
func TestNew_TextIsPlain(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"the key [click](https://evil.example) is odd": `the key \[click\](https://evil.example) is odd`,
		`\[a](b)`:         `\\\[a\](b)`,
		"module.a[0] {0}": "module.a[0] {{0}}",
		"a\nb":            `a\nb`,
	} {
		log := sarif.New("1", []sarif.Result{{RuleID: "r", Text: in, Level: "note"}})
		if got := log.Runs[0].Results[0].Message.Text; got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
