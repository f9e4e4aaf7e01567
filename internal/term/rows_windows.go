package term

import (
	"io"
	"os"

	"golang.org/x/sys/windows"
)

// Rows is how many lines the terminal shows that w writes to; 0 if it does not tell.
func Rows(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	var info windows.ConsoleScreenBufferInfo
	if err := windows.GetConsoleScreenBufferInfo(windows.Handle(f.Fd()), &info); err != nil {
		return 0
	}
	return int(info.Window.Bottom-info.Window.Top) + 1
}
