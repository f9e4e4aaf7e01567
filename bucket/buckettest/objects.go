package buckettest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// largeSize is above every buffer and part size that a client or a store may have (terraform switches to multipart at
// 5 MiB).
const largeSize = 6 << 20

// clockSkew is how far the clocks behind Date and Last-Modified may be apart.
const clockSkew = 5 * time.Second

func objectChecks() []Check {
	return []Check{
		{Name: "put/round-trip", Func: putRoundTrip},
		{Name: "put/empty-body", Func: putEmptyBody},
		{Name: "put/large-body", Func: putLargeBody},
		{Name: "put/whole-body", Func: putWholeBody},
		{Name: "put/broken-body", Func: putBrokenBody},
		{Name: "put/overwrite", Func: putOverwrite},
		{Name: "put/etag", Func: putETag},
		{Name: "put/content-type", Func: putContentType},
		{Name: "put/metadata", Func: putMetadata},
		{Name: "put/metadata-replaced", Func: putMetadataReplaced},
		{Name: "put/metadata-refused", Func: putMetadataRefused},
		{Name: "put/times", Func: putTimes},
		{Name: "get/absent", Func: getAbsent},
		{Name: "get/first", Func: getFirst},
	}
}

func putRoundTrip(ctx context.Context, p *Probe) error {
	const content = "round trip \x00\r\n\xff"
	obj, err := p.put(ctx, p.key("object"), content, bucket.Condition{})
	if err != nil {
		return err
	}
	if obj.Key != p.key("object") {
		return fmt.Errorf("put: got an object with key %q, want %q", obj.Key, p.key("object"))
	}
	return p.holds(ctx, p.key("object"), "", content, obj.ETag)
}

func putEmptyBody(ctx context.Context, p *Probe) error {
	obj, err := p.put(ctx, p.key("object"), "", bucket.Condition{})
	if err != nil {
		return err
	}
	return p.holds(ctx, p.key("object"), "", "", obj.ETag)
}

func putLargeBody(ctx context.Context, p *Probe) error {
	put, err := p.putStamped(ctx, p.key("object"), 1, largeSize)
	if err != nil {
		return err
	}
	obj, stamp, err := p.getStamped(ctx, p.key("object"))
	if err != nil {
		return err
	}
	if obj.Size != largeSize || stamp != 1 || obj.ETag != put.ETag {
		return fmt.Errorf("get: got %d bytes of body %d with ETag %s, want %d of body 1 with ETag %s", obj.Size, stamp,
			obj.ETag, largeSize, put.ETag)
	}
	return nil
}

// putWholeBody: the body is stored from its start, wherever its offset stands.
func putWholeBody(ctx context.Context, p *Probe) error {
	const content = "from the start"
	r := body(content)
	if _, err := r.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	obj, err := p.Bucket.Put(ctx, p.key("object"), r, bucket.PutOptions{})
	if err != nil {
		return fmt.Errorf("put a body whose offset is at its end: got %w, want success", err)
	}
	return p.holds(ctx, p.key("object"), "", content, obj.ETag)
}

// errUnreadable is what brokenBody fails with.
var errUnreadable = errors.New("the body cannot be read")

// brokenBody fails half-way.
type brokenBody struct{ io.ReadSeeker }

func (b brokenBody) Read(p []byte) (int, error) {
	offset, err := b.Seek(0, io.SeekCurrent)
	if err != nil || offset >= largeSize/2 {
		return 0, errUnreadable
	}
	return b.ReadSeeker.Read(p[:min(int64(len(p)), largeSize/2-offset)])
}

// putBrokenBody: a body that cannot be read to its end leaves the object as it was.
func putBrokenBody(ctx context.Context, p *Probe) error {
	key := p.key("object")
	old, err := p.put(ctx, key, "old", bucket.Condition{})
	if err != nil {
		return err
	}
	_, err = p.Bucket.Put(ctx, key, brokenBody{stamped(1, largeSize)}, bucket.PutOptions{})
	if err := p.want(err, "put", key, statelatch.ErrBroken, statelatch.ErrAmbiguous); err != nil {
		return err
	}
	if !errors.Is(err, errUnreadable) {
		return fmt.Errorf("put an unreadable body: got %w, want the reader's own error as cause", err)
	}
	return p.holds(ctx, key, "", "old", old.ETag)
}

func putOverwrite(ctx context.Context, p *Probe) error {
	key := p.key("object")
	first, err := p.put(ctx, key, "a longer first body", bucket.Condition{})
	if err != nil {
		return err
	}
	second, err := p.put(ctx, key, "second", bucket.Condition{})
	if err != nil {
		return err
	}
	if first.ETag == second.ETag {
		return fmt.Errorf("put other bytes: got the same ETag %s, want another", second.ETag)
	}
	return p.holds(ctx, key, "", "second", second.ETag)
}

