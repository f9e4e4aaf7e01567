package membucket

import (
	"cmp"
	"context"
	"iter"
	"net/http"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// entry is one line of a listing with its place in the order.
type entry struct {
	bucket.Object
	made int // of the version; 0 in a listing of objects
}

// byKeyNewestFirst is the order of both listings.
func byKeyNewestFirst(a, b entry) int {
	return cmp.Or(strings.Compare(a.Key, b.Key), cmp.Compare(b.made, a.made))
}

// List implements [bucket.Bucket]. Each page is a snapshot, the whole is not.
func (b *Bucket) List(ctx context.Context, opts bucket.ListOptions) iter.Seq2[bucket.Object, error] {
	return b.pages(ctx, "list", opts.PageSize, func() []entry { return b.currentEntries(opts) })
}

// ListVersions implements [bucket.Bucket]. Each page is a snapshot, the whole is not.
func (b *Bucket) ListVersions(ctx context.Context, opts bucket.ListOptions) iter.Seq2[bucket.Object, error] {
	const op = "list versions"
	if !b.versioned {
		return func(yield func(bucket.Object, error) bool) {
			yield(bucket.Object{}, b.refuse(statelatch.ErrUnsupported, op, "", http.StatusNotImplemented, "NotImplemented"))
		}
	}
	return b.pages(ctx, op, opts.PageSize, func() []entry { return b.versionEntries(opts) })
}

// pages yields what all returns, taking the lock and a fresh look for every page.
func (b *Bucket) pages(ctx context.Context, op string, size int, all func() []entry) iter.Seq2[bucket.Object, error] {
	if size <= 0 || size > maxPageSize {
		size = maxPageSize
	}
	return func(yield func(bucket.Object, error) bool) {
		var last entry
		for {
			if err := ctx.Err(); err != nil {
				yield(bucket.Object{}, &statelatch.StoreError{Kind: statelatch.ErrBroken, Op: op, Bucket: b.name, Err: err})
				return
			}
			page := b.page(all, last)
			more := len(page) > size
			page = page[:min(size, len(page))]
			for _, e := range page {
				if !yield(e.Object, nil) {
					return
				}
				last = e
			}
			if !more {
				return
			}
		}
	}
}

// page returns everything behind last, in order. No key is empty, so the zero entry is before all.
func (b *Bucket) page(all func() []entry, last entry) []entry {
	b.mu.Lock()
	entries := all()
	b.mu.Unlock()
	slices.SortFunc(entries, byKeyNewestFirst)
	entries = slices.CompactFunc(entries, func(a, b entry) bool { return byKeyNewestFirst(a, b) == 0 })
	return slices.DeleteFunc(entries, func(e entry) bool { return byKeyNewestFirst(e, last) <= 0 })
}

// currentEntries are the current objects and, with a delimiter, the common prefixes (once for each key below).
func (b *Bucket) currentEntries(opts bucket.ListOptions) []entry {
	var entries []entry
	for key := range b.objects {
		v, exists := b.current(key)
		rest, selected := strings.CutPrefix(key, opts.Prefix)
		if !exists || !selected || key <= opts.StartAfter {
			continue
		}
		if head, _, found := strings.Cut(rest, opts.Delimiter); found && opts.Delimiter != "" {
			entries = append(entries, entry{Object: bucket.Object{Key: opts.Prefix + head + opts.Delimiter, IsPrefix: true}})
			continue
		}
		entries = append(entries,
			entry{Object: bucket.Object{Key: key, ETag: v.etag, Size: int64(len(v.data)), LastModified: v.modified}})
	}
	return entries
}

func (b *Bucket) versionEntries(opts bucket.ListOptions) []entry {
	var entries []entry
	for key, versions := range b.objects {
		if !strings.HasPrefix(key, opts.Prefix) || key <= opts.StartAfter {
			continue
		}
		for i, v := range versions {
			entries = append(entries, entry{made: v.made, Object: bucket.Object{
				Key:          key,
				ETag:         v.etag,
				VersionID:    b.versionID(v),
				Size:         int64(len(v.data)),
				LastModified: v.modified,
				IsLatest:     i == len(versions)-1,
				DeleteMarker: v.deleteMarker,
			}})
		}
	}
	return entries
}
