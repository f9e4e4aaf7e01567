package state

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/statelatch/statelatch"
)

// contentSum identifies a body without its trailing blanks.
type contentSum [sha256.Size]byte

// shape is what is known of the inside of a body, beyond its header.
type shape struct {
	end                 int64 // offset behind the last byte that is not blank
	serialAt, serialEnd int64 // where the number of "serial" stands; both 0: nowhere
	resources, outputs  bool  // there is at least one
	unfit               error // why no engine would take it for a state, although it has a state's header
}

// Fit is nil for a body that engines read as a state, or as none, which is zero bytes. It reads to the end, and keeps
// nothing. Errors match statelatch.ErrInvalid, or are the reader's.
func Fit(body io.Reader) error {
	v, err := examine(body)
	if err != nil || v.Header.Empty {
		return err
	}
	return v.Unfit()
}

// examine reads a body from its start to its end, once, and keeps nothing of it. It fills the fields of a
// Version that the body decides. Its error is r's; a body that is no state is told in Version.Err.
func examine(r io.Reader) (Version, error) {
	e := &examiner{md5: md5.New(), sha: sha256.New()}
	e.sha.Sum(e.content[:0])
	source := &errorReader{r: r}
	// What the header's reader does not need is still seen, by e.
	seen := io.TeeReader(source, e)
	header, err := statelatch.ReadStateHeader(seen)
	if source.err == nil {
		_, _ = io.Copy(io.Discard, seen)
	}
	if source.err != nil && !errors.Is(source.err, io.EOF) {
		return Version{}, source.err
	}
	v := Version{
		Exists: true, Size: e.size, MD5: hex.EncodeToString(e.md5.Sum(nil)), content: e.content,
		shape: e.outline.shape,
	}
	v.shape.end = e.end
	if err == nil && !header.Empty {
		err = e.outline.whole()
	}
	if err == nil {
		v.Header = header
	}
	if err == nil && !header.Empty {
		v.shape.unfit = e.outline.unfit(header)
	} else if known := e.outline.known(); known != "" {
		err = fmt.Errorf("%w state: it is %s", statelatch.ErrInvalid, known)
	}
	v.Err = err
	return v, nil
}

// errorReader remembers how its source ended.
type errorReader struct {
	r   io.Reader
	err error
}

func (r *errorReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil {
		r.err = err
	}
	return n, err
}

// examiner sums up the bytes that are written to it.
type examiner struct {
	md5, sha hash.Hash
	size     int64
	content  contentSum // of everything up to end
	end      int64
	outline  outline
}

func (e *examiner) Write(p []byte) (int, error) {
	e.md5.Write(p)
	last := len(p)
	for last > 0 && isBlank(p[last-1]) {
		last--
	}
	e.sha.Write(p[:last])
	if last > 0 {
		e.sha.Sum(e.content[:0])
		e.end = e.size + int64(last)
	}
	e.sha.Write(p[last:])
	e.size += int64(len(p))
	e.outline.write(p)
	return len(p), nil
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }
