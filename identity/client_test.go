package identity

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
)

// TestMain is also the child of the tests below: a process that tells its name and waits.
func TestMain(m *testing.M) {
	if os.Getenv("IDENTITY_TEST_CHILD") != "" {
		fmt.Println(Client())
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	os.Exit(m.Run())
}

type child struct {
	*exec.Cmd
	process Process
	in      io.Closer
}

func startChild(t *testing.T) *child {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "IDENTITY_TEST_CHILD=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	said, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	p, err := ParseClient(strings.TrimSpace(said))
	if err != nil {
		t.Fatal(err)
	}
	if p.PID != cmd.Process.Pid {
		t.Fatalf("PID: got %d, want %d", p.PID, cmd.Process.Pid)
	}
	return &child{cmd, p, in}
}

func check(t *testing.T, what string, p Process, want Liveness) {
	t.Helper()
	if runtime.GOOS != "linux" {
		want = Unknown
	}
	if got := p.Alive(); got != want {
		t.Errorf("%s: got %s, want %s (%s)", what, got, want, p)
	}
}

func TestProcess_Alive_Child(t *testing.T) {
	t.Parallel()
	c := startChild(t)
	check(t, "a running child", c.process, Alive)
	if err := c.in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	check(t, "a child that has ended", c.process, Dead)
}

func TestProcess_Alive_Self(t *testing.T) {
	t.Parallel()
	self, err := ParseClient(Client())
	if err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if self.Host != host || self.PID != os.Getpid() {
		t.Errorf("Client: got %s, want %s and %d", self, host, os.Getpid())
	}
	check(t, "this process", self, Alive)
	other := func(change func(*Process)) Process {
		p := self
		change(&p)
		return p
	}
	check(t, "an earlier process with this PID", other(func(p *Process) {
		ticks, _ := strconv.Atoi(p.Start)
		p.Start = strconv.Itoa(ticks - 1)
	}), Dead)
	check(t, "another name of this host", other(func(p *Process) { p.Host = "elsewhere" }), Alive)
	check(t, "another boot or host", other(func(p *Process) { p.Scope = "0" + p.Scope[min(1, len(p.Scope)):] + "0" }), Unknown)
	check(t, "another PID namespace", other(func(p *Process) { p.Scope += "7" }), Unknown)
	check(t, "a process without scope", other(func(p *Process) { p.Scope = "" }), Unknown)
	check(t, "a process without start", other(func(p *Process) { p.Start = "" }), Unknown)
	check(t, "a PID that no kernel gives", other(func(p *Process) { p.PID = 1<<31 - 1 }), Dead)
}

func TestParseClient(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"ci-7/4711/123456/9a929b3e-b22c-435e-a92f-51d3e06b6826.4026531836", "mac.local/4711//", "/1//"} {
		p, err := ParseClient(s)
		if err != nil || p.String() != s {
			t.Errorf("ParseClient(%q): got %q, %v, want it back", s, p, err)
		}
	}
	for _, s := range []string{
		"", "ci-7", "ci-7/4711", "ci-7/4711/1/s/x", "ci-7//1/s", "ci-7/0/1/s", "ci-7/-1/1/s", "ci-7/2147483648/1/s", "ci-7/x/1/s", "ci-7/1/-1/s", "ci-7/1/x/s",
	} {
		if p, err := ParseClient(s); !errors.Is(err, statelatch.ErrInvalid) || !strings.Contains(err.Error(), strconv.Quote(s)) {
			t.Errorf("ParseClient(%q): got %+v, %v, want ErrInvalid with the value", s, p, err)
		}
	}
}
