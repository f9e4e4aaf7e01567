package term

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/mattn/go-isatty"
	"github.com/statelatch/statelatch/internal/safejson"
)

// Terminal is a command's world: results go to Out, talk to Err.
type Terminal struct {
	In          io.Reader
	Out, Err    io.Writer
	Interactive bool // a person is at In
	Live        bool // a person watches Err, which can rewrite its last line
	Getenv      func(string) string
	View        *View // how results are shown; nil: as into a file
}

// View is how results are shown. The flags of a command change it.
type View struct {
	OutWidth, ErrWidth int // in columns; 0: no terminal is there
	OutColor, ErrColor bool
	Failed             error // the first that kept a result from being written
}

// Of returns the terminal of a process.
func Of(in, out, err *os.File) Terminal {
	v := &View{OutWidth: Width(out, os.Getenv), ErrWidth: Width(err, os.Getenv)}
	colors := os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	v.OutColor, v.ErrColor = colors && v.OutWidth > 0, colors && v.ErrWidth > 0
	return Terminal{
		In: in, Out: out, Err: err, Getenv: os.Getenv, View: v,
		Interactive: isatty.IsTerminal(in.Fd()), Live: isatty.IsTerminal(err.Fd()) && os.Getenv("TERM") != "dumb",
	}
}

// view is never nil.
func (t Terminal) view() View {
	if t.View == nil {
		return View{}
	}
	return *t.View
}

// OutWidth returns how many columns results have; 0: as many as they need.
func (t Terminal) OutWidth() int { return t.view().OutWidth }

// LookupEnv is Getenv that tells a variable that is empty from one that is not set.
func (t Terminal) LookupEnv(name string) (string, bool) {
	if value := t.Getenv(name); value != "" {
		return value, true
	}
	value, set := os.LookupEnv(name)
	return value, set && value == ""
}

// Say writes talk, on a terminal without breaking words.
func (t Terminal) Say(format string, args ...any) {
	_, _ = io.WriteString(t.Err, Prose(fmt.Sprintf(format, args...), t.view().ErrWidth))
}

// Print writes a result.
func (t Terminal) Print(format string, args ...any) {
	fmt.Fprintf(t.Results(), format, args...)
}

// PrintProse writes a result in sentences.
func (t Terminal) PrintProse(format string, args ...any) {
	t.Print("%s", Prose(fmt.Sprintf(format, args...), t.OutWidth()))
}

// Shortened is said below a table that is not whole.
const Shortened = "Shortened to fit the terminal: -wide shows all of it.\n"

// PrintTable writes a table as a result.
func (t Terminal) PrintTable(tab Table) {
	text, whole := tab.Render(t.OutWidth())
	t.Print("%s", text)
	if !whole {
		t.Say(Shortened)
	}
}

// SayTable writes a table as talk.
func (t Terminal) SayTable(tab Table) {
	text, whole := tab.Render(t.view().ErrWidth)
	t.Say("%s", text)
	if !whole {
		t.Say(Shortened)
	}
}

// PrintJSON writes a result as one line of JSON.
func (t Terminal) PrintJSON(v any) error {
	line, err := safejson.Marshal(v)
	if err != nil {
		return err
	}
	_, err = t.Out.Write(append(line, '\n'))
	return err
}

// Results is where results go. What cannot be written there is remembered in the View.
func (t Terminal) Results() io.Writer { return resultWriter{t} }

type resultWriter struct{ t Terminal }

func (w resultWriter) Write(p []byte) (int, error) {
	n, err := w.t.Out.Write(p)
	if v := w.t.View; err != nil && v != nil && v.Failed == nil {
		v.Failed = err
	}
	return n, err
}

// UnaskedError is a question that nobody is there to answer. The command line lacks Flag, which answers it.
type UnaskedError struct{ Flag string }

func (e UnaskedError) Error() string {
	return fmt.Sprintf("no terminal to confirm on: add %s to go ahead without being asked", e.Flag)
}

// ErrDeclined is a person's "no" to a question.
var ErrDeclined = errors.New("not confirmed; nothing was changed")

// Confirm asks a person to type "yes". Without a person there it is an UnaskedError: a pipeline would hang or guess.
func (t Terminal) Confirm(ctx context.Context, question, orFlag string) error {
	if !t.Interactive {
		return UnaskedError{orFlag}
	}
	t.Say("%s\nOnly 'yes' will be accepted to confirm.\n\nEnter a value: ", question)
	line, _ := bufio.NewReader(t.Typed(ctx)).ReadString('\n') // an end of input is no "yes"
	if ctx.Err() != nil || strings.TrimSpace(line) != "yes" {
		return ErrDeclined
	}
	return nil
}

// Typed is In, with reads that end when ctx does: at a terminal the first Ctrl-C must count.
func (t Terminal) Typed(ctx context.Context) io.Reader { return typedReader{ctx, t.In} }

type typedReader struct {
	ctx context.Context
	in  io.Reader
}

func (r typedReader) Read(p []byte) (int, error) {
	type read struct {
		data []byte
		err  error
	}
	done := make(chan read, 1)
	go func() { // it stays in its read if ctx ends, and so does the process that is about to
		data := make([]byte, len(p))
		n, err := r.in.Read(data)
		done <- read{data[:n], err}
	}()
	select {
	case got := <-done:
		return copy(p, got.data), got.err
	case <-r.ctx.Done():
		return 0, r.ctx.Err()
	}
}
