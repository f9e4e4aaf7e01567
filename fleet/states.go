package fleet

import (
	"cmp"
	"context"
	"errors"
	"maps"
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

// State is one state, or what is left of one.
type State struct {
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

	candidate   bool // it counts as a state without StatesOptions.All
	lockSeen    bool
	unversioned bool
	versions    []state.Version // newest first, if they are to be judged
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
	opts.Versions = opts.Versions || opts.Anomalies
	s := stock{
		StatesOptions: opts, bucket: b.Name(), states: map[string]*State{},
		slots: make(chan struct{}, cmp.Or(max(opts.Workers, 0), defaultWorkers)),
	}
	walk := WalkOptions{
		WorkspacePrefix: opts.WorkspacePrefix, Workers: opts.Workers, Versions: opts.Versions,
		OnProgress: opts.OnProgress,
	}
	err := Walk(ctx, b, scope, walk, s.add)
	if opts.Versions && errors.Is(err, statelatch.ErrUnsupported) {
		walk.Versions, s.unversioned = false, true
		clear(s.states)
		err = Walk(ctx, b, scope, walk, s.add)
	}
	if err != nil {
		return nil, err
	}
	found := s.listed(scope)
	if opts.Headers || opts.Anomalies {
		if err := s.read(ctx, b, found); err != nil {
			return nil, err
		}
	}
	states := make([]State, 0, len(found))
	for _, st := range found {
		st.versions = nil
		states = append(states, *st)
	}
	return states, nil
}

// stock is an inventory in the making.
type stock struct {
	StatesOptions
	bucket      string
	unversioned bool // the store lists no versions
	states      map[string]*State
	slots       chan struct{} // holds one for every request under way
}

func (s *stock) at(key string) *State {
	st := s.states[key]
	if st == nil {
		st = &State{Key: key}
		s.states[key] = st
	}
	return st
}

// add takes in one object, version or delete marker.
func (s *stock) add(obj bucket.Object) error {
	kind, key := statelatch.ClassifyKey(obj.Key)
	current := !obj.DeleteMarker && (obj.IsLatest || !s.Versions || s.unversioned)
	switch kind {
	case statelatch.KeyLock:
		st := s.at(key)
		st.lockSeen, st.candidate = true, true
		if current {
			st.Locked, st.LockedSince = true, obj.LastModified
		}
	case statelatch.KeyRescue, statelatch.KeySnapshot:
		if !current {
			return nil
		}
		st := s.at(key)
		st.candidate = true
		if kind == statelatch.KeyRescue {
			st.Rescued++
		} else {
			st.Snapshots++
		}
	case statelatch.KeyOther:
		s.addState(s.at(obj.Key), obj, current)
	case statelatch.KeyProbe:
	}
	return nil
}

func (s *stock) addState(st *State, obj bucket.Object, current bool) {
	if current {
		st.Exists, st.Size, st.Written, st.ETag, st.VersionID = true, obj.Size, obj.LastModified, obj.ETag, obj.VersionID
		st.unversioned = obj.VersionID == "" || obj.VersionID == "null"
	} else if st.Written.IsZero() {
		st.Written = obj.LastModified // the deletion
	}
	if !s.Versions || s.unversioned {
		return
	}
	if !obj.DeleteMarker {
		st.Versions++
		st.VersionBytes += obj.Size
	}
	if s.Anomalies {
		st.versions = append(st.versions, state.Version{
			Ref: statelatch.Ref{Bucket: s.bucket, Key: obj.Key}, Exists: !obj.DeleteMarker,
			ETag: obj.ETag, VersionID: obj.VersionID, Size: obj.Size, LastModified: obj.LastModified,
		})
	}
}

// listed returns what counts as a state and is selected, by key, with the flags that the listing alone gives.
func (s *stock) listed(scope statelatch.Scope) []*State {
	var found []*State
	origins := map[string]bool{} // keys of default workspaces, as path.Join has them in those of the named ones
	for key, st := range s.states {
		origins[path.Clean(key)] = origins[path.Clean(key)] || st.Exists
	}
	for _, key := range slices.Sorted(maps.Keys(s.states)) {
		st := s.states[key]
		workspace, of, named := statelatch.CutWorkspace(key, s.WorkspacePrefix)
		// What ends with a slash is how some tools show a folder.
		named = named && !strings.HasSuffix(key, "/")
		if named {
			st.Workspace = workspace
		}
		nothing := !st.Exists && !st.Locked && st.Rescued+st.Snapshots+st.Versions == 0
		if nothing || !s.All && !st.candidate && !named && !strings.HasSuffix(key, ".tfstate") {
			continue
		}
		deleted := !st.Exists && st.Versions > 0
		st.flag(st.Exists && st.Size == 0, FlagZeroBytes)
		st.flag(deleted, FlagDeleted)
		st.flag(!st.Exists && !deleted, FlagNoState)
		st.flag(st.Rescued > 0, FlagRescued)
		st.flag(named && st.Exists && scope.Covers(of, "") && !origins[of], FlagOrphan)
		kept := s.Versions && !s.unversioned && !st.unversioned
		st.flag(s.Versions && st.Exists && !kept, FlagUnversioned)
		st.flag(kept && st.Exists && !st.lockSeen, FlagNeverLocked)
		if s.Select == nil || s.Select(*st) {
			found = append(found, st)
		}
	}
	return found
}

func (st *State) flag(set bool, f Flag) {
	if set {
		st.Flags = append(st.Flags, f)
	}
}

// read reads the headers of states, and judges their versions if that is asked for.
func (s *stock) read(ctx context.Context, b bucket.Bucket, states []*State) error {
	store := &state.Store{Bucket: b}
	var mu sync.Mutex
	read := 0
	err := Each(ctx, s.Workers, states, func(ctx context.Context, st *State) error {
		err := s.readState(ctx, store, st)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			st.Problem = err
		}
		mu.Lock()
		defer mu.Unlock()
		if read++; s.OnRead != nil {
			s.OnRead(read, len(states))
		}
		return nil
	})
	if err != nil {
		return err
	}
	first := map[string]*State{} // by lineage
	copied := map[*State]bool{}
	for _, st := range states {
		if st.Header == nil || st.Header.Lineage == "" {
			continue
		}
		if other := first[st.Header.Lineage]; other != nil {
			copied[other], copied[st] = true, true
		} else {
			first[st.Header.Lineage] = st
		}
	}
	for _, st := range states {
		st.flag(copied[st], FlagCopied)
		st.flag(st.Problem != nil, FlagUnreadable)
		st.flag(len(st.Anomalies) > 0, FlagAnomaly)
		slices.SortFunc(st.Flags,
			func(a, b Flag) int { return cmp.Compare(slices.Index(flagOrder, a), slices.Index(flagOrder, b)) })
	}
	return nil
}

