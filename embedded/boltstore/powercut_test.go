package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/statelatch/statelatch/s3/s3model"
)

// powerDisk is a disk that knows what would be left of it if the power failed now: what was synced, and of the rest
// whatever a file system may have written on its own.
type powerDisk struct {
	osDisk
	root string
	page int               // what is written at once, which for files other than the database is not known
	cut  func(call string) // a moment at which the power may fail

	entries map[string][]string // the names in a directory when it was last synced
	files   []syncedFile
	gone    map[string][]byte // what removed files held, while their removal may be lost
	renamed map[string]rename // by the new name, while it may be lost

	db      []byte // the database after the last transaction that is known to be synced; nil before the first
	torn    bool   // the database was not synced before it got its name
	pending []byte // the database as the transaction under way leaves it
	synced  bool   // all of pending is on the disk but its root, the meta page
}

// syncedFile is a file, by identity because it may be renamed, and what it held when it was last synced.
type syncedFile struct {
	info    fs.FileInfo
	content []byte
}

// rename is what a file was called, and what its new name stood for before; nil for nothing.
type rename struct {
	from string
	was  []byte
}

func newPowerDisk(root string) *powerDisk {
	return &powerDisk{
		root: root, cut: func(string) {}, page: os.Getpagesize(),
		entries: map[string][]string{}, gone: map[string][]byte{}, renamed: map[string]rename{},
	}
}

func (d *powerDisk) mkdir(path string) error {
	d.cut("mkdir")
	return d.osDisk.mkdir(path)
}

func (d *powerDisk) create(path string) (*os.File, error) {
	d.cut("create")
	f, err := d.osDisk.create(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	d.forget(info) // another file had its number
	return f, err
}

func (d *powerDisk) write(f *os.File, p []byte) (int, error) {
	d.cut("write")
	return d.osDisk.write(f, p)
}

func (d *powerDisk) sync(f *os.File) error {
	d.cut("sync")
	info, err := f.Stat()
	if err != nil {
		return err
	}
	content, err := os.ReadFile(f.Name())
	d.forget(info)
	d.files = append(d.files, syncedFile{info, content})
	return err
}

func (d *powerDisk) syncDir(path string) error {
	d.cut("syncDir")
	names, err := namesIn(path)
	for _, name := range d.entries[path] {
		delete(d.gone, filepath.Join(path, name))
	}
	for _, name := range names {
		delete(d.renamed, filepath.Join(path, name))
	}
	d.entries[path] = names
	return err
}

func (d *powerDisk) remove(path string) error {
	d.cut("remove")
	if info, err := os.Stat(path); err == nil {
		d.gone[path], _ = d.held(info)
		d.forget(info)
	}
	return d.osDisk.remove(path)
}

func (d *powerDisk) rename(from, to string) error {
	d.cut("rename")
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	r := rename{from: from}
	if r.was, err = os.ReadFile(to); err != nil && !isNotExist(err) {
		return err
	}
	if filepath.Base(to) == dbFile {
		var synced bool
		d.db, synced = d.held(info)
		d.torn = !synced
	}
	d.renamed[to] = r
	return d.osDisk.rename(from, to)
}

// update follows how bbolt commits: pages, sync, the meta page, sync.
func (d *powerDisk) update(db *bbolt.DB, change func(*bbolt.Tx) error) error {
	d.cut("update")
	before, err := os.ReadFile(db.Path())
	if err != nil {
		return err
	}
	if d.db == nil {
		d.db = before
	}
	d.page = db.Info().PageSize
	if err := d.osDisk.update(db, change); err != nil {
		return err
	}
	if d.pending, err = os.ReadFile(db.Path()); err != nil {
		return err
	}
	d.cut("commit, its pages")
	if db.NoSync {
		return nil
	}
	d.synced = true
	d.cut("commit, its meta page")
	d.db, d.pending, d.synced = d.pending, nil, false
	return nil
}

func (d *powerDisk) forget(info fs.FileInfo) {
	d.files = slices.DeleteFunc(d.files, func(f syncedFile) bool { return os.SameFile(f.info, info) })
}

func (d *powerDisk) held(info fs.FileInfo) (content []byte, synced bool) {
	for _, f := range d.files {
		if os.SameFile(f.info, info) {
			return f.content, true
		}
	}
	return nil, false
}

func namesIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

// luck decides what becomes of a thing that was not synced: how many of its n pieces survive, and which.
type luck func(n int) []bool

func none(n int) []bool { return make([]bool, n) }

func all(n int) []bool { return slices.Repeat([]bool{true}, n) }

func some(rnd *rand.Rand) luck {
	return func(n int) []bool {
		kept := none(n)
		for i := range kept {
			kept[i] = rnd.IntN(2) == 0
		}
		return kept
	}
}

// after writes what the power cut leaves of dir to the new directory to.
func (d *powerDisk) after(dir, to string, kept luck) error {
	if err := os.Mkdir(to, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	names, err := namesIn(dir)
	if err != nil {
		return err
	}
	durable := d.entries[dir]
	for _, name := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(names, durable)))) {
		path, target := filepath.Join(dir, name), filepath.Join(to, name)
		if r, ok := d.renamed[path]; ok && !kept(1)[0] {
			if r.was != nil {
				err = os.WriteFile(target, r.was, 0o600)
			}
			if err = errors.Join(err, d.afterOne(path, filepath.Join(to, filepath.Base(r.from)), kept)); err != nil {
				return err
			}
			continue
		}
		was, is := slices.Contains(durable, name), slices.Contains(names, name)
		if was != is && kept(1)[0] != is {
			continue
		}
		if !is {
			if content, ok := d.gone[path]; ok {
				err = os.WriteFile(target, content, 0o600)
			}
		} else {
			err = d.afterOne(path, target, kept)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *powerDisk) afterOne(path, target string, kept luck) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return d.after(path, target, kept)
	}
	content, synced := d.held(info)
	if filepath.Base(path) == dbFile && d.db != nil {
		content, synced = d.database(kept), true
	}
	if !synced {
		if content, err = os.ReadFile(path); err != nil {
			return err
		}
		if filepath.Base(path) != dbFile || d.torn { // bbolt syncs the pages it makes a new file of
			content = d.pieces(nil, content, 0, kept)
		}
	}
	return os.WriteFile(target, content, 0o600)
}

func (d *powerDisk) database(kept luck) []byte {
	metaPages := 2 * d.page
	switch {
	case d.pending == nil:
		return d.db
	case d.synced:
		meta := d.pieces(d.db[:metaPages], d.pending[:metaPages], 0, kept)
		return slices.Concat(meta, d.pending[metaPages:])
	}
	return d.pieces(d.db, d.pending, metaPages, kept)
}

// pieces is a file that held was, of which the pages of is from start on were written but not synced.
func (d *powerDisk) pieces(was, is []byte, start int, kept luck) []byte {
	n := (len(is) + d.page - 1) / d.page
	survives := kept(n)
	if was == nil && !slices.Contains(survives, true) {
		return nil
	}
	out := make([]byte, len(is))
	copy(out, was)
	for i := start / d.page; i < n; i++ {
		if survives[i] {
			copy(out[i*d.page:], is[i*d.page:min(len(is), (i+1)*d.page)])
		}
	}
	return out
}

// contents describes all that clients can see of bucket "b": versions with their content, and parts.
func contents(tb testing.TB, s *Store) string {
	tb.Helper()
	var b strings.Builder
	page, err := s.ListVersions(context.Background(), s3model.ListRequest{Bucket: "b", Max: 1 << 20})
	if err != nil {
		return "<" + code(err) + ">"
	}
	for _, o := range page.Objects {
		fmt.Fprintf(&b, "%s latest=%t marker=%t", o.Key, o.IsLatest, o.DeleteMarker)
		if !o.DeleteMarker {
			got := get(tb, s, o.Key, o.VersionID)
			fmt.Fprintf(&b, " %d %s", len(got), md5Hex([]byte(got)))
		}
		b.WriteByte('\n')
	}
	err = s.view(func(t *txn) error {
		return scan(t.Tx, partTable, nil, func(k, v []byte) (bool, error) {
			p := &partRecord{}
			err := t.decode(partTable, k, v, p)
			fmt.Fprintf(&b, "part %d %s\n", p.Body.Size, p.ETag)
			return true, err
		})
	})
	if err != nil {
		tb.Fatal(err)
	}
	return b.String()
}

// powerOperation is a request whose effect survives a power cut once it returned.
type powerOperation struct {
	name string
	do   func(t *testing.T, s *Store)
}

