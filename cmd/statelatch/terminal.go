package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/mattn/go-isatty"
	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/lazyre"
	"github.com/statelatch/statelatch/internal/safejson"
	"github.com/statelatch/statelatch/internal/term"
)

// terminal is a command's world: results go to out, talk to err.
type terminal struct {
	in          io.Reader
	out, err    io.Writer
	interactive bool // a person is at in
	live        bool // a person watches err, which can rewrite its last line
	getenv      func(string) string
	view        *view // how results are shown; nil: as into a file
}

// view is how results are shown. The flags of a command change it.
type view struct {
	outWidth, errWidth int // in columns; 0: no terminal is there
	outColor, errColor bool
	failed             error // the first that kept a result from being written
}

func (t terminal) outWidth() int {
	if t.view == nil {
		return 0
	}
	return t.view.outWidth
}

func (t terminal) errWidth() int {
	if t.view == nil {
		return 0
	}
	return t.view.errWidth
}

func terminalOf(in, out, err *os.File) terminal {
	v := &view{outWidth: term.Width(out, os.Getenv), errWidth: term.Width(err, os.Getenv)}
	colors := os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	v.outColor, v.errColor = colors && v.outWidth > 0, colors && v.errWidth > 0
	return terminal{
		in: in, out: out, err: err, getenv: os.Getenv, view: v,
		interactive: isatty.IsTerminal(in.Fd()), live: isatty.IsTerminal(err.Fd()) && os.Getenv("TERM") != "dumb",
	}
}

// say writes talk, on a terminal without breaking words.
func (t terminal) say(format string, args ...any) {
	_, _ = io.WriteString(t.err, prose(fmt.Sprintf(format, args...), t.errWidth()))
}

// quotedCommand is a command within a sentence.
var quotedCommand = lazyre.New(`'statelatch [^']*'`)

// prose wraps what is no command to paste, and what does not drive the terminal. A quoted command is not broken.
func prose(text string, width int) string {
	if width == 0 || strings.ContainsAny(text, "\r") {
		return text
	}
	const blank = "\uE000" // for private use: nobody says it
	var b strings.Builder
	for line := range strings.Lines(text) {
		whole := quotedCommand.ReplaceAllStringFunc(line, func(c string) string { return strings.ReplaceAll(c, " ", blank) })
		if !strings.Contains(whole, "statelatch ") {
			line = strings.ReplaceAll(term.Wrap(whole, width), blank, " ")
		}
		b.WriteString(line)
	}
	return b.String()
}

// oneLine is an error for people: on one line, and nothing in it can drive a terminal.
func oneLine(err error) string {
	return statelatch.Printable(strings.ReplaceAll(err.Error(), "\n", "; "))
}

// print writes a result.
func (t terminal) print(format string, args ...any) {
	fmt.Fprintf(t.results(), format, args...)
}

// results is where results go. What cannot be written there is remembered, and told at the end.
func (t terminal) results() io.Writer { return resultWriter{t} }

type resultWriter struct{ t terminal }

func (w resultWriter) Write(p []byte) (int, error) {
	n, err := w.t.out.Write(p)
	if v := w.t.view; err != nil && v != nil && v.failed == nil {
		v.failed = err
	}
	return n, err
}

// printJSON writes a result as one line of JSON.
func (t terminal) printJSON(v any) error {
	line, err := safejson.Marshal(v)
	if err != nil {
		return err
	}
	_, err = t.out.Write(append(line, '\n'))
	return err
}

// confirm asks a person to type "yes". Without a person there it is a usage error: a
// pipeline would hang or guess.
func (t terminal) confirm(ctx context.Context, question, orFlag string) error {
	if !t.interactive {
		return unaskedError{fmt.Errorf("no terminal to confirm on: add %s to go ahead without being asked", orFlag)}
	}
	t.say("%s\nOnly 'yes' will be accepted to confirm.\n\nEnter a value: ", question)
	line, _ := bufio.NewReader(t.typed(ctx)).ReadString('\n') // an end of input is no "yes"
	if ctx.Err() != nil || strings.TrimSpace(line) != "yes" {
		return declinedError{}
	}
	return nil
}

// typed is in, with reads that end when ctx does: at a terminal the first Ctrl-C must count.
func (t terminal) typed(ctx context.Context) io.Reader { return typedReader{ctx, t.in} }

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
