package boltstore

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/statelatch/statelatch/s3/s3model"
)

// fingerprint is the content of a directory.
func fingerprint(tb testing.TB, dir string) map[string]string {
	tb.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		all[path] = md5Hex(data)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return all
}

// killedStore is closedStore as it is left where nothing closes it: its free pages are not listed.
func killedStore(tb testing.TB) (dir string) {
	tb.Helper()
	_, dir = makeStore(tb)
	return dir
}

// closedStore makes a store with a small, a large, and encrypted objects, and closes it.
func closedStore(tb testing.TB) (dir string) {
	tb.Helper()
	dir, _ = makeStore(tb)
	return dir
}

func makeStore(tb testing.TB) (dir, killed string) {
	tb.Helper()
	dir, killed = tb.TempDir(), tb.TempDir()
	s, err := Open(Config{Dir: dir, LifecycleInterval: -1})
	if err != nil {
		tb.Fatal(err)
	}
	addBucket(tb, s, "b", s3model.Enabled)
	for i := range 20 {
		put(tb, s, fmt.Sprintf("small%d", i), strings.Repeat("s", 1000*i))
	}
	put(tb, s, "large", string(pattern(100000, 1)))
	for key, size := range map[string]int{"sealed-small": 1000, "sealed-large": 200000} {
		_, err := s.Put(tb.Context(), s3model.PutRequest{Bucket: "b", Key: key, Encryption: s3model.Encryption{SSES3: true}}, bytes.NewReader(pattern(size, 2)))
		if err != nil {
			tb.Fatal(err)
		}
	}
	remove(tb, s, "small1", "")
	err = errors.Join(os.CopyFS(killed, os.DirFS(dir)), os.Chmod(filepath.Join(killed, keyFile), 0o600), s.Close())
	if err != nil {
		tb.Fatal(err)
	}
	return dir, killed
}

