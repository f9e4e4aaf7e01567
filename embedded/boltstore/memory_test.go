package boltstore

import (
	"io"
	"runtime"
	"testing"

	"github.com/statelatch/statelatch/s3/s3model"
)

// heapWatch is a stream of zeros that notes the largest heap while it is read or written.
type heapWatch struct{ left, since, peak int64 }

func (h *heapWatch) pass(n int) {
	if h.since += int64(n); h.since >= 8<<20 {
		h.since = 0
		h.sample()
	}
}

func (h *heapWatch) sample() {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	h.peak = max(h.peak, int64(m.HeapAlloc))
}

func (h *heapWatch) Read(p []byte) (int, error) {
	if h.left == 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), h.left))
	clear(p[:n])
	h.left -= int64(n)
	h.pass(n)
	return n, nil
}

func (h *heapWatch) Write(p []byte) (int, error) {
	h.pass(len(p))
	return len(p), nil
}

// Not parallel: other tests would be measured as well.
func TestStore_Memory_DoesNotGrowWithBody(t *testing.T) { //nolint:paralleltest // see above
	const size, limit = 256 << 20, 8 << 20
	s, _ := newStore(t, s3model.Unversioned)
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	base := int64(m.HeapAlloc)
	w := &heapWatch{left: size}
	o, err := s.Put(t.Context(), s3model.PutRequest{Bucket: "b", Key: "k", Encryption: s3model.Encryption{SSES3: true}}, w)
	if err != nil || o.Size != size {
		t.Fatalf("Put: got %d bytes, %v", o.Size, err)
	}
	_, r, err := s.Get(t.Context(), s3model.ReadRequest{Bucket: "b", Key: "k"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if n, err := io.Copy(struct{ io.Writer }{w}, struct{ io.Reader }{r}); n != size || err != nil {
		t.Fatalf("Get: got %d bytes, %v", n, err)
	}
	if grown := w.peak - base; grown > limit {
		t.Errorf("the heap grew by %d bytes for a body of %d, want at most %d", grown, size, limit)
	}
}
