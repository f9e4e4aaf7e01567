package fleet

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"iter"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/state"
)

// Flag names something about a state that a person should look at.
type Flag string

// The flags, in the order in which [State.Flags] has them.
const (
	// FlagAnomaly: a version followed on another as it never does under the lock; see State.Anomalies.
	FlagAnomaly Flag = "serial anomaly"
	// FlagUnreadable: what is there is no state, or could not be read; see State.Problem.
	FlagUnreadable Flag = "unreadable"
	// FlagZeroBytes: the object is empty. The engines take it for "no state yet".
	FlagZeroBytes Flag = "zero bytes"
	// FlagDeleted: only older versions are left.
	FlagDeleted Flag = "deleted"
	// FlagNoState: there is a lock, or what was rescued or kept of a state, but no state.
	FlagNoState Flag = "no state"
	// FlagRescued: a state that could not be written waits beside it.
	FlagRescued Flag = "rescued state"
	// FlagOrphan: it is a named workspace's, and the default workspace has no state at its key.
	FlagOrphan Flag = "orphan workspace"
	// FlagCopied: another key has a state of the same lineage. One is a copy, and both may manage the same resources.
	FlagCopied Flag = "shared lineage"
	// FlagUnversioned: what overwrites it cannot be undone, because the bucket keeps no version of it.
	FlagUnversioned Flag = "unversioned"
	// FlagNeverLocked: the bucket keeps versions, but none of a lock of it.
	FlagNeverLocked Flag = "never locked"
)

// State is one state, or what is left of one. As JSON it is a state of an inventory, as docs/JSON.md has it.
type State struct {
	Bucket    string    // that the state is in
	Key       string    // of the state, without the bucket
	Workspace string    // empty: the default one
	Exists    bool      // there is an object; the rest may be a lock, a rescued state or older versions
	Size      int64     // bytes
	Written   time.Time // last, by the store's clock
	ETag      string    // of the current version; empty without one
	VersionID string    // with versions; of the current one

	Locked      bool      // there is a lock object
	LockedSince time.Time // the lock object was written last, which renewals do
	Rescued     int       // states that could not be written
	Snapshots   int       // older states, where the bucket keeps no versions

	// Versions and VersionBytes count what the bucket keeps, the current version included and delete markers not. Zero
	// without StatesOptions.Versions.
	Versions     int
	VersionBytes int64 // see Versions

	// Header is what the state says of itself; nil if it was not read, or could not be.
	Header *statelatch.StateHeader
	// Problem is why the state, or one of its versions, could not be read or understood.
	Problem error
	// Anomalies are what the versions show, oldest first.
	Anomalies []state.Anomaly
	Flags     []Flag // what should be looked at; none: nothing
}

// StatesOptions are the terms of [States]; the zero value takes one listing and reads nothing.
type StatesOptions struct {
	WorkspacePrefix string // as in [WalkOptions]
	Workers         int    // requests under way at once; 0 means 16
	All             bool   // every object counts as a state, whatever its name
	Versions        bool   // list the versions, too
	Headers         bool   // read the header of each state
	Anomalies       bool   // list the versions and read the header of each, and more of it where that does not tell
	// Select chooses among what was listed, before anything is read. Flags that need no reading are set. Nil: all.
	Select     func(State) bool
	OnProgress func(Progress)       // of the listing
	OnRead     func(read, from int) // states whose headers were read; one call at a time
}

// States takes stock of the states of scope, by key. A state is what ends with ".tfstate", what has a lock object, a
// rescued state or a snapshot, and everything below the workspace prefix. What cannot be read says so itself; the error
// is the listing's, or that of ctx. Where the store cannot list versions at all, the current objects are listed
// instead.
func States(ctx context.Context, b bucket.Bucket, scope statelatch.Scope, opts StatesOptions) ([]State, error) {
	states := []State{}
	for st, err := range AllStates(ctx, b, scope, opts) {
		if err != nil {
			return nil, err
		}
		states = append(states, st)
	}
	first := map[string]int{} // by lineage
	for i, st := range states {
		if st.Header == nil || st.Header.Lineage == "" {
			continue
		}
		if j, known := first[st.Header.Lineage]; !known {
			first[st.Header.Lineage] = i
		} else if other := &states[j]; !slices.Contains(other.Flags, FlagCopied) {
			other.flag(true, FlagCopied)
		}
	}
	return states, nil
}