var flagOrder = []Flag{
	FlagAnomaly, FlagUnreadable, FlagZeroBytes, FlagDeleted, FlagNoState, FlagRescued, FlagOrphan, FlagCopied,
	FlagUnversioned, FlagNeverLocked,
}

func (s *stock) readState(ctx context.Context, store *state.Store, st *State) error {
	if len(st.versions) < 2 {
		return s.readCurrent(ctx, store, st)
	}
	slices.Reverse(st.versions)
	if err := s.readVersions(ctx, store, st.versions); err != nil {
		if currentErr := s.readCurrent(ctx, store, st); currentErr != nil {
			return currentErr
		}
		return err
	}
	last := len(st.versions) - 1
	if now := &st.versions[last]; now.Exists && now.Size > 0 {
		st.read(now)
	}
	for i := range last {
		before, after := &st.versions[i], &st.versions[i+1]
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
func (s *stock) readCurrent(ctx context.Context, store *state.Store, st *State) error {
	if !st.Exists || st.Size == 0 {
		return nil
	}
	now := state.Version{Ref: statelatch.Ref{Bucket: s.bucket, Key: st.Key}, Size: st.Size}
	err := s.ask(ctx, func() error { return store.ReadHeader(ctx, &now) })
	if err == nil {
		st.read(&now)
	}
	return err
}

// readVersions reads the headers of all versions of one state.
func (s *stock) readVersions(ctx context.Context, store *state.Store, versions []state.Version) error {
	var all []*state.Version
	for i := range versions {
		if versions[i].Exists {
			all = append(all, &versions[i])
		}
	}
	return Each(ctx, s.Workers, all, func(ctx context.Context, v *state.Version) error {
		return s.ask(ctx, func() error { return store.ReadHeader(ctx, v) })
	})
}

// ask makes a request when there is room for one: states and the versions of each are read at the same time.
func (s *stock) ask(ctx context.Context, do func() error) error {
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
