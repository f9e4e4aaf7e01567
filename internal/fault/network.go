package fault

import (
	"math/rand/v2"
	"slices"
)

// When says which of the requests that a rule selects meet its fault. The zero value: all.
type When struct {
	Nth    int     // only the n-th, from 1
	Chance float64 // with this probability; 0 means always
	Limit  int     // at most this often; 0 means no limit
}

// Network decides which requests (Q, a line of the log) meet which fault (F), logs them, and keeps copies (C) of those
// that are late. The zero value lets everything pass. Its user locks it; selecting functions are called meanwhile.
type Network[Q, F, C any] struct {
	Rand *rand.Rand // decides [When.Chance]; nil means a generator with a fixed seed, so that runs repeat

	rules []*rule[Q, F]
	log   []*Q
	late  []*late[C]
}

type rule[Q, F any] struct {
	selects     func(Q) bool
	when        When
	fault       F
	seen, fired int
}

type late[C any] struct {
	after int // answered requests to wait for
	copy  C
}

// Add appends a rule, which counts from now on. Of several rules the first that fires decides; each counts for itself.
func (n *Network[Q, F, C]) Add(selects func(Q) bool, when When, fault F) {
	n.rules = append(n.rules, &rule[Q, F]{selects: selects, when: when, fault: fault})
}

// Heal removes all rules. What is late stays so.
func (n *Network[Q, F, C]) Heal() { n.rules = nil }

// Admit logs a request and finds its fault: the zero F if it meets none.
func (n *Network[Q, F, C]) Admit(q Q) (line *Q, fault F) {
	line = n.Log(q)
	decided := false
	for _, r := range n.rules {
		if !r.selects(q) {
			continue
		}
		r.seen++ // also if an earlier rule has decided
		if !decided && n.fires(r) {
			decided, fault = true, r.fault
			r.fired++
		}
	}
	return line, fault
}

func (n *Network[Q, F, C]) fires(r *rule[Q, F]) bool {
	if r.when.Nth != 0 && r.when.Nth != r.seen || r.when.Limit != 0 && r.fired >= r.when.Limit {
		return false
	}
	if r.when.Chance == 0 {
		return true
	}
	if n.Rand == nil {
		n.Rand = rand.New(rand.NewPCG(1, 1))
	}
	return n.Rand.Float64() < r.when.Chance
}

// Log appends a line.
func (n *Network[Q, F, C]) Log(q Q) *Q {
	n.log = append(n.log, &q)
	return &q
}

// Requests returns the lines of the log, in the order in which they were appended.
func (n *Network[Q, F, C]) Requests() []Q {
	requests := make([]Q, len(n.log))
	for i, line := range n.log {
		requests[i] = *line
	}
	return requests
}

// Keep holds a copy back until so many further requests have been answered, or all are delivered ([Held]).
func (n *Network[Q, F, C]) Keep(after int, held C) {
	n.late = append(n.late, &late[C]{after, held})
}

// Answered counts an answered request and returns the copies that become due by it, for delivery.
func (n *Network[Q, F, C]) Answered() (due []C) {
	n.late = slices.DeleteFunc(n.late, func(l *late[C]) bool {
		if l.after == Held {
			return false
		}
		if l.after--; l.after > 0 {
			return false
		}
		due = append(due, l.copy)
		return true
	})
	return due
}

// TakeLate returns all copies that are held back, in the order in which they were kept, for delivery.
func (n *Network[Q, F, C]) TakeLate() (due []C) {
	for _, l := range n.late {
		due = append(due, l.copy)
	}
	n.late = nil
	return due
}
