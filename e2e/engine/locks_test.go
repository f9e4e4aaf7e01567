package engine

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"

	"github.com/statelatch/statelatch/e2e/internal/rig"
)

// listedLock is what "locks -json" says of one lock.
type listedLock struct {
	Ref, Verdict, Proof, Kind, Half string
	Mine                            bool
	Lock                            struct{ ID, Operation string }
}

// locks lists the locks as JSON, by REF without bucket.
func locks(w *rig.World, args ...string) map[string]listedLock {
	w.T.Helper()
	r := w.Must(w.Home, rig.Binary, append([]string{"locks", "-json"}, args...)...)
	var got struct{ Locks []listedLock }
	if err := json.Unmarshal([]byte(r.Stdout), &got); err != nil {
		w.T.Fatalf("locks: %v: %v", err, r)
	}
	found := map[string]listedLock{}
	for _, l := range got.Locks {
		found[strings.TrimPrefix(l.Ref, "s3://terraform-state/")] = l
	}
	return found
}

// C4: one list of the locks of a real engine, of a run that lives, of one that was killed, and of one that was left
// over; and what unlock does with each.
func TestLocks_OfEverybody(t *testing.T) {
	t.Parallel()
	w := rig.NewWorld(t)
	engine := rig.Need(t, rig.Engine())
	server := w.Serve()
	dir := w.Project(strings.Replace(server.Block, "example/terraform.tfstate", rig.StateKey, 1))
	w.Must(dir, engine, "init", "-input=false", "-no-color")
	const bucket = "s3://terraform-state"
	rig.Want(t, "no locks", w.Statelatch("locks", bucket), 0, "No locks")

	waiting := w.Start(dir, engine, "apply", "-no-color")
	waiting.WaitFor(`Enter a value:`)
	live := w.Start(w.Home, rig.Binary, "run", bucket+"/live", "--", "sh", "-c", "echo started; exec sleep 600")
	killed := w.Start(w.Home, rig.Binary, "run", bucket+"/env:/staging/killed", "--", "sh", "-c", "echo started; exec sleep 600")
	live.WaitFor("started")
	killed.WaitFor("started")
	killed.Signal(syscall.SIGKILL)
	killed.Wait()
	w.Must(w.Home, rig.Binary, "lock", "-expires", "2h", bucket+"/freeze")

	got := locks(w, bucket)
	for key, l := range map[string]listedLock{
		rig.StateKey:          {Verdict: "unknown", Kind: "plain"},
		"live":                {Verdict: "live", Kind: "managed", Mine: true},
		"env:/staging/killed": {Verdict: "stale", Kind: "managed", Mine: true},
		"freeze":              {Verdict: "unknown", Kind: "managed", Mine: true},
	} {
		if is := got[key]; is.Verdict != l.Verdict || is.Kind != l.Kind || is.Mine != l.Mine || is.Lock.ID == "" || is.Proof == "" {
			t.Errorf("%s: got %+v, want %+v", key, is, l)
		}
	}
	if len(got) != 4 {
		t.Errorf("got %d locks, want 4: %v", len(got), got)
	}
	rig.Want(t, "locks", w.Statelatch("locks", "-stale", bucket+"/killed"), 0, "killed (staging)", "is gone", "statelatch unlock "+bucket+"/env:/staging/killed")

	// Nobody is at a terminal: somebody else's lock stays, and so does one that is younger, or whose holder lives.
	rig.Want(t, "unlock", w.Statelatch("unlock", bucket+"/"+rig.StateKey), 11, got[rig.StateKey].Lock.ID)
	rig.Want(t, "unlock younger", w.Statelatch("unlock", "-auto-approve", "-if-older-than", "1h", bucket+"/"+rig.StateKey), 11, "younger")
	rig.Want(t, "unlock -mine", w.Statelatch("unlock", "-mine", bucket+"/"+rig.StateKey), 0, "not yours")
	rig.Want(t, "unlock the living", w.Statelatch("unlock", "-auto-approve", bucket+"/live"), 11, "still runs")
	if n := len(locks(w, bucket)); n != 4 {
		t.Errorf("%d locks are left, want 4", n)
	}

	// The end of a job: what is ours and over goes, the rest stays.
	rig.Want(t, "dry run", w.Statelatch("unlock", "-mine", "-dry-run", bucket+"/"), 11, "Would release the lock of "+bucket+"/env:/staging/killed")
	rig.Want(t, "unlock -mine", w.Statelatch("unlock", "-mine", bucket+"/"), 11, "Released the lock of "+bucket+"/freeze",
		"Released the lock of "+bucket+"/env:/staging/killed", "Left alone: state is locked: "+bucket+"/live: it is held by a process of this machine that still runs")
	if got := locks(w, bucket); len(got) != 2 || got["live"].Verdict != "live" || got[rig.StateKey].Kind != "plain" {
		t.Errorf("got %v, want the living run's lock and the engine's", got)
	}

	// The engine is gone for good, as by a crash: its lock is removed, and the next apply goes through.
	waiting.Signal(syscall.SIGKILL)
	waiting.Wait()
	rig.Want(t, "unlock", w.Statelatch("unlock", "-auto-approve", bucket+"/"+rig.StateKey), 0, "Verdict: unknown", "Released")
	w.Must(dir, engine, rig.Apply...)
	live.Signal(syscall.SIGTERM)
	live.Wait()
	rig.Want(t, "no locks", w.Statelatch("locks", bucket), 0, "No locks")
}

// B20: what a crash leaves in one half of a dual lock is listed, named and removed.
func TestLocks_B20_HalfLocksOfEngines(t *testing.T) {
	t.Parallel()
	w := rig.NewWorld(t)
	engine := rig.Need(t, rig.Engine())
	server := w.Serve()
	url := w.Dynalite()
	dirs := map[string]string{}
	for key, arguments := range map[string]string{"both": "use_lockfile = true\ndynamodb_table = \"locks\"", "table": `dynamodb_table = "locks"`} {
		block := strings.Replace(server.Block, "example/terraform.tfstate", key, 1)
		block = strings.Replace(block, "use_lockfile = true", arguments, 1)
		block = strings.Replace(block, `{ s3 = "`+server.URL+`" }`, `{ s3 = "`+server.URL+`", dynamodb = "`+url+`" }`, 1)
		dirs[key] = w.Project(block)
		w.Must(dirs[key], engine, "init", "-input=false", "-no-color")
		p := w.Start(dirs[key], engine, "apply", "-no-color")
		p.WaitFor(`Enter a value:`)
		p.Signal(syscall.SIGKILL)
		p.Wait()
	}
	got := locks(w, "-chdir", dirs["both"])
	if len(got) != 2 || got["both"].Kind != "plain" || got["both"].Half != "" || got["table"].Kind != "dynamodb" || !strings.Contains(got["table"].Half, "no lock object") {
		t.Errorf("got %+v, want one whole lock and one item", got)
	}
	w.Must(w.Home, rig.Need(t, "aws"), "s3api", "delete-object", "--bucket", "terraform-state", "--key", "both.tflock")
	if got := locks(w, "-chdir", dirs["both"]); got["both"].Kind != "dynamodb" {
		t.Errorf("got %+v, want the item alone", got)
	}
	for key, dir := range dirs {
		rig.Want(t, key, w.Statelatch("unlock", "-auto-approve", "-chdir", dir), 0, "Verdict: unknown", "Released")
		w.Must(dir, engine, rig.Apply...)
	}
	if got := locks(w, "-chdir", dirs["both"]); len(got) != 0 {
		t.Errorf("got %v, want no locks beside the digests", got)
	}
}