// AllStates is [States], but that each state comes as soon as it and those before it are read, which begins when the
// bucket is listed; so of those that share a lineage all but the first have [FlagCopied]. It ends with the first error.
func AllStates(
	ctx context.Context, b bucket.Bucket, scope statelatch.Scope, opts StatesOptions,
) iter.Seq2[State, error] {
	return func(yield func(State, error) bool) {
		s, err := TakeStock(ctx, b, scope, opts)
		if err != nil {
			yield(State{}, err)
			return
		}
		for st, err := range s.read(ctx) {
			if !yield(st, err) || err != nil {
				return
			}
		}
	}
}

// Stock is what a listing tells of states. It is small: there may be a hundred thousand.
type Stock struct {
	opts        StatesOptions
	bucket      bucket.Bucket
	scope       statelatch.Scope
	unversioned bool // the store lists no versions
	noted       map[string]*noted
	unclean     map[string]bool // keys of states that exist, as path.Join has them in those of named workspaces
	slots       chan struct{}   // holds one for every request under way
}

// noted is what is known of one key.
type noted struct {
	size, written, locked int64    // the times in nanoseconds; 0: not known
	sum                   [16]byte // the ETag, where it is an MD5
	rest                  *rest    // nil of most

	exists, isLocked, candidate, lockSeen, unversioned, summed bool
}

// rest is what most states do not have.
type rest struct {
	etag, versionID    string
	rescued, snapshots int
	versions           int
	versionBytes       int64
	all                []state.Version // newest first, if they are to be judged
}

// TakeStock lists the states of scope, as [States] does, and reads none of them.
func TakeStock(
	ctx context.Context, b bucket.Bucket, scope statelatch.Scope, opts StatesOptions,
) (*Stock, error) {
	opts.Versions = opts.Versions || opts.Anomalies
	s := &Stock{
		opts: opts, bucket: b, scope: scope, noted: map[string]*noted{}, unclean: map[string]bool{},
		slots: make(chan struct{}, cmp.Or(max(opts.Workers, 0), defaultWorkers)),
	}
	walk := WalkOptions{
		WorkspacePrefix: opts.WorkspacePrefix, Workers: opts.Workers, Versions: opts.Versions,
		OnProgress: opts.OnProgress,
	}
	err := Walk(ctx, b, scope, walk, s.add)
	if opts.Versions && errors.Is(err, statelatch.ErrUnsupported) {
		walk.Versions, s.unversioned = false, true
		clear(s.noted)
		err = Walk(ctx, b, scope, walk, s.add)
	}
	for key, l := range s.noted {
		if clean := path.Clean(key); clean != key && l.exists {
			s.unclean[clean] = true
		}
	}
	return s, err
}

func (s *Stock) at(key string) *noted {
	l := s.noted[key]
	if l == nil {
		l = &noted{}
		s.noted[key] = l
	}
	return l
}

func (l *noted) more() *rest {
	if l.rest == nil {
		l.rest = &rest{}
	}
	return l.rest
}

// add takes in one object, version or delete marker.
func (s *Stock) add(obj bucket.Object) error {
	kind, key := statelatch.ClassifyKey(obj.Key)
	current := !obj.DeleteMarker && (obj.IsLatest || !s.opts.Versions || s.unversioned)
	switch kind {
	case statelatch.KeyLock:
		l := s.at(key)
		l.lockSeen, l.candidate = true, true
		if current {
			l.isLocked, l.locked = true, nanoseconds(obj.LastModified)
		}
	case statelatch.KeyRescue, statelatch.KeySnapshot:
		if !current {
			return nil
		}
		l := s.at(key)
		l.candidate = true
		if kind == statelatch.KeyRescue {
			l.more().rescued++
		} else {
			l.more().snapshots++
		}
	case statelatch.KeyOther:
		s.addState(s.at(obj.Key), obj, current)
	case statelatch.KeyProbe:
	}
	return nil
}

