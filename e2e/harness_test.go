// Package e2e runs the built program beside real terraform, the real aws command and
// stores that are not ours, as a user would. What is not installed is skipped, except
// where CI=true: there it is a failure.
package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for another process; nothing is measured with it.
const patience = 2 * time.Minute

// binary is the built program.
var binary string

func TestMain(m *testing.M) {
	if signal.Ignored(os.Interrupt) {
		// By a shell that started the tests in the background. What they start must not inherit that.
		signal.Notify(make(chan os.Signal, 1), os.Interrupt, syscall.SIGQUIT)
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "statelatch-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "statelatch")
		// Without a version from git: the tutorial shows one, and the page is compared.
		build := exec.Command("go", "build", "-buildvcs=false", "-o", binary, "github.com/statelatch/statelatch/cmd/statelatch")
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build statelatch:", err)
			return 1
		}
		return m.Run()
	}())
}

// need skips the test unless a program is installed; on CI its absence is a failure.
func need(tb testing.TB, program string) string {
	tb.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		tb.Fatalf("%s is not installed, and this is CI", program)
	}
	tb.Skipf("%s is not installed", program)
	return ""
}

// world is a temporary home with an environment that knows nothing of the machine's own credentials.
type world struct {
	t    testing.TB
	home string
	env  map[string]string
}

// seeSources lets 'go test' know what the program is made of: it would call a result still true although that has
// changed.
var seeSources = sync.OnceValue(func() error {
	return filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == ".git" {
			return filepath.SkipDir
		}
		if err == nil && !d.IsDir() && !strings.HasSuffix(path, "_test.go") {
			_, err = os.Stat(path)
		}
		return err
	})
})

func newWorld(tb testing.TB) *world {
	tb.Helper()
	if err := seeSources(); err != nil {
		tb.Fatal(err)
	}
	w := &world{t: tb, home: tb.TempDir(), env: map[string]string{}}
	rc := filepath.Join(w.home, "terraformrc")
	w.write(rc, "disable_checkpoint = true\n")
	for k, v := range map[string]string{
		"HOME": w.home, "PATH": os.Getenv("PATH"), "TMPDIR": os.TempDir(),
		"TF_CLI_CONFIG_FILE": rc, "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1",
		"STATELATCH_PROBE":          "off", // its requests would be among those that tests count
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_PAGER": "", "AWS_REGION": "us-east-1",
		"AWS_CONFIG_FILE": filepath.Join(w.home, "aws-config"),
	} {
		w.env[k] = v
	}
	// pyenv's shims, where the aws command is one, find their interpreters by this.
	if root := os.Getenv("PYENV_ROOT"); root != "" {
		w.env["PYENV_ROOT"] = root
	}
	return w
}

func (w *world) write(path, content string) {
	w.t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// result is what a finished program left.
type result struct {
	stdout, stderr string
	code           int
}

func (r result) String() string {
	return fmt.Sprintf("exit %d\n--- stdout\n%s--- stderr\n%s", r.code, r.stdout, r.stderr)
}

// process is a running program.
type process struct {
	t    testing.TB
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	done chan struct{}

	mu       sync.Mutex
	out, err bytes.Buffer
	grew     chan struct{} // gets a value, if there is room, whenever output grew
}

// start runs a program in dir. It is killed when the test ends, if it is still there.
func (w *world) start(dir, program string, args ...string) *process {
	w.t.Helper()
	return w.startWith(func(*exec.Cmd) {}, dir, program, args...)
}

func (w *world) startWith(prepare func(*exec.Cmd), dir, program string, args ...string) *process {
	w.t.Helper()
	p := &process{
		t: w.t, name: filepath.Base(program) + " " + strings.Join(args, " "),
		cmd: exec.Command(program, args...), done: make(chan struct{}), grew: make(chan struct{}, 1),
	}
	p.cmd.Dir = dir
	for k, v := range w.env {
		p.cmd.Env = append(p.cmd.Env, k+"="+v)
	}
	p.cmd.Stdout, p.cmd.Stderr = &tap{p, &p.out}, &tap{p, &p.err}
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		w.t.Fatal(err)
	}
	prepare(p.cmd)
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	w.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
	})
	return p
}

type tap struct {
	p   *process
	buf *bytes.Buffer
}

func (t *tap) Write(b []byte) (int, error) {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	t.buf.Write(b)
	select {
	case t.p.grew <- struct{}{}:
	default:
	}
	return len(b), nil
}

