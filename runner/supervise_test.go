package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fakeGroup is a group that each signal that it heeds ends after a time: the command itself, or what it left behind.
type fakeGroup struct {
	started time.Time
	exited  chan exit
	heeds   map[string]time.Duration
	leaves  bool // processes behind when the command itself ends
	ended   atomic.Bool
	log     []string
	err     error
}

func (g *fakeGroup) interrupt() error { return g.signal("interrupt") }
func (g *fakeGroup) terminate() error { return g.signal("terminate") }
func (g *fakeGroup) kill() error      { return g.signal("kill") }
func (g *fakeGroup) alive() bool      { return g.leaves && !g.ended.Load() }

func (g *fakeGroup) signal(name string) error {
	g.note(name)
	if after, ok := g.heeds[name]; ok {
		time.AfterFunc(after, func() {
			if !g.ended.Swap(true) && !g.leaves {
				g.exited <- exit{code: 1}
			}
		})
	}
	return g.err
}

func (g *fakeGroup) note(what string) {
	g.log = append(g.log, fmt.Sprintf("%v %s", time.Since(g.started), what))
}

// timedLease ends at a time that a sleep of the machine brings nearer.
type timedLease struct {
	lost  chan struct{}
	end   time.Time
	slept atomic.Int64
}

func (l *timedLease) Lost() <-chan struct{} { return l.lost }
func (l *timedLease) Remaining() time.Duration {
	return time.Until(l.end) - time.Duration(l.slept.Load())
}

// scenario is what happens to a supervised group, in virtual time.
type scenario struct {
	heeds  map[string]time.Duration
	leaves bool
	lease  time.Duration // 0: none
	err    error
	at     map[time.Duration]func(*events)
	want   []string // signals with their times
	result Result
	took   time.Duration
}

type events struct {
	group   *fakeGroup
	lease   *timedLease
	signals chan os.Signal
	cancel  context.CancelFunc
}

func sendSignal(e *events) { e.signals <- os.Interrupt }
func loseLease(e *events)  { close(e.lease.lost) }
func cancelRun(e *events)  { e.cancel() }

func exitWith(code int, killed bool) func(*events) {
	return func(e *events) { e.group.exited <- exit{code: code, killed: killed} }
}

// sleepMachine lets d pass for the lease and not for timers.
func sleepMachine(d time.Duration) func(*events) {
	return func(e *events) { e.lease.slept.Add(int64(d)) }
}

const s = time.Second

