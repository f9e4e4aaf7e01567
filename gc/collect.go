package gc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/internal/pace"
)

const (
	// tries is how often a request is sent that fails in passing. Removing a version by its ID, or an object by its
	// ETag, twice does no harm, also when the first attempt arrives late.
	tries = 5
)

// retryPace is the pause between two tries.
var retryPace = pace.Backoff{Min: 100 * time.Millisecond, Max: 2 * time.Second}

// Result is what was done.
type Result struct {
	Removed Sum // what is gone for good
	Keys    int // done with, of the plan
	// Denied are refusals of single versions: for want of a right, or because Object Lock retains them. What is newer
	// stays, too.
	Denied []error
}

// Collect removes what p planned, several keys at a time. It looks at every key again first; what changed since makes
// it remove less, never more. A refusal ends the work on that key alone; any other failure, after some tries, ends all
// of it. What was removed until then is told with the error, and a new plan finds the rest. onProgress, if not nil, is
// called after every removal, one call at a time.
//
// Errors are the bucket's, and ErrInvalid for a plan of another one; ErrDenied if not a single version could be removed
// for that reason.
func Collect(ctx context.Context, b bucket.Bucket, p Plan, workers int, onProgress func(Result)) (Result, error) {
	if !p.Empty() && p.Bucket != b.Name() {
		return Result{}, fmt.Errorf("%w plan: it is of bucket %q, not of %q", statelatch.ErrInvalid, p.Bucket, b.Name())
	}
	if len(p.Snapshots) > 0 {
		return collectSnapshots(ctx, b, p.Snapshots, workers, onProgress)
	}
	c := &collector{bucket: b, onProgress: onProgress}
	err := fleet.Each(ctx, workers, p.Keys, func(ctx context.Context, k Key) error {
		err := c.collect(ctx, k)
		if refused(err) {
			c.note(func(r *Result) { r.Denied = append(r.Denied, err) })
			err = nil
		}
		if err == nil {
			c.note(func(r *Result) { r.Keys++ })
		}
		return err
	})
	if err == nil && c.result.Removed.Versions+c.result.Removed.Markers == 0 && len(c.result.Denied) > 0 {
		err = c.result.Denied[0]
	}
	return c.result, err
}

// refused reports whether the credentials are good, but not for this.
func refused(err error) bool {
	se, ok := errors.AsType[*statelatch.StoreError](err)
	return ok && errors.Is(se.Kind, statelatch.ErrDenied) && se.Op == "delete" && !statelatch.BadCredentials(err)
}

type collector struct {
	bucket     bucket.Bucket
	onProgress func(Result)

	mu     sync.Mutex
	result Result
}

func (c *collector) note(change func(*Result)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.result)
	if c.onProgress != nil {
		c.onProgress(c.result)
	}
}

// collect removes what is planned of one key, oldest first.
func (c *collector) collect(ctx context.Context, k Key) error {
	all, err := c.list(ctx, k.Key)
	if err != nil || !all.sound() {
		return err
	}
	last := slices.IndexFunc(all, func(l link) bool { return l.id == k.last })
	if last < 0 {
		return nil // somebody else removed it, and all that is older before that
	}
	for _, l := range slices.Backward(all[last:]) {
		if l.latest {
			return c.removeNewest(ctx, k.Key, l)
		}
		if err := c.remove(ctx, k.Key, l); err != nil {
			return err
		}
	}
	return nil
}

// removeNewest removes a delete marker that is all there is of a key. Nothing can get below it any more: if a lock is
// taken in this instant, the marker is below that.
func (c *collector) removeNewest(ctx context.Context, key string, marker link) error {
	again, err := c.list(ctx, key)
	if err != nil || len(again) != 1 || again[0].id != marker.id || !again[0].marker {
		return err
	}
	return c.remove(ctx, key, marker)
}

// list is the versions of exactly one key.
func (c *collector) list(ctx context.Context, key string) (chain, error) {
	var all chain
	err := retry(ctx, func() error {
		all = nil
		for obj, err := range c.bucket.ListVersions(ctx, bucket.ListOptions{Prefix: key}) {
			if err != nil {
				return err
			}
			if obj.Key != key { // behind it: the key is the first with itself for a prefix
				return nil
			}
			all = append(all, linkOf(obj))
		}
		return nil
	})
	return all, err
}

// remove removes one version.
func (c *collector) remove(ctx context.Context, key string, l link) error {
	err := retry(ctx, func() error {
		got, err := c.bucket.Delete(ctx, key, bucket.DeleteOptions{VersionID: l.id})
		switch {
		case errors.Is(err, statelatch.ErrNotFound): // some stores report what S3 passes over
			return nil
		case err != nil:
			return err
		case got.VersionID != "" && got.VersionID != l.id, got.DeleteMarker && !l.marker:
			return &wrongVersionError{key, l.id}
		}
		return nil
	})
	if err == nil {
		c.note(func(r *Result) { r.Removed.add(l.sum()) })
	}
	return err
}

// wrongVersionError is a store, or something before it, that drops the version from a request.
type wrongVersionError struct{ key, id string }

func (e *wrongVersionError) Error() string {
	return fmt.Sprintf("the store was asked to remove version %s of %s and says that it did something else: look at "+
		"the lock of %s",
		e.id, e.key, statelatch.StateKey(e.key))
}

func (*wrongVersionError) Is(target error) bool { return target == statelatch.ErrUnsafeStore }

// retry repeats do, which must be safe to repeat, while it fails in passing.
func retry(ctx context.Context, do func() error) error {
	for failures := 1; ; failures++ {
		err := do()
		passing := errors.Is(err, statelatch.ErrThrottled) || errors.Is(err, statelatch.ErrAmbiguous) ||
			errors.Is(err, statelatch.ErrConflict) || errors.Is(err, statelatch.ErrBroken) || statelatch.Expired(err)
		if !passing || failures == tries {
			return err
		}
		if pace.Sleep(ctx, retryPace.Pause(failures)) != nil {
			return err
		}
	}
}