// putETag: the ETag is strong, quoted, and the same wherever it is told.
func putETag(ctx context.Context, p *Probe) error {
	key := p.key("object")
	obj, err := p.put(ctx, key, "etag", bucket.Condition{})
	if err != nil {
		return err
	}
	if len(obj.ETag) < 3 || !strings.HasPrefix(obj.ETag, `"`) || !strings.HasSuffix(obj.ETag, `"`) {
		return fmt.Errorf("put: got ETag %s, want a strong one with its quotes", obj.ETag)
	}
	if err := p.holds(ctx, key, "", "etag", obj.ETag); err != nil {
		return err
	}
	listed, err := collect(p.Bucket.List(ctx, bucket.ListOptions{Prefix: key}))
	if err != nil {
		return err
	}
	if len(listed) != 1 || listed[0].ETag != obj.ETag {
		return fmt.Errorf("list: got %+v, want one object with ETag %s", listed, obj.ETag)
	}
	return nil
}

func putContentType(ctx context.Context, p *Probe) error {
	for given, want := range map[string]string{"": "application/json", "text/plain": "text/plain"} {
		key := p.key("type-" + given)
		if _, err := p.Bucket.Put(ctx, key, body("{}"), bucket.PutOptions{ContentType: given}); err != nil {
			return fmt.Errorf("put with content type %q: got %w, want success", given, err)
		}
		head, err := p.Bucket.Head(ctx, key, bucket.ReadOptions{})
		if err != nil {
			return fmt.Errorf("head %q: got %w, want success", key, err)
		}
		got, _, err := p.get(ctx, key, "")
		if err != nil {
			return err
		}
		if head.ContentType != want || got.ContentType != want {
			return fmt.Errorf("content type %q: got %q from head and %q from get, want %q", given, head.ContentType,
				got.ContentType, want)
		}
	}
	return nil
}

// printable are all characters that metadata may have, with a space where it counts.
const printable = "a !\"#$%&'()*+,-./0123456789:;<=>?@ABCXYZ[\\]^_`abcxyz{|}~"

// hasMetadata expects every way to read a version to tell this metadata.
func (p *Probe) hasMetadata(ctx context.Context, key, versionID string, want map[string]string) error {
	got := map[string]bucket.Object{}
	var err error
	if got["head"], err = p.Bucket.Head(ctx, key, bucket.ReadOptions{VersionID: versionID}); err != nil {
		return fmt.Errorf("head %q: got %w, want success", key, err)
	}
	for _, first := range []int64{0, 1} {
		obj, r, err := p.Bucket.Get(ctx, key, bucket.ReadOptions{VersionID: versionID, First: first})
		if err != nil {
			return fmt.Errorf("get %q: got %w, want success", key, err)
		}
		_, err = io.Copy(io.Discard, r)
		if err := errors.Join(err, r.Close()); err != nil {
			return fmt.Errorf("read the body of %q: %w", key, err)
		}
		got[fmt.Sprint("get, with First ", first)] = obj
	}
	for how, obj := range got {
		if !maps.Equal(obj.Metadata, want) {
			return fmt.Errorf("%s of %q, version %q: got metadata %q, want %q", how, key, versionID, obj.Metadata, want)
		}
	}
	return nil
}

// putMetadata: what is kept beside the bytes comes back as it was, as much as a store must keep.
func putMetadata(ctx context.Context, p *Probe) error {
	full := map[string]string{
		"a-1": printable,
		"b":   strings.Repeat("x", bucket.MaxMetadata-len("a-1")-len(printable)-len("b")),
	}
	for _, metadata := range []map[string]string{nil, {"statelatch-lock-id": "1"}, full} {
		if _, err := p.Bucket.Put(ctx, p.key("object"), body("{}"), bucket.PutOptions{Metadata: metadata}); err != nil {
			return fmt.Errorf("put with metadata %q: got %w, want success", metadata, err)
		}
		if err := p.hasMetadata(ctx, p.key("object"), "", metadata); err != nil {
			return err
		}
	}
	return nil
}

// putMetadataReplaced: a write has its own metadata or none, whatever the last one had, and each version keeps its own.
func putMetadataReplaced(ctx context.Context, p *Probe) error {
	key := p.key("object")
	writes := []map[string]string{{"a": "1", "b": "1"}, {"a": "2"}, nil}
	var versions []string
	for _, metadata := range writes {
		obj, err := p.Bucket.Put(ctx, key, body("{}"), bucket.PutOptions{Metadata: metadata})
		if err != nil {
			return fmt.Errorf("put with metadata %q: got %w, want success", metadata, err)
		}
		if err := p.hasMetadata(ctx, key, "", metadata); err != nil {
			return err
		}
		versions = append(versions, obj.VersionID)
	}
	for i, metadata := range writes {
		if p.Versioned {
			if err := p.hasMetadata(ctx, key, versions[i], metadata); err != nil {
				return err
			}
		}
	}
	return nil
}

