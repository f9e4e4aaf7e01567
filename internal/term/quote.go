package term

import (
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/lazyre"
)

var shellSafe = lazyre.New(`^[A-Za-z0-9_./:=@%+-]+$`)

// ShellQuote makes s safe to show, and to paste into a shell. What cannot be printed needs one that knows $'...', as
// bash and zsh do.
func ShellQuote(s string) string {
	switch {
	case shellSafe.MatchString(s):
		return s
	case statelatch.Printable(s) != s:
		return "$'" + strings.ReplaceAll(statelatch.Printable(strings.ReplaceAll(s, `\`, `\\`)), "'", `\'`) + "'"
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