func (s *Stock) addState(l *noted, obj bucket.Object, current bool) {
	if current {
		l.exists, l.size, l.written = true, obj.Size, nanoseconds(obj.LastModified)
		l.unversioned = !bucket.KeptVersion(obj.VersionID)
		l.setETag(obj.ETag)
		if obj.VersionID != "" {
			l.more().versionID = obj.VersionID
		}
	} else if l.written == 0 {
		l.written = nanoseconds(obj.LastModified) // the deletion
	}
	if !s.opts.Versions || s.unversioned {
		return
	}
	if !obj.DeleteMarker {
		l.more().versions++
		l.more().versionBytes += obj.Size
	}
	if s.opts.Anomalies {
		l.more().all = append(l.more().all, state.Version{
			Ref: statelatch.Ref{Bucket: s.bucket.Name(), Key: obj.Key}, Exists: !obj.DeleteMarker,
			ETag: obj.ETag, VersionID: obj.VersionID, Size: obj.Size, LastModified: obj.LastModified,
		})
	}
}

// setETag keeps an ETag, most of which are an MD5 in quotes.
func (l *noted) setETag(etag string) {
	hexed, quoted := strings.CutPrefix(etag, `"`)
	hexed, ends := strings.CutSuffix(hexed, `"`)
	n, err := hex.Decode(l.sum[:], []byte(hexed[:min(len(hexed), 2*len(l.sum))]))
	l.summed = quoted && ends && len(hexed) == 2*len(l.sum) && n == len(l.sum) && err == nil
	if l.summed = l.summed && l.etag() == etag; !l.summed && etag != "" {
		l.more().etag = etag
	}
}

func (l *noted) etag() string {
	switch {
	case l.summed:
		return `"` + hex.EncodeToString(l.sum[:]) + `"`
	case l.rest != nil:
		return l.rest.etag
	}
	return ""
}

// nanoseconds keeps a time small.
func nanoseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func timeOf(nanoseconds int64) time.Time {
	if nanoseconds == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanoseconds).UTC()
}

