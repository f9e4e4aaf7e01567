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
	"github.com/statelatch/statelatch/internal/safejson"
)

// terminal is a command's world: results go to out, talk to err.
type terminal struct {
	in          io.Reader
	out, err    io.Writer
	interactive bool // a person is at in
	live        bool // a person watches err, which can rewrite its last line
	getenv      func(string) string
}

func terminalOf(in, out, err *os.File) terminal {
	return terminal{
		in: in, out: out, err: err, getenv: os.Getenv,
		interactive: isatty.IsTerminal(in.Fd()), live: isatty.IsTerminal(err.Fd()) && os.Getenv("TERM") != "dumb",
	}
}

// say writes talk.
func (t terminal) say(format string, args ...any) {
	fmt.Fprintf(t.err, format, args...)
}

// oneLine is an error for people: on one line, and nothing in it can drive a terminal.
func oneLine(err error) string {
	return statelatch.Printable(strings.ReplaceAll(err.Error(), "\n", "; "))
}

// print writes a result.
func (t terminal) print(format string, args ...any) {
	fmt.Fprintf(t.out, format, args...)
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
		return usageError{fmt.Errorf("no terminal to confirm on: add %s to go ahead without being asked", orFlag)}
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
