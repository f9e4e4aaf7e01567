// Package export turns what is in a bucket or below a prefix into Prometheus metrics, and tells a webhook about locks
// that are held for too long.
//
// What it guarantees: a scrape costs no request to the store and never waits for one, because it is served what was
// last collected; the number of series is bounded, whatever the bucket holds, and what was left out is counted; a
// collection that fails leaves the last good one in place and says so in statelatch_up; a lock is reported to the
// webhook once when it becomes too old and once when it is gone, and it counts as gone only if it was looked for.
// What it does not: remember across restarts what was reported; or count who waits for a lock, because a waiting
// client leaves no trace in the bucket.
package export

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/evidence"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/state"
)

// DefaultMaxSeries is how many keys have series of their own, unless the caller says otherwise.
const DefaultMaxSeries = 1000

// Config says what is looked at, and how it is told. It must not be changed afterwards.
type Config struct {
	Locks           *lock.Manager    // required; with its Table, items in it are locks, too
	Scope           statelatch.Scope // where states and locks are looked for; required
	WorkspacePrefix string           // the backend's workspace_key_prefix; may be empty
	Evidence        evidence.Sources // what locks are judged by
	MaxSeries       int              // keys that have series of their own; 0: [DefaultMaxSeries]
	Holder          bool             // lock series have the holder's Who as a label
	// Tier is what a probe said of the store. There is no series of the unknown one.
	Tier lock.Tier
	// Alerts, if not nil, is told about locks that are too old.
	Alerts *Alerts
	Log    *slog.Logger // of what fails; required
}

// Exporter collects, and serves what it collected last. It is safe for concurrent use.
type Exporter struct {
	cfg     Config
	headers map[string]readHeader // by key; of the collecting goroutine alone

	mu          sync.Mutex
	last        *collection // the last good one; nil: none yet
	ok          bool        // the last attempt was good
	took        time.Duration
	failures    float64
	headersRead float64
}

// readHeader is the serial of one version of a state, so that it is read once.
type readHeader struct {
	etag    string
	written time.Time
	serial  uint64
	ok      bool // it is a state
}

// collection is what one look at the bucket found.
type collection struct {
	at       time.Time
	locks    []fleet.Lock
	unlisted bool // locks that are only in the table may be missing
	states   []fleet.State
	serials  map[string]uint64
	shown    map[string]bool // keys that have series
	leftOut  int             // keys that have none
}

// New returns an exporter that has collected nothing yet.
func New(cfg Config) *Exporter {
	cfg.MaxSeries = cmp.Or(cfg.MaxSeries, DefaultMaxSeries)
	return &Exporter{cfg: cfg, headers: map[string]readHeader{}}
}

// Run collects every interval until ctx ends, and calls then, unless it is nil, after each. What fails is logged and
// counted. Its error is then's, which ends it, and nil when ctx ends.
func (e *Exporter) Run(ctx context.Context, interval time.Duration, then func() error) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := e.Collect(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			e.cfg.Log.Error("collection failed", "error", statelatch.Printable(err.Error()))
		}
		if then != nil {
			if err := then(); err != nil {
				return err
			}
		}
	}
}

// Collect looks at the bucket once, then tells the webhook. It must not be called by two at a time. Its error is the
// listing's; what cannot be read of a single state or lock is shown in the metrics instead.
func (e *Exporter) Collect(ctx context.Context) error {
	started := time.Now()
	c, err := e.look(ctx)
	e.mu.Lock()
	e.took, e.ok = time.Since(started), err == nil
	if err == nil {
		c.at = time.Now()
		e.last = c
	} else {
		e.failures++
	}
	e.mu.Unlock()
	if err == nil && e.cfg.Alerts != nil {
		e.cfg.Alerts.see(ctx, c, e.cfg)
	}
	return err
}

func (e *Exporter) look(ctx context.Context) (*collection, error) {
	states, err := fleet.States(ctx, e.cfg.Locks.Bucket, e.cfg.Scope,
		fleet.StatesOptions{WorkspacePrefix: e.cfg.WorkspacePrefix})
	if err != nil {
		return nil, err
	}
	list, err := fleet.Locks(ctx, e.cfg.Locks, e.cfg.Scope,
		fleet.LockOptions{WorkspacePrefix: e.cfg.WorkspacePrefix, Evidence: e.cfg.Evidence, Listed: states})
	if err != nil {
		return nil, err
	}
	c := &collection{locks: list.Locks, unlisted: list.Unlisted != nil, states: states, serials: map[string]uint64{}}
	if list.Unlisted != nil {
		e.cfg.Log.Warn("locks that are only in the DynamoDB table are missing", "error",
			statelatch.Printable(list.Unlisted.Error()))
	}
	c.choose(e.cfg.MaxSeries)
	return c, e.readSerials(ctx, c)
}

// choose picks the keys that have series: those that are locked first, then by name, so that the choice is stable.
func (c *collection) choose(most int) {
	locked, rest := map[string]bool{}, map[string]bool{}
	for _, l := range c.locks {
		locked[l.Ref.Key] = true
	}
	for _, s := range c.states {
		if !locked[s.Key] {
			rest[s.Key] = true
		}
	}
	keys := append(sorted(locked), sorted(rest)...)
	c.leftOut = max(0, len(keys)-most)
	c.shown = make(map[string]bool, len(keys)-c.leftOut)
	for _, key := range keys[:len(keys)-c.leftOut] {
		c.shown[key] = true
	}
}

func sorted(set map[string]bool) []string {
	keys := make([]string, 0, len(set))
	for key := range set {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// readSerials reads the headers of the states that have series and were written since the last time.
func (e *Exporter) readSerials(ctx context.Context, c *collection) error {
	var unread []fleet.State
	kept := make(map[string]readHeader, len(c.shown))
	for _, s := range c.states {
		if !c.shown[s.Key] || !s.Exists || s.Size == 0 {
			continue
		}
		if h, ok := e.headers[s.Key]; ok && h.etag == s.ETag && h.written.Equal(s.Written) {
			kept[s.Key] = h
		} else {
			unread = append(unread, s)
		}
	}
	store := &state.Store{Bucket: e.cfg.Locks.Bucket}
	var mu sync.Mutex
	err := fleet.Each(ctx, 0, unread, func(ctx context.Context, s fleet.State) error {
		v := state.Version{Ref: statelatch.Ref{Bucket: e.cfg.Scope.Bucket, Key: s.Key}, Size: s.Size}
		err := store.ReadHeader(ctx, &v)
		mu.Lock()
		defer mu.Unlock()
		if err == nil { // else it is tried again the next time
			kept[s.Key] = readHeader{etag: s.ETag, written: s.Written, serial: v.Header.Serial, ok: v.Err == nil}
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	e.headers = kept
	e.mu.Lock()
	e.headersRead += float64(len(unread))
	e.mu.Unlock()
	for key, h := range kept {
		if h.ok {
			c.serials[key] = h.serial
		}
	}
	return nil
}
