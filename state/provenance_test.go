package state_test

import (
	"context"
	"maps"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/state"
)

var (
	ana = state.Provenance{LockID: "id-1", Principal: "ana@laptop", Run: "https://ci.example.com/jobs/1?a=b%20c"}
	bo  = state.Provenance{LockID: "id-2", Principal: "bø@build"}
)

func by(p state.Provenance) state.WriteOptions { return state.WriteOptions{Provenance: p} }

func (r *rig) metadataAt(tb testing.TB, key, version string) map[string]string {
	tb.Helper()
	obj, err := r.inner.Head(tb.Context(), key, bucket.ReadOptions{VersionID: version})
	if err != nil {
		tb.Fatal(err)
	}
	return obj.Metadata
}

// One place writes and reads it, under names that stay.
func TestProvenance_Metadata(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		given state.Provenance
		kept  map[string]string
		read  state.Provenance
	}{
		{state.Provenance{}, nil, state.Provenance{}},
		{ana, map[string]string{
			"statelatch-lock-id": "id-1", "statelatch-principal": "ana@laptop",
			"statelatch-run": "https://ci.example.com/jobs/1?a=b%20c",
		}, ana},
		{bo, map[string]string{
			"statelatch-lock-id": "id-2", "statelatch-principal": "=?utf-8?q?b=C3=B8@build?=",
		}, bo},
		{state.Provenance{Principal: " a\nb\x1b[2J\u202e\xff "}, map[string]string{
			"statelatch-principal": `=?utf-8?q?a\nb\x1b[2J\u202e=EF=BF=BD?=`,
		}, state.Provenance{Principal: `a\nb\x1b[2J\u202e` + "\ufffd"}},
		{state.Provenance{Principal: "=?utf-8?q?root?="}, nil, state.Provenance{}}, // it would come back as root
		{state.Provenance{Principal: "a=?b"}, map[string]string{"statelatch-principal": "a=?b"}, state.Provenance{Principal: "a=?b"}},
		{state.Provenance{LockID: "\t", Principal: " ", Run: " "}, nil, state.Provenance{}},
		{state.Provenance{LockID: strings.Repeat("x", 129)}, nil, state.Provenance{}},
		{state.Provenance{Run: "https://a.example/" + strings.Repeat("x", 1024)}, nil, state.Provenance{}},
		{state.Provenance{Run: "javascript:alert(1)"}, nil, state.Provenance{}},
		{state.Provenance{Run: "https://user:secret@a.example/"}, nil, state.Provenance{}},
		{state.Provenance{Run: "ci.example.com/jobs/1"}, nil, state.Provenance{}},
	} {
		kept := c.given.Metadata()
		if !maps.Equal(kept, c.kept) {
			t.Errorf("metadata of %q: got %q, want %q", c.given, kept, c.kept)
		}
		if read := state.Recorded(kept); read != c.read {
			t.Errorf("what is read of %q: got %q, want %q", c.given, read, c.read)
		}
	}
	long := state.Recorded(state.Provenance{Principal: strings.Repeat("ü", 10_000)}.Metadata()).Principal
	if n := len([]rune(long)); n < 60 || strings.Trim(long, "ü") != "…" {
		t.Errorf("a principal without end: got %d characters, %q, want as many as there is room for, and a sign", n, long)
	}
}

// What others wrote is told as far as it may be told.
func TestProvenance_Untrusted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		value string
		want  string
	}{
		{"=?UTF-8?B?YsO4?=", "bø"},                 // S3's own spelling of what it was given
		{"bø", "bø"},                               // a store that decodes
		{"=?koi8-r?B?YsO4?=", "=?koi8-r?B?YsO4?="}, // as it is
		{"=?utf-8?q?=1B]0;x=07?=", `\x1b]0;x\a`},   // not to a terminal
		{"=?utf-8?q?_=20?=", ""},
		{strings.Repeat("x", bucket.MaxMetadata+1), ""},
	} {
		if got := state.Recorded(map[string]string{"statelatch-principal": c.value}).Principal; got != c.want {
			t.Errorf("principal %.40q: got %q, want %q", c.value, got, c.want)
		}
	}
	if got := state.Recorded(map[string]string{"Statelatch-Run": "https://a.example", "run": "https://a.example"}); !got.IsZero() {
		t.Errorf("other names: got %q, want nothing", got)
	}
}

