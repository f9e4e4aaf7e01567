package s3bucket

import (
	"bytes"
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
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
	c.answer = new(bytes.Buffer)
	out, err := b.client.ListObjectsV2(ctx, in, c.options)
	if err != nil {
		return nil, "", c.fail(err)
	}
	if root := rootElement(c.answer); !slices.Contains(objectRoots, root) {
		return nil, "", c.error(statelatch.ErrBroken, fmt.Sprintf("the answer is no listing, but %q", root))
	}
	decode := keyDecoder{encoding: out.EncodingType}
	for _, o := range out.Contents {
		page = append(page, bucket.Object{
			Key: decode.key(o.Key), ETag: aws.ToString(o.ETag), Size: aws.ToInt64(o.Size), LastModified: timeOf(o.LastModified),
		})
	}
	for _, p := range out.CommonPrefixes {
		page = append(page, bucket.Object{Key: decode.key(p.Prefix), IsPrefix: true})
	}
	// Objects and prefixes come apart; a page as a whole is in order.
	slices.SortStableFunc(page, func(a, b bucket.Object) int { return cmp.Compare(a.Key, b.Key) })
	next = aws.ToString(out.NextContinuationToken)
	switch {
	case decode.err != nil:
		return nil, "", c.error(statelatch.ErrBroken, decode.err.Error())
	case !aws.ToBool(out.IsTruncated):
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
	c.answer = new(bytes.Buffer)
	out, err := b.client.ListObjectVersions(ctx, in, c.options)
	if err != nil {
		return nil, false, c.fail(err)
	}
	root, markers, err := versionOrder(c.answer)
	switch {
	case err != nil:
		return nil, false, c.error(statelatch.ErrBroken, err.Error())
	case slices.Contains(objectRoots, root):
		return nil, false, c.error(statelatch.ErrUnsupported, "the store answers a request for versions with a plain listing")
	case !slices.Contains(versionRoots, root):
		return nil, false, c.error(statelatch.ErrBroken, fmt.Sprintf("the answer is no listing of versions, but %q", root))
	}
	if len(markers) != len(out.Versions)+len(out.DeleteMarkers) {
		return nil, false, c.error(statelatch.ErrBroken, "the listing of versions cannot be read")
	}
	decode := keyDecoder{encoding: out.EncodingType}
	for _, marker := range markers {
		if marker {
			m := out.DeleteMarkers[0]
			out.DeleteMarkers = out.DeleteMarkers[1:]
			page = append(page, bucket.Object{
				Key: decode.key(m.Key), VersionID: aws.ToString(m.VersionId), LastModified: timeOf(m.LastModified),
				IsLatest: aws.ToBool(m.IsLatest), DeleteMarker: true,
			})
			continue
		}
		v := out.Versions[0]
		out.Versions = out.Versions[1:]
		page = append(page, bucket.Object{
			Key: decode.key(v.Key), VersionID: aws.ToString(v.VersionId), ETag: aws.ToString(v.ETag),
			Size: aws.ToInt64(v.Size), LastModified: timeOf(v.LastModified), IsLatest: aws.ToBool(v.IsLatest),
		})
	}
	if !aws.ToBool(out.IsTruncated) {
		in.KeyMarker, in.VersionIdMarker = nil, nil
	} else {
		key, version := decode.key(out.NextKeyMarker), aws.ToString(out.NextVersionIdMarker)
		if key == "" || key == aws.ToString(in.KeyMarker) && version == aws.ToString(in.VersionIdMarker) {
			return nil, false, c.error(statelatch.ErrBroken, "the store says that there is more, but not where to go on")
		}
		in.KeyMarker, in.VersionIdMarker = &key, optional(version)
	}
	if decode.err != nil {
		return nil, false, c.error(statelatch.ErrBroken, decode.err.Error())
	}
	return page, in.KeyMarker != nil, nil
}

// The names that S3 and stores in the field give the two documents. The SDK looks at none
// and reads anything else, a proxy's page for one, as an empty listing: "nothing is locked".
var (
	objectRoots  = []string{"ListBucketResult", "ListObjectsV2Result"}
	versionRoots = []string{"ListVersionsResult", "ListObjectVersionsResult"}
)

// rootElement is the name of a document's outermost element, empty if there is none.
func rootElement(doc io.Reader) string {
	for d := xml.NewDecoder(doc); ; {
		t, err := d.Token()
		if err != nil {
			return ""
		}
		if start, ok := t.(xml.StartElement); ok {
			return start.Name.Local
		}
	}
}

// versionOrder reads from a listing of versions what the SDK drops: which of its
// entries, in their order, are delete markers. Times cannot tell: they are too coarse.
func versionOrder(doc io.Reader) (root string, markers []bool, err error) {
	d := xml.NewDecoder(doc)
	for depth := 0; ; {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			return root, markers, nil
		}
		if err != nil {
			return root, nil, fmt.Errorf("the listing cannot be read: %w", err)
		}
		switch t := t.(type) {
		case xml.StartElement:
			depth++
			switch {
			case depth == 1:
				root = t.Name.Local
			case depth == 2 && strings.EqualFold(t.Name.Local, "DeleteMarker"):
				markers = append(markers, true)
			case depth == 2 && strings.EqualFold(t.Name.Local, "Version"):
				markers = append(markers, false)
			}
		case xml.EndElement:
			depth--
		}
	}
}

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

// keyDecoder undoes the URL encoding that is asked for because XML cannot carry
// every key. A store that ignores the request says so by naming no encoding.
type keyDecoder struct {
	encoding types.EncodingType
	err      error // the first failure
}

func (d *keyDecoder) key(s *string) string {
	if d.encoding != types.EncodingTypeUrl {
		return aws.ToString(s)
	}
	key, err := url.QueryUnescape(aws.ToString(s))
	if err != nil && d.err == nil {
		d.err = fmt.Errorf("the listing holds a key that is not URL-encoded: %w", err)
	}
	return key
}
