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
	v := Version{Exists: true, Size: e.size, MD5: hex.EncodeToString(e.md5.Sum(nil)), content: e.content, shape: e.outline.shape}
	v.shape.end = e.end
	if err == nil && !header.Empty {
		err = e.outline.check()
	}
	if err == nil {
		v.Header = header
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

// members are the top-level keys that decide something here.
var members = [...]string{"version", "terraform_version", "serial", "lineage", "encryption_version", "resources", "outputs"}

const maxMember = len("encryption_version")

// outline follows the top level of a JSON object as its bytes pass by. It checks no more than that
// the object ends, and ends once: a cut file must not become a state.
type outline struct {
	shape
	offset  int64
	depth   int
	text    bool // inside a string
	escaped bool // behind a backslash
	value   bool // behind a colon at the top level
	opened  bool // a container in the value of key has just begun
	number  bool // inside the value of "serial"
	closed  bool
	excess  bool // something follows the object
	key     []byte
	seen    [len(members)]bool
	twice   string
}

func (o *outline) write(p []byte) {
	for len(p) > 0 {
		// Most of a state is text that decides nothing.
		if n := o.skippable(p); n > 0 {
			o.offset += int64(n)
			p = p[n:]
			continue
		}
		o.next(p[0])
		o.offset++
		p = p[1:]
	}
}

// skippable is how many bytes at the start of p are inside a string and end nothing.
func (o *outline) skippable(p []byte) int {
	if !o.text || o.escaped || o.depth == 1 && !o.value {
		return 0
	}
	for i, c := range p {
		if c == '"' || c == '\\' {
			return i
		}
	}
	return len(p)
}

func (o *outline) next(c byte) {
	if o.text {
		switch {
		case o.escaped:
			o.escaped = false
		case c == '\\':
			o.escaped = true
		case c == '"':
			o.text = false
			return
		}
		if o.depth == 1 && !o.value && len(o.key) <= maxMember {
			o.key = append(o.key, c)
		}
		return
	}
	if isBlank(c) {
		o.endNumber()
		return
	}
	if o.opened {
		o.opened = false
		if c != ']' && c != '}' {
			o.resources = o.resources || string(o.key) == "resources"
			o.outputs = o.outputs || string(o.key) == "outputs"
		}
	}
	switch c {
	case '"':
		o.text = true
		if o.depth == 1 && !o.value {
			o.key = o.key[:0]
		}
		o.excess = o.excess || o.closed
	case ':':
		if o.depth == 1 && !o.value {
			o.value = true
			o.meet()
		}
	case ',':
		if o.depth == 1 {
			o.endNumber()
			o.value = false
		}
	case '{', '[':
		o.depth++
		o.opened = true
		o.excess = o.excess || o.closed
	case '}', ']':
		o.endNumber()
		o.depth--
		o.excess = o.excess || o.closed
		o.closed = o.closed || o.depth == 0
	default:
		o.excess = o.excess || o.closed
		if o.depth == 1 && o.value && string(o.key) == "serial" && !o.number && o.serialAt == 0 {
			o.number, o.serialAt = true, o.offset
		}
	}
}

// meet notes a top-level member. The engines take the last of two, other readers the first.
func (o *outline) meet() {
	for i, name := range members {
		if string(o.key) != name {
			continue
		}
		if o.seen[i] {
			o.twice = name
		}
		o.seen[i] = true
	}
}

func (o *outline) endNumber() {
	if o.number {
		o.number, o.serialEnd = false, o.offset
	}
}

func (o *outline) check() error {
	switch {
	case !o.closed:
		return fmt.Errorf("%w state: it ends in the middle of the JSON object, after %d bytes: is the file whole?", statelatch.ErrInvalid, o.offset)
	case o.excess:
		return fmt.Errorf("%w state: something follows the JSON object", statelatch.ErrInvalid)
	case o.twice != "":
		return fmt.Errorf("%w state: the key %s appears twice", statelatch.ErrInvalid, o.twice)
	}
	return nil
}