// powerOperations touch every way in which bodies come and go, on both sides of maxInline.
func powerOperations(clock *testClock) []powerOperation {
	large := func(seed uint64) string { return string(pattern(100000, seed)) }
	var id string
	var part s3model.Part
	return []powerOperation{
		{"put small", func(t *testing.T, s *Store) { t.Helper(); put(t, s, "k", "small") }},
		{"large over small", func(t *testing.T, s *Store) { t.Helper(); put(t, s, "k", large(1)) }},
		{"large over large", func(t *testing.T, s *Store) { t.Helper(); put(t, s, "k", large(2)) }},
		{"conditional put", func(t *testing.T, s *Store) {
			t.Helper()
			req := s3model.PutRequest{Bucket: "b", Key: "k", If: s3model.Condition{IfMatch: md5Hex([]byte(large(2)))}}
			if _, err := s.Put(t.Context(), req, strings.NewReader(large(3))); err != nil {
				t.Error(err)
			}
		}},
		{"refused put", func(t *testing.T, s *Store) {
			t.Helper()
			req := s3model.PutRequest{Bucket: "b", Key: "k", If: s3model.Condition{IfAbsent: true}}
			if _, err := s.Put(t.Context(), req, strings.NewReader(large(4))); code(err) != "PreconditionFailed" {
				t.Error(err)
			}
		}},
		{"copy", func(t *testing.T, s *Store) {
			t.Helper()
			_, err := s.Copy(t.Context(), s3model.ReadRequest{Bucket: "b", Key: "k"}, s3model.PutRequest{Bucket: "b", Key: "copy"}, false, false)
			if err != nil {
				t.Error(err)
			}
		}},
		{"part", func(t *testing.T, s *Store) {
			t.Helper()
			id = upload(t, s, s3model.PutRequest{})
			putPart(t, s, id, 1, pattern(90000, 5), s3model.Checksum{})
		}},
		{"part again", func(t *testing.T, s *Store) {
			t.Helper()
			part = putPart(t, s, id, 1, pattern(100000, 5), s3model.Checksum{})
		}},
		{"unused part", func(t *testing.T, s *Store) {
			t.Helper()
			putPart(t, s, id, 2, pattern(100000, 6), s3model.Checksum{})
		}},
		{"complete", func(t *testing.T, s *Store) {
			t.Helper()
			if _, err := complete(t, s, id, part); err != nil {
				t.Error(err)
			}
		}},
		{"delete", func(t *testing.T, s *Store) { t.Helper(); remove(t, s, "k", "") }},
		{"sweep", func(t *testing.T, s *Store) {
			t.Helper()
			setRules(t, s, rule(func(r *s3model.LifecycleRule) { r.ExpireDays, r.NoncurrentDays = 1, 1 }))
			clock.Advance(3 * day)
			sweep(t, s)
		}},
		{"put again", func(t *testing.T, s *Store) { t.Helper(); put(t, s, "k", large(7)) }},
	}
}

// powerStore is a store at the outset of the operations.
func powerStore(t *testing.T, root string, clock *testClock, d disk, versioning s3model.Versioning) *Store {
	t.Helper()
	s := mustOpen(t, Config{Dir: filepath.Join(root, "new", "data"), Clock: clock.Now, disk: d})
	if versioning != s3model.Suspended {
		addBucket(t, s, "b", versioning)
		return s
	}
	addBucket(t, s, "b", s3model.Enabled)
	put(t, s, "k", string(pattern(100000, 8)))
	setVersioning(t, s, "b", s3model.Suspended)
	return s
}

// statesOf are the contents that a store without power cuts has before, in the course of and after each operation.
func statesOf(t *testing.T, versioning s3model.Versioning) [][]string {
	t.Helper()
	var states []string
	watching := false
	clock := newTestClock()
	var s *Store
	s = powerStore(t, t.TempDir(), clock, steps(func(op, _ string) error {
		if watching && op == "committed" {
			states = append(states, contents(t, s))
		}
		return nil
	}), versioning)
	watching = true
	last := contents(t, s)
	var of [][]string
	for _, op := range powerOperations(clock) {
		states = []string{last}
		op.do(t, s)
		last = contents(t, s)
		of = append(of, append(states, last))
	}
	return of
}

