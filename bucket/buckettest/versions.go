package buckettest

import (
	"context"
	"fmt"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

func versionChecks() []Check {
	return []Check{
		{Name: "version/read", Versioned: true, Func: versionRead},
		{Name: "version/read-deleted", Versioned: true, Func: versionReadDeleted},
		{Name: "version/read-removed", Versioned: true, Func: versionReadRemoved},
		{Name: "version/delete", Versioned: true, Func: versionDelete},
		{Name: "version/delete-marker", Versioned: true, Func: versionDeleteMarker},
		{Name: "version/delete-with-condition", Versioned: true, Func: versionDeleteWithCondition},
		{Name: "version/list-order", Versioned: true, Func: versionListOrder},
		{Name: "version/list-prefix", Versioned: true, Func: versionListPrefix},
		{Name: "version/list-paging", Versioned: true, Func: versionListPaging},
	}
}

// twoVersions writes "old", then "new".
func (p *Probe) twoVersions(ctx context.Context, key string) (older, newer bucket.Object, err error) {
	if older, err = p.put(ctx, key, "old", bucket.Condition{}); err != nil {
		return older, newer, err
	}
	if newer, err = p.put(ctx, key, "new", bucket.Condition{}); err != nil {
		return older, newer, err
	}
	if older.VersionID == "" || newer.VersionID == "" || older.VersionID == newer.VersionID {
		return older, newer, fmt.Errorf("put twice: got version IDs %q and %q, want two different ones", older.VersionID,
			newer.VersionID)
	}
	return older, newer, nil
}

func versionRead(ctx context.Context, p *Probe) error {
	key := p.key("object")
	older, newer, err := p.twoVersions(ctx, key)
	if err != nil {
		return err
	}
	for _, want := range []struct {
		versionID, content string
		bucket.Object
	}{{older.VersionID, "old", older}, {newer.VersionID, "new", newer}, {"", "new", newer}} {
		if err := p.holds(ctx, key, want.versionID, want.content, want.ETag); err != nil {
			return err
		}
		head, err := p.Bucket.Head(ctx, key, bucket.ReadOptions{VersionID: want.versionID})
		if err != nil {
			return err
		}
		got, _, err := p.get(ctx, key, want.versionID)
		if err != nil {
			return err
		}
		if head.VersionID != want.VersionID || got.VersionID != want.VersionID {
			return fmt.Errorf("read version %q: got version %q from head and %q from get, want %q", want.versionID,
				head.VersionID, got.VersionID, want.VersionID)
		}
	}
	return nil
}

// versionReadDeleted: a delete hides the versions below its marker and keeps them.
func versionReadDeleted(ctx context.Context, p *Probe) error {
	key := p.key("object")
	obj, err := p.put(ctx, key, "kept", bucket.Condition{})
	if err != nil {
		return err
	}
	marker, err := p.remove(ctx, key, "")
	if err != nil {
		return err
	}
	if err := p.absent(ctx, key, ""); err != nil {
		return err
	}
	if err := p.absent(ctx, key, marker.VersionID); err != nil {
		return fmt.Errorf("the delete marker itself: %w", err)
	}
	return p.holds(ctx, key, obj.VersionID, "kept", obj.ETag)
}

func versionReadRemoved(ctx context.Context, p *Probe) error {
	key := p.key("object")
	older, newer, err := p.twoVersions(ctx, key)
	if err != nil {
		return err
	}
	if _, err := p.remove(ctx, key, older.VersionID); err != nil {
		return err
	}
	if err := p.absent(ctx, key, older.VersionID); err != nil {
		return err
	}
	return p.holds(ctx, key, "", "new", newer.ETag)
}

// versionDelete: removing the newest version brings the one below back.
func versionDelete(ctx context.Context, p *Probe) error {
	key := p.key("object")
	older, newer, err := p.twoVersions(ctx, key)
	if err != nil {
		return err
	}
	deleted, err := p.remove(ctx, key, newer.VersionID)
	if err != nil {
		return err
	}
	if deleted.VersionID != newer.VersionID || deleted.DeleteMarker {
		return fmt.Errorf("delete version %q: got version %q, marker %t, want this version and no marker", newer.VersionID,
			deleted.VersionID, deleted.DeleteMarker)
	}
	if err := p.absent(ctx, key, newer.VersionID); err != nil {
		return err
	}
	return p.holds(ctx, key, "", "old", older.ETag)
}

// versionDeleteMarker: removing a marker undoes the delete.
func versionDeleteMarker(ctx context.Context, p *Probe) error {
	key := p.key("object")
	obj, err := p.put(ctx, key, "revived", bucket.Condition{})
	if err != nil {
		return err
	}
	marker, err := p.remove(ctx, key, "")
	if err != nil {
		return err
	}
	deleted, err := p.remove(ctx, key, marker.VersionID)
	if err != nil {
		return err
	}
	if deleted.VersionID != marker.VersionID || !deleted.DeleteMarker {
		return fmt.Errorf("delete the marker %q: got version %q, marker %t, want this version and that it was a marker",
			marker.VersionID, deleted.VersionID, deleted.DeleteMarker)
	}
	return p.holds(ctx, key, "", "revived", obj.ETag)
}

func versionDeleteWithCondition(ctx context.Context, p *Probe) error {
	key := p.key("object")
	older, newer, err := p.twoVersions(ctx, key)
	if err != nil {
		return err
	}
	for _, etag := range []string{older.ETag, newer.ETag} {
		opts := bucket.DeleteOptions{VersionID: older.VersionID, If: bucket.IfMatch(etag)}
		if err := p.deleteRefused(ctx, key, opts, statelatch.ErrUnsupported); err != nil {
			return err
		}
	}
	if err := p.holds(ctx, key, "", "new", newer.ETag); err != nil {
		return err
	}
	return p.holds(ctx, key, older.VersionID, "old", older.ETag)
}

// line is what a listing of versions must tell about each.
type line struct {
	key, versionID, etag string
	size                 int64
	latest, marker       bool
}

// writeHistory writes two keys with a history each and returns it as it must be listed.
func (p *Probe) writeHistory(ctx context.Context) ([]line, error) {
	var lines []line
	write := func(key string, contents ...string) error { // an empty content is a delete
		var history []line
		for _, content := range contents {
			l := line{key: key, size: int64(len(content))}
			if content == "" {
				deleted, err := p.remove(ctx, key, "")
				if err != nil {
					return err
				}
				l.versionID, l.marker = deleted.VersionID, true
			} else {
				obj, err := p.put(ctx, key, content, bucket.Condition{})
				if err != nil {
					return err
				}
				l.versionID, l.etag = obj.VersionID, obj.ETag
			}
			history = append([]line{l}, history...)
		}
		history[0].latest = true
		lines = append(lines, history...)
		return nil
	}
	if err := write(p.key("a"), "one", "two, longer", "", "three"); err != nil {
		return nil, err
	}
	return lines, write(p.key("a"+statelatch.LockKeySuffix), "lock", "", "lock", "")
}

// listsVersions expects a listing of exactly these versions, in this order.
func (p *Probe) listsVersions(ctx context.Context, opts bucket.ListOptions, want []line) error {
	objects, err := collect(p.Bucket.ListVersions(ctx, opts))
	if err != nil {
		return fmt.Errorf("list versions %+v: got %w, want success", opts, err)
	}
	for i, o := range objects {
		got := line{o.Key, o.VersionID, o.ETag, o.Size, o.IsLatest, o.DeleteMarker}
		if i >= len(want) {
			return fmt.Errorf("list versions %+v: got %+v after all %d, want no more", opts, got, len(want))
		}
		if got != want[i] {
			return fmt.Errorf("list versions %+v: got %+v as number %d of %d, want %+v", opts, got, i+1, len(want), want[i])
		}
		if o.LastModified.IsZero() {
			return fmt.Errorf("list versions %+v: got no Last-Modified of %+v, want one", opts, got)
		}
	}
	if len(objects) != len(want) {
		return fmt.Errorf("list versions %+v: got %d versions, want %d", opts, len(objects), len(want))
	}
	return nil
}

func versionListOrder(ctx context.Context, p *Probe) error {
	lines, err := p.writeHistory(ctx)
	if err != nil {
		return err
	}
	return p.listsVersions(ctx, bucket.ListOptions{Prefix: p.Prefix}, lines)
}

func versionListPrefix(ctx context.Context, p *Probe) error {
	lines, err := p.writeHistory(ctx)
	if err != nil {
		return err
	}
	return p.listsVersions(ctx, bucket.ListOptions{Prefix: p.key("a.")}, lines[4:])
}

// versionListPaging: a page may end between two versions of one key.
func versionListPaging(ctx context.Context, p *Probe) error {
	lines, err := p.writeHistory(ctx)
	if err != nil {
		return err
	}
	for _, size := range []int{1, 2, 3, 5} {
		if err := p.listsVersions(ctx, bucket.ListOptions{Prefix: p.Prefix, PageSize: size}, lines); err != nil {
			return err
		}
	}
	return nil
}