func TestOpen_Refusals_ChangeNothing(t *testing.T) {
	t.Parallel()
	rewrite := func(name string, change func([]byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			path := filepath.Join(dir, name)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, change(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	edit := func(change func(*bbolt.Tx) error) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			db, err := bbolt.Open(filepath.Join(dir, dbFile), 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Update(change); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, tt := range map[string]struct {
		spoil func(*testing.T, string)
		want  error
		says  string
	}{
		"garbage": {rewrite(dbFile, func(b []byte) []byte { return bytes.Repeat([]byte("x"), len(b)) }), ErrCorrupt, dbFile},
		"zeros":   {rewrite(dbFile, func(b []byte) []byte { return make([]byte, len(b)) }), ErrCorrupt, dbFile},
		"short":   {rewrite(dbFile, func([]byte) []byte { return []byte("x") }), ErrCorrupt, dbFile},
		"half":    {rewrite(dbFile, func(b []byte) []byte { return b[:len(b)/2] }), ErrCorrupt, dbFile},
		"first pages only": {rewrite(dbFile, func(b []byte) []byte {
			return b[:2*os.Getpagesize()]
		}), ErrCorrupt, dbFile},
		"no data pages": {rewrite(dbFile, func(b []byte) []byte {
			clear(b[2*os.Getpagesize():])
			return b
		}), ErrCorrupt, dbFile},
		"empty": {rewrite(dbFile, func([]byte) []byte { return nil }), ErrCorrupt, "backup"},
		"empty, without bodies": {func(t *testing.T, dir string) {
			t.Helper()
			_ = os.RemoveAll(filepath.Join(dir, bodyDir))
			_ = os.Truncate(filepath.Join(dir, dbFile), 0)
		}, ErrCorrupt, "backup"},
		"gone": {func(t *testing.T, dir string) { t.Helper(); _ = os.Remove(filepath.Join(dir, dbFile)) }, ErrCorrupt, "missing"},
		"directory": {func(t *testing.T, dir string) {
			t.Helper()
			_ = os.Remove(filepath.Join(dir, dbFile))
			_ = os.Mkdir(filepath.Join(dir, dbFile), 0o700)
		}, ErrCorrupt, "regular file"},
		"newer format": {edit(func(tx *bbolt.Tx) error {
			return tx.Bucket(metaTable).Put(metaFormat, []byte(strconv.Itoa(formatVersion+1)))
		}), ErrFormat, "newer version"},
		"no format":       {edit(func(tx *bbolt.Tx) error { return tx.Bucket(metaTable).Delete(metaFormat) }), ErrCorrupt, "format"},
		"table missing":   {edit(func(tx *bbolt.Tx) error { return tx.DeleteBucket(partTable) }), ErrCorrupt, "parts"},
		"another program": {edit(func(tx *bbolt.Tx) error { return tx.DeleteBucket(metaTable) }), ErrFormat, "another program"},

		"key gone": {func(t *testing.T, dir string) { t.Helper(); _ = os.Remove(filepath.Join(dir, keyFile)) }, ErrKey, "backup"},
		"key exposed": {func(t *testing.T, dir string) {
			t.Helper()
			if err := os.Chmod(filepath.Join(dir, keyFile), 0o640); err != nil {
				t.Fatal(err)
			}
		}, ErrKey, "chmod 600"},
		"another key":   {rewrite(keyFile, func([]byte) []byte { return []byte(strings.Repeat("ab", 32)) }), ErrKey, "another key"},
		"malformed key": {rewrite(keyFile, func(b []byte) []byte { return b[:20] }), ErrKey, "32 bytes"},
	} {
		for state, stopped := range map[string]func(testing.TB) string{"closed": closedStore, "killed": killedStore} {
			t.Run(name+"/"+state, func(t *testing.T) {
				t.Parallel()
				dir := stopped(t)
				tt.spoil(t, dir)
				key, _ := os.ReadFile(filepath.Join(dir, keyFile))
				before := fingerprint(t, dir)
				for range 2 { // the second time shows that the first kept no lock
					_, err := Open(Config{Dir: dir})
					if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), dir) {
						t.Fatalf("Open: got %v, want %v naming %s and saying %q", err, tt.want, dir, tt.says)
					}
					if len(key) > 0 && strings.Contains(err.Error(), string(bytes.TrimSpace(key))) {
						t.Error("the error shows the key")
					}
				}
				if after := fingerprint(t, dir); fmt.Sprint(after) != fmt.Sprint(before) {
					t.Errorf("the directory changed from %v to %v", before, after)
				}
			})
		}
	}
}

func TestOpen_BadDirectory(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, says := range map[string]string{file: "is a file", filepath.Join(file, "sub"): "not a directory", "": "no data directory"} {
		if _, err := Open(Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("Open of %q: got %v, want it to say %q", dir, err, says)
		}
	}
}

func TestOpen_Key(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := mustOpen(t, Config{Dir: dir})
	path := filepath.Join(dir, keyFile)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("key file: got %v, %v, want mode 0600", info, err)
	}
	text, err := os.ReadFile(path)
	if err != nil || strings.TrimSpace(string(text)) != hex.EncodeToString(s.masterKey) {
		t.Errorf("a new key was not written: %v", err)
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}

	// A key may be put there before the first start, in base64 too, and the store then depends on it.
	dir = t.TempDir()
	path = filepath.Join(dir, keyFile)
	if err := os.WriteFile(path, []byte(base64.StdEncoding.EncodeToString(otherKey)), 0o600); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, Config{Dir: dir})
	if !bytes.Equal(s.masterKey, otherKey) {
		t.Error("a key in base64 was not read")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: dir}); !errors.Is(err, ErrKey) {
		t.Errorf("without its key: got %v, want ErrKey", err)
	}
}

