package buckettest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// The size of the race between readers and writers of large bodies.
const (
	tornSize    = 1 << 20
	tornWriters = 2
	tornReaders = 4
	tornWrites  = 8 // by each writer
)

func tornChecks() []Check {
	return []Check{
		{Name: "get/overwritten-while-read", Func: getOverwrittenWhileRead},
		{Name: "get/deleted-while-read", Func: getDeletedWhileRead},
		{Name: "contention/torn-reads", Func: raceTornReads},
	}
}

// stampedBody tells in every word which body it is and where in it the word stands, so that a mixture of two bodies
// shows. It is made as it is read and costs no memory. The size is a multiple of 8.
type stampedBody struct {
	stamp        uint32
	size, offset int64
}

func stamped(stamp uint32, size int64) *stampedBody { return &stampedBody{stamp: stamp, size: size} }

func (b *stampedBody) word() uint64 { return uint64(b.stamp)<<32 | uint64(b.offset/8) }

// Read implements [io.Reader].
func (b *stampedBody) Read(p []byte) (n int, err error) {
	if b.offset >= b.size {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), b.size-b.offset)]
	for n < len(p) {
		var word [8]byte
		binary.BigEndian.PutUint64(word[:], b.word())
		copied := copy(p[n:], word[b.offset%8:])
		n += copied
		b.offset += int64(copied)
	}
	return n, nil
}

// Seek implements [io.Seeker].
func (b *stampedBody) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += b.offset
	case io.SeekEnd:
		offset += b.size
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek to %d: before the start", offset)
	}
	b.offset = offset
	return offset, nil
}

// errTorn is what readStamped returns for a body that is not of one piece.
var errTorn = errors.New("not one whole body")

// readStamped reads a stamped body to its end, without keeping it, and tells which one it is
// and how long. An error of r is returned as it is.
func readStamped(r io.Reader) (stamp uint32, size int64, err error) {
	source := &lastError{Reader: r}
	words := bufio.NewReaderSize(source, 64<<10)
	var expected *stampedBody
	for {
		var b [8]byte
		n, err := io.ReadFull(words, b[:])
		switch {
		case err == nil:
		case source.err != io.EOF: //nolint:errorlint // the end of a body is io.EOF itself, anything else is an error
			return 0, 0, source.err
		case n != 0:
			return 0, 0, fmt.Errorf("%w: it ends with %d bytes of a word, want 8", errTorn, n)
		case expected == nil:
			return 0, 0, nil
		default:
			return expected.stamp, expected.offset, nil
		}
		got := binary.BigEndian.Uint64(b[:])
		if expected == nil {
			expected = stamped(uint32(got>>32), 0)
		}
		if got != expected.word() {
			return 0, 0, fmt.Errorf("%w: got word %d of body %d at offset %d of body %d", errTorn, got&0xffffffff, got>>32,
				expected.offset, expected.stamp)
		}
		expected.offset += 8
	}
}

// lastError remembers how a body ended, which bufio and io.ReadFull reword.
type lastError struct {
	io.Reader
	err error
}

func (r *lastError) Read(p []byte) (n int, err error) {
	n, r.err = r.Reader.Read(p)
	return n, r.err
}

// putStamped writes a stamped body.
func (p *Probe) putStamped(ctx context.Context, key string, stamp uint32, size int64) (bucket.Object, error) {
	obj, err := p.Bucket.Put(ctx, key, stamped(stamp, size), bucket.PutOptions{})
	if err != nil {
		return obj, fmt.Errorf("put %d bytes under %q: got %w, want success", size, key, err)
	}
	return obj, nil
}

// getStamped reads a stamped body and expects the sizes to agree.
func (p *Probe) getStamped(ctx context.Context, key string) (obj bucket.Object, stamp uint32, err error) {
	obj, r, err := p.Bucket.Get(ctx, key, bucket.ReadOptions{})
	if err != nil {
		return obj, 0, fmt.Errorf("get %q: got %w, want success", key, err)
	}
	stamp, size, err := readStamped(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return obj, 0, fmt.Errorf("read the body of %q: %w", key, err)
	}
	if size != obj.Size {
		return obj, 0, fmt.Errorf("get %q: got a body of %d bytes and Size %d, want them equal", key, size, obj.Size)
	}
	return obj, stamp, nil
}

// sizeOf gives bodies different sizes, so that a reader that asks for the size first is found out.
func sizeOf(stamp uint32) int64 { return tornSize + 8000*int64(stamp%7) }

