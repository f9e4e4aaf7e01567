package state

import (
	"cmp"
	"fmt"
	"io"

	"github.com/statelatch/statelatch/internal/pace"
	"github.com/statelatch/statelatch/internal/spool"
)

// spoolAbove is how many bytes of a body are kept in memory.
const spoolAbove = 8 << 20

// kept is where a body goes that is read.
type kept struct {
	*spool.Spool
	// unlessKept leaves out a version that stays readable when it is replaced.
	unlessKept bool
}

func (s *Store) newSpool() *kept {
	return &kept{Spool: spool.New(s.SpoolDir, cmp.Or(s.spoolAbove, spoolAbove))}
}

// nonceBlanks is the length of the blanks that a touch adds: 128 random bits.
const nonceBlanks = 128

// touched is a body without its trailing blanks, with fresh ones that no other write has (R1).
// Every JSON reader passes over them.
func touched(body io.ReadSeeker, v Version) []spool.Piece {
	return []spool.Piece{{From: body, Len: v.shape.end}, spool.Text(blankNonce())}
}

// blankNonce is 128 random bits in blanks.
func blankNonce() string {
	bits := pace.Nonce()
	blanks := make([]byte, 1, 1+nonceBlanks)
	blanks[0] = '\n'
	for i := range nonceBlanks {
		blanks = append(blanks, " \t"[bits[i/8]>>(i%8)&1])
	}
	return string(blanks)
}

// emptyState is an empty state as the engines write one, with a fresh lineage, which makes it unique (R1).
func emptyState(serial uint64) (body, lineage string) {
	id := pace.Nonce()
	lineage = fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
	return fmt.Sprintf(`{"version":4,"terraform_version":%q,"serial":%d,"lineage":%q,"outputs":{},"resources":[],"check_results":null}`+"\n",
		writerVersion, serial, lineage), lineage
}

// writerVersion is what a state of ours says about the engine that wrote it. The engines before 0.14 refuse a state
// of a later version than their own; format 4 began with 0.12.0; OpenTofu wants it not to be empty.
const writerVersion = "0.12.0"
