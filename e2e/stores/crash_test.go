package stores

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/e2e/internal/rig"
	"github.com/statelatch/statelatch/lock"
)

// crashRounds is how often the server is killed: 300 on a full run.
func crashRounds(t *testing.T) int {
	t.Helper()
	if s := os.Getenv("STATELATCH_CRASH_ROUNDS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("STATELATCH_CRASH_ROUNDS=%q: %v", s, err)
		}
		return n
	}
	if rig.Full() {
		return 300
	}
	return 10
}

// body is recognisable, and its size differs from write to write: inline, at the edge, and in a file of its own.
func body(writer, n int) []byte {
	seed := sha256.Sum256(fmt.Appendf(nil, "%d/%d", writer, n))
	random := rand.New(rand.NewChaCha8(seed))
	size := []int{1 + random.IntN(4096), 65_536 + random.IntN(3) - 1, 100_000 + random.IntN(200_000)}[n%3]
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return append(fmt.Appendf(nil, "%d/%d ", writer, n), b...)
}

// writer overwrites one object by compare-and-swap and takes and releases one lock, over and over, and knows
// what was acknowledged.
type writer struct {
	id        int
	n         int    // of the last acknowledged write of the object
	etag      string // of it
	pending   int    // the write that was under way, 0 if none
	lockETag  string // of the lock held, empty if none
	lockDoubt bool   // an acquire or a release was under way
}

func (w *writer) key() string { return fmt.Sprintf("crash/%d", w.id) }

func (w *writer) ref() statelatch.Ref {
	return statelatch.Ref{Bucket: "terraform-state", Key: w.key() + ".tfstate"}
}

// work goes on until a request fails, which the dying server sees to.
func (w *writer) work(ctx context.Context, b bucket.Bucket) {
	for ctx.Err() == nil {
		w.pending = w.n + 1
		cond := bucket.IfAbsent
		if w.etag != "" {
			cond = bucket.IfMatch(w.etag)
		}
		obj, err := b.Put(ctx, w.key(), bytes.NewReader(body(w.id, w.pending)), bucket.PutOptions{If: cond})
		if err != nil {
			return
		}
		w.n, w.etag, w.pending = w.pending, obj.ETag, 0

		w.lockDoubt = true
		if w.lockETag == "" {
			info := statelatch.LockInfo{ID: fmt.Sprintf("%d-%d", w.id, w.n), Who: "crash", Path: w.ref().Path()}
			obj, err = b.Put(ctx, w.ref().LockKey(), bytes.NewReader(info.Marshal()), bucket.PutOptions{If: bucket.IfAbsent})
		} else {
			_, err = b.Delete(ctx, w.ref().LockKey(), bucket.DeleteOptions{If: bucket.IfMatch(w.lockETag)})
			obj.ETag = ""
		}
		if err != nil {
			return
		}
		w.lockETag = obj.ETag
		w.lockDoubt = false
	}
}

// verify compares what the reopened store holds with what was acknowledged, and adopts what it finds.
func (w *writer) verify(ctx context.Context, b bucket.Bucket) error {
	obj, got, err := bucket.ReadAll(ctx, b, w.key(), 1<<20)
	switch {
	case errors.Is(err, statelatch.ErrNotFound) && w.n == 0:
	case err != nil:
		return fmt.Errorf("writer %d, acknowledged write %d: %w", w.id, w.n, err)
	case w.n > 0 && bytes.Equal(got, body(w.id, w.n)):
		w.etag = obj.ETag
	case w.pending > 0 && bytes.Equal(got, body(w.id, w.pending)):
		w.n, w.etag = w.pending, obj.ETag
	default:
		return fmt.Errorf("writer %d: the store holds %.20q (%d bytes), neither the acknowledged write %d nor the pending %d",
			w.id, got, len(got), w.n, w.pending)
	}
	w.pending = 0

	h, err := (&lock.Manager{Bucket: b}).Status(ctx, w.ref())
	free := errors.Is(err, statelatch.ErrNotLocked)
	switch {
	case err != nil && !free:
		return fmt.Errorf("writer %d: lock: %w", w.id, err)
	case !free && h.Err != nil:
		return fmt.Errorf("writer %d: half a lock: %w", w.id, h.Err)
	case !w.lockDoubt && free != (w.lockETag == ""):
		return fmt.Errorf("writer %d: lock is free: %v, acknowledged was held: %v", w.id, free, w.lockETag != "")
	}
	w.lockETag, w.lockDoubt = h.ETag, false
	return nil
}

// The server is killed at random moments under concurrent writes. Every acknowledged write is there and whole,
// every lock is there or not, and the store opens again.
func TestServe_KilledAtRandomMoments(t *testing.T) {
	t.Parallel()
	w := rig.NewWorld(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	w.Env["STATELATCH_ACCESS_KEY_ID"], w.Env["STATELATCH_SECRET_ACCESS_KEY"] = "crash-access-key-id", "crash-secret-access-key-of-the-tests"
	writers := make([]*writer, 8)
	for i := range writers {
		writers[i] = &writer{id: i}
	}
	open := func(s *rig.Server) bucket.Bucket {
		b, err := s3bucket.Open(t.Context(), "terraform-state", s3bucket.Config{
			Endpoints: s3bucket.Endpoints{S3: s.URL}, UsePathStyle: true, AccessKey: "crash-access-key-id", SecretKey: "crash-secret-access-key-of-the-tests",
		})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	rounds := crashRounds(t)
	for round := range rounds {
		s := w.Serve()
		b := open(s)
		for _, wr := range writers {
			if err := wr.verify(t.Context(), b); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}
		ctx, stop := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for _, wr := range writers {
			all.Go(func() { wr.work(ctx, b) })
		}
		time.Sleep(time.Duration(random.IntN(150)) * time.Millisecond) // the random moment
		s.Signal(syscall.SIGKILL)
		<-s.Done
		stop()
		all.Wait()
	}
	s := w.Serve()
	total := 0
	for _, wr := range writers {
		if err := wr.verify(t.Context(), open(s)); err != nil {
			t.Fatalf("after the last round: %v", err)
		}
		total += wr.n
	}
	t.Logf("%d acknowledged writes and as many lock changes over %d kills, none lost or torn", total, rounds)
}
