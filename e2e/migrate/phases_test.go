package migrate

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/statelatch/statelatch/e2e/internal/rig"
)

// Each of the three phases with writers that never stop: six, two on each of three states, every one with a checkout of its own that is
// behind the tree until init is run in it again. Nobody meets in a critical section, no update is lost, no engine ever meets a stale
// digest, and the table is empty at the end.
func TestMigrate_ThreePhases(t *testing.T) {
	t.Parallel()
	m := newMigration(t)
	m.writeAll(func(*migrating) { // phase 0
		m.Must(m.Home, rig.Binary, "migrate", "scan", "-fail-on", "error", m.tree)
	})
	m.verify("ready for phase 1")
	m.apply(1)
	m.states[0].between(func() { // somebody whose checkout is behind holds the lock
		release := m.holdOld(m.states[0].writers[0])
		defer release()
		rig.Want(t, "verify of phase 1 while nobody has it", m.Statelatch(m.way("migrate", "verify", m.tree)...), 1, "not ready", "uses the table alone", "still in phase 0")
	})

	// Phases 0 and 1 mix on a state: they share the table.
	m.writeAll(func(s *migrating) { m.reinit(s.writers[0]) })
	m.writeAll(func(s *migrating) { m.reinit(s.writers[1]) })
	m.writeAll(func(*migrating) {})
	m.verify("ready for phase 2")
	rig.Want(t, "clean too early", m.Statelatch(m.way("migrate", "clean", "-auto-approve", m.tree)...), 1, "not in phase 2")

	// Phases 1 and 2 exclude each other, but a state that phase 2 has written has another digest than the table says, and phase 1
	// refuses it. So a state's clients change between two writes, one state after the other while the others go on.
	m.apply(2)
	for _, s := range m.states {
		s.between(func() {
			m.reinit(s.writers[0])
			m.reinit(s.writers[1])
		})
	}
	m.writeAll(func(*migrating) {})
	m.verify("done")
	rig.Want(t, "clean, dry", m.Statelatch(m.way("migrate", "clean", "-dry-run", m.tree)...), 0, "3 digests and 0 lock items")
	rig.Want(t, "clean", m.Statelatch(m.way("migrate", "clean", "-auto-approve", m.tree)...), 0,
		"Removed 3 digests and 0 lock items", "dynamodb:DeleteItem", "aws dynamodb delete-table --table-name locks")
	m.writeAll(func(*migrating) {})
	m.stop()

	m.wantEmptyTable()
	rig.Want(t, "clean again", m.Statelatch(m.way("migrate", "clean", "-auto-approve", m.tree)...), 0, "0 digests and 0 lock items")
	for _, s := range m.states {
		s.wantEveryUpdate()
	}
	if m.rounds < 5*len(m.states) {
		t.Errorf("got %d rounds of writes, want one for each state in each phase and mixture at least", m.rounds)
	}
}

// migration is a tree of configurations on its way, with those who write its states.
type migration struct {
	*rig.World
	engine, tree string
	s3, dynamodb string // URLs
	states       []*migrating
	quit         chan struct{}
	running      sync.WaitGroup
	roundsMu     sync.Mutex
	rounds       int
}

// migrating is one state. Its writers write it at the same time, round after round, so that each round has a winner of the lock and one
// who waits for it.
type migrating struct {
	m        *migration
	name     string
	writers  [2]*pipeline
	orders   chan func()
	ended    chan struct{}
	expected []string
}

type pipeline struct {
	*migrating
	name string
	dir  string // its checkout
	kind string // "engine", "run" or "push"
}

