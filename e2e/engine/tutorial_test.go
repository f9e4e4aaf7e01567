package engine

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch/e2e/internal/rig"
)

var updateTutorial = flag.Bool("update-tutorial", false, "write what the commands of docs/TUTORIAL.md print into it")

const tutorial = rig.Root + "/docs/TUTORIAL.md"

// Every command of the tutorial runs, in its order, and prints what the page shows. What differs from run to run (IDs,
// times, ports) is compared by its form.
func TestTutorial(t *testing.T) {
	t.Parallel()
	rig.Need(t, "terraform")
	page, err := os.ReadFile(tutorial)
	if err != nil {
		t.Fatal(err)
	}
	w := rig.NewWorld(t)
	delete(w.Env, "STATELATCH_PROBE")
	path := filepath.Join(w.Home, "bin")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(rig.Binary, filepath.Join(path, "statelatch")); err != nil {
		t.Fatal(err)
	}
	w.Env["PATH"] = path + ":" + w.Env["PATH"]
	delete(w.Env, "AWS_REGION")
	clean := maps.Clone(w.Env)
	s := w.Serve()
	w.Env = clean // a shell in which nothing was set yet: the page does that
	if paste := "$ " + s.Paste + "\n"; !strings.Contains(string(page), paste) {
		t.Errorf("the page does not paste the line that serve prints: %s", paste)
	}
	sh := startShell(w)
	shown := &disguise{world: w, port: s.URL[strings.LastIndex(s.URL, ":")+1:]}

	var rewritten strings.Builder
	for _, part := range transcript(string(page)) {
		if part.command == "" {
			rewritten.WriteString(part.text)
			continue
		}
		got := shown.of(sh.run(strings.ReplaceAll(part.command, ":9820", ":"+shown.port)))
		rewritten.WriteString(part.text + got)
		if form(got) != form(part.output) && !*updateTutorial {
			t.Errorf("$ %s\n--- got\n%s--- the page shows\n%s", part.command, got, part.output)
		}
	}
	if *updateTutorial {
		if err := os.WriteFile(tutorial, []byte(rewritten.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// step is a piece of a page: prose, or a command of a console block with the output that follows it.
type step struct {
	text    string // as it stands in the page; of a command without its output
	command string
	output  string
}

// transcript cuts a page into its steps. In a console block a command begins with "$ " and goes on behind "> ".
func transcript(page string) []step {
	var steps []step
	inside := false
	for line := range strings.Lines(page) {
		last := len(steps) - 1
		bare := strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "```"):
			inside = bare == "```console"
			steps = append(steps, step{text: line})
		case inside && strings.HasPrefix(line, "$ "):
			steps = append(steps, step{text: line, command: bare[2:]})
		case inside && (bare == ">" || strings.HasPrefix(line, "> ")) && steps[last].output == "":
			steps[last].text += line
			steps[last].command += "\n" + strings.TrimPrefix(bare[1:], " ")
		case inside && steps[last].command != "":
			steps[last].output += line
		default:
			steps = append(steps, step{text: line})
		}
	}
	return steps
}

// shell is one bash for a whole session, so that its directory and variables last.
type shell struct {
	t   testing.TB
	in  io.Writer
	out *bufio.Reader
}

func startShell(w *rig.World) *shell {
	w.T.Helper()
	cmd := exec.Command("bash", "--noprofile", "--norc")
	cmd.Dir = w.Home
	for k, v := range w.Env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		w.T.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.T.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.T.Fatal(err)
	}
	stop := time.AfterFunc(rig.Patience, func() { _ = cmd.Process.Kill() })
	w.T.Cleanup(func() {
		stop.Stop()
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return &shell{w.T, in, bufio.NewReader(out)}
}

// run returns what a command printed, and its exit code in a line of its own unless it is 0.
func (s *shell) run(command string) string {
	s.t.Helper()
	const end = "--end-of-command--"
	if _, err := fmt.Fprintf(s.in, "{ %s\n} </dev/null 2>&1; echo \"%s$?\"\n", command, end); err != nil {
		s.t.Fatalf("%s: %v", command, err)
	}
	var printed strings.Builder
	for {
		line, err := s.out.ReadString('\n')
		if before, code, ok := strings.Cut(line, end); ok {
			printed.WriteString(before)
			if before != "" {
				printed.WriteString("\n")
			}
			if code != "0\n" {
				printed.WriteString("[exit code " + strings.TrimSpace(code) + "]\n")
			}
			return printed.String()
		}
		if err != nil {
			s.t.Fatalf("%s: the shell ended: %v, after %s", command, err, printed.String())
		}
		printed.WriteString(line)
	}
}

// disguise replaces what would tell about the machine that the page was made on.
type disguise struct {
	world *rig.World
	port  string
}

func (d *disguise) of(output string) string {
	host, _ := os.Hostname()
	user := "root"
	if u, err := osuser.Current(); err == nil {
		user = u.Username
	}
	output = strings.NewReplacer(d.world.Home, "/home/ana", ":"+d.port, ":9820", user+"@"+host, "ana@box", host, "box").Replace(output)
	lines := strings.Split(output, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " ")
	}
	return strings.Join(lines, "\n")
}

// form is an output without what differs from run to run.
func form(output string) string {
	for _, f := range forms {
		output = f.from.ReplaceAllString(output, f.to)
	}
	return output
}

var forms = []struct {
	from *regexp.Regexp
	to   string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "ID"},
	{regexp.MustCompile(`"?\b[0-9a-f]{32}\b"?`), "ETAG"},
	{regexp.MustCompile(`\b[0-9a-f]{40,64}\b`), "HASH"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(Z| \+0000)?( UTC)?`), "TIME"},
	{regexp.MustCompile(`\b\d\d:\d\d:\d\d\b`), "TIME"},
	{regexp.MustCompile(`\b(\d+h)?(\d+m)?\d+(\.\d+)?(ms|µs|s)\b`), "DURATION"},
	{regexp.MustCompile(`\b\d+(\.\d+)? (s|seconds?)\b`), "DURATION"},
	{regexp.MustCompile(`RequestID: \w+`), "RequestID"},
	{regexp.MustCompile(`line \d+: +\d+ Killed`), "line N: PID Killed"},
	{regexp.MustCompile(`PID \d+`), "PID"},
	{regexp.MustCompile(`\bA{6}\S{26}`), "VERSION"},
	{regexp.MustCompile(`\b[0-9a-f]{8}\b`), "LINEAGE"},
	{regexp.MustCompile(`\b\d+ (requests|rounds|reads|writes)\b`), "N $1"},
	{regexp.MustCompile(`\bbox/\d+/\d+/\S+`), "PROCESS"},
	{regexp.MustCompile(`, by ana@box \(\w+\)`), ""}, // nobody is named where two held the lock in one second
	{regexp.MustCompile(`ana@box \(\w+\)`), "-"},
	{regexp.MustCompile(`-{3,}`), "---"},
	{regexp.MustCompile(` {2,}`), "  "},
}