func FuzzProvenance(f *testing.F) {
	f.Add("id-1", "ana@laptop", "https://ci.example.com/jobs/1?a=b%20c")
	f.Add("=?utf-8?q?=3D?=", strings.Repeat("ü ", 1000), "http://ü.example/ü")
	f.Add(strings.Repeat("x", 128), strings.Repeat("ü", 500), "https://a.example/"+strings.Repeat("x", 1024-18))
	f.Add("\xff\n", "=?=?utf-8?q?x?=?=", "https://a.example/=?utf-8?b?eA==?=")
	f.Add(strings.Repeat("ü", 64), "a?=  =?", "HTTPS://[::1]/")
	f.Fuzz(func(t *testing.T, id, principal, run string) {
		kept := state.Provenance{LockID: id, Principal: principal, Run: run}.Metadata()
		if err := bucket.CheckMetadata(kept); err != nil {
			t.Errorf("metadata: %v", err)
		}
		size := 0
		for name, value := range kept {
			size += len(name) + len(value)
		}
		if size > bucket.MaxMetadata-256 {
			t.Errorf("metadata of %d bytes: want it to leave room for what others add", size)
		}
		read := state.Recorded(kept)
		if again := read.Metadata(); !reflect.DeepEqual(again, kept) {
			t.Errorf("kept again: got %q, want %q", again, kept)
		}
		names := map[string]string{"statelatch-lock-id": id, "statelatch-principal": principal, "statelatch-run": run}
		foreign := state.Recorded(names)
		if again := state.Recorded(foreign.Metadata()); again != foreign {
			t.Errorf("a stranger's: got %q, then %q", foreign, again)
		}
		for _, p := range []state.Provenance{read, foreign} {
			line := p.LockID + p.Principal + p.Run
			if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) || len(line) > bucket.MaxMetadata {
				t.Errorf("got %q, want printable text of bounded length", p)
			}
		}
	})
}