func newMigration(t *testing.T) *migration {
	t.Helper()
	m := &migration{World: rig.NewWorld(t), quit: make(chan struct{})}
	m.engine = rig.Need(t, rig.Engine())
	server := m.Serve()
	m.s3, m.dynamodb = server.URL, m.Dynalite()
	m.tree = filepath.Join(m.Home, "tree")
	kinds := [][2]string{{"engine", "engine"}, {"engine", "run"}, {"engine", "push"}}
	for i, name := range []string{"network", "data", "app"} {
		dir := filepath.Join(m.tree, name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		block := strings.Replace(server.Block, "example/terraform.tfstate", name+"/terraform.tfstate", 1)
		block = strings.Replace(block, "use_lockfile = true", `dynamodb_table = "`+rig.LockTable+`"`, 1)
		block = strings.Replace(block, `{ s3 = "`+m.s3+`" }`, `{ s3 = "`+m.s3+`", dynamodb = "`+m.dynamodb+`" }`, 1)
		if !strings.Contains(block, m.dynamodb) || !strings.Contains(block, rig.LockTable) {
			t.Fatalf("no table or no endpoint of it in %s", block)
		}
		m.Write(filepath.Join(dir, "main.tf"), block)
		m.Write(filepath.Join(dir, "rest.tf"), m.configuration(name))
		seed := fmt.Sprintf(`{"version":4,"terraform_version":"1.10.0","serial":1,"lineage":"%s-0","outputs":{"updates":{"value":"","type":"string"}},"resources":[]}`, name)
		m.Must(m.Home, rig.Binary, "push", "-chdir", dir, m.File(name+".tfstate", seed))
		s := &migrating{m: m, name: name, orders: make(chan func()), ended: make(chan struct{})}
		for j := range s.writers {
			s.writers[j] = &pipeline{s, fmt.Sprintf("%s%d", name, j), filepath.Join(m.Home, "checkouts", name, fmt.Sprint(j)), kinds[i][j]}
			m.reinit(s.writers[j])
		}
		m.states = append(m.states, s)
	}
	for _, s := range m.states {
		m.running.Go(s.write)
	}
	t.Cleanup(m.stop)
	return m
}

// configuration appends to an output what it reads of itself under the lock, and has a critical section.
func (m *migration) configuration(name string) string {
	return fmt.Sprintf(`
terraform { required_version = ">= 1.10" }
variable "me" { type = string }
data "terraform_remote_state" "self" {
  backend = "s3"
  config = {
    bucket         = "terraform-state"
    key            = "%s/terraform.tfstate"
    region         = "us-east-1"
    endpoints      = { s3 = "%s" }
    use_path_style = true

    skip_credentials_validation = true
    skip_requesting_account_id  = true
    skip_metadata_api_check     = true
  }
}
resource "terraform_data" "critical" {
  triggers_replace = var.me
  provisioner "local-exec" {
    command = "mkdir '%[3]s' || { touch '%[3]s.overlap'; exit 1; }; sleep 0.1; rmdir '%[3]s'"
  }
}
output "updates" { value = "${data.terraform_remote_state.self.outputs.updates}${var.me};" }
`, name, m.s3, m.critical(name))
}

func (m *migration) critical(name string) string { return filepath.Join(m.Home, "critical-"+name) }

// reinit brings a checkout to what the tree is now.
func (m *migration) reinit(w *pipeline) {
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		m.T.Error(err)
	}
	for _, name := range []string{"main.tf", "rest.tf"} {
		text, err := os.ReadFile(filepath.Join(m.tree, w.migrating.name, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(w.dir, name), text, 0o600)
		}
		if err != nil {
			m.T.Error(err)
		}
	}
	if got := m.Run(w.dir, m.engine, "init", "-reconfigure", "-input=false", "-no-color"); got.Code != 0 {
		m.T.Errorf("init of %s: %v", w.name, got)
	}
}

func (m *migration) stop() {
	select {
	case <-m.quit:
	default:
		close(m.quit)
	}
	m.running.Wait()
}

// write lets the writers of a state write until the end.
func (s *migrating) write() {
	defer close(s.ended)
	for round := range 200 {
		if s.m.T.Failed() {
			return
		}
		select {
		case order := <-s.orders:
			order()
		case <-s.m.quit:
			return
		default:
		}
		var writers sync.WaitGroup
		for _, w := range s.writers {
			update := fmt.Sprintf("%s.%d", w.name, round)
			s.expected = append(s.expected, update)
			writers.Go(func() { w.update(update) })
		}
		writers.Wait()
		s.m.roundsMu.Lock()
		s.m.rounds++
		s.m.roundsMu.Unlock()
	}
	s.m.T.Errorf("%s: 200 rounds, and the migration is not over", s.name)
}

// between does something between two rounds. From one call to the next there is a round at least.
func (s *migrating) between(do func()) {
	done := make(chan struct{})
	order := func() {
		defer close(done)
		do()
	}
	select {
	case s.orders <- order:
		<-done
	case <-s.ended: // something failed
	}
}

// writeAll does something between two rounds of each state, and lets each have one more.
func (m *migration) writeAll(do func(s *migrating)) {
	var all sync.WaitGroup
	for _, s := range m.states {
		all.Go(func() {
			s.between(func() { do(s) })
			s.between(func() {})
		})
	}
	all.Wait()
	if m.T.Failed() {
		m.T.FailNow()
	}
}

