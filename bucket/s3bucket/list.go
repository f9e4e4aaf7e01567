package s3bucket

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// List implements [bucket.Bucket] with ListObjectsV2, one request a page.
func (b *Bucket) List(ctx context.Context, opts bucket.ListOptions) iter.Seq2[bucket.Object, error] {
	return func(yield func(bucket.Object, error) bool) {
		in := &s3.ListObjectsV2Input{
			Bucket: &b.name, Prefix: optional(opts.Prefix), Delimiter: optional(opts.Delimiter),
			MaxKeys: pageSize(opts), EncodingType: types.EncodingTypeUrl, StartAfter: optional(opts.StartAfter),
		}
		for {
			page, next, err := b.listPage(ctx, in)
			if !yieldPage(yield, page, err) || next == "" {
				return
			}
			in.ContinuationToken = &next
		}
	}
}

// listPage makes one request; next is empty after the last.
func (b *Bucket) listPage(
	ctx context.Context, in *s3.ListObjectsV2Input,
) (page []bucket.Object, next string, err error) {
	ctx, c := b.begin(ctx, opList, "", "")
	defer c.End()
	c.lists = true
	if _, err := b.client.ListObjectsV2(ctx, in, c.options); err != nil {
		return nil, "", c.fail(err)
	}
	switch {
	case c.listErr != nil:
		return nil, "", c.error(statelatch.ErrBroken, c.listErr.Error())
	case !slices.Contains(objectRoots, c.listing.root):
		return nil, "", c.error(statelatch.ErrBroken, fmt.Sprintf("the answer is no listing, but %q", c.listing.root))
	}
	page = c.listing.entries
	// Objects and prefixes come apart; a page as a whole is in order.
	slices.SortStableFunc(page, func(a, b bucket.Object) int { return strings.Compare(a.Key, b.Key) })
	switch next = c.listing.token; {
	case !c.listing.truncated:
		return page, "", nil
	case next == "" || next == aws.ToString(in.ContinuationToken):
		return nil, "", c.error(statelatch.ErrBroken, "the store says that there is more, but not where to go on")
	}
	return page, next, nil
}

// ListVersions implements [bucket.Bucket] with ListObjectVersions, one request a
// page. Delimiter is ignored.
func (b *Bucket) ListVersions(ctx context.Context, opts bucket.ListOptions) iter.Seq2[bucket.Object, error] {
	return func(yield func(bucket.Object, error) bool) {
		in := &s3.ListObjectVersionsInput{
			Bucket: &b.name, Prefix: optional(opts.Prefix), MaxKeys: pageSize(opts), EncodingType: types.EncodingTypeUrl,
			KeyMarker: optional(opts.StartAfter),
		}
		for {
			page, more, err := b.versionsPage(ctx, in)
			if !yieldPage(yield, page, err) || !more {
				return
			}
		}
	}
}

// versionsPage makes one request and moves the markers of in behind its page.
func (b *Bucket) versionsPage(
	ctx context.Context, in *s3.ListObjectVersionsInput,
) (page []bucket.Object, more bool, err error) {
	ctx, c := b.begin(ctx, opListVersions, "", "")
	defer c.End()
	c.lists = true
	if _, err := b.client.ListObjectVersions(ctx, in, c.options); err != nil {
		return nil, false, c.fail(err)
	}
	l := c.listing
	switch {
	case c.listErr != nil:
		return nil, false, c.error(statelatch.ErrBroken, c.listErr.Error())
	case slices.Contains(objectRoots, l.root):
		return nil, false, c.error(statelatch.ErrUnsupported, "the store answers a request for versions with a plain listing")
	case !slices.Contains(versionRoots, l.root):
		return nil, false, c.error(statelatch.ErrBroken, fmt.Sprintf("the answer is no listing of versions, but %q", l.root))
	case !l.truncated:
		return l.entries, false, nil
	case l.keyMarker == "" || l.keyMarker == aws.ToString(in.KeyMarker) &&
		l.versionMarker == aws.ToString(in.VersionIdMarker):
		return nil, false, c.error(statelatch.ErrBroken, "the store says that there is more, but not where to go on")
	}
	in.KeyMarker, in.VersionIdMarker = &l.keyMarker, optional(l.versionMarker)
	return l.entries, true, nil
}

// The names that S3 and stores in the field give the two documents.
var (
	objectRoots  = []string{"ListBucketResult", "ListObjectsV2Result"}
	versionRoots = []string{"ListVersionsResult", "ListObjectVersionsResult"}
)

// yieldPage reports whether to go on.
func yieldPage(yield func(bucket.Object, error) bool, page []bucket.Object, err error) bool {
	if err != nil {
		yield(bucket.Object{}, err)
		return false
	}
	for _, o := range page {
		if !yield(o, nil) {
			return false
		}
	}
	return true
}

func pageSize(opts bucket.ListOptions) *int32 {
	const most = 1000 // S3's own limit
	if opts.PageSize <= 0 {
		return nil
	}
	return aws.Int32(int32(min(opts.PageSize, most)))
}
