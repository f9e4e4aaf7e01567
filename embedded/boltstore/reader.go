package boltstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"

	"github.com/minio/sio"

	"github.com/statelatch/statelatch/s3/s3model"
)

const (
	packageSize   = 64 << 10         // plaintext of a package of the cipher
	sealedPackage = packageSize + 32 // the same, encrypted
)

// sealedSize is the encrypted size of a body.
func sealedSize(plain int64) int64 {
	n := plain / packageSize * sealedPackage
	if rest := plain % packageSize; rest > 0 {
		n += rest + 32
	}
	return n
}

// segment is a body that can be read: plain bytes, or a file with its key.
type segment struct {
	start, size int64 // in the plaintext of the object
	data        []byte
	file        string // path; empty if in data
	key         []byte // nil if the file is not encrypted
}

// openSegment decrypts a small body, so that damage is found before the first byte is
// delivered, or prepares a file for reading.
func (s *Store) openSegment(b body, data, secret []byte, bind binding) (segment, error) {
	seg := segment{size: b.Size}
	if b.Salt != nil {
		bind.part = b.Part
		if secret == nil { // not encrypted as S3 has it, but in the database
			secret = s.masterKey
		}
		key, err := bodyKey(secret, b.Salt, bind)
		if err != nil {
			return seg, err
		}
		seg.key = key
	}
	if b.File != "" {
		if !bodyFileName.MatchString(b.File) {
			return seg, damaged("body file name %q", b.File)
		}
		seg.file = s.files.path(b.File)
		return seg, nil
	}
	want := b.Size
	if seg.key != nil {
		want = sealedSize(b.Size)
	}
	if int64(len(data)) != want {
		return seg, damaged("small body has %d bytes, not %d", len(data), want)
	}
	seg.data = data
	if seg.key != nil && b.Size > 0 {
		plain, err := openPackage(data, seg.key)
		if err != nil || int64(len(plain)) != b.Size {
			return seg, damaged("small body cannot be decrypted: %v", err)
		}
		seg.data = plain
	}
	return seg, nil
}

// newBodyReader opens bodies that the caller has pinned, and takes the pins over, also
// when it fails. A body that is wrong from its start fails here, not after an
// answer was begun.
func (s *Store) newBodyReader(bodies []body, small [][]byte, secret []byte, bind binding) (*reader, error) {
	segments := make([]segment, len(bodies))
	for i, b := range bodies {
		var err error
		if segments[i], err = s.openSegment(b, small[i], secret, bind); err != nil {
			s.files.unpin(bodies)
			return nil, failure(err)
		}
	}
	r := newReader(segments, func() { s.files.unpin(bodies) })
	if r.size > 0 {
		if err := r.openAt(0); err != nil {
			_ = r.Close()
			return nil, err
		}
	}
	return r, nil
}

// mustDecrypt has no error because the configuration, with a derived key, is always valid.
func mustDecrypt(r io.Reader, key []byte, firstPackage uint32) io.Reader {
	plain, err := sio.DecryptReader(r, cipherConfig(key, firstPackage))
	if err != nil {
		panic("boltstore: " + err.Error())
	}
	return plain
}

// reader delivers the segments of an object one after the other, with one open file
// at a time. It fails rather than deliver less than the object's size.
type reader struct {
	segments []segment
	size     int64
	release  func() // lets go of the files

	pos  int64 // what the caller reads next
	src  io.Reader
	file *os.File
	left int64 // in the current segment
	err  error // sticky until the next seek
	done bool
}

func newReader(segments []segment, release func()) *reader {
	r := &reader{segments: segments, release: release}
	for i := range segments {
		segments[i].start = r.size
		r.size += segments[i].size
	}
	return r
}

// Read implements io.Reader. A damaged body is an *s3model.Error.
func (r *reader) Read(p []byte) (int, error) {
	switch {
	case r.done:
		return 0, os.ErrClosed
	case r.err != nil:
		return 0, r.err
	case r.pos >= r.size:
		return 0, io.EOF
	case len(p) == 0:
		return 0, nil
	}
	if r.left == 0 {
		if r.err = r.openAt(r.pos); r.err != nil {
			return 0, r.err
		}
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.src.Read(p)
	r.pos += int64(n)
	r.left -= int64(n)
	if err != nil && r.left > 0 {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		r.err = failure(fmt.Errorf("%w: body breaks off at byte %d of %d: %w", errDamaged, r.pos, r.size, err))
		return n, r.err
	}
	return n, nil
}

// openAt makes the segment at pos the current one.
func (r *reader) openAt(pos int64) error {
	r.closeFile()
	i := sort.Search(len(r.segments), func(i int) bool { return r.segments[i].start+r.segments[i].size > pos })
	seg := &r.segments[i]
	skip := pos - seg.start
	r.left = 0
	if seg.file == "" {
		r.src = bytes.NewReader(seg.data[skip:])
		r.left = seg.size - skip
		return nil
	}
	file, err := os.Open(seg.file)
	if err != nil {
		return failure(fmt.Errorf("open body file: %w", err))
	}
	r.file = file
	want := seg.size
	if seg.key != nil {
		want = sealedSize(seg.size)
	}
	info, err := file.Stat()
	if err != nil {
		return failure(fmt.Errorf("open body file: %w", err))
	}
	if info.Size() != want {
		return failure(damaged("body file %s has %d bytes, not %d", seg.file, info.Size(), want))
	}
	if seg.key == nil {
		r.src = io.NewSectionReader(file, skip, want-skip)
	} else {
		first := skip / packageSize
		r.src = mustDecrypt(io.NewSectionReader(file, first*sealedPackage, want-first*sealedPackage), seg.key, uint32(first))
		if _, err := io.CopyN(io.Discard, r.src, skip%packageSize); err != nil {
			return failure(damaged("body file %s: %v", seg.file, err))
		}
	}
	r.left = seg.size - skip
	return nil
}

// Seek implements io.Seeker.
func (r *reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += r.pos
	case io.SeekEnd:
		offset += r.size
	default:
		return r.pos, s3model.ErrInternal.With("", fmt.Errorf("seek with unknown whence %d", whence))
	}
	if offset < 0 {
		return r.pos, s3model.ErrInternal.With("", fmt.Errorf("seek to %d, before the start", offset))
	}
	if offset != r.pos {
		r.pos, r.left, r.err = offset, 0, nil
	}
	return offset, nil
}

func (r *reader) closeFile() {
	if r.file != nil {
		_ = r.file.Close() // only read
		r.file = nil
	}
}

// Close implements io.Closer. A second call does nothing.
func (r *reader) Close() error {
	if r.done {
		return nil
	}
	r.done = true
	r.closeFile()
	r.release()
	return nil
}
