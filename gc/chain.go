package gc

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// link is one version or delete marker of a lock object.
type link struct {
	id       string
	modified time.Time
	size     int64
	latest   bool
	marker   bool
}

func linkOf(o bucket.Object) link {
	return link{id: o.VersionID, modified: o.LastModified, size: o.Size, latest: o.IsLatest, marker: o.DeleteMarker}
}

// chain is all versions and delete markers of one lock object, newest first.
type chain []link

// sound reports whether the listing says clearly what is current. It may not when the newest version vanished
// between two of its pages.
func (c chain) sound() bool {
	for i, l := range c {
		if l.latest != (i == 0) {
			return false
		}
	}
	return len(c) > 0
}

// goes is the part of c that may go: from the oldest on, everything that was stored and superseded before then, or at
// any time if that is zero. What is current stays, unless it is a delete marker.
func (c chain) goes(before time.Time) chain {
	if !c.sound() {
		return nil
	}
	// of an unknown age it may be
	young := func(t time.Time) bool { return !before.IsZero() && (t.IsZero() || !t.Before(before)) }
	for i, l := range slices.Backward(c) {
		superseded := l.modified
		if i > 0 {
			superseded = c[i-1].modified
		}
		if !bucket.KeptVersion(l.id) || i == 0 && !l.marker || young(l.modified) || young(superseded) {
			return c[i+1:]
		}
	}
	return c
}

func (c chain) sum() Sum {
	var s Sum
	for _, l := range c {
		s.add(l.sum())
	}
	return s
}

func (l link) sum() Sum {
	s := Sum{Versions: 1, Bytes: l.size, Oldest: l.modified, Newest: l.modified}
	if l.marker {
		s.Versions, s.Markers, s.Bytes = 0, 1, 0
	}
	return s
}

// ours is the part of c, from the oldest on, up to the first lock that is not one of Statelatch. A delete marker does
// not tell who wrote it.
func ours(ctx context.Context, b bucket.Bucket, key string, c chain) (chain, error) {
	for i, l := range slices.Backward(c) {
		if l.marker {
			continue
		}
		mine, err := isOurs(ctx, b, key, l.id)
		if err != nil {
			return nil, err
		}
		if !mine {
			return c[i+1:], nil
		}
	}
	return c, nil
}

func isOurs(ctx context.Context, b bucket.Bucket, key, id string) (bool, error) {
	_, body, err := b.Get(ctx, key, bucket.ReadOptions{VersionID: id})
	if errors.Is(err, statelatch.ErrNotFound) {
		return false, nil // gone already, so that it cannot be told
	}
	if err != nil {
		return false, err
	}
	data, err := io.ReadAll(io.LimitReader(body, statelatch.MaxLockInfo+1))
	return statelatch.ParseManaged(data) != nil, errors.Join(err, body.Close())
}
