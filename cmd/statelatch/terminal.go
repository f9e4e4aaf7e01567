package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/mattn/go-isatty"
)

// terminal is a command's world: results go to out, talk to err.
type terminal struct {
	in          io.Reader
	out, err    io.Writer
	interactive bool // a person is at in
	getenv      func(string) string
}

func terminalOf(in *os.File, out, err io.Writer) terminal {
	return terminal{in: in, out: out, err: err, getenv: os.Getenv, interactive: isatty.IsTerminal(in.Fd())}
}

// say writes talk.
func (t terminal) say(format string, args ...any) {
	fmt.Fprintf(t.err, format, args...)
}

// print writes a result.
func (t terminal) print(format string, args ...any) {
	fmt.Fprintf(t.out, format, args...)
}

// printJSON writes a result as one line of JSON.
func (t terminal) printJSON(v any) error {
	enc := json.NewEncoder(t.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// confirm asks a person to type "yes". Without a person there it is a usage error: a
// pipeline would hang or guess.
func (t terminal) confirm(question, orFlag string) error {
	if !t.interactive {
		return usageError{fmt.Errorf("no terminal to confirm on: add %s to go ahead without being asked", orFlag)}
	}
	t.say("%s\nOnly 'yes' will be accepted to confirm.\n\nEnter a value: ", question)
	line, _ := bufio.NewReader(t.in).ReadString('\n')
	if strings.TrimSpace(line) != "yes" {
		return declinedError{}
	}
	return nil
}
