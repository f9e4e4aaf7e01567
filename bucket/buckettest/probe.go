package buckettest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// Check is one promise of the contract and the way to see whether a store keeps it.
type Check struct {
	// Name is stable: lists of known failures refer to it.
	Name string
	// Versioned: it needs a bucket with versioning.
	Versioned bool
	// Func returns nil if the promise was kept, else what was got and wanted. It writes only below p.Prefix.
	Func func(ctx context.Context, p *Probe) error
}

// Probe is what a check works on.
type Probe struct {
	Bucket    bucket.Bucket // what is checked
	Prefix    string        // of every key; nothing else may be below it, and nothing else may write there
	Versioned bool          // the bucket keeps versions
	Clients   int           // in a race
	Rounds    int           // of a race
}

// Checks returns all checks in the order in which they run: the simple promises first.
func Checks() []Check {
	return slices.Concat(
		objectChecks(),
		keyChecks(),
		conditionChecks(),
		deleteChecks(),
		listChecks(),
		versionChecks(),
		cancelChecks(),
		raceChecks(),
		tornChecks(),
	)
}

// Clean removes everything below the prefix: all versions where the bucket keeps them.
func (p *Probe) Clean(ctx context.Context) error {
	list := p.Bucket.List
	if p.Versioned {
		list = p.Bucket.ListVersions
	}
	left, err := collect(list(ctx, bucket.ListOptions{Prefix: p.Prefix}))
	for _, o := range left {
		_, deleteErr := p.Bucket.Delete(ctx, o.Key, bucket.DeleteOptions{VersionID: o.VersionID})
		err = errors.Join(err, deleteErr)
	}
	return err
}

// key is a key for the check's own use.
func (p *Probe) key(name string) string { return p.Prefix + name }

// put writes content and expects success.
func (p *Probe) put(ctx context.Context, key, content string, cond bucket.Condition) (bucket.Object, error) {
	obj, err := p.Bucket.Put(ctx, key, body(content), bucket.PutOptions{If: cond})
	if err != nil {
		return obj, fmt.Errorf("put %q, %v: got %w, want success", key, cond, err)
	}
	if obj.ETag == "" {
		return obj, fmt.Errorf("put %q: got an object without ETag, want one", key)
	}
	return obj, nil
}

// putAll writes several objects, each with its own key as content.
func (p *Probe) putAll(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if _, err := p.put(ctx, key, key, bucket.Condition{}); err != nil {
			return err
		}
	}
	return nil
}

// putRefused expects a conditional write to be refused.
func (p *Probe) putRefused(ctx context.Context, key string, cond bucket.Condition, kind error) error {
	_, err := p.Bucket.Put(ctx, key, body("must not be stored"), bucket.PutOptions{If: cond})
	return p.want(err, "put", key, kind)
}

// remove deletes unconditionally and expects success.
func (p *Probe) remove(ctx context.Context, key, versionID string) (bucket.Deleted, error) {
	deleted, err := p.Bucket.Delete(ctx, key, bucket.DeleteOptions{VersionID: versionID})
	if err != nil {
		return deleted, fmt.Errorf("delete %q, version %q: got %w, want success", key, versionID, err)
	}
	return deleted, nil
}

// deleteRefused expects a delete to be refused.
func (p *Probe) deleteRefused(ctx context.Context, key string, opts bucket.DeleteOptions, kind error) error {
	_, err := p.Bucket.Delete(ctx, key, opts)
	return p.want(err, "delete", key, kind)
}

// get reads a whole object.
func (p *Probe) get(ctx context.Context, key, versionID string) (bucket.Object, string, error) {
	obj, r, err := p.Bucket.Get(ctx, key, bucket.ReadOptions{VersionID: versionID})
	if err != nil {
		return obj, "", err
	}
	data, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return obj, "", fmt.Errorf("read the body of %q: %w", key, err)
	}
	if int64(len(data)) != obj.Size {
		return obj, "", fmt.Errorf("get %q: got a body of %d bytes and Size %d, want them equal", key, len(data), obj.Size)
	}
	return obj, string(data), nil
}