func TestSupervisor_Escalation(t *testing.T) {
	t.Parallel()
	gone := func(signal string, after time.Duration) map[string]time.Duration {
		return map[string]time.Duration{signal: after}
	}
	type at = map[time.Duration]func(*events)
	for name, tc := range map[string]scenario{
		"ends by itself": {at: at{5 * s: exitWith(3, false)}, result: Result{ExitCode: 3}, took: 5 * s},
		"one signal, as long as it takes": {
			heeds: gone("interrupt", time.Hour), at: at{s: sendSignal},
			want: []string{"1s interrupt"}, result: Result{ExitCode: 1}, took: time.Hour + s,
		},
		"two signals": {
			heeds: gone("terminate", 4*s), at: at{s: sendSignal, 3 * s: sendSignal},
			want: []string{"1s interrupt", "33s terminate"}, result: Result{ExitCode: 1}, took: 37 * s,
		},
		"three signals, deaf to all": {
			heeds: gone("kill", 0), at: at{s: sendSignal, 3 * s: sendSignal, 20 * s: sendSignal},
			want: []string{"1s interrupt", "33s terminate", "43s kill"}, result: Result{ExitCode: 1, Killed: true}, took: 43 * s,
		},
		"cannot be killed": {
			at: at{s: sendSignal, 3 * s: sendSignal}, err: errors.New("operation not permitted"),
			want: []string{"1s interrupt", "33s terminate", "43s kill"}, result: Result{ExitCode: 137, Killed: true, Leftover: true}, took: 53 * s,
		},
		"cancelled": {
			heeds: gone("kill", 0), at: at{s: cancelRun},
			want: []string{"1s interrupt", "31s terminate", "41s kill"}, result: Result{ExitCode: 1, Killed: true}, took: 41 * s,
		},
		"cancelled after a signal": {
			heeds: gone("kill", 0), at: at{s: sendSignal, 5 * s: cancelRun},
			want: []string{"1s interrupt", "35s terminate", "45s kill"}, result: Result{ExitCode: 1, Killed: true}, took: 45 * s,
		},
		"B8 lease lost, ends in time": {
			heeds: gone("interrupt", 10*s), lease: 60 * s, at: at{45 * s: loseLease},
			want: []string{"45s interrupt"}, result: Result{ExitCode: 1, Lost: true}, took: 55 * s,
		},
		"B8 lease lost, killed before it is over": {
			heeds: gone("kill", 0), lease: 60 * s, at: at{45 * s: loseLease},
			want: []string{"45s interrupt", "58s kill"}, result: Result{ExitCode: 1, Lost: true, Killed: true}, took: 58 * s,
		},
		"B8 short lease lost, killed before it is over": {
			heeds: gone("kill", 0), lease: 4 * s, at: at{3 * s: loseLease},
			want: []string{"3s interrupt", "3.75s kill"}, result: Result{ExitCode: 1, Lost: true, Killed: true}, took: 3750 * time.Millisecond,
		},
		"B8 lease taken away early": {
			heeds: gone("kill", 0), lease: 300 * s, at: at{45 * s: loseLease},
			want: []string{"45s interrupt", "1m15s terminate", "1m25s kill"}, result: Result{ExitCode: 1, Lost: true, Killed: true}, took: 85 * s,
		},
		"B8 lease lost after a signal, no second interrupt": {
			heeds: gone("kill", 0), lease: 60 * s, at: at{44 * s: sendSignal, 45 * s: loseLease, 46 * s: sendSignal},
			want: []string{"44s interrupt", "58s kill"}, result: Result{ExitCode: 1, Lost: true, Killed: true}, took: 58 * s,
		},
		"B8 lease over after a sleep of the machine": {
			heeds: gone("kill", 0), lease: 60 * s, at: at{10*s + 100*time.Millisecond: sleepMachine(time.Hour)},
			want: []string{"11s kill"}, result: Result{ExitCode: 1, Lost: true, Killed: true}, took: 11 * s,
		},
		"B8 the sleep comes after the loss": {
			heeds: gone("kill", 0), lease: 60 * s, at: at{45 * s: loseLease, 46*s + 10*time.Millisecond: sleepMachine(time.Hour)},
			want: []string{"45s interrupt", "46.05s kill"}, result: Result{ExitCode: 1, Lost: true, Killed: true}, took: 46050 * time.Millisecond,
		},
		"B15 leftovers end by themselves": {
			leaves: true, at: at{s: exitWith(0, false), 25 * s: func(e *events) { e.group.ended.Store(true) }},
			result: Result{}, took: 25 * s,
		},
		"B15 leftovers do not end by themselves": {
			leaves: true, heeds: gone("terminate", 0), at: at{s: exitWith(4, false)},
			want: []string{"31s interrupt", "1m1s terminate"}, result: Result{ExitCode: 4}, took: 61 * s,
		},
		"B15 the command was killed": {
			leaves: true, heeds: gone("terminate", 0), at: at{s: exitWith(137, true)},
			want: []string{"1s interrupt", "31s terminate"}, result: Result{ExitCode: 137}, took: 31 * s,
		},
		"B15 leftovers of an interrupted command get no second interrupt": {
			leaves: true, at: at{s: sendSignal, 2 * s: exitWith(130, false), 600 * s: func(e *events) { e.group.ended.Store(true) }},
			want: []string{"1s interrupt"}, result: Result{ExitCode: 130}, took: 600 * s,
		},
		"B15 leftovers under a lost lease": {
			leaves: true, heeds: gone("kill", 0), lease: 60 * s, at: at{s: exitWith(0, false), 20 * s: loseLease},
			want: []string{"20s interrupt", "50s terminate", "58s kill"}, result: Result{Lost: true, Killed: true}, took: 58 * s,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, tc.run)
		})
	}
}

func (tc scenario) run(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	start := time.Now()
	g := &fakeGroup{started: start, exited: make(chan exit, 1), heeds: tc.heeds, leaves: tc.leaves, err: tc.err}
	e := &events{group: g, signals: make(chan os.Signal, 1), cancel: cancel}
	sup := supervisor{group: g, exited: g.exited, signals: e.signals}
	sup.cmd.Grace = defaultGrace
	sup.cmd.Notify = func(e Event) {
		if !errors.Is(e.Err, tc.err) && e.Step != Limit && e.Step != Linger {
			t.Errorf("event %+v does not carry the error of the signal", e)
		}
		if e.Wait < 0 {
			t.Errorf("event %+v waits for less than nothing", e)
		}
	}
	if tc.lease != 0 {
		e.lease = &timedLease{lost: make(chan struct{}), end: start.Add(tc.lease)}
		sup.lease = e.lease
	}
	for after, do := range tc.at {
		time.AfterFunc(after, func() { do(e) })
	}
	got := sup.run(ctx)
	// Leftovers are looked for every 50 ms, so the end may be seen that much later.
	if took := time.Since(start); took < tc.took || took > tc.took+busy {
		t.Errorf("took %v, want %v", took, tc.took)
	}
	if got != tc.result {
		t.Errorf("got %+v, want %+v", got, tc.result)
	}
	if !slices.Equal(g.log, tc.want) {
		t.Errorf("got %q, want %q", g.log, tc.want)
	}
}
