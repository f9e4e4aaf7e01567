package boltstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
)

// Commits leave out the list of the free pages, because it grows with what was deleted. Close writes it. After a crash
// bbolt finds those pages by reading all others, in a goroutine of its own, where what is damaged ends the process.
// So all that it follows there is looked at before, in the format of bbolt's files, of version 2.

const (
	metaMagic   = 0xED0CDAED
	metaVersion = 2
	metaSum     = 56 // where the checksum of what is before it is, after the page's header

	pageHeader   = 16
	pageElement  = 16
	branchPage   = 0x01
	leafPage     = 0x02
	freelistPage = 0x10
	bucketFlag   = 0x01 // of a leaf's element

	notListed = ^uint64(0) // the page of the free list, if there is none
)

var native = binary.NativeEndian

// layout is what the pages of a database are used for.
type layout struct {
	pageSize    int64
	pages, free uint64
	listed      bool // the free pages, in the file
}

// meta is the root of a database, as a commit left it.
type meta struct {
	pageSize, root, list, pages, commit uint64
}

// readMeta reads a meta page. Of a torn one ok is false.
func readMeta(file io.ReaderAt, at int64) (m meta, ok bool) {
	var b [pageHeader + metaSum + 8]byte
	if _, err := file.ReadAt(b[:], at); err != nil {
		return m, false
	}
	data := b[pageHeader:]
	sum := fnv.New64a()
	_, _ = sum.Write(data[:metaSum]) // never fails
	if native.Uint32(data) != metaMagic || native.Uint32(data[4:]) != metaVersion ||
		native.Uint64(data[metaSum:]) != sum.Sum64() {
		return m, false
	}
	return meta{
		pageSize: uint64(native.Uint32(data[8:])),
		root:     native.Uint64(data[16:]),
		list:     native.Uint64(data[32:]),
		pages:    native.Uint64(data[40:]),
		commit:   native.Uint64(data[48:]),
	}, true
}

// inspect reads the layout of a database of size bytes. If its free pages are not listed, it has looked at all pages
// that are in use, and at all that leads from one to another.
func inspect(file io.ReaderAt, size int64) (layout, error) {
	m, ok := readMeta(file, 0)
	for other := int64(1024); other <= 1024<<14; other <<= 1 {
		if ok && other != int64(m.pageSize) {
			continue
		}
		second, valid := readMeta(file, other)
		if valid && second.pageSize == uint64(other) && (!ok || second.commit > m.commit) {
			m, ok = second, true
			break
		}
	}
	l := layout{pageSize: int64(m.pageSize), pages: m.pages}
	switch {
	case !ok || m.pageSize < 1024:
		return l, errors.New("it has no valid root")
	case m.pages > uint64(size)/m.pageSize:
		return l, fmt.Errorf("the file ends after %d of %d bytes", size, m.pages*m.pageSize)
	}
	w := pageWalk{file: file, layout: &l}
	if m.list != notListed {
		var err error
		l.listed = true
		l.free, err = w.list(m.list)
		return l, err
	}
	l.free = m.pages - 2
	w.seen = make([]bool, m.pages)
	if err := w.refer(m.root); err != nil {
		return l, err
	}
	for len(w.next) > 0 {
		level := w.next
		slices.Sort(level) // so that the file is read from its begin to its end
		w.next = nil
		for _, id := range level {
			if err := w.look(id); err != nil {
				return l, fmt.Errorf("page %d: %w", id, err)
			}
		}
	}
	return l, nil
}

// pageWalk goes through the pages that are in use.
type pageWalk struct {
	*layout
	file io.ReaderAt
	seen []bool
	next []uint64
	at   int64 // where in the file buf is from
	buf  []byte
}

// refer notes that a page is named by another.
func (w *pageWalk) refer(id uint64) error {
	if id < 2 || id >= w.pages {
		return fmt.Errorf("there is no page %d", id)
	}
	w.next = append(w.next, id)
	return nil
}

// readAhead is how much is read at once, because pages that are used are near each other.
const readAhead = 64 << 10

// read reads the header of a page and n bytes after it.
func (w *pageWalk) read(id uint64, n int) ([]byte, error) {
	at := int64(id) * w.pageSize
	n += pageHeader
	if at < w.at || at+int64(n) > w.at+int64(len(w.buf)) {
		w.at, w.buf = at, slices.Grow(w.buf[:0], max(n, readAhead))[:max(n, readAhead)]
		got, err := w.file.ReadAt(w.buf, at)
		if w.buf = w.buf[:got]; got < n {
			return nil, err
		}
	}
	return w.buf[at-w.at:][:n], nil
}

// header reads the header of a page and what is in its first block.
func (w *pageWalk) header(id uint64) (page []byte, flags, count uint16, size int64, err error) {
	page, err = w.read(id, int(w.pageSize)-pageHeader)
	if err != nil {
		return nil, 0, 0, 0, err
	}
	more := uint64(native.Uint32(page[12:]))
	if native.Uint64(page) != id || more >= w.pages-id {
		return nil, 0, 0, 0, errors.New("its header is damaged")
	}
	return page, native.Uint16(page[8:]), native.Uint16(page[10:]), int64(1+more) * w.pageSize, nil
}

// list is the number of free pages on the list.
func (w *pageWalk) list(id uint64) (uint64, error) {
	if id < 2 || id >= w.pages {
		return 0, fmt.Errorf("there is no page %d", id)
	}
	page, flags, count, size, err := w.header(id)
	n := uint64(count)
	if err == nil && count == 0xFFFF {
		n = native.Uint64(page[pageHeader:])
	}
	if err == nil && (flags != freelistPage || n > uint64(size)/8) {
		err = fmt.Errorf("page %d: the list of free pages is damaged", id)
	}
	return n, err
}

// look takes a page for used and notes those it names.
func (w *pageWalk) look(id uint64) error {
	page, flags, count, size, err := w.header(id)
	if err != nil {
		return err
	}
	for i := id; i < id+uint64(size/w.pageSize); i++ {
		if w.seen[i] {
			return errors.New("it is used twice")
		}
		w.seen[i] = true
		w.free--
	}
	n := int(count) * pageElement
	if flags != leafPage && (flags != branchPage || n == 0) || int64(pageHeader+n) > size {
		return errors.New("its header is damaged")
	}
	if pageHeader+n > len(page) {
		if page, err = w.read(id, n); err != nil {
			return err
		}
	}
	for at := pageHeader; at < pageHeader+n; at += pageElement {
		e := page[at:]
		if flags == branchPage {
			if int64(at)+int64(native.Uint32(e))+int64(native.Uint32(e[4:])) > size {
				return errors.New("a key is not in it")
			}
			if err := w.refer(native.Uint64(e[8:])); err != nil {
				return err
			}
			continue
		}
		value := int64(at) + int64(native.Uint32(e[4:])) + int64(native.Uint32(e[8:]))
		length := int64(native.Uint32(e[12:]))
		if value+length > size {
			return errors.New("a value is not in it")
		}
		if native.Uint32(e)&bucketFlag != 0 {
			if err := w.lookBucket(int64(id)*w.pageSize+value, length); err != nil {
				return err
			}
		}
	}
	return nil
}

// lookBucket notes the root of a table. One of 0 is a table that is so small that it follows.
func (w *pageWalk) lookBucket(at, length int64) error {
	var root [8]byte
	if length < 16 {
		return errors.New("a table is cut")
	}
	if _, err := w.file.ReadAt(root[:], at); err != nil {
		return err
	}
	id := native.Uint64(root[:])
	if id == 0 && length >= 16+pageHeader {
		return nil
	}
	return w.refer(id)
}
