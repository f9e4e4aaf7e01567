package boltstore

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/statelatch/statelatch/s3/s3model"
)

// childRoles are what a re-executed test binary can be told to do; see TestMain.
var childRoles = map[string]func(dir string) error{"crash": crashChild}

func runChild(role string) int {
	run := childRoles[role]
	if run == nil {
		fmt.Fprintln(os.Stderr, "unknown role", role)
		return 2
	}
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// child prepares this test binary to run in a role, in a data directory.
func child(t *testing.T, role, dir string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "STATELATCH_TEST_CHILD="+role)
	return cmd
}

const (
	crashWriters = 8
	crashSwept   = 20 // versions that a sweep removes at once
)

// crashConfig is a store that is compacted whenever it can be, under a clock for which whatever was written before is old.
func crashConfig(dir string) Config {
	var days atomic.Int64
	clock := func() time.Time { return time.Now().AddDate(0, 0, int(days.Add(2))) }
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	return Config{Dir: dir, Clock: clock, Logger: log, LifecycleInterval: -1, worthwhile: 1}
}

// crashContent is what write n of a writer stores: sizes on both sides of maxInline.
func crashContent(writer, n int) []byte {
	size := (writer*7919 + n*104729) % 100000
	return pattern(size, uint64(writer)<<32|uint64(n))
}

// crashChild writes, removes and sweeps until it is killed, and prints "writer n version" for every write that was
// acknowledged, "removed writer version" for every version that is gone, and "swept n" when of "swept" no version but
// the latest is left of those before write n. Each writer continues where the last child's left off.
func crashChild(dir string) error {
	s, err := Open(crashConfig(dir))
	if err != nil {
		return err
	}
	first, err := strconv.Atoi(os.Getenv("STATELATCH_TEST_FIRST"))
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := s.CreateBucket(ctx, "b", ""); err != nil && code(err) != "BucketAlreadyOwnedByYou" {
		return err
	}
	err = s.UpdateSettings(ctx, "b", func(x *s3model.Settings) {
		x.Versioning, x.EncryptByDefault = s3model.Enabled, true
		x.Lifecycle = []s3model.LifecycleRule{rule(func(r *s3model.LifecycleRule) { r.Prefix, r.NoncurrentDays = "swept", 1 })}
	})
	if err != nil {
		return err
	}
	failed := make(chan error, crashWriters+1)
	for w := range crashWriters {
		go func() {
			last := ""
			for n := first; ; n++ {
				version, err := crashWrite(ctx, s, w, n)
				if err != nil {
					failed <- err
					return
				}
				fmt.Fprintf(os.Stdout, "%d %d %s\n", w, n, version)
				if w%4 == 1 && last != "" {
					if _, err := s.Delete(ctx, s3model.DeleteRequest{Bucket: "b", Key: fmt.Sprint(w), VersionID: last}); err != nil {
						failed <- err
						return
					}
					fmt.Fprintf(os.Stdout, "removed %d %s\n", w, last)
				}
				last = version
			}
		}()
	}
	go func() {
		for n := first; ; n += crashSwept {
			for i := range crashSwept {
				if _, err := s.Put(ctx, s3model.PutRequest{Bucket: "b", Key: "swept"}, strings.NewReader(fmt.Sprint(n+i))); err != nil {
					failed <- err
					return
				}
			}
			if err := s.Sweep(ctx); err != nil {
				failed <- err
				return
			}
			fmt.Fprintf(os.Stdout, "swept %d\n", n+crashSwept-1)
		}
	}()
	return <-failed
}

func crashWrite(ctx context.Context, s *Store, w, n int) (version string, err error) {
	key, body := fmt.Sprint(w), bytes.NewReader(crashContent(w, n))
	if w%4 != 3 {
		o, err := s.Put(ctx, s3model.PutRequest{Bucket: "b", Key: key}, body)
		return o.VersionID, err
	}
	id, _, err := s.CreateUpload(ctx, s3model.PutRequest{Bucket: "b", Key: key})
	if err != nil {
		return "", err
	}
	p, err := s.PutPart(ctx, s3model.PartRequest{Bucket: "b", Key: key, UploadID: id, Number: 1}, body)
	if err != nil {
		return "", err
	}
	o, err := s.CompleteUpload(ctx, s3model.CompleteRequest{Bucket: "b", Key: key, UploadID: id, Parts: []s3model.Part{p}, Size: -1})
	return o.VersionID, err
}

