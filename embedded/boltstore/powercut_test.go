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

	"github.com/statelatch/statelatch/embedded/s3model"
)

// powerDisk is a disk that knows what would be left of it if the power failed now: what was synced, and of the rest
// whatever a file system may have written on its own.
type powerDisk struct {
	osDisk
	root string
	cut  func(call string) // a moment at which the power may fail

	entries map[string][]string // the names in a directory when it was last synced
	files   []syncedFile
	gone    map[string][]byte // what removed files held, while their removal may be lost

	db      []byte // the database after the last transaction that is known to be synced; nil before the first
	pending []byte // the database as the transaction under way leaves it
	synced  bool   // all of pending is on the disk but its root, the meta page
}

// syncedFile is a file, by identity because it may be renamed, and what it held when it was last synced.
type syncedFile struct {
	info    fs.FileInfo
	content []byte
}

func newPowerDisk(root string) *powerDisk {
	return &powerDisk{root: root, cut: func(string) {}, entries: map[string][]string{}, gone: map[string][]byte{}}
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
	if filepath.Base(path) == dbFile {
		content, synced = d.database(kept), d.db != nil
	}
	if !synced {
		if content, err = os.ReadFile(path); err != nil {
			return err
		}
		if filepath.Base(path) != dbFile { // bbolt syncs the pages it makes a new file of
			content = pieces(nil, content, 0, kept)
		}
	}
	return os.WriteFile(target, content, 0o600)
}

const (
	diskPage  = 4096
	metaPages = 2 * diskPage
)

func (d *powerDisk) database(kept luck) []byte {
	switch {
	case d.pending == nil:
		return d.db
	case d.synced:
		meta := pieces(d.db[:metaPages], d.pending[:metaPages], 0, kept)
		return slices.Concat(meta, d.pending[metaPages:])
	}
	return pieces(d.db, d.pending, metaPages, kept)
}

// pieces is a file that held was, of which the pages of is from start on were written but not synced.
func pieces(was, is []byte, start int, kept luck) []byte {
	n := (len(is) + diskPage - 1) / diskPage
	survives := kept(n)
	if was == nil && !slices.Contains(survives, true) {
		return nil
	}
	out := make([]byte, len(is))
	copy(out, was)
	for i := start / diskPage; i < n; i++ {
		if survives[i] {
			copy(out[i*diskPage:], is[i*diskPage:min(len(is), (i+1)*diskPage)])
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
			rnd := rand.New(rand.NewPCG(1, 2))
			calls, during, possible := 0, "open", []string(nil)
			d.cut = func(call string) {
				calls++
				for i, kept := range []luck{none, all, some(rnd), some(rnd)} {
					to, asked := t.TempDir(), false
					err := d.after(root, to, func(n int) []bool { asked = true; return kept(n) })
					if err != nil {
						t.Error(err)
						continue
					}
					var wg sync.WaitGroup
					wg.Go(func() { // of its own, for what is fatal here must not end the committer
						what := fmt.Sprintf("%s, call %d (%s), survivors %d", during, calls, call, i)
						checkAfterPowerCut(t, what, filepath.Join(to, "new", "data"), clock, possible)
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
			s := powerStore(t, root, clock, d, versioning)
			for i, op := range powerOperations(clock) {
				during, possible = op.name, states[i]
				op.do(t, s)
				possible = states[i][len(states[i])-1:]
				d.cut("acknowledged")
			}
			if calls < 60 {
				t.Errorf("only %d calls were watched", calls)
			}
			d.cut = func(string) {}
		})
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
