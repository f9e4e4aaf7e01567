package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/state"
)

func body(serial int, lineage, content string) string {
	return fmt.Sprintf(`{"version":4,"terraform_version":"1.9.0","serial":%d,"lineage":%q,"outputs":{"x":{"value":%q,"type":"string"}},"resources":[]}`,
		serial, lineage, content)
}

// stocked is a bucket with a state of every sort.
func stocked(t *testing.T, versioned bool) bucket.Bucket {
	t.Helper()
	b := membucket.New("b", membucket.Options{Versioned: versioned})
	for _, o := range [][2]string{
		{"a.tfstate", body(3, "L1", "a")},
		{"a.tfstate.tflock", "{}"},
		{"copy/a.tfstate", body(3, "L1", "a")},
		{"empty.tfstate", ""},
		{"junk.tfstate", "hello"},
		{"crypt.tfstate", `{"serial":7,"lineage":"L2","meta":{},"encrypted_data":"eA==","encryption_version":"v0"}`},
		{"lonely.tfstate.tflock", "{}"},
		{"net", body(1, "L3", "n")}, // a state by its lock alone
		{"net.tflock", "{}"},
		{"env:/dev/net", body(1, "L4", "n")},
		{"env:/dev/gone", body(1, "L5", "n")},
		{"env:/dev/", ""}, // a folder, as some tools show it
		{"saved.tfstate", body(1, "L6", "s")},
		{"saved.tfstate.rescue/x", body(2, "L6", "s")},
		{"saved.tfstate.history/y", body(0, "L6", "s")},
		{"notes.txt", "hello"},
		{statelatch.ProbePrefix + "x.tfstate", "hello"},
	} {
		put(t, b, o[0], o[1])
	}
	return b
}