// putMetadataRefused: metadata that stores treat each in its own way is refused, and nothing is written.
func putMetadataRefused(ctx context.Context, p *Probe) error {
	key := p.key("object")
	old, err := p.put(ctx, key, "old", bucket.Condition{})
	if err != nil {
		return err
	}
	for _, metadata := range []map[string]string{
		{"Upper": "v"},
		{"under_score": "v"},
		{"": "v"},
		{"a": ""},
		{"a": " v"},
		{"a": "v "},
		{"a": "a\nb"},
		{"a": "\u00fc"},
		{"a": strings.Repeat("x", bucket.MaxMetadata)},
	} {
		_, err := p.Bucket.Put(ctx, key, body("must not be stored"), bucket.PutOptions{Metadata: metadata})
		if err := p.want(err, "put", key, statelatch.ErrUnsupported); err != nil {
			return fmt.Errorf("with metadata %q: %w", metadata, err)
		}
	}
	return p.holds(ctx, key, "", "old", old.ETag)
}

// putTimes: all times come from one clock, the store's.
func putTimes(ctx context.Context, p *Probe) error {
	key := p.key("object")
	put, err := p.put(ctx, key, "times", bucket.Condition{})
	if err != nil {
		return err
	}
	head, err := p.Bucket.Head(ctx, key, bucket.ReadOptions{})
	if err != nil {
		return fmt.Errorf("head: got %w, want success", err)
	}
	got, _, err := p.get(ctx, key, "")
	if err != nil {
		return err
	}
	listed, err := collect(p.Bucket.List(ctx, bucket.ListOptions{Prefix: key}))
	if err != nil {
		return err
	}
	if len(listed) != 1 {
		return fmt.Errorf("list: got %+v, want one object", listed)
	}
	deleted, err := p.remove(ctx, key, "")
	if err != nil {
		return err
	}
	for name, t := range map[string]time.Time{
		"Last-Modified of head": head.LastModified, "Last-Modified of get": got.LastModified,
		"Last-Modified of list": listed[0].LastModified,
		"Date of put":           put.Date, "Date of head": head.Date, "Date of get": got.Date, "Date of delete": deleted.Date,
	} {
		if t.IsZero() {
			return fmt.Errorf("%s: got none, want the store's clock", name)
		}
	}
	if !head.LastModified.Equal(got.LastModified) || listed[0].LastModified.Sub(head.LastModified).Abs() >= time.Second {
		return fmt.Errorf("times of the object: got Last-Modified %v from head, %v from get, %v from list, want them "+
			"equal to the second", head.LastModified, got.LastModified, listed[0].LastModified)
	}
	if age := head.Date.Sub(head.LastModified); age < -clockSkew || head.LastModified.Before(put.Date.Add(-clockSkew)) {
		return fmt.Errorf("time of the object: got Last-Modified %v, want it between the Date of put %v and the "+
			"Date of head %v", head.LastModified, put.Date, head.Date)
	}
	if head.Date.Before(put.Date.Add(-clockSkew)) || got.Date.Before(head.Date.Add(-clockSkew)) ||
		deleted.Date.Before(got.Date.Add(-clockSkew)) {
		return fmt.Errorf("times of answers: got put %v, head %v, get %v, delete %v, want them in this order", put.Date,
			head.Date, got.Date, deleted.Date)
	}
	return nil
}

func getAbsent(ctx context.Context, p *Probe) error {
	return p.absent(ctx, p.key("absent"), "")
}

// getFirst: a part is the beginning, and the object is told as the whole that it is.
func getFirst(ctx context.Context, p *Probe) error {
	key := p.key("object")
	for _, content := range []string{"", "ten bytes."} {
		put, err := p.put(ctx, key, content, bucket.Condition{})
		if err != nil {
			return err
		}
		for _, first := range []int64{1, 9, 10, 11} {
			obj, r, err := p.Bucket.Get(ctx, key, bucket.ReadOptions{First: first})
			if err != nil {
				return fmt.Errorf("get the first %d bytes of %q: got %w, want success", first, content, err)
			}
			got, err := io.ReadAll(r)
			err = errors.Join(err, r.Close())
			want := content[:min(first, int64(len(content)))]
			if err != nil || string(got) != want || obj.Size != int64(len(content)) || obj.ETag != put.ETag {
				return fmt.Errorf("get the first %d bytes of %q: got %q, %w, of %d bytes with ETag %s, want %q of %d with %s",
					first, content, got, err, obj.Size, obj.ETag, want, len(content), put.ETag)
			}
		}
	}
	return nil
}
