package spool

import (
	"errors"
	"io"
	"strings"
)

// Pieces is a body made of ranges of others, in their order, without a copy. It is not safe for concurrent use, and
// moves the offsets of the others.
type Pieces struct {
	list []Piece
	at   int64 // offset of the next byte
	in   int   // the piece whose source stands at that offset; -1: none
}

// Piece is a range of a body.
type Piece struct {
	From     io.ReadSeeker // the body
	Off, Len int64         // bytes
}

// Text is a piece that is s.
func Text(s string) Piece { return Piece{From: strings.NewReader(s), Len: int64(len(s))} }

// Join makes a body of pieces.
func Join(list ...Piece) *Pieces { return &Pieces{list: list, in: -1} }

// Read implements io.Reader. A range that is shorter than it was said to be is io.ErrUnexpectedEOF.
func (p *Pieces) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	rest := p.at
	for i, piece := range p.list {
		if rest >= piece.Len {
			rest -= piece.Len
			continue
		}
		if p.in != i {
			if _, err := piece.From.Seek(piece.Off+rest, io.SeekStart); err != nil {
				return 0, err
			}
			p.in = i
		}
		n, err := piece.From.Read(b[:min(int64(len(b)), piece.Len-rest)])
		p.at += int64(n)
		if errors.Is(err, io.EOF) {
			err = nil
			if n == 0 {
				err = io.ErrUnexpectedEOF // the source became shorter
			}
		}
		return n, err
	}
	return 0, io.EOF
}

// Seek implements io.Seeker.
func (p *Pieces) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += p.at
	case io.SeekEnd:
		for _, piece := range p.list {
			offset += piece.Len
		}
	}
	if offset < 0 {
		return 0, errors.New("seek before the start")
	}
	p.at, p.in = offset, -1
	return offset, nil
}
