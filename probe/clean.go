package probe

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/internal/lazyre"
	"github.com/statelatch/statelatch/internal/plural"
)

const (
	cleaners    = 16
	cleanPasses = 3 // a request that was on its way at an interrupt may land after a look
	litterAge   = 24 * time.Hour
)

// ours is what the keys of a probe look like: below its random prefix, and ending as a lock's.
var ours = lazyre.New(`^` + regexp.QuoteMeta(statelatch.ProbePrefix) + `[a-z2-7]{26}/[^/]+\.tflock$`)

// clean removes what was written, and reports what it could not. Everything below the random prefix is ours.
func (p *prober) clean(caller context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(caller), cleanBudget)
	defer cancel()
	if len(p.written) == 0 {
		return
	}
	p.progress(Progress{})
	for _, door := range p.doors { // all but the first find nothing, unless they see different things
		p.cleanThrough(ctx, door)
	}
	if caller.Err() == nil {
		p.cleanLitter(ctx, p.doors[0])
	}
}

// cleanLitter removes what probes that were killed left behind, if it is a day old by the store's clock. It is nobody's
// concern if that fails: a later probe tries again.
func (p *prober) cleanLitter(ctx context.Context, door bucket.Bucket) {
	objects, err := p.list(ctx, door, statelatch.ProbePrefix)
	if err != nil || p.now.IsZero() {
		return
	}
	objects = slices.DeleteFunc(objects, func(o bucket.Object) bool {
		return !ours.MatchString(o.Key) || strings.HasPrefix(o.Key, p.prefix) || o.LastModified.IsZero() ||
			p.now.Sub(o.LastModified) < litterAge
	})
	if len(objects) == 0 || p.removeOne(ctx, door, objects[0]) != nil {
		return // where one is retained, all are
	}
	_, _ = p.removeAll(ctx, door, objects[1:])
}

func (p *prober) cleanThrough(ctx context.Context, door bucket.Bucket) {
	for range cleanPasses {
		objects, listErr := p.list(ctx, door, p.prefix)
		if listErr != nil {
			objects = p.known()
		}
		if len(objects) == 0 {
			return
		}
		left, err := p.removeAll(ctx, door, objects)
		switch {
		case listErr != nil && err == nil && !p.unsure():
			return // nothing to look with, but everything that was written is known and gone
		case listErr != nil && err == nil:
			p.leftBehind("possibly objects whose write had no answer", listErr)
			return
		case err != nil:
			p.leftBehind(plural.Of(left, "leftover")+" (objects, versions, delete markers)", err)
			return
		}
	}
	p.leftBehind("possibly objects that were written late", errors.New("they kept appearing"))
}

func (p *prober) leftBehind(what string, why error) {
	p.LeftBehind = append(p.LeftBehind, fmt.Sprintf("%s below s3://%s/%s: %v", what, p.doors[0].Name(), p.prefix, why))
}

// list finds everything below prefix, versions where there are some.
func (p *prober) list(ctx context.Context, door bucket.Bucket, prefix string) ([]bucket.Object, error) {
	list := door.List
	if p.hasVersions() {
		list = door.ListVersions
	}
	p.requests.Add(1)
	var objects []bucket.Object
	for o, err := range list(ctx, bucket.ListOptions{Prefix: prefix}) {
		if err != nil {
			return nil, err
		}
		objects = append(objects, o)
	}
	return objects, nil
}

// hasVersions reports whether any version ID was seen, "null" included.
func (p *prober) hasVersions() bool {
	for _, versions := range p.written {
		for _, v := range versions {
			if v != "" {
				return true
			}
		}
	}
	return false
}

// known is what was written as far as the answers told.
func (p *prober) known() []bucket.Object {
	var objects []bucket.Object
	versioned := p.hasVersions()
	for key, versions := range p.written {
		for _, v := range versions {
			if v != "" || !versioned {
				objects = append(objects, bucket.Object{Key: key, VersionID: v})
			}
		}
	}
	return objects
}

// unsure reports whether a version may exist that no answer named.
func (p *prober) unsure() bool { return p.unknown && p.hasVersions() }

// removeAll removes objects in parallel, and tells how many are left and why.
func (p *prober) removeAll(ctx context.Context, door bucket.Bucket, objects []bucket.Object) (left int, err error) {
	var mu sync.Mutex
	var workers sync.WaitGroup
	queue := make(chan bucket.Object, len(objects))
	for _, o := range objects {
		queue <- o
	}
	close(queue)
	for range cleaners {
		workers.Go(func() {
			for o := range queue {
				if removeErr := p.removeOne(ctx, door, o); removeErr != nil {
					mu.Lock()
					left++
					err = removeErr
					mu.Unlock()
				}
			}
		})
	}
	workers.Wait()
	return left, err
}

// removeOne removes one version, or the object on the condition that it is the one that was listed. Where versions may
// not be removed the current one is deleted at least, so that listings do not show it.
func (p *prober) removeOne(ctx context.Context, door bucket.Bucket, o bucket.Object) (err error) {
	for try := range tries {
		p.requests.Add(1)
		opts := bucket.DeleteOptions{VersionID: o.VersionID}
		if o.VersionID == "" && o.ETag != "" {
			opts.If = bucket.IfMatch(o.ETag)
		}
		_, err = door.Delete(ctx, o.Key, opts)
		if !opts.If.IsZero() && (refusedOutright(err) || errors.Is(err, statelatch.ErrPreconditionFailed)) {
			p.requests.Add(1) // no usable conditions; the prefix is ours alone
			_, err = door.Delete(ctx, o.Key, bucket.DeleteOptions{})
		}
		switch {
		case err == nil, errors.Is(err, statelatch.ErrNotFound):
			return nil
		case errors.Is(err, statelatch.ErrDenied) && o.IsLatest && !o.DeleteMarker && o.ETag != "":
			p.requests.Add(1)
			_, _ = door.Delete(ctx, o.Key, bucket.DeleteOptions{If: bucket.IfMatch(o.ETag)})
			return err
		case !transient(err) || ctx.Err() != nil:
			return err
		}
		pause(ctx, try)
	}
	return err
}
