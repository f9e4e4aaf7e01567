package state_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/state"
)

// largeBody is a state of n bytes that takes no memory: one long string of 'x' inside an object.
type largeBody struct {
	head, tail string
	n, at      int64
}

var filling = strings.Repeat("x", 64<<10)

func newLargeBody(serial int, n int64) *largeBody {
	head, tail, _ := strings.Cut(body(serial, lineage, "#"), "#")
	return &largeBody{head: head, tail: tail, n: n}
}

func (b *largeBody) Read(p []byte) (int, error) {
	if b.at >= b.n {
		return 0, io.EOF
	}
	var n int
	switch tail := b.n - int64(len(b.tail)); {
	case b.at < int64(len(b.head)):
		n = copy(p, b.head[b.at:])
	case b.at >= tail:
		n = copy(p, b.tail[b.at-tail:])
	default:
		n = copy(p[:min(int64(len(p)), tail-b.at)], filling)
	}
	b.at += int64(n)
	return n, nil
}

func (b *largeBody) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += b.at
	case io.SeekEnd:
		offset += b.n
	}
	b.at = offset
	return offset, nil
}

// largeBucket has one object, large, and only takes the sum of what is put.
type largeBucket struct {
	bucket.Bucket
	object *largeBody
	put    [sha256.Size]byte
	size   int64
}

func (*largeBucket) Name() string { return ref.Bucket }

func (b *largeBucket) Get(context.Context, string, bucket.ReadOptions) (bucket.Object, io.ReadCloser, error) {
	again := *b.object
	return bucket.Object{ETag: `"large"`, Size: b.object.n}, io.NopCloser(&again), nil
}

func (b *largeBucket) Put(_ context.Context, _ string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error) {
	if opts.If.ETag() != `"large"` {
		return bucket.Object{}, errors.Join(statelatch.ErrPreconditionFailed)
	}
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return bucket.Object{}, err
	}
	sum := sha256.New()
	size, err := io.Copy(sum, body)
	b.size = size
	copy(b.put[:], sum.Sum(nil))
	return bucket.Object{ETag: `"written"`}, err
}

// A large state is never in memory: reading, writing, forcing and touching one of 16 MiB allocates a
// fraction of it in all. Not parallel: it measures the whole process.
func TestStore_LargeStatesStream(t *testing.T) {
	const size = 16 << 20
	for name, do := range map[string]func(t *testing.T, s *state.Store) (written int64){
		"open": func(t *testing.T, s *state.Store) int64 {
			t.Helper()
			v, body, err := s.Open(t.Context(), ref)
			if err != nil {
				t.Fatal(err)
			}
			defer body.Close()
			if n, err := io.Copy(io.Discard, body); err != nil || n != size || v.Size != size {
				t.Errorf("read %d bytes, %v", n, err)
			}
			return 0
		},
		"touch": func(t *testing.T, s *state.Store) int64 {
			t.Helper()
			if err := s.Touch(t.Context(), ref); err != nil {
				t.Fatal(err)
			}
			return size - 1 + 129
		},
		"write": func(t *testing.T, s *state.Store) int64 {
			t.Helper()
			return writeLarge(t, s, newLargeBody(11, size))
		},
		"force": func(t *testing.T, s *state.Store) int64 {
			t.Helper()
			return writeLarge(t, s, newLargeBody(7, size)) + 1 // 10 becomes 11, 7 becomes 11
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := &largeBucket{object: newLargeBody(10, size)}
			s := &state.Store{Bucket: store, SpoolDir: t.TempDir()}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			want := do(t, s)
			runtime.ReadMemStats(&after)
			if got := after.TotalAlloc - before.TotalAlloc; got > size/2 {
				t.Errorf("allocated %d MiB in all for a state of %d MiB", got>>20, size>>20)
			}
			if store.size != want {
				t.Errorf("stored %d bytes, want %d", store.size, want)
			}
		})
	}
}

func writeLarge(t *testing.T, s *state.Store, large *largeBody) (written int64) {
	t.Helper()
	x, err := s.Begin(t.Context(), holding())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Write(t.Context(), large, state.WriteOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	return large.n
}