// summary is one line a state: what it is and its flags.
func summary(t *testing.T, states []State) string {
	t.Helper()
	var b strings.Builder
	for _, s := range states {
		fmt.Fprintf(&b, "%s:", s.Key)
		if s.Locked {
			b.WriteString(" locked")
		}
		if s.Header != nil {
			fmt.Fprintf(&b, " serial %d", s.Header.Serial)
		}
		for _, f := range s.Flags {
			fmt.Fprintf(&b, " [%s]", f)
		}
		for _, a := range s.Anomalies {
			fmt.Fprintf(&b, " (%s)", a.Kind)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func mustStates(t *testing.T, b bucket.Bucket, scope statelatch.Scope, opts StatesOptions) []State {
	t.Helper()
	opts.WorkspacePrefix = "env:"
	states, err := States(t.Context(), b, scope, opts)
	if err != nil {
		t.Fatal(err)
	}
	return states
}

func check(t *testing.T, got, want string) {
	t.Helper()
	if want = strings.TrimLeft(want, "\n"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestStates_Listing_ReadsNothing(t *testing.T) {
	t.Parallel()
	b := faultbucket.New(stocked(t, false), faultbucket.Options{})
	states := mustStates(t, b, whole, StatesOptions{})
	check(t, summary(t, states), `
a.tfstate: locked
copy/a.tfstate:
crypt.tfstate:
empty.tfstate: [zero bytes]
env:/dev/gone: [orphan workspace]
env:/dev/net:
junk.tfstate:
lonely.tfstate: locked [no state]
net: locked
saved.tfstate: [rescued state]
`)
	if i := slices.IndexFunc(states, func(s State) bool { return s.Key == "saved.tfstate" }); states[i].Rescued != 1 || states[i].Snapshots != 1 {
		t.Errorf("got %+v, want one rescued state and one snapshot", states[i])
	}
	if log := b.Requests(); len(log) != 1 {
		t.Errorf("got %d requests, want one listing: %v", len(log), log)
	}
	all := mustStates(t, b, whole, StatesOptions{All: true})
	if len(all) != len(states)+2 { // the note and the folder
		t.Errorf("all: got %d, want %d:\n%s", len(all), len(states)+2, summary(t, all))
	}
	// The default workspace's state is outside the scope, so nothing is known of it.
	check(t, summary(t, mustStates(t, b, statelatch.Scope{Bucket: "b", Prefix: "env:/dev"}, StatesOptions{})), `
env:/dev/gone:
env:/dev/net:
`)
	// A state is found by its workspace, too.
	check(t, summary(t, mustStates(t, b, statelatch.Scope{Bucket: "b", Prefix: "net"}, StatesOptions{})), `
env:/dev/net:
net: locked
`)
}

func TestStates_Headers_OneDeniedHidesNoOther(t *testing.T) {
	t.Parallel()
	b := faultbucket.New(stocked(t, false), faultbucket.Options{})
	b.Add(faultbucket.Rule{Op: faultbucket.OpGet, Key: "net", Fault: faultbucket.Answer(403)})
	var read, of int
	states := mustStates(t, b, whole, StatesOptions{
		Headers: true, OnRead: func(r, n int) { read, of = r, n },
		Select: func(s State) bool { return s.Key != "saved.tfstate" },
	})
	check(t, summary(t, states), `
a.tfstate: locked serial 3 [shared lineage]
copy/a.tfstate: serial 3 [shared lineage]
crypt.tfstate: serial 7
empty.tfstate: [zero bytes]
env:/dev/gone: serial 1 [orphan workspace]
env:/dev/net: serial 1
junk.tfstate: [unreadable]
lonely.tfstate: locked [no state]
net: locked [unreadable]
`)
	if read != 9 || of != 9 {
		t.Errorf("progress ended with %d of %d, want 9", read, of)
	}
	for _, r := range b.Requests() {
		if r.Op == faultbucket.OpGet && (r.Key == "empty.tfstate" || strings.HasPrefix(r.Key, "saved") || strings.HasSuffix(r.Key, ".tflock")) {
			t.Errorf("%s was read for nothing", r.Key)
		}
	}
}

// path.Join cleans the keys of named workspaces: they are no orphans of a default workspace whose key is not clean.
func TestStates_UncleanKey_IsNoOrphan(t *testing.T) {
	t.Parallel()
	b := membucket.New("b", membucket.Options{})
	for _, key := range []string{"./app//x.tfstate", "env:/dev/app/x.tfstate", "env:/dev/gone.tfstate"} {
		put(t, b, key, body(1, "L", "r"))
	}
	check(t, summary(t, mustStates(t, b, whole, StatesOptions{})), `
./app//x.tfstate:
env:/dev/app/x.tfstate:
env:/dev/gone.tfstate: [orphan workspace]
`)
}

func TestStates_Versions_Counted(t *testing.T) {
	t.Parallel()
	b := stocked(t, true)
	put(t, b, "a.tfstate", body(4, "L1", "a"))
	for _, key := range []string{"junk.tfstate", "net.tflock"} {
		if _, err := b.Delete(t.Context(), key, bucket.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	states := mustStates(t, b, whole, StatesOptions{Versions: true})
	check(t, summary(t, states), `
a.tfstate: locked
copy/a.tfstate: [never locked]
crypt.tfstate: [never locked]
empty.tfstate: [zero bytes] [never locked]
env:/dev/gone: [orphan workspace] [never locked]
env:/dev/net: [never locked]
junk.tfstate: [deleted]
lonely.tfstate: locked [no state]
net:
saved.tfstate: [rescued state] [never locked]
`)
	if a := states[0]; a.Versions != 2 || a.VersionBytes != 2*a.Size {
		t.Errorf("got %d versions of %d bytes, want 2 of %d", a.Versions, a.VersionBytes, 2*a.Size)
	}
	// A store without versions is listed all the same.
	for _, s := range mustStates(t, stocked(t, false), whole, StatesOptions{Versions: true}) {
		if got := slices.Contains(s.Flags, FlagUnversioned); got != s.Exists || slices.Contains(s.Flags, FlagNeverLocked) || s.Versions != 0 {
			t.Errorf("%s in a bucket without versions: got %q and %d versions", s.Key, s.Flags, s.Versions)
		}
	}
}

// B11: a write without a condition lands on another's, and only the versions tell.
func TestStates_Anomalies_B11_LostUpdates(t *testing.T) {
	t.Parallel()
	b := membucket.New("b", membucket.Options{Versioned: true})
	for key, bodies := range map[string][]string{
		"fine":     {body(1, "L", "a"), body(2, "L", "b"), body(2, "L", "b") + " \n", body(5, "L", "b")},
		"repeated": {body(1, "M", "a"), body(2, "M", "b"), body(2, "M", "c")},
		"back":     {body(7, "N", "a"), body(2, "N", "b")},
		"lineage":  {body(1, "O", "a"), body(2, "P", "b")},
		"emptied":  {body(1, "Q", "a"), ""},
		"junk":     {body(1, "R", "a"), "hello"},
	} {
		for _, content := range bodies {
			put(t, b, key+".tfstate", content)
		}
	}
	put(t, b, "deleted.tfstate", body(1, "S", "a"))
	if _, err := b.Delete(t.Context(), "deleted.tfstate", bucket.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	states := mustStates(t, b, whole, StatesOptions{Anomalies: true})
	for i := range states {
		states[i].Flags = slices.DeleteFunc(states[i].Flags, func(f Flag) bool { return f == FlagNeverLocked })
	}
	check(t, summary(t, states), `
back.tfstate: serial 2 [serial anomaly] (serial stepped back)
deleted.tfstate: [deleted]
emptied.tfstate: [serial anomaly] [zero bytes] (deleted or emptied)
fine.tfstate: serial 5
junk.tfstate: [serial anomaly] [unreadable] (not a state any more)
lineage.tfstate: serial 2 [serial anomaly] (lineage changed)
repeated.tfstate: serial 2 [serial anomaly] (same serial, different content)
`)
	if a := states[len(states)-1].Anomalies[0]; a.Kind != state.SerialRepeated || a.Before.VersionID == "" || a.Before.VersionID == a.After.VersionID {
		t.Errorf("got %+v, want the two versions named", a)
	}
}

func TestStates_Canceled_EndsReading(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	_, err := States(ctx, stocked(t, false), whole, StatesOptions{Headers: true, Workers: 1, OnRead: func(int, int) { cancel() }})
	if err == nil || ctx.Err() == nil {
		t.Errorf("got %v, want an error", err)
	}
}

// slow is a bucket of which each read takes a second.
type slow struct{ bucket.Bucket }

func (s slow) Get(ctx context.Context, key string, opts bucket.ReadOptions) (bucket.Object, io.ReadCloser, error) {
	time.Sleep(time.Second)
	return s.Bucket.Get(ctx, key, opts)
}

// The versions of one state are read like those of many: as many at a time as may be, each once.
func TestStates_Anomalies_OneLongHistory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const versions = 160
		b := membucket.New("b", membucket.Options{Versioned: true})
		for i := range versions {
			put(t, b, "a.tfstate", body(i+1, "L", "a"))
		}
		counted := faultbucket.New(b, faultbucket.Options{})
		started := time.Now()
		states := mustStates(t, slow{counted}, whole, StatesOptions{Anomalies: true})
		if took := time.Since(started); took != versions/16*time.Second {
			t.Errorf("it took the time of %v reads one after the other, want 10 for %d by 16", took, versions)
		}
		if n := counted.Count(faultbucket.OpGet, ""); n != versions {
			t.Errorf("%d reads of %d versions, want each once", n, versions)
		}
		if s := states[0]; s.Header == nil || s.Header.Serial != versions || s.Versions != versions || len(s.Anomalies) > 0 {
			t.Errorf("got %+v", s)
		}
	})
}

// Who may not read versions is told of the current one all the same.
func TestStates_Anomalies_VersionsDenied(t *testing.T) {
	t.Parallel()
	b := faultbucket.New(stocked(t, true), faultbucket.Options{})
	for i := range 3 {
		put(t, b, "a.tfstate", body(4+i, "L1", "a"))
	}
	b.Add(faultbucket.Rule{
		Match: func(r faultbucket.Request) bool { return r.Op == faultbucket.OpGet && r.VersionID != "" },
		Fault: faultbucket.Answer(403),
	})
	s := mustStates(t, b, statelatch.Scope{Bucket: "b", Prefix: "a.tfstate"}, StatesOptions{Anomalies: true})[0]
	if s.Header == nil || s.Header.Serial != 6 || !errors.Is(s.Problem, statelatch.ErrDenied) {
		t.Errorf("got %+v, %v, want serial 6 and that its versions are denied", s.Header, s.Problem)
	}
}

// listing is a bucket of many states.
type listing struct {
	bucket.Bucket
	states int
}

func (l listing) List(_ context.Context, opts bucket.ListOptions) iter.Seq2[bucket.Object, error] {
	return func(yield func(bucket.Object, error) bool) {
		for i := range l.states {
			o := bucket.Object{
				Key: fmt.Sprintf("live/account-%05d/terraform.tfstate", i), Size: int64(i + 1), LastModified: time.Now(),
				ETag: fmt.Sprintf(`"%032x"`, i),
			}
			if o.Key > opts.StartAfter && !yield(o, nil) {
				return
			}
		}
	}
}

// What is kept of a state that was listed is small, and the states come out of it again and again.
func TestTakeStock_Memory(t *testing.T) { // not parallel: it looks at the heap
	const states = 20_000
	var before, after runtime.MemStats
	b := listing{membucket.New("b", membucket.Options{}), states}
	runtime.GC()
	runtime.ReadMemStats(&before)
	s, err := TakeStock(t.Context(), b, whole, StatesOptions{WorkspacePrefix: "env:"})
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := int64(after.HeapAlloc-before.HeapAlloc) / states; each > 250 {
		t.Errorf("%d bytes are kept of each state, want at most 250", each)
	}
	for range 2 {
		i := 0
		for st := range s.All() {
			if want := fmt.Sprintf(`"%032x"`, i); st.ETag != want || st.Size != int64(i+1) || st.Ref().Bucket != "b" {
				t.Fatalf("state %d: got %+v", i, st)
			}
			i++
		}
		if i != states {
			t.Errorf("got %d states, want %d", i, states)
		}
	}
}

// An ETag is told as it was, whatever it looks like.
func TestStates_ETags(t *testing.T) {
	t.Parallel()
	for _, etag := range []string{
		`"d41d8cd98f00b204e9800998ecf8427e"`, `"D41D8CD98F00B204E9800998ECF8427E"`, `d41d8cd98f00b204e9800998ecf8427e`,
		`"d41d8cd98f00b204e9800998ecf8427e-2"`, `""`, `"x"`, `"d41d8cd98f00b204e9800998ecf8427g"`, ``,
	} {
		n := noted{exists: true}
		n.setETag(etag)
		if got := n.etag(); got != etag {
			t.Errorf("got %q, want %q", got, etag)
		}
	}
}