func TestOpen_SweepsLeftovers(t *testing.T) {
	t.Parallel()
	dir := closedStore(t)
	leftover := filepath.Join(dir, bodyDir, "ab", "ab"+strings.Repeat("0", 30))
	foreign := filepath.Join(dir, bodyDir, "ab", "README")
	misplaced := filepath.Join(dir, bodyDir, "ab", strings.Repeat("0", 32))
	if err := os.MkdirAll(filepath.Dir(leftover), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{leftover, foreign, misplaced} {
		if err := os.WriteFile(p, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := mustOpen(t, Config{Dir: dir})
	if _, err := os.Stat(leftover); !isNotExist(err) {
		t.Errorf("the leftover is still there: %v", err)
	}
	for _, p := range []string{foreign, misplaced} {
		if _, err := os.Stat(p); err != nil {
			t.Errorf("a file that is not the store's was removed: %v", err)
		}
	}
	if got := get(t, s, "large", ""); got != string(pattern(100000, 1)) {
		t.Errorf("large: got %d bytes", len(got))
	}
}

func TestOpen_MissingBody_IsReported(t *testing.T) {
	t.Parallel()
	dir := closedStore(t)
	names, err := filepath.Glob(filepath.Join(dir, bodyDir, "??", "*"))
	if err != nil || len(names) != 2 {
		t.Fatalf("got files %v, %v", names, err)
	}
	for _, n := range names {
		if err := os.Remove(n); err != nil {
			t.Fatal(err)
		}
	}
	var log logBuffer
	s := mustOpen(t, Config{Dir: dir, Logger: log.logger()})
	if got := log.String(); !strings.Contains(got, filepath.Base(names[0])) || !strings.Contains(got, "large") {
		t.Errorf("log: got %s, want it to name the body and the object", got)
	}
	for _, key := range []string{"large", "sealed-large"} {
		if got := get(t, s, key, ""); got != "<InternalError>" {
			t.Errorf("%s: got %.40q, want InternalError", key, got)
		}
	}
	if got := get(t, s, "small3", ""); len(got) != 3000 {
		t.Errorf("small3: got %d bytes, want the others to be readable", len(got))
	}
	remove(t, s, "large", "")
}

// Wherever an encrypted body is damaged, reading it fails, and before the damage only
// what was written is delivered. Of others at least a wrong size is noticed.
func TestReader_DamagedFile(t *testing.T) {
	t.Parallel()
	dir := closedStore(t)
	s := mustOpen(t, Config{Dir: dir})
	file := func(key string) string {
		var name string
		err := s.view(func(txn *txn) error {
			r, err := txn.current("b", key)
			name = s.files.path(r.Bodies[0].File)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	sealed, plain := file("sealed-large"), file("large")
	original, err := os.ReadFile(sealed)
	if err != nil {
		t.Fatal(err)
	}
	content := pattern(200000, 2)
	check := func(what string, data []byte) {
		t.Helper()
		if err := os.WriteFile(sealed, data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, r, err := s.Get(t.Context(), s3model.ReadRequest{Bucket: "b", Key: "sealed-large"})
		if err != nil {
			if code(err) != "InternalError" {
				t.Errorf("%s: Get: got %v", what, err)
			}
			return
		}
		defer func() { _ = r.Close() }()
		got, err := io.ReadAll(r)
		if code(err) != "InternalError" || !bytes.HasPrefix(content, got) {
			t.Errorf("%s: got %d bytes (a prefix: %t) and %v, want an InternalError", what, len(got), bytes.HasPrefix(content, got), err)
		}
		if _, again := r.Read(make([]byte, 10)); again == nil {
			t.Errorf("%s: reading on after the error: got nil", what)
		}
		if _, err := r.Seek(int64(len(content)-1), io.SeekStart); err != nil {
			t.Error(err)
		}
		_, _ = r.Read(make([]byte, 1)) // must not panic
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	positions := []int{0, 1, 2, 4, 15, 16, sealedPackage - 1, sealedPackage, sealedPackage + 4, len(original) - 1}
	for range 30 {
		positions = append(positions, rnd.IntN(len(original)))
	}
	for _, at := range positions {
		damaged := bytes.Clone(original)
		damaged[at] ^= 1 << rnd.IntN(8)
		check(fmt.Sprintf("bit flip at %d", at), damaged)
	}
	for _, size := range []int{0, 1, sealedPackage, 2 * sealedPackage, len(original) - 1} {
		check(fmt.Sprintf("cut to %d", size), original[:size])
	}
	check("longer", append(bytes.Clone(original), 0))
	swapped := append(bytes.Clone(original[sealedPackage:2*sealedPackage]), original[:sealedPackage]...)
	check("packages swapped", append(swapped, original[2*sealedPackage:]...))
	if err := os.WriteFile(sealed, original, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := get(t, s, "sealed-large", ""); got != string(content) {
		t.Error("repaired, but not readable")
	}

	// A plain file that is cut while it is being read.
	_, r, err := s.Get(t.Context(), s3model.ReadRequest{Bucket: "b", Key: "large"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if err := os.Truncate(plain, 50000); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if len(got) != 50000 || code(err) != "InternalError" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut while reading: got %d bytes and %v", len(got), err)
	}
	if got := get(t, s, "large", ""); got != "<InternalError>" {
		t.Errorf("cut before reading: got %.40q", got)
	}
}

// An encrypted body that is put in the place of another one is refused: it is bound to
// its bucket, key and version.
func TestReader_MovedBody(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, s3model.Enabled)
	err := s.UpdateSettings(t.Context(), "b", func(x *s3model.Settings) { x.EncryptByDefault = true })
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{100, 100000} {
		old := put(t, s, "k", string(pattern(size, 1)))
		put(t, s, "k", string(pattern(size, 2)))
		put(t, s, "other", string(pattern(size, 3)))
		err := s.update(t.Context(), func(txn *txn) error {
			now, err := txn.current("b", "k")
			if err != nil {
				return err
			}
			before, _, err := txn.find("b", "k", old.VersionID)
			if err != nil {
				return err
			}
			other, err := txn.current("b", "other")
			if err != nil {
				return err
			}
			now.Bodies, before.Bodies, other.Bodies = before.Bodies, other.Bodies, now.Bodies
			if err := txn.put(objectTable, join("b", "k"), now); err != nil {
				return err
			}
			if err := txn.putHistory("b", "k", before); err != nil {
				return err
			}
			return txn.put(objectTable, join("b", "other"), other)
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, got := range []string{get(t, s, "k", ""), get(t, s, "k", old.VersionID), get(t, s, "other", "")} {
			if !strings.Contains(got, "InternalError") {
				t.Errorf("size %d: a moved body was delivered: %.20q", size, got)
			}
		}
	}
}

// Whatever bit of the database flips: no panic, and never wrong content of an encrypted object.
func TestStore_DamagedDatabase(t *testing.T) {
	t.Parallel()
	closed, killed := makeStore(t)
	for _, dir := range []string{closed, killed} {
		flipBits(t, dir)
	}
}

func flipBits(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, dbFile)
	original, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	used := len(bytes.TrimRight(original, "\x00"))
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	flips := 30
	if full() {
		flips = 3000
	}
	for range flips {
		damaged := bytes.Clone(original)
		page := rnd.IntN(used / os.Getpagesize() * os.Getpagesize())
		if rnd.IntN(2) == 0 {
			page -= page % os.Getpagesize() // the header of a page
			page += rnd.IntN(64)
		}
		damaged[page] ^= 1 << rnd.IntN(8)
		// A new file: where bbolt has found keys in the wrong order, a goroutine of it may read the old one for a while.
		if err := errors.Join(os.Remove(path), os.WriteFile(path, damaged, 0o600)); err != nil {
			t.Fatal(err)
		}
		s, err := Open(Config{Dir: dir, LifecycleInterval: -1})
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrFormat) && !errors.Is(err, ErrKey) {
				t.Errorf("byte %d: Open: got %v", page, err)
			}
			continue
		}
		_, _ = s.ListVersions(t.Context(), s3model.ListRequest{Bucket: "b", Max: 1000})
		_, _ = s.List(t.Context(), s3model.ListRequest{Bucket: "b", Max: 1000, Prefix: "small"})
		for key, size := range map[string]int{"sealed-small": 1000, "sealed-large": 200000} {
			if got := get(t, s, key, ""); !strings.HasPrefix(got, "<") && got != string(pattern(size, 2)) {
				t.Errorf("byte %d: %s has %d wrong bytes", page, key, len(got))
			}
		}
		_, _ = s.Put(t.Context(), s3model.PutRequest{Bucket: "b", Key: "new"}, strings.NewReader("x"))
		_, _ = s.Delete(t.Context(), s3model.DeleteRequest{Bucket: "b", Key: "small1"})
		_ = s.Close()
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	for errno, says := range map[syscall.Errno]string{syscall.EROFS: "mounted", syscall.EACCES: "owner", syscall.ENOSPC: "free space"} {
		err := explain(fmt.Errorf("x: %w", errno))
		if !errors.Is(err, errno) || !strings.Contains(err.Error(), says) {
			t.Errorf("explain(%v): got %v, want it to say %q", errno, err, says)
		}
	}
	if got := explain(io.EOF); !errors.Is(got, io.EOF) || got.Error() != "EOF" {
		t.Errorf("explain(EOF): got %v, want it unchanged", got)
	}
}