func (w *pipeline) update(update string) {
	m := w.m
	args := append(append([]string{m.engine}, rig.Apply...), "-var", "me="+update)
	var got rig.Result
	switch w.kind {
	case "engine":
		// An engine gives up if the lock is released between its attempt and its look at the holder: nothing has happened then.
		for range 100 {
			got = m.Run(w.dir, args[0], append(args[1:], "-lock-timeout=10m")...)
			if got.Code == 0 || !strings.Contains(got.Stderr, "Error acquiring the state lock") {
				break
			}
		}
	case "run":
		got = m.Run(w.dir, rig.Binary, append([]string{"run", "-lock-timeout", "10m", "--"}, args...)...)
	case "push":
		got = w.push(update)
	}
	if got.Code != 0 {
		m.T.Errorf("%s: %v", update, got)
	}
	if strings.Contains(got.Stdout+got.Stderr, "does not have the expected content") {
		m.T.Errorf("%s met a stale digest", update)
	}
}

// push adds an update by pull and push, again until nobody was faster.
func (w *pipeline) push(update string) (got rig.Result) {
	for range 1000 {
		var state map[string]any
		got = w.m.Statelatch("pull", "-chdir", w.dir)
		if err := json.Unmarshal([]byte(got.Stdout), &state); err != nil {
			got.Code = -1
			return got
		}
		state["serial"] = state["serial"].(float64) + 1
		output := state["outputs"].(map[string]any)["updates"].(map[string]any)
		output["value"] = output["value"].(string) + update + ";"
		next, _ := json.Marshal(state)
		file := filepath.Join(w.m.Home, update+".tfstate")
		if err := os.WriteFile(file, next, 0o600); err != nil {
			w.m.T.Error(err)
		}
		got = w.m.Statelatch("push", "-lock-timeout", "10m", "-chdir", w.dir, file)
		if got.Code != 2 || !strings.Contains(got.Stderr, "serial") { // else somebody wrote since the pull
			return got
		}
	}
	return got
}

// holdOld takes the lock as a checkout does.
func (m *migration) holdOld(w *pipeline) (release func()) {
	p := m.Start(w.dir, m.engine, "apply", "-no-color", "-lock-timeout=10m", "-var", "me=never")
	p.WaitFor(`Enter a value:`)
	return func() {
		p.Say("no")
		p.Wait()
	}
}

// way adds to a command how to reach the table, which the tree does not name any more in phase 2.
func (m *migration) way(args ...string) []string {
	return append(args, "-backend-config", "dynamodb_table="+rig.LockTable, "-backend-config", `endpoints={s3="`+m.s3+`",dynamodb="`+m.dynamodb+`"}`)
}

func (m *migration) apply(phase int) {
	m.T.Helper()
	r := m.Must(m.Home, rig.Binary, "migrate", "apply", "-auto-approve", "-json", "-phase", fmt.Sprint(phase), m.tree)
	if n := strings.Count(r.Stdout, `"status":"edit"`); n != len(m.states) {
		m.T.Fatalf("phase %d edits %d roots, want all: %v", phase, n, r)
	}
}

// verify wants the same verdict for each root, while all writers are at work.
func (m *migration) verify(verdict string) {
	m.T.Helper()
	r := m.Must(m.Home, rig.Binary, m.way("migrate", "verify", "-json", m.tree)...)
	if n := strings.Count(r.Stdout, `"verdict":"`+verdict+`"`); n != len(m.states) {
		m.T.Fatalf("got %d roots %s, want all: %v", n, verdict, r)
	}
}

func (m *migration) wantEmptyTable() {
	m.T.Helper()
	client := dynamodb.New(dynamodb.Options{
		BaseEndpoint: &m.dynamodb, Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
	})
	out, err := client.Scan(m.T.Context(), &dynamodb.ScanInput{TableName: aws.String(rig.LockTable)})
	if err != nil || len(out.Items) != 0 {
		m.T.Errorf("the table: got %v, %v, want nothing", out.Items, err)
	}
}

// wantEveryUpdate checks that no update of a state was lost and no two writers met.
func (s *migrating) wantEveryUpdate() {
	s.m.T.Helper()
	if _, err := os.Stat(s.m.critical(s.name) + ".overlap"); err == nil {
		s.m.T.Errorf("%s: two writers were in the critical section", s.name)
	}
	var state struct {
		Outputs struct{ Updates struct{ Value string } }
	}
	pulled := s.m.Must(s.m.Home, rig.Binary, "pull", "-chdir", s.writers[0].dir)
	if err := json.Unmarshal([]byte(pulled.Stdout), &state); err != nil {
		s.m.T.Fatal(err)
	}
	got := strings.Split(strings.TrimSuffix(state.Outputs.Updates.Value, ";"), ";")
	slices.Sort(got)
	slices.Sort(s.expected)
	if !slices.Equal(got, s.expected) {
		s.m.T.Errorf("%s: got the updates %q, want %q", s.name, got, s.expected)
	}
}
