package lock

import (
	"errors"
	"slices"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// writes are the lock objects that an attempt has sent, and what of them may stand or may yet appear. Its methods are
// told all that is heard of them: an answer proves little, and what was refused may land too, if it was copied on the
// way.
type writes struct {
	bodies  [][]byte      // all, none of them twice (R1)
	create  []byte        // of the create last sent
	at      time.Duration // when the last one was sent, on the boot clock
	unknown bool          // the outcome of one was unknown (R3)
	landed  int           // how many may stand or may yet appear
	swap    string        // the ETag that one of those is to replace: when that is gone, it cannot appear any more
}

// answered notes the answer to a write on cond. A swap is counted by replacing.
func (w *writes) answered(cond bucket.Condition, err error) {
	doubt := errors.Is(err, statelatch.ErrAmbiguous)
	w.unknown = w.unknown || doubt
	if cond.Absent() && (err == nil || doubt) {
		w.landed++
	}
}

// replacing counts a swap of etag, once however often it is sent: one alone can land.
func (w *writes) replacing(etag string) {
	if w.swap != etag {
		w.swap = etag
		w.landed++
	}
}

// read is told what is there. It reports whether that is exactly one of them (R2: the whole body, not just the ID),
// also after a refusal, and whether a swap was refused for certain.
func (w *writes) read(h Held, err error) (mine, refused bool) {
	mine = err == nil && h.isAny(w.bodies...)
	if w.swap != "" && (err == nil && h.ETag != w.swap || errors.Is(err, statelatch.ErrNotLocked)) {
		w.swap = ""
		if !mine {
			w.landed--
			refused = !w.unknown
		}
	}
	if mine {
		w.unknown, w.landed = true, max(w.landed, 1)
	}
	return mine, refused
}

// removed counts one that is gone.
func (w *writes) removed() { w.landed = max(w.landed-1, 0) }

// items are the same for the table.
type items struct {
	info   statelatch.LockInfo // of the last one sent
	raws   []string            // all
	landed int                 // how many may be there or may yet appear
}

// sending notes the item that is sent next, and returns its text.
func (i *items) sending(info statelatch.LockInfo) (raw string) {
	raw = string(info.Marshal())
	i.info, i.raws = info, append(i.raws, raw)
	return raw
}

// answered notes the answer to a put, and passes it on.
func (i *items) answered(err error) error {
	if errors.Is(err, statelatch.ErrAmbiguous) {
		i.landed++
	}
	return err
}

// has reports whether item is one of them.
func (i *items) has(item Item) bool { return slices.Contains(i.raws, item.Raw) }
