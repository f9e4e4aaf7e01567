//go:build !windows

package term

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Rows is how many lines the terminal shows that w writes to; 0 if it does not tell.
func Rows(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Row)
}