// holds expects Get and Head to show exactly this content and ETag.
func (p *Probe) holds(ctx context.Context, key, versionID, content, etag string) error {
	obj, got, err := p.get(ctx, key, versionID)
	if err != nil {
		return fmt.Errorf("get %q, version %q: got %w, want %s", key, versionID, err, brief(content))
	}
	if got != content {
		return fmt.Errorf("get %q, version %q: got %s, want %s", key, versionID, brief(got), brief(content))
	}
	if obj.ETag != etag || obj.Key != key {
		return fmt.Errorf("get %q, version %q: got key %q with ETag %s, want ETag %s", key, versionID, obj.Key, obj.ETag,
			etag)
	}
	obj, err = p.Bucket.Head(ctx, key, bucket.ReadOptions{VersionID: versionID})
	if err != nil {
		return fmt.Errorf("head %q, version %q: got %w, want success as for get", key, versionID, err)
	}
	if obj.ETag != etag || obj.Size != int64(len(content)) || obj.Key != key {
		return fmt.Errorf("head %q, version %q: got key %q, ETag %s, %d bytes, want ETag %s, %d bytes",
			key, versionID, obj.Key, obj.ETag, obj.Size, etag, len(content))
	}
	return nil
}

// absent expects Get and Head not to find an object.
func (p *Probe) absent(ctx context.Context, key, versionID string) error {
	_, err := p.Bucket.Head(ctx, key, bucket.ReadOptions{VersionID: versionID})
	if err := p.want(err, "head", key, statelatch.ErrNotFound); err != nil {
		return err
	}
	_, r, err := p.Bucket.Get(ctx, key, bucket.ReadOptions{VersionID: versionID})
	if err == nil {
		_ = r.Close()
	}
	return p.want(err, "get", key, statelatch.ErrNotFound)
}

// want expects a driver's error to be of one of the kinds, and to be well formed: a
// *statelatch.StoreError of exactly one kind that names the operation and the object.
func (p *Probe) want(err error, op, key string, kinds ...error) error {
	target := fmt.Sprintf("%s %q", op, key)
	if err == nil {
		return fmt.Errorf("%s: got success, want %v", target, kinds)
	}
	got := kindsOf(err)
	if len(got) != 1 || !slices.Contains(kinds, got[0]) {
		return fmt.Errorf("%s: got an error of kinds %v, want exactly one of %v: %w", target, got, kinds, err)
	}
	var e *statelatch.StoreError
	if !errors.As(err, &e) {
		return fmt.Errorf("%s: got a %T, want a *statelatch.StoreError: %w", target, err, err)
	}
	if e.Op != op || e.Bucket != p.Bucket.Name() || e.Key != key {
		return fmt.Errorf("%s: got a StoreError for %s s3://%s/%s, want one for this operation, bucket and key", target, e.Op,
			e.Bucket, e.Key)
	}
	return nil
}

// kindsOf returns which of the store kinds err matches. A good error matches one.
func kindsOf(err error) []error {
	all := []error{
		statelatch.ErrPreconditionFailed, statelatch.ErrNotFound, statelatch.ErrDenied, statelatch.ErrConflict,
		statelatch.ErrThrottled, statelatch.ErrUnsupported, statelatch.ErrAmbiguous, statelatch.ErrBroken,
	}
	return slices.DeleteFunc(all, func(kind error) bool { return !errors.Is(err, kind) })
}

// body makes content a reader that is nothing but an io.ReadSeeker.
func body(content string) io.ReadSeeker {
	return struct{ io.ReadSeeker }{bytes.NewReader([]byte(content))}
}

// collect reads a listing to its end.
func collect(seq iter.Seq2[bucket.Object, error]) ([]bucket.Object, error) {
	var objects []bucket.Object
	for o, err := range seq {
		if err != nil {
			return objects, err
		}
		objects = append(objects, o)
	}
	return objects, nil
}

// brief shows content in a message without flooding it.
func brief(content string) string {
	const most = 60
	if len(content) <= most {
		return fmt.Sprintf("%q", content)
	}
	return fmt.Sprintf("%q... (%d bytes)", content[:most], len(content))
}