func getOverwrittenWhileRead(ctx context.Context, p *Probe) error {
	return p.whileRead(ctx, func(key string) error {
		_, err := p.putStamped(ctx, key, 2, largeSize)
		return err
	})
}

func getDeletedWhileRead(ctx context.Context, p *Probe) error {
	return p.whileRead(ctx, func(key string) error {
		_, err := p.remove(ctx, key, "")
		return err
	})
}

// whileRead changes an object under a reader that has seen its first half. The reader must get the
// version it opened, or an error.
func (p *Probe) whileRead(ctx context.Context, change func(key string) error) error {
	key := p.key("object")
	if _, err := p.putStamped(ctx, key, 1, largeSize); err != nil {
		return err
	}
	_, r, err := p.Bucket.Get(ctx, key, bucket.ReadOptions{})
	if err != nil {
		return fmt.Errorf("get %q: got %w, want success", key, err)
	}
	defer r.Close()
	half := make([]byte, largeSize/2)
	if _, err := io.ReadFull(r, half); err != nil {
		return fmt.Errorf("read the first half of %q: got %w, want success", key, err)
	}
	if err := change(key); err != nil {
		return err
	}
	stamp, size, err := readStamped(io.MultiReader(bytes.NewReader(half), r))
	switch {
	case errors.Is(err, errTorn):
		return err
	case err != nil:
		return nil // the driver says so, and its caller will read again
	case stamp != 1 || size != largeSize:
		return fmt.Errorf("got %d bytes of body %d without an error, want %d of body 1", size, stamp, largeSize)
	}
	return nil
}

// raceTornReads: while writers replace a large object, every read is of one version, with the ETag of that version.
func raceTornReads(ctx context.Context, p *Probe) error {
	key := p.key("object")
	seen := &sightings{stamps: make(map[string]uint32)}
	obj, err := p.putStamped(ctx, key, 0, sizeOf(0))
	if err != nil {
		return err
	}
	if err := seen.add(obj.ETag, 0); err != nil {
		return err
	}

	var writers, readers sync.WaitGroup
	errs := make(chan error, tornWriters+tornReaders)
	for w := range tornWriters {
		writers.Go(func() { errs <- p.tornWriter(ctx, key, w, seen) })
	}
	written := make(chan struct{})
	for range tornReaders {
		readers.Go(func() { errs <- p.tornReader(ctx, key, seen, written) })
	}
	writers.Wait()
	close(written)
	readers.Wait()
	close(errs)
	for e := range errs {
		err = errors.Join(err, e)
	}
	return err
}

func (p *Probe) tornWriter(ctx context.Context, key string, writer int, seen *sightings) error {
	for n := range tornWrites {
		stamp := uint32(1 + writer*tornWrites + n)
		var obj bucket.Object
		var err error
		for range patience {
			// The same bytes may be written twice, so an unknown outcome is no obstacle.
			obj, err = p.putStamped(ctx, key, stamp, sizeOf(stamp))
			if !errors.Is(err, statelatch.ErrAmbiguous) && !errors.Is(err, statelatch.ErrConflict) || ctx.Err() != nil {
				break
			}
		}
		if err != nil {
			return err
		}
		if err := seen.add(obj.ETag, stamp); err != nil {
			return err
		}
	}
	return nil
}

// tornReader reads until the writers are done, and once more.
func (p *Probe) tornReader(ctx context.Context, key string, seen *sightings, written <-chan struct{}) error {
	for last := false; ; {
		obj, stamp, err := p.getStamped(ctx, key)
		if err != nil {
			return err
		}
		if obj.Size != sizeOf(stamp) {
			return fmt.Errorf("%w: got %d bytes of body %d, want %d", errTorn, obj.Size, stamp, sizeOf(stamp))
		}
		if err := seen.add(obj.ETag, stamp); err != nil {
			return err
		}
		if last {
			return nil
		}
		select {
		case <-written:
			last = true
		default:
		}
	}
}

// sightings remembers which body each ETag was seen with.
type sightings struct {
	mu     sync.Mutex
	stamps map[string]uint32
}

func (s *sightings) add(etag string, stamp uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if before, ok := s.stamps[etag]; ok && before != stamp {
		return fmt.Errorf("got ETag %s with body %d and with body %d, want it with one", etag, before, stamp)
	}
	s.stamps[etag] = stamp
	return nil
}
