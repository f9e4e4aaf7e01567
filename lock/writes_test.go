package lock

import (
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

func TestWrites_CountsWhatMayLand(t *testing.T) {
	t.Parallel()
	ours := Held{ETag: "ours", body: []byte("ours")}
	theirs := Held{ETag: "theirs", body: []byte("theirs")}
	started := func() *writes { return &writes{bodies: [][]byte{ours.body}} }

	w := started()
	w.answered(bucket.IfAbsent, statelatch.ErrAmbiguous)
	w.answered(bucket.IfAbsent, statelatch.ErrPreconditionFailed)
	w.answered(bucket.IfMatch("x"), nil)
	if w.landed != 1 || !w.unknown {
		t.Errorf("a lost create, a refused one and a swap: %d may stand, doubt %v, want 1 and doubt", w.landed, w.unknown)
	}
	if mine, refused := w.read(theirs, nil); mine || refused || w.landed != 1 {
		t.Errorf("somebody else's: mine %v, refused %v, %d may appear, want 1", mine, refused, w.landed)
	}

	w = started()
	w.replacing("old")
	w.replacing("old")
	if w.landed != 1 {
		t.Errorf("a swap sent twice: %d may land, want 1", w.landed)
	}
	if _, refused := w.read(Held{ETag: "old"}, nil); refused || w.landed != 1 {
		t.Errorf("what it replaces stands: refused %v, %d may land, want 1", refused, w.landed)
	}
	if mine, refused := w.read(theirs, nil); mine || !refused || w.landed != 0 || w.swap != "" {
		t.Errorf("what it replaces is gone: mine %v, refused %v, %d may land, want a refusal and 0", mine, refused, w.landed)
	}

	w = started()
	w.replacing("old")
	w.unknown = true
	if _, refused := w.read(Held{}, statelatch.ErrNotLocked); refused || w.landed != 0 {
		t.Errorf("in doubt: refused %v, %d may land, want doubt: it may have stood meanwhile", refused, w.landed)
	}
	if mine, _ := w.read(ours, nil); !mine || w.landed != 1 {
		t.Errorf("ours: mine %v, %d stand, want 1", mine, w.landed)
	}
	w.removed()
	w.removed()
	if w.landed != 0 {
		t.Errorf("removed: %d stand, want 0", w.landed)
	}
}
