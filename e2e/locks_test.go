package e2e

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"
)

// listedLock is what "locks -json" says of one lock.
type listedLock struct {
	Ref, Verdict, Proof, Kind, Half string
	Mine                            bool
	Lock                            struct{ ID, Operation string }
}

// locks lists the locks as JSON, by REF without bucket.
func (w *world) locks(args ...string) map[string]listedLock {
	w.t.Helper()
	r := w.must(w.home, binary, append([]string{"locks", "-json"}, args...)...)
	var got struct{ Locks []listedLock }
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
		w.t.Fatalf("locks: %v: %v", err, r)
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
	w := newWorld(t)
	engine := need(t, engine())
	server := w.serve()
	dir := w.project(strings.Replace(server.block, "example/terraform.tfstate", stateKey, 1))
	w.must(dir, engine, "init", "-input=false", "-no-color")
	const bucket = "s3://terraform-state"
	want(t, "no locks", w.statelatch("locks", bucket), 0, "No locks")

	waiting := w.start(dir, engine, "apply", "-no-color")
	waiting.waitFor(`Enter a value:`)
	live := w.start(w.home, binary, "run", bucket+"/live", "--", "sh", "-c", "echo started; exec sleep 600")
	killed := w.start(w.home, binary, "run", bucket+"/env:/staging/killed", "--", "sh", "-c", "echo started; exec sleep 600")
	live.waitFor("started")
	killed.waitFor("started")
	killed.signal(syscall.SIGKILL)
	killed.wait()
	w.must(w.home, binary, "lock", "-expires", "2h", bucket+"/freeze")

	got := w.locks(bucket)
	for key, l := range map[string]listedLock{
		stateKey:              {Verdict: "unknown", Kind: "plain"},
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
	want(t, "locks", w.statelatch("locks", "-stale", bucket+"/killed"), 0, "killed (staging)", "is gone", "statelatch unlock "+bucket+"/env:/staging/killed")

	// Nobody is at a terminal: somebody else's lock stays, and so does one that is younger, or whose holder lives.
	want(t, "unlock", w.statelatch("unlock", bucket+"/"+stateKey), 11, got[stateKey].Lock.ID)
	want(t, "unlock younger", w.statelatch("unlock", "-auto-approve", "-if-older-than", "1h", bucket+"/"+stateKey), 11, "younger")
	want(t, "unlock -mine", w.statelatch("unlock", "-mine", bucket+"/"+stateKey), 0, "not yours")
	want(t, "unlock the living", w.statelatch("unlock", "-auto-approve", bucket+"/live"), 11, "still runs")
	if n := len(w.locks(bucket)); n != 4 {
		t.Errorf("%d locks are left, want 4", n)
	}

	// The end of a job: what is ours and over goes, the rest stays.
	want(t, "dry run", w.statelatch("unlock", "-mine", "-dry-run", bucket+"/"), 11, "Would release the lock of "+bucket+"/env:/staging/killed")
	want(t, "unlock -mine", w.statelatch("unlock", "-mine", bucket+"/"), 11, "Released the lock of "+bucket+"/freeze",
		"Released the lock of "+bucket+"/env:/staging/killed", "Left alone: state is locked: "+bucket+"/live: it is held by a process of this machine that still runs")
	if got := w.locks(bucket); len(got) != 2 || got["live"].Verdict != "live" || got[stateKey].Kind != "plain" {
		t.Errorf("got %v, want the living run's lock and the engine's", got)
	}

	// The engine is gone for good, as by a crash: its lock is removed, and the next apply goes through.
	waiting.signal(syscall.SIGKILL)
	waiting.wait()
	want(t, "unlock", w.statelatch("unlock", "-auto-approve", bucket+"/"+stateKey), 0, "Verdict: unknown", "Released")
	w.must(dir, engine, apply...)
	live.signal(syscall.SIGTERM)
	live.wait()
	want(t, "no locks", w.statelatch("locks", bucket), 0, "No locks")
}

// B20: what a crash leaves in one half of a dual lock is listed, named and removed.
func TestLocks_B20_HalvesOfEngines(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := need(t, engine())
	server := w.serve()
	url := w.dynalite()
	dirs := map[string]string{}
	for key, arguments := range map[string]string{"both": "use_lockfile = true\ndynamodb_table = \"locks\"", "table": `dynamodb_table = "locks"`} {
		block := strings.Replace(server.block, "example/terraform.tfstate", key, 1)
		block = strings.Replace(block, "use_lockfile = true", arguments, 1)
		block = strings.Replace(block, `{ s3 = "`+server.url+`" }`, `{ s3 = "`+server.url+`", dynamodb = "`+url+`" }`, 1)
		dirs[key] = w.project(block)
		w.must(dirs[key], engine, "init", "-input=false", "-no-color")
		p := w.start(dirs[key], engine, "apply", "-no-color")
		p.waitFor(`Enter a value:`)
		p.signal(syscall.SIGKILL)
		p.wait()
	}
	got := w.locks("-chdir", dirs["both"])
	if len(got) != 2 || got["both"].Kind != "plain" || got["both"].Half != "" || got["table"].Kind != "dynamodb" || !strings.Contains(got["table"].Half, "no lock object") {
		t.Errorf("got %+v, want one whole lock and one item", got)
	}
	w.must(w.home, need(t, "aws"), "s3api", "delete-object", "--bucket", "terraform-state", "--key", "both.tflock")
	if got := w.locks("-chdir", dirs["both"]); got["both"].Kind != "dynamodb" {
		t.Errorf("got %+v, want the item alone", got)
	}
	for key, dir := range dirs {
		want(t, key, w.statelatch("unlock", "-auto-approve", "-chdir", dir), 0, "Verdict: unknown", "Released")
		w.must(dir, engine, apply...)
	}
	if got := w.locks("-chdir", dirs["both"]); len(got) != 0 {
		t.Errorf("got %v, want no locks beside the digests", got)
	}
}