// Every way to read a version tells who wrote it, in the requests that it takes anyway.
func TestVersion_Provenance_EveryRead(t *testing.T) {
	t.Parallel()
	r := newRig()
	mark, err := r.Mark(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	x := r.begin(t, holding())
	written, err := write(t, x, body(1, lineage, "x"), by(ana))
	if err != nil || written.Provenance != ana || x.Base().Provenance != ana {
		t.Fatalf("Write: got %+v, %v, want it to be ana's", written.Provenance, err)
	}
	for name, read := range map[string]func(context.Context) (state.Version, error){
		"Read": func(ctx context.Context) (state.Version, error) { return r.Read(ctx, ref) },
		"Open": func(ctx context.Context) (state.Version, error) {
			v, body, err := r.Open(ctx, ref)
			if err == nil {
				err = body.Close()
			}
			return v, err
		},
		"OpenVersion": func(ctx context.Context) (state.Version, error) {
			v, body, err := r.OpenVersion(ctx, ref, written.VersionID)
			if err == nil {
				err = body.Close()
			}
			return v, err
		},
		"Mark":      func(ctx context.Context) (state.Version, error) { return r.Mark(ctx, ref) },
		"QuickMark": func(ctx context.Context) (state.Version, error) { return r.QuickMark(ctx, ref) },
		"ReadHeader": func(ctx context.Context) (state.Version, error) {
			v := state.Version{Ref: ref, Exists: true, VersionID: written.VersionID}
			return v, r.ReadHeader(ctx, &v)
		},
		"ReadWhole": func(ctx context.Context) (state.Version, error) {
			v := state.Version{Ref: ref, Exists: true, VersionID: written.VersionID}
			return v, r.ReadWhole(ctx, &v)
		},
	} {
		before := r.bucket.Count("", "")
		v, err := read(t.Context())
		if err != nil || v.Provenance != ana {
			t.Errorf("%s: got %+v, %v, want ana's", name, v.Provenance, err)
		}
		if n := r.bucket.Count("", "") - before; n != 1 {
			t.Errorf("%s: %d requests, want 1", name, n)
		}
	}
	report, err := r.Since(t.Context(), mark)
	if err != nil || len(report.Versions) != 1 || report.Versions[0].Provenance != ana {
		t.Errorf("Since: got %+v, %v, want one version, ana's", report.Versions, err)
	}
}

// A large state whose header stands further back is read twice, and what is recorded with it once.
func TestStore_ReadHeader_ProvenanceOfLarge(t *testing.T) {
	t.Parallel()
	r := newRig()
	for serial, content := range []string{
		body(1, lineage, strings.Repeat("x", 100<<10)),
		`{"resources":["` + strings.Repeat("x", 100<<10) + `"],"version":4,"serial":2,"lineage":"` + lineage + `","outputs":{}}`,
	} {
		x := r.begin(t, holding())
		v, err := write(t, x, content, state.WriteOptions{Provenance: ana, Force: true})
		if err != nil {
			t.Fatal(err)
		}
		listed := state.Version{Ref: ref, Exists: true, VersionID: v.VersionID, Size: v.Size}
		if err := r.ReadHeader(t.Context(), &listed); err != nil || listed.Provenance != ana || listed.Header.Serial != uint64(serial)+1 {
			t.Errorf("serial %d: got serial %d by %+v, %v, want ana's", serial+1, listed.Header.Serial, listed.Provenance, err)
		}
	}
}

// Every write of ours says whose it is; the fence claims nothing, and copies keep what the version had.
func TestStore_Provenance_EveryWrite(t *testing.T) {
	t.Parallel()
	t.Run("first write over zero bytes", func(t *testing.T) {
		t.Parallel()
		r := newRig()
		if err := r.EnsureExists(t.Context(), ref, ana); err != nil {
			t.Fatal(err)
		}
		if _, err := write(t, r.begin(t, holding()), body(1, lineage, "x"), by(bo)); err != nil {
			t.Fatal(err)
		}
		for i, want := range []state.Provenance{bo, bo, ana} { // the data, the claim, the zero bytes
			v := versions(t, r)[i]
			if got := state.Recorded(r.metadataAt(t, ref.Key, v.VersionID)); got != want {
				t.Errorf("version %d: got %+v, want %+v", i, got, want)
			}
		}
	})
	t.Run("new workspace", func(t *testing.T) {
		t.Parallel()
		r := newRig()
		v, err := r.New(t.Context(), ref, state.Provenance{Principal: "ana@laptop"})
		if got := r.metadataAt(t, ref.Key, ""); err != nil || len(got) != 1 || v.Provenance.Principal != "ana@laptop" {
			t.Errorf("got %q, %+v, %v, want the principal alone", got, v.Provenance, err)
		}
	})
	t.Run("rescue", func(t *testing.T) {
		t.Parallel()
		r := newRig()
		key, err := r.SaveRescue(t.Context(), ref, "run", strings.NewReader("{}"), ana)
		if err != nil {
			t.Fatal(err)
		}
		if got := state.Recorded(r.metadataAt(t, key, "")); got != ana {
			t.Errorf("got %+v, want ana's", got)
		}
	})
	t.Run("restore", func(t *testing.T) {
		t.Parallel()
		r := newRig()
		x := r.begin(t, holding())
		for serial, p := range map[int]state.Provenance{1: ana} {
			if _, err := write(t, x, body(serial, lineage, "x"), by(p)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := write(t, x, body(2, lineage, "y"), by(ana)); err != nil {
			t.Fatal(err)
		}
		v, err := write(t, x, body(1, lineage, "x"), state.WriteOptions{Restore: 3, Provenance: bo})
		if err != nil || v.Provenance != bo || state.Recorded(r.metadataAt(t, ref.Key, "")) != bo {
			t.Errorf("got %+v, %v, want it to be of who restored it", v.Provenance, err)
		}
	})
	t.Run("same content", func(t *testing.T) {
		t.Parallel()
		r := newRig()
		x := r.begin(t, holding())
		for _, p := range []state.Provenance{ana, bo} {
			v, err := write(t, x, body(1, lineage, "x"), by(p))
			if err != nil || v.Provenance != ana {
				t.Errorf("got %+v, %v, want it to stay ana's: nothing was written", v.Provenance, err)
			}
		}
	})
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		r := newRig()
		x := r.begin(t, holding())
		if _, err := write(t, x, body(1, lineage, "x"), by(ana)); err != nil {
			t.Fatal(err)
		}
		v, err := write(t, x, body(2, lineage, "x"), opts())
		if got := r.metadataAt(t, ref.Key, ""); err != nil || len(got) != 0 || !v.Provenance.IsZero() {
			t.Errorf("got %q, %+v, %v, want nothing of what the last version had", got, v.Provenance, err)
		}
	})
}

func TestStore_Touch_KeepsProvenance(t *testing.T) {
	t.Parallel()
	for name, metadata := range map[string]map[string]string{
		"recorded":    ana.Metadata(),
		"an engine's": nil,
		"foreign":     {"statelatch-principal": "=?utf-8?q?=1B[2J?=", "statelatch-run": "javascript:x", "other": strings.Repeat("x", 1900)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig()
			_, err := r.inner.Put(t.Context(), ref.Key, strings.NewReader(body(1, lineage, "x")), bucket.PutOptions{Metadata: metadata})
			if err != nil {
				t.Fatal(err)
			}
			fence(t, r)
			if len(versions(t, r)) != 2 {
				t.Fatal("nothing was written")
			}
			want := state.Recorded(metadata)
			if got := r.metadataAt(t, ref.Key, ""); !maps.Equal(got, want.Metadata()) {
				t.Errorf("metadata: got %q, want %q", got, want.Metadata())
			}
		})
	}
	t.Run("absent", func(t *testing.T) {
		t.Parallel()
		r := newRig()
		fence(t, r)
		if got := r.metadataAt(t, ref.Key, ""); len(got) != 0 {
			t.Errorf("metadata: got %q, want none", got)
		}
	})
}

