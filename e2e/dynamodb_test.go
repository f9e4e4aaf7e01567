package e2e

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

const lockTable = "locks"

// dynalite starts the DynamoDB emulator, makes the lock table in it and returns its URL.
func (w *world) dynalite() string {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	program, args := "dynalite", []string{}
	if _, err := exec.LookPath(program); err != nil {
		program, args = need(w.t, "npx"), []string{"--yes", "--prefer-offline", "dynalite@4.0.0"}
	}
	p := w.startGroup(program, append(args, "--host", "127.0.0.1", "--createTableMs", "0", "--port", port)...)
	awaitPort(w.t, p, port)
	url := "http://127.0.0.1:" + port
	client := dynamodb.New(dynamodb.Options{
		BaseEndpoint: &url, Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
	})
	if _, err := client.CreateTable(w.t.Context(), &dynamodb.CreateTableInput{
		TableName:            aws.String(lockTable),
		BillingMode:          types.BillingModePayPerRequest,
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("LockID"), KeyType: types.KeyTypeHash}},
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("LockID"), AttributeType: types.ScalarAttributeTypeS}},
	}); err != nil {
		w.t.Fatal(err)
	}
	if err := dynamodb.NewTableExistsWaiter(client, func(o *dynamodb.TableExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = 20*time.Millisecond, 200*time.Millisecond
	}).Wait(w.t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String(lockTable)}, patience); err != nil {
		w.t.Fatal(err)
	}
	return url
}

// startGroup is start for a program that starts others, such as npx: all of them end with the test.
func (w *world) startGroup(program string, args ...string) *process {
	w.t.Helper()
	home := w.env["HOME"]
	w.env["HOME"] = os.Getenv("HOME") // npm's cache and registry
	defer func() { w.env["HOME"] = home }()
	for _, kv := range os.Environ() {
		if k, v, _ := strings.Cut(kv, "="); strings.HasPrefix(strings.ToLower(k), "npm_config_") {
			w.env[k] = v
			defer delete(w.env, k)
		}
	}
	p := w.startWith(func(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }, w.home, program, args...)
	w.t.Cleanup(func() { _ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) })
	return p
}

// A client of one phase of the migration off DynamoDB, ours or an engine.
type client struct {
	name        string
	ours        bool
	phase       string
	file, table bool // the halves it locks
}

// Acceptance 4: the three phases of the migration, with engines and with us in each. Two clients exclude each other exactly
// if they share a half; we take both wherever a table is configured.
func TestDynamoDB_PhasesOfTheMigration(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := need(t, engine())
	server := w.serve()
	url := w.dynalite()
	dirs := map[string]string{}
	for phase, arguments := range map[string]string{
		"table only": `dynamodb_table = "locks"`,
		"both":       "use_lockfile = true\ndynamodb_table = \"locks\"",
		"file only":  `use_lockfile = true`,
	} {
		block := strings.Replace(server.block, "example/terraform.tfstate", stateKey, 1)
		block = strings.Replace(block, "use_lockfile = true", arguments, 1)
		block = strings.Replace(block, `endpoints                   = { s3 = "`+server.url+`" }`,
			`endpoints                   = { s3 = "`+server.url+`", dynamodb = "`+url+`" }`, 1)
		if !strings.Contains(block, url) {
			t.Fatalf("no endpoint for DynamoDB in %s", block)
		}
		dirs[phase] = w.project(block)
		w.must(dirs[phase], engine, "init", "-input=false", "-no-color")
	}
	w.must(dirs["both"], engine, apply...)

	clients := []client{
		{"engine, table only", false, "table only", false, true},
		{"engine, both", false, "both", true, true},
		{"engine, file only", false, "file only", true, false},
		{"ours, table only", true, "table only", true, true},
		{"ours, both", true, "both", true, true},
		{"ours, file only", true, "file only", true, false},
	}
	for _, holder := range clients {
		release := w.hold(holder, engine, dirs[holder.phase])
		for _, other := range clients {
			excluded := holder.file && other.file || holder.table && other.table
			got := w.try(other, engine, dirs[other.phase])
			if refused := got.code != 0; refused != excluded {
				t.Errorf("%s while %s holds: refused %v, want %v: %v", other.name, holder.name, refused, excluded, got)
			}
			if excluded && !strings.Contains(got.stderr, "Lock Info:") {
				t.Errorf("%s while %s holds: the holder is not shown: %v", other.name, holder.name, got)
			}
		}
		release()
	}
	for phase, dir := range dirs {
		want(t, phase, w.statelatch("status", "-chdir", dir), 0, "not locked")
	}

	// Our writes keep the digest in step: the next engine that checks it is content.
	next := successor(t, w.statelatch("pull", "-chdir", dirs["both"]).stdout, "b")
	want(t, "push", w.statelatch("push", "-chdir", dirs["table only"], w.file("next.tfstate", next)), 0, "serial 2")
	want(t, "engine after push", w.run(dirs["table only"], engine, "output", "-no-color"), 0)
	want(t, "run", w.statelatch("run", "-chdir", dirs["table only"], "--", engine, "apply", "-input=false", "-no-color", "-auto-approve"), 0, "Apply complete!")
	want(t, "engine after run", w.run(dirs["both"], engine, "plan", "-detailed-exitcode", "-input=false", "-no-color"), 0)

	// A dead run's lock is taken over in both halves, and the fence keeps the digest in step.
	p := w.start(w.home, binary, "run", "-lease", "3s", "-chdir", dirs["both"], "--", "sh", "-c", "echo started; exec sleep 600")
	p.waitFor("started")
	p.signal(syscall.SIGKILL)
	p.wait()
	want(t, "engine, table only", w.try(clients[0], engine, dirs["table only"]), 1, "Lock Info:")
	want(t, "takeover", w.statelatch("run", "-takeover=expired", "-chdir", dirs["both"], "--", engine, "plan", "-detailed-exitcode", "-input=false", "-no-color"), 0)
	want(t, "engine, table only", w.try(clients[0], engine, dirs["table only"]), 0)
	want(t, "status", w.statelatch("status", "-chdir", dirs["both"]), 0, "not locked")
}

// hold takes the lock as c does, and returns how to give it back.
func (w *world) hold(c client, engine, dir string) (release func()) {
	w.t.Helper()
	if c.ours {
		w.must(w.home, binary, "lock", "-chdir", dir)
		return func() { w.must(w.home, binary, "unlock", "-chdir", dir) }
	}
	p := w.start(dir, engine, "apply", "-no-color", "-var", "value=never")
	p.waitFor(`Enter a value:`)
	return func() {
		p.say("no")
		p.wait()
	}
}

// try takes the lock as c does and gives it back at once.
func (w *world) try(c client, engine, dir string) result {
	w.t.Helper()
	if !c.ours {
		return w.run(dir, engine, "plan", "-input=false", "-no-color")
	}
	got := w.statelatch("lock", "-chdir", dir)
	if got.code == 0 {
		w.must(w.home, binary, "unlock", "-chdir", dir)
	}
	return got
}
