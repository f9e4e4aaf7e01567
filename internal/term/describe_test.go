package term

import (
	"strings"
	"testing"
)

// An example that was broken over two lines is still one command.
func TestWrapCommand_StaysOneCommand(t *testing.T) {
	t.Parallel()
	const line = "  statelatch states -anomalies -match 'a b c d e f g' s3://acme-state/live"
	got := WrapCommand(line, 40)
	if joined := strings.Join(strings.Fields(strings.ReplaceAll(got, "\\\n", " ")), " "); joined != strings.Join(strings.Fields(line), " ") {
		t.Errorf("got %q", got)
	}
	if !strings.Contains(got, "'a b c d e f g'") {
		t.Errorf("a quoted word is broken: %q", got)
	}
}