func TestStore_Snapshot_KeepsProvenance(t *testing.T) {
	t.Parallel()
	r := newPlainRig()
	x := r.begin(t, holding())
	for serial, p := range []state.Provenance{ana, bo} {
		if _, err := write(t, x, body(serial+1, lineage, "x"), by(p)); err != nil {
			t.Fatal(err)
		}
	}
	for obj, err := range r.inner.List(t.Context(), bucket.ListOptions{Prefix: ref.HistoryPrefix()}) {
		if err != nil {
			t.Fatal(err)
		}
		v, body, err := r.OpenVersion(t.Context(), ref, strings.TrimPrefix(obj.Key, ref.HistoryPrefix()))
		if err != nil || v.Provenance != ana || v.Header.Serial != 1 {
			t.Errorf("snapshot: got serial %d by %+v, %v, want ana's", v.Header.Serial, v.Provenance, err)
		}
		_ = body.Close()
		return
	}
	t.Error("no snapshot was kept")
}

func TestProvenanceOf(t *testing.T) {
	t.Parallel()
	lock := statelatch.LockInfo{ID: "id-1", Who: "ana@laptop", Operation: "push"}
	for _, c := range []struct {
		managed *statelatch.Managed
		run     string
	}{
		{nil, ""},
		{&statelatch.Managed{}, ""},
		{&statelatch.Managed{Run: &statelatch.Run{URL: "https://ci.example.com/1"}}, "https://ci.example.com/1"},
	} {
		want := state.Provenance{LockID: "id-1", Principal: "ana@laptop", Run: c.run}
		if got := state.ProvenanceOf(lock, c.managed); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}
