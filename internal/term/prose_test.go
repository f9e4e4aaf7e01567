package term

import (
	"errors"
	"fmt"
	"testing"
)

func TestProse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"one two three four":                  "one two\nthree four",
		"Do it: statelatch lock x":            "Do it: statelatch lock x", // to paste
		"say it with 'statelatch unlock' now": "say it\nwith\n'statelatch unlock'\nnow",
		"\rlive line that is long":            "\rlive line that is long",
	} {
		if got := Prose(text, 10); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	if got := Prose("one two three four", 0); got != "one two three four" {
		t.Errorf("without a terminal: got %q", got)
	}
}

func TestOneLine(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("a: %w", errors.Join(errors.New("b\x1b[2J"), errors.New("c")))
	if got, want := OneLine(err), `a: b\x1b[2J; c`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestShellQuote(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"a/b:c": "a/b:c", "it's": `'it'\''s'`, `a\b`: `'a\b'`, "a\x1b'\\": `$'a\x1b\'\\'`,
	} {
		if got := ShellQuote(s); got != want {
			t.Errorf("%q: got %s, want %s", s, got, want)
		}
	}
}