// All yields what counts as a state and is selected, by key, with the flags that the listing alone gives. It may be
// called again.
func (s *Stock) All() iter.Seq[State] {
	return func(yield func(State) bool) {
		keys := make([]string, 0, len(s.noted))
		for key := range s.noted {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		for _, key := range keys {
			if st, ok := s.state(key); ok && !yield(st) {
				return
			}
		}
	}
}

// state is what the listing tells of a key; false: it does not count as a state, or is not selected.
func (s *Stock) state(key string) (State, bool) {
	l := s.noted[key]
	var more rest
	if l.rest != nil {
		more = *l.rest
	}
	st := State{
		Bucket: s.bucket.Name(), Key: key, Exists: l.exists, Size: l.size, Written: timeOf(l.written), ETag: l.etag(),
		VersionID: more.versionID, Locked: l.isLocked, LockedSince: timeOf(l.locked), Rescued: more.rescued,
		Snapshots: more.snapshots, Versions: more.versions, VersionBytes: more.versionBytes,
	}
	workspace, of, named := statelatch.CutWorkspace(key, s.opts.WorkspacePrefix)
	// What ends with a slash is how some tools show a folder.
	named = named && !strings.HasSuffix(key, "/")
	if named {
		st.Workspace = workspace
	}
	nothing := !st.Exists && !st.Locked && st.Rescued+st.Snapshots+st.Versions == 0
	if nothing || !s.opts.All && !l.candidate && !named && !strings.HasSuffix(key, ".tfstate") {
		return st, false
	}
	deleted := !st.Exists && st.Versions > 0
	st.flag(st.Exists && st.Size == 0, FlagZeroBytes)
	st.flag(deleted, FlagDeleted)
	st.flag(!st.Exists && !deleted, FlagNoState)
	st.flag(st.Rescued > 0, FlagRescued)
	st.flag(named && st.Exists && s.scope.Covers(of, "") && !s.exists(of), FlagOrphan)
	kept := s.opts.Versions && !s.unversioned && !l.unversioned
	st.flag(s.opts.Versions && st.Exists && !kept, FlagUnversioned)
	st.flag(kept && st.Exists && !l.lockSeen, FlagNeverLocked)
	return st, s.opts.Select == nil || s.opts.Select(st)
}

// exists reports whether the default workspace has a state at a key, as path.Join has it.
func (s *Stock) exists(key string) bool {
	l := s.noted[key]
	return l != nil && l.exists && path.Clean(key) == key || s.unclean[key]
}

// flag sets a flag, in the order of all.
func (st *State) flag(set bool, f Flag) {
	if !set {
		return
	}
	st.Flags = append(st.Flags, f)
	slices.SortFunc(st.Flags,
		func(a, b Flag) int { return cmp.Compare(slices.Index(flagOrder, a), slices.Index(flagOrder, b)) })
}

// read yields all states, with what is to be read of them.
func (s *Stock) read(ctx context.Context) iter.Seq2[State, error] {
	if !s.opts.Headers && !s.opts.Anomalies {
		return func(yield func(State, error) bool) {
			for st := range s.All() {
				if !yield(st, nil) {
					return
				}
			}
		}
	}
	store := &state.Store{Bucket: s.bucket}
	var keys []string
	for st := range s.All() {
		keys = append(keys, st.Key)
	}
	items := func(yield func(string, error) bool) {
		for _, key := range keys {
			if !yield(key, nil) {
				return
			}
		}
	}
	var mu sync.Mutex
	read := 0
	all := Map(ctx, s.opts.Workers, items, func(ctx context.Context, key string) (State, error) {
		st, _ := s.state(key)
		if err := s.readState(ctx, store, &st); ctx.Err() != nil {
			return State{}, ctx.Err()
		} else if err != nil {
			st.Problem = err
		}
		mu.Lock()
		defer mu.Unlock()
		if read++; s.opts.OnRead != nil {
			s.opts.OnRead(read, len(keys))
		}
		return st, nil
	})
	return func(yield func(State, error) bool) {
		lineages := map[string]bool{}
		for st, err := range all {
			if st.Header != nil && st.Header.Lineage != "" {
				st.flag(lineages[st.Header.Lineage], FlagCopied)
				lineages[st.Header.Lineage] = true
			}
			st.flag(st.Problem != nil, FlagUnreadable)
			st.flag(len(st.Anomalies) > 0, FlagAnomaly)
			if !yield(st, err) {
				return
			}
		}
	}
}

var flagOrder = []Flag{
	FlagAnomaly, FlagUnreadable, FlagZeroBytes, FlagDeleted, FlagNoState, FlagRescued, FlagOrphan, FlagCopied,
	FlagUnversioned, FlagNeverLocked,
}

func (s *Stock) readState(ctx context.Context, store *state.Store, st *State) error {
	var versions []state.Version
	if more := s.noted[st.Key].rest; more != nil {
		versions = more.all
	}
	if len(versions) < 2 {
		return s.readCurrent(ctx, store, st)
	}
	slices.Reverse(versions)
	if err := s.readVersions(ctx, store, versions); err != nil {
		if currentErr := s.readCurrent(ctx, store, st); currentErr != nil {
			return currentErr
		}
		return err
	}
	last := len(versions) - 1
	if now := &versions[last]; now.Exists && now.Size > 0 {
		st.read(now)
	}
	for i := range last {
		before, after := &versions[i], &versions[i+1]
		var kind state.AnomalyKind
		err := s.ask(ctx, func() (err error) {
			kind, _, err = store.Compare(ctx, before, after)
			return err
		})
		if err != nil {
			return err
		}
		deleted := kind == state.Vanished && !after.Exists && i+1 == last // FlagDeleted says so
		if kind != "" && !deleted {
			st.Anomalies = append(st.Anomalies, state.Anomaly{Kind: kind, Before: *before, After: *after})
		}
	}
	return nil
}

// readCurrent reads the header of the current object, and not as a version: that takes a permission of its own.
func (s *Stock) readCurrent(ctx context.Context, store *state.Store, st *State) error {
	if !st.Exists || st.Size == 0 {
		return nil
	}
	now := state.Version{Ref: statelatch.Ref{Bucket: s.bucket.Name(), Key: st.Key}, Size: st.Size}
	err := s.ask(ctx, func() error { return store.ReadHeader(ctx, &now) })
	if err == nil {
		st.read(&now)
	}
	return err
}

// readVersions reads the headers of all versions of one state.
func (s *Stock) readVersions(ctx context.Context, store *state.Store, versions []state.Version) error {
	var all []*state.Version
	for i := range versions {
		if versions[i].Exists {
			all = append(all, &versions[i])
		}
	}
	return Each(ctx, s.opts.Workers, all, func(ctx context.Context, v *state.Version) error {
		return s.ask(ctx, func() error { return store.ReadHeader(ctx, v) })
	})
}

// ask makes a request when there is room for one: states and the versions of each are read at the same time.
func (s *Stock) ask(ctx context.Context, do func() error) error {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
		return do()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// read takes in what the current version says.
func (st *State) read(now *state.Version) {
	header := now.Header
	if st.Problem = now.Err; now.Err == nil {
		st.Header = &header
	}
}
