package bootstrap

import (
	"context"
	"errors"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/fleet"
)

// Contents is what lies in a bucket or a part of it, as far as keys tell.
type Contents struct {
	Locks    []bucket.Object // current lock objects
	States   int             // objects whose key ends in ".tfstate"
	Others   int             // objects that are neither, nor belong to a state
	Example  string          // the key of one of the others
	Litter   int             // old versions and delete markers of lock objects
	MostKey  string          // the lock object with most of them
	Most     int             // how many old versions and delete markers it has
	Versions error           // why there is no telling about old versions
}

// Look lists a scope: all versions in one go, or the current objects alone where versions cannot be listed.
func Look(ctx context.Context, b bucket.Bucket, scope statelatch.Scope, opts fleet.WalkOptions) (Contents, error) {
	var c Contents
	perKey := map[string]int{}
	opts.Versions = true
	err := fleet.Walk(ctx, b, scope, opts, func(o bucket.Object) error {
		if o.IsLatest && !o.DeleteMarker {
			c.add(o)
		} else if kind, _ := statelatch.ClassifyKey(o.Key); kind == statelatch.KeyLock {
			c.Litter++
			perKey[o.Key]++
		}
		return nil
	})
	if errors.Is(err, statelatch.ErrUnsupported) || errors.Is(err, statelatch.ErrDenied) &&
		!statelatch.BadCredentials(err) {
		c = Contents{Versions: err}
		opts.Versions = false
		err = fleet.Walk(ctx, b, scope, opts, func(o bucket.Object) error {
			c.add(o)
			return nil
		})
		return c, err
	}
	for key, n := range perKey {
		if n > c.Most || n == c.Most && key < c.MostKey {
			c.MostKey, c.Most = key, n
		}
	}
	return c, err
}

// Glance is Look at no more than the first limit current objects of a whole bucket.
func Glance(ctx context.Context, b bucket.Bucket, limit int) (c Contents, more bool, err error) {
	seen := 0
	for o, err := range b.List(ctx, bucket.ListOptions{PageSize: limit}) {
		if err != nil {
			return c, false, err
		}
		if seen++; seen > limit {
			return c, true, nil
		}
		c.add(o)
	}
	return c, false, nil
}

func (c *Contents) add(o bucket.Object) {
	kind, _ := statelatch.ClassifyKey(o.Key)
	switch {
	case kind == statelatch.KeyLock:
		c.Locks = append(c.Locks, o)
	case kind != statelatch.KeyOther:
	case looksLikeState(o.Key):
		c.States++
	default:
		c.Others++
		if c.Example == "" {
			c.Example = o.Key
		}
	}
}

// stale are the locks that nobody wrote for a day.
func (c Contents) stale(now time.Time) (oldest bucket.Object, count int) {
	for _, o := range c.Locks {
		if !o.LastModified.IsZero() && now.Sub(o.LastModified) > staleAfter {
			count++
			if oldest.Key == "" || o.LastModified.Before(oldest.LastModified) {
				oldest = o
			}
		}
	}
	return oldest, count
}
