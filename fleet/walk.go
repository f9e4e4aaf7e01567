package fleet

import (
	"context"
	"fmt"
	"iter"
	"sync"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

const (
	// defaultWorkers is how many requests are under way at once, unless the caller says otherwise.
	defaultWorkers = 16
	// maxPageSize is S3's.
	maxPageSize = 1000
	// maxCuts is how many ranges a worker gives away at once. More find the right place sooner and
	// send more requests that find nothing.
	maxCuts = 4
)

// WalkOptions are the terms of a walk; the zero value lists the current objects without regard to named workspaces.
type WalkOptions struct {
	// WorkspacePrefix is where the keys of named workspaces begin ("env:"), which belong to the scope of their default
	// workspace's key. Empty: there are none.
	WorkspacePrefix string
	Workers         int            // requests under way at once; 0 means 16
	Versions        bool           // every version and delete marker, not the current objects only
	OnProgress      func(Progress) // called after every request, one call at a time, never during a visit; nil: not called

	pageSize int // of a test; 0: S3's 1,000
}

// Progress is how far a walk has come.
type Progress struct {
	Objects  int // visited so far; versions and delete markers each count
	Requests int // listing requests sent so far, without the driver's repetitions
}

// Walk visits every object that scope covers, but no probe's. The calls of visit come one at a time, but the keys in no
// order; only the versions of one key come newest first, possibly with other keys in between. Walk ends with the first
// error, which may be visit's own, and then waits until nothing is under way any more.
//
// A worker that has fetched a full page gives parts of the rest of its range to idle ones. So it takes more requests
// than one listing from end to end, by four and a third of them all at most, but has many under way at once.
//
// Errors are the bucket's, ErrInvalid for a scope of another bucket, and ErrBroken for a store that does not list in
// byte order of the keys.
func Walk(
	ctx context.Context, b bucket.Bucket, scope statelatch.Scope, opts WalkOptions, visit func(bucket.Object) error,
) error {
	if err := scope.ValidateIn(b.Name()); err != nil {
		return err
	}
	if opts.Workers <= 0 {
		opts.Workers = defaultWorkers
	}
	if opts.pageSize <= 0 {
		opts.pageSize = maxPageSize
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &walk{
		WalkOptions: opts, bucket: b, scope: scope, visit: visit, cancel: cancel,
		slots: make(chan struct{}, opts.Workers),
	}
	for _, prefix := range scope.ListPrefixes(opts.WorkspacePrefix) {
		w.slots <- struct{}{}
		w.start(ctx, span{prefix: prefix})
	}
	w.running.Wait()
	return w.err
}

type walk struct {
	WalkOptions
	bucket bucket.Bucket
	scope  statelatch.Scope
	visit  func(bucket.Object) error
	cancel context.CancelFunc

	slots   chan struct{} // holds one for every span under way
	running sync.WaitGroup

	mu       sync.Mutex // also held during visits
	progress Progress
	cuts     int   // ranges given away
	err      error // the first
}

// start walks s in the background. The caller has taken a slot for it.
func (w *walk) start(ctx context.Context, s span) {
	w.running.Go(func() {
		defer func() { <-w.slots }()
		if err := w.run(ctx, s); err != nil {
			w.fail(err)
		}
	})
}

// fail ends the walk. What fails because of it comes later and is not told.
func (w *walk) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	w.cancel()
}

// run lists s in one iteration, so that a listing which nobody helps with takes no request more than a plain one.
func (w *walk) run(ctx context.Context, s span) error {
	last := bucket.Object{Key: s.after}
	var page []bucket.Object // of one request
	for obj, err := range w.list(ctx, bucket.ListOptions{Prefix: s.prefix, StartAfter: s.after, PageSize: w.pageSize}) {
		switch {
		case err != nil:
			return err
		case obj.Key < last.Key, obj.Key == last.Key && (!w.Versions || obj.Key == s.after):
			return &statelatch.StoreError{
				Kind: statelatch.ErrBroken, Op: "list", Bucket: w.bucket.Name(),
				Message: fmt.Sprintf("the store does not list in byte order: %q came after %q", obj.Key, last.Key),
			}
		case s.until != "" && obj.Key > s.until:
			return w.deliver(page)
		}
		last = obj
		if page = append(page, obj); len(page) < w.pageSize {
			continue
		}
		if err := w.deliver(page); err != nil {
			return err
		}
		s = w.share(ctx, s, page[0].Key, last.Key)
		page = page[:0]
	}
	if len(page) == 0 && last.Key != s.after {
		return nil // the full page before was the last; there was no other request
	}
	return w.deliver(page)
}

func (w *walk) list(ctx context.Context, opts bucket.ListOptions) iter.Seq2[bucket.Object, error] {
	if w.Versions {
		return w.bucket.ListVersions(ctx, opts)
	}
	return w.bucket.List(ctx, opts)
}

// deliver visits what one request found.
func (w *walk) deliver(page []bucket.Object) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.progress.Requests++
	for _, obj := range page {
		kind, _ := statelatch.ClassifyKey(obj.Key)
		if w.err != nil || kind == statelatch.KeyProbe || !w.scope.Covers(obj.Key, w.WorkspacePrefix) {
			continue
		}
		if err := w.visit(obj); err != nil {
			return err
		}
		w.progress.Objects++
	}
	if w.OnProgress != nil {
		w.OnProgress(w.progress)
	}
	return nil
}

// share gives parts of s behind the page from first to last to idle workers, and returns what is left of s.
func (w *walk) share(ctx context.Context, s span, first, last string) span {
	idle := 0
	for idle < maxCuts && w.take() {
		idle++
	}
	w.mu.Lock()
	kept, given := s.split(first, last, min(idle, maxCuts+w.progress.Requests/3-w.cuts))
	w.cuts += len(given)
	w.mu.Unlock()
	for range idle - len(given) {
		<-w.slots
	}
	for _, g := range given {
		w.start(ctx, g)
	}
	return kept
}

// take takes a slot if there is one.
func (w *walk) take() bool {
	select {
	case w.slots <- struct{}{}:
		return true
	default:
		return false
	}
}