// The process is killed at random moments under concurrent writes, removals and sweeps, and while it opens the store and
// compacts it: every write that was acknowledged is there and whole, every version that was removed stays removed, and
// what was not acknowledged leaves nothing behind. STATELATCH_CRASH_ROUNDS sets the number of kills.
func TestStore_Kill9_KeepsAcknowledged(t *testing.T) {
	t.Parallel()
	rounds := 20
	if full() {
		rounds = 300
	}
	if v := os.Getenv("STATELATCH_CRASH_ROUNDS"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatalf("STATELATCH_CRASH_ROUNDS=%q: %v", v, err)
		}
		rounds = n
	}
	dir := t.TempDir()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	is := crashState{written: map[string]crashed{}, removed: map[string]string{}}
	compacted := 0
	for round := range rounds {
		first := round * 1000000
		lines, log := runAndKill(t, dir, first, 1+rnd.IntN(60), round > 0 && rnd.IntN(4) == 0)
		compacted += strings.Count(log, "compacting")
		s, err := Open(Config{Dir: dir, LifecycleInterval: -1})
		if err != nil {
			t.Fatalf("round %d: the store does not open again: %v", round, err)
		}
		is.note(t, lines)
		is.check(t, s, round)
		checkStorage(t, s)
		if rnd.IntN(3) == 0 { // the next child finds a store that is mostly free
			is.thin(t, s)
		}
		if rnd.IntN(2) == 0 { // else the list of free pages stays out of date, as after a crash
			s.list.outdated = false
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if compacted == 0 {
		t.Error("no child compacted the store")
	}
	t.Logf("%d acknowledged writes, %d removals, %d compactions in %d rounds", is.writes, is.removals, compacted, rounds)
}

// crashed is an acknowledged write.
type crashed struct{ writer, n int }

// crashState is what the children acknowledged, by version.
type crashState struct {
	written          map[string]crashed
	removed          map[string]string // the key
	swept            int
	writes, removals int
}

func (c *crashState) note(t *testing.T, lines []string) {
	t.Helper()
	for _, line := range lines {
		var w, n int
		var version string
		if _, err := fmt.Sscanf(line, "removed %d %s", &w, &version); err == nil {
			delete(c.written, version)
			c.removed[version] = fmt.Sprint(w)
			c.removals++
			continue
		}
		if _, err := fmt.Sscanf(line, "swept %d", &n); err == nil {
			c.swept = n
			continue
		}
		if _, err := fmt.Sscanf(line, "%d %d %s", &w, &n, &version); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		c.written[version] = crashed{w, n}
		c.writes++
	}
}

// check compares the store with what was acknowledged. A removal that was under way may have been done.
func (c *crashState) check(t *testing.T, s *Store, round int) {
	t.Helper()
	newest := map[int]int{}
	for _, w := range c.written {
		newest[w.writer] = max(newest[w.writer], w.n)
	}
	for version, w := range c.written {
		got := get(t, s, fmt.Sprint(w.writer), version)
		if w.writer%4 == 1 && w.n+1 == newest[w.writer] && got == "<NoSuchVersion>" {
			delete(c.written, version)
		} else if got != string(crashContent(w.writer, w.n)) {
			t.Fatalf("round %d: acknowledged write %d of writer %d: got %d bytes (%.40q)", round, w.n, w.writer, len(got), got)
		}
	}
	for version, key := range c.removed {
		if got := get(t, s, key, version); got != "<NoSuchVersion>" {
			t.Fatalf("round %d: the removed version %s of %s: got %d bytes (%.40q)", round, version, key, len(got), got)
		}
	}
	page, err := s.ListVersions(t.Context(), s3model.ListRequest{Bucket: "b", Prefix: "swept", Max: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range page.Objects {
		n, err := strconv.Atoi(get(t, s, "swept", o.VersionID))
		if err != nil || n < c.swept {
			t.Fatalf("round %d: version %d of swept is there (%v) although all before %d are gone", round, n, err, c.swept)
		}
	}
}

// thin removes nearly all that was written.
func (c *crashState) thin(t *testing.T, s *Store) {
	t.Helper()
	for version, w := range c.written {
		if len(c.written) < crashWriters {
			return
		}
		remove(t, s, fmt.Sprint(w.writer), version)
		delete(c.written, version)
		c.removed[version] = fmt.Sprint(w.writer)
	}
}

// runAndKill starts a child, kills it after so many acknowledgements, or as soon as it runs, and returns all of them
// and its log.
func runAndKill(t *testing.T, dir string, first, after int, early bool) (lines []string, log string) {
	t.Helper()
	cmd := child(t, "crash", dir)
	cmd.Env = append(cmd.Env, fmt.Sprint("STATELATCH_TEST_FIRST=", first))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if early {
		after = 0
		time.Sleep(rand.N(20 * time.Millisecond)) // about what it takes to start and to open the store
		_ = cmd.Process.Kill()
	}
	in := bufio.NewReader(out)
	for {
		line, err := in.ReadString('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, strings.TrimSpace(line))
		if len(lines) == after {
			_ = cmd.Process.Kill() // what is in the pipe was acknowledged as well
		}
	}
	err = cmd.Wait()
	if len(lines) < after {
		t.Fatalf("the child ended by itself: %v\n%s", err, stderr.String())
	}
	return lines, stderr.String()
}

// checkStorage verifies what checkBodies does, the database's pages, and that every
// version can be read.
func checkStorage(t *testing.T, s *Store) {
	t.Helper()
	page, err := s.ListVersions(t.Context(), s3model.ListRequest{Bucket: "b", Max: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range page.Objects {
		if got := get(t, s, o.Key, o.VersionID); !o.DeleteMarker && int64(len(got)) != o.Size {
			t.Fatalf("%s %s: got %d bytes (%.40q), want %d", o.Key, o.VersionID, len(got), got, o.Size)
		}
	}
	err = s.view(func(txn *txn) error {
		for e := range txn.Check() {
			t.Errorf("bbolt: %v", e)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	checkBodies(t, s)
}

// checkBodies verifies that exactly the bodies that records name are stored.
func checkBodies(t *testing.T, s *Store) {
	t.Helper()
	named := map[string]bool{}
	inline := map[uint64]bool{}
	note := func(bodies ...body) {
		for _, b := range bodies {
			if b.File != "" {
				named[b.File] = true
			}
			if b.Inline != 0 {
				inline[b.Inline] = true
			}
		}
	}
	err := s.view(func(txn *txn) error {
		for _, table := range [][]byte{objectTable, historyTable} {
			err := scan(txn.Tx, table, nil, func(k, v []byte) (bool, error) {
				r := &record{}
				err := txn.decode(table, k, v, r)
				note(r.Bodies...)
				return true, err
			})
			if err != nil {
				return err
			}
		}
		err := scan(txn.Tx, partTable, nil, func(k, v []byte) (bool, error) {
			p := &partRecord{}
			err := txn.decode(partTable, k, v, p)
			note(p.Body)
			return true, err
		})
		if err != nil {
			return err
		}
		files, small := 0, 0
		if err := scan(txn.Tx, fileTable, nil, func(_, _ []byte) (bool, error) { files++; return true, nil }); err != nil {
			return err
		}
		if err := scan(txn.Tx, bodyTable, nil, func(_, _ []byte) (bool, error) { small++; return true, nil }); err != nil {
			return err
		}
		if files != len(named) || small != len(inline) {
			t.Errorf("tables hold %d files and %d small bodies, records name %d and %d", files, small, len(named), len(inline))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := bodyFileCount(t, s); n != len(named) {
		t.Errorf("%d body files on the disk, records name %d", n, len(named))
	}
}