// The power fails at every call of the disk, with nothing, everything or some of what was not synced on it: what was
// acknowledged is whole, what was under way is there whole or not at all, and no body is left that nothing names.
func TestStore_PowerFails_AtEveryCall(t *testing.T) {
	t.Parallel()
	for _, versioning := range []s3model.Versioning{s3model.Unversioned, s3model.Enabled, s3model.Suspended} {
		t.Run(fmt.Sprintf("%q", versioning), func(t *testing.T) {
			t.Parallel()
			states := statesOf(t, versioning)
			clock, root := newTestClock(), t.TempDir()
			d := newPowerDisk(root)
			w := d.watch(t, filepath.Join("new", "data"), clock)
			s := powerStore(t, root, clock, d, versioning)
			for i, op := range powerOperations(clock) {
				w.during, w.possible = op.name, states[i]
				op.do(t, s)
				w.possible = states[i][len(states[i])-1:]
				d.cut("acknowledged")
			}
			w.end(60)
		})
	}
}

// A database that is mostly free is compacted when it is opened: before, in the course of it and after, the power may
// fail, and the store is there as it was, in the old file or the new one, or goes on as it is.
func TestOpen_Compaction_PowerFails_AtEveryCall(t *testing.T) {
	t.Parallel()
	clock, root := newTestClock(), t.TempDir()
	d := newPowerDisk(root)
	cfg := Config{Dir: filepath.Join(root, "data"), Clock: clock.Now, LifecycleInterval: -1, worthwhile: 1, disk: d}
	s := mustOpen(t, cfg)
	addBucket(t, s, "b", s3model.Enabled)
	put(t, s, "large", string(pattern(100000, 1)))
	var kept, gone []string
	for i := range 40 {
		v := put(t, s, "k", string(pattern(5000, uint64(i)))).VersionID
		if i%8 == 0 {
			kept = append(kept, v)
		} else {
			gone = append(gone, v)
		}
	}
	for _, v := range gone {
		remove(t, s, "k", v)
	}
	before := contents(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	full := fileSize(t, filepath.Join(cfg.Dir, dbFile))

	w := d.watch(t, "data", clock)
	w.during, w.possible = "compaction", []string{before}
	var log logBuffer
	cfg.Logger = log.logger()
	s = mustOpen(t, cfg)
	d.cut("opened")
	if got := fileSize(t, filepath.Join(cfg.Dir, dbFile)); got > full/2 {
		t.Errorf("the database has %d bytes of %d, want it compacted", got, full)
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "compacting the database") {
		t.Errorf("log: got %q, want one line", got)
	}
	d.cut = func(string) {} // what is under way is either of these
	put(t, s, "k", "after")
	w.possible = []string{contents(t, s)}
	w.resume()
	d.cut("acknowledged")
	for i, v := range kept {
		if got := get(t, s, "k", v); got != string(pattern(5000, uint64(8*i))) {
			t.Errorf("version %d: got %d bytes (%.40q)", 8*i, len(got), got)
		}
	}
	w.end(5)
	// A version keeps its number, which later ones are above.
	if v := put(t, s, "k", "last").VersionID; slices.Contains(gone, v) || versionsOf(t, s)[:7] != "k=last*" {
		t.Errorf("after the compaction: got version %s and %.40s", v, versionsOf(t, s))
	}
}

func fileSize(tb testing.TB, path string) int64 {
	tb.Helper()
	info, err := os.Stat(path)
	if err != nil {
		tb.Fatal(err)
	}
	return info.Size()
}

// powerWatch checks what a power cut at any moment leaves of a store.
type powerWatch struct {
	t        *testing.T
	disk     *powerDisk
	resume   func() // watch, after it was stopped
	calls    int
	during   string   // what is under way
	possible []string // the contents that may be found; nil while nothing was acknowledged
}

// watch lets the power fail at every call, with nothing, everything or some of what was not synced on the disk. The
// store is in dir below the root of the disk.
func (d *powerDisk) watch(t *testing.T, dir string, clock *testClock) *powerWatch {
	t.Helper()
	w := &powerWatch{t: t, disk: d, during: "open"}
	rnd := rand.New(rand.NewPCG(1, 2))
	cut := func(call string) {
		w.calls++
		for i, kept := range []luck{none, all, some(rnd), some(rnd)} {
			to, asked := t.TempDir(), false
			err := d.after(d.root, to, func(n int) []bool { asked = true; return kept(n) })
			if err != nil {
				t.Error(err)
				continue
			}
			var wg sync.WaitGroup
			wg.Go(func() { // of its own, for what is fatal here must not end the committer
				what := fmt.Sprintf("%s, call %d (%s), survivors %d", w.during, w.calls, call, i)
				checkAfterPowerCut(t, what, filepath.Join(to, dir), clock, w.possible)
			})
			wg.Wait()
			if err := os.RemoveAll(to); err != nil {
				t.Error(err)
			}
			if !asked { // all is synced: the others would be the same
				break
			}
		}
	}
	w.resume = func() { d.cut = cut }
	w.resume()
	return w
}

// end stops the watch, which must have seen some calls.
func (w *powerWatch) end(calls int) {
	w.t.Helper()
	w.disk.cut = func(string) {}
	if w.calls < calls {
		w.t.Errorf("only %d calls were watched", w.calls)
	}
}

// checkAfterPowerCut opens what is left. possible is nil while nothing was acknowledged.
func checkAfterPowerCut(t *testing.T, what, dir string, clock *testClock, possible []string) {
	t.Helper()
	s, err := Open(Config{Dir: dir, Clock: clock.Now, LifecycleInterval: -1})
	if err != nil {
		t.Errorf("%s: the store does not open again: %v", what, err)
		return
	}
	defer func() { _ = s.Close() }()
	if _, err := os.Stat(filepath.Join(dir, compactedFile)); !isNotExist(err) {
		t.Errorf("%s: what a compaction left is still there: %v", what, err)
	}
	if possible == nil {
		return
	}
	if got := contents(t, s); !slices.Contains(possible, got) {
		t.Errorf("%s: got\n%swant one of\n%s", what, got, strings.Join(possible, "or\n"))
		return
	}
	checkStorage(t, s)
}

// A commit whose last sync failed may be seen or not after the next start. Either way the object is whole, so both
// bodies stay until then, and no write builds on it.
func TestStore_CommitFails_AfterItsLastPage(t *testing.T) {
	t.Parallel()
	for _, versioning := range []s3model.Versioning{s3model.Unversioned, s3model.Enabled, s3model.Suspended} {
		for name, change := range map[string]func(*Store) error{
			"put": func(s *Store) error {
				req := s3model.PutRequest{Bucket: "b", Key: "k"}
				_, err := s.Put(t.Context(), req, bytes.NewReader(pattern(100000, 2)))
				return err
			},
			"delete": func(s *Store) error {
				_, err := s.Delete(t.Context(), s3model.DeleteRequest{Bucket: "b", Key: "k"})
				return err
			},
		} {
			t.Run(fmt.Sprintf("%q/%s", versioning, name), func(t *testing.T) {
				t.Parallel()
				rec, dir, lost := &recorder{}, t.TempDir(), t.TempDir()
				s, err := Open(Config{Dir: dir, LifecycleInterval: -1, disk: steps(rec.step)})
				if err != nil {
					t.Fatal(err)
				}
				addBucket(t, s, "b", versioning)
				old := string(pattern(100000, 1))
				put(t, s, "k", old)
				database, err := os.ReadFile(filepath.Join(dir, dbFile))
				if err != nil {
					t.Fatal(err)
				}
				rec.set(map[string]error{"committed": &pathError{syscall.EIO}})
				if err := change(s); code(err) != "InternalError" || !errors.Is(err, errUnknown) {
					t.Errorf("got %v, want an unknown outcome", err)
				}
				rec.set(nil)
				if err := s.update(t.Context(), write("next")); !errors.Is(err, errUnknown) {
					t.Errorf("the next write: got %v, want it refused for the same reason", err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if err := os.CopyFS(lost, os.DirFS(dir)); err != nil {
					t.Fatal(err)
				}
				err = errors.Join(os.Chmod(filepath.Join(lost, keyFile), 0o600), os.WriteFile(filepath.Join(lost, dbFile), database, 0o600))
				if err != nil {
					t.Fatal(err)
				}
				s = mustOpen(t, Config{Dir: lost})
				if got := get(t, s, "k", ""); got != old {
					t.Errorf("the transaction did not survive: the old object has %d bytes (%.40q)", len(got), got)
				}
				checkStorage(t, s)
				s = mustOpen(t, Config{Dir: dir})
				want := map[string]string{"put": string(pattern(100000, 2)), "delete": "<NoSuchKey>"}[name]
				if got := get(t, s, "k", ""); got != want {
					t.Errorf("the transaction survived: got %d bytes (%.40q)", len(got), got)
				}
				checkStorage(t, s)
			})
		}
	}
}
