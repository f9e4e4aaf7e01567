package lock

import (
	"reflect"
	"slices"
	"sync"

	"github.com/statelatch/statelatch/bucket"
)

// Waiters of one process for one lock stand in line. The first looks for all of them, and is told of a release by the
// process itself.

// place is a lock object by the way to it.
type place struct {
	bucket bucket.Bucket
	key    string
}

// lines are the waiters of the process, the first ones first.
var lines = struct {
	sync.Mutex
	at map[place][]*waiter
}{at: map[place][]*waiter{}}

// waiter is one of them. The zero waiter stands nowhere.
type waiter struct {
	place place
	woken chan bool // it is the first one now; true: and the lock was released
}

// enter puts w at the end of the line of p, unless it stands there.
func (w *waiter) enter(p place) {
	if w.woken != nil || !reflect.ValueOf(p.bucket).Comparable() {
		return
	}
	w.place, w.woken = p, make(chan bool, 1)
	lines.Lock()
	defer lines.Unlock()
	lines.at[p] = append(lines.at[p], w)
}

// leave takes w out of its line. Who is the first then is woken.
func (w *waiter) leave() {
	if w.woken == nil {
		return
	}
	lines.Lock()
	defer lines.Unlock()
	line := lines.at[w.place]
	i := slices.Index(line, w)
	line = slices.Delete(line, i, i+1)
	if lines.at[w.place] = line; len(line) == 0 {
		delete(lines.at, w.place)
	} else if i == 0 {
		line[0].wake(false)
	}
}

// behind reports whether somebody stands before w.
func (w *waiter) behind() bool {
	lines.Lock()
	defer lines.Unlock()
	line := lines.at[w.place]
	return len(line) > 0 && line[0] != w && w.woken != nil
}

// wake tells w, unless it has been told already and has not looked since.
func (w *waiter) wake(released bool) {
	select {
	case w.woken <- released:
	default:
	}
}

// released wakes the first one in the line of p.
func released(p place) {
	if !reflect.ValueOf(p.bucket).Comparable() {
		return
	}
	lines.Lock()
	defer lines.Unlock()
	if line := lines.at[p]; len(line) > 0 {
		line[0].wake(true)
	}
}