func (p *process) output() result {
	p.mu.Lock()
	defer p.mu.Unlock()
	code := -1
	if p.cmd.ProcessState != nil {
		code = p.cmd.ProcessState.ExitCode()
	}
	return result{p.out.String(), p.err.String(), code}
}

// waitFor waits until the output matches, and returns the match.
func (p *process) waitFor(pattern string) []string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	timeout := time.After(patience)
	for {
		r := p.snapshot()
		if m := re.FindStringSubmatch(r.stdout + r.stderr); m != nil {
			return m
		}
		select {
		case <-p.grew:
		case <-p.done:
			r := p.output()
			if m := re.FindStringSubmatch(r.stdout + r.stderr); m != nil {
				return m
			}
			p.t.Fatalf("%s ended before its output matched %q: %v", p.name, pattern, r)
		case <-timeout:
			p.t.Fatalf("%s: no output matched %q: %v", p.name, pattern, r)
		}
	}
}

func (p *process) snapshot() result {
	p.mu.Lock()
	defer p.mu.Unlock()
	return result{p.out.String(), p.err.String(), -1}
}

func (p *process) say(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatalf("%s: %v", p.name, err)
	}
}

// wait waits for the end.
func (p *process) wait() result {
	p.t.Helper()
	select {
	case <-p.done:
		return p.output()
	case <-time.After(patience):
		p.t.Fatalf("%s did not end: %v", p.name, p.snapshot())
		return result{}
	}
}

// run runs a program to its end, with nothing on its standard input.
func (w *world) run(dir, program string, args ...string) result {
	w.t.Helper()
	p := w.start(dir, program, args...)
	_ = p.in.Close()
	return p.wait()
}

// must is run that demands success.
func (w *world) must(dir, program string, args ...string) result {
	w.t.Helper()
	r := w.run(dir, program, args...)
	if r.code != 0 {
		w.t.Fatalf("%s %s: %v", filepath.Base(program), strings.Join(args, " "), r)
	}
	return r
}

// statelatch runs the program under test.
func (w *world) statelatch(args ...string) result {
	w.t.Helper()
	return w.run(w.home, binary, args...)
}

// server is a running "statelatch serve".
type server struct {
	*process
	url, data string
	paste     string // the line for a shell that it printed
	block     string // the backend block
}

// serve starts the store and points the world's environment at it, by what the program itself prints.
func (w *world) serve(args ...string) *server {
	w.t.Helper()
	data := filepath.Join(w.home, ".local", "share", "statelatch") // where it is by itself
	p := w.start(w.home, binary, append([]string{"serve", "-data", data, "-addr", "127.0.0.1:0"}, args...)...)
	p.waitFor(`Lock events`)
	s := &server{process: p, data: data}
	printed := p.snapshot().stdout
	paste := regexp.MustCompile(`(?m)^eval .*$`).FindString(printed)
	if paste == "" {
		w.t.Fatalf("serve printed nothing to paste: %s", printed)
	}
	for kv := range strings.SplitSeq(w.must(w.home, "sh", "-c", "set -e; "+paste+"; env -0").stdout, "\x00") {
		if k, v, ok := strings.Cut(kv, "="); ok && strings.HasPrefix(k, "AWS_") {
			w.env[k] = v
		}
	}
	s.url, s.paste = w.env["AWS_ENDPOINT_URL_S3"], paste
	block := regexp.MustCompile(`(?s)terraform \{\n.*?\n\}\n`).FindString(printed)
	if block == "" {
		w.t.Fatalf("serve printed no backend block: %s", printed)
	}
	s.block = block
	return s
}

// project writes a Terraform configuration around a backend block. Its one resource has no provider to fetch.
func (w *world) project(block string) string {
	w.t.Helper()
	dir, err := os.MkdirTemp(w.home, "project-")
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(filepath.Join(dir, "main.tf"), block+`
variable "value" { default = "a" }
variable "chunks" { default = 1 }
locals { chunk = join("", [for i in range(512) : "0123456789abcdef"]) } # 8 KiB
resource "terraform_data" "x" { input = { value = var.value, bulk = [for i in range(var.chunks) : local.chunk] } }
output "value" { value = terraform_data.x.output.value }
`)
	return dir
}

// awaitPort waits until a foreign server accepts connections.
func awaitPort(tb testing.TB, p *process, port string) {
	tb.Helper()
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-p.done:
			tb.Fatalf("%s ended: %v", p.name, p.output())
		case <-time.After(20 * time.Millisecond):
		}
	}
	tb.Fatalf("%s does not listen on port %s: %v", p.name, port, p.snapshot())
}

// httpGet returns the status and the body.
func httpGet(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, content)
}
