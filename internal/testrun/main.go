// Command testrun is go test with an end that tells: which tests were skipped and why, in one line, and what took
// longest. Go itself says neither of packages that pass.
//
//	go run ./internal/testrun [-race -run X ...] [./...]
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
)

// timeout is for one package, on a machine that has other things to do.
const timeout = "30m"

func main() {
	args := os.Args[1:]
	if len(args) == 0 {
		args = []string{"./..."}
	}
	os.Exit(run(append([]string{"test", "-json", "-timeout", timeout}, args...), os.Stdout, os.Stderr))
}

// run runs go test to its end, whose exit code is returned. Ctrl-C is go's to answer.
func run(args []string, out, talk io.Writer) int {
	signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	cmd := exec.CommandContext(context.Background(), "go", args...) //nolint:gosec // the arguments are those of who runs the tests
	cmd.Stdin, cmd.Stderr = os.Stdin, talk
	events, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(talk, err)
		return 1
	}
	s := newSummary(out)
	for lines := bufio.NewReader(events); ; {
		line, err := lines.ReadBytes('\n')
		var e event
		if json.Unmarshal(line, &e) == nil {
			s.add(e)
		} else if len(line) > 0 {
			_, _ = out.Write(line) // what go says of a build
		}
		if err != nil {
			break
		}
	}
	err = cmd.Wait()
	s.end()
	if err != nil && cmd.ProcessState.ExitCode() <= 0 {
		fmt.Fprintln(talk, err)
		return 1
	}
	return cmd.ProcessState.ExitCode()
}
