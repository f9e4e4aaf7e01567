// Package s3bucket is the driver of [bucket.Bucket] for Amazon S3 and for every
// store that speaks its protocol.
//
// What it guarantees: one call of a write is one request on the wire, never
// re-sent by anything below the caller; a body travels whole, with its length and
// its SHA-256 in headers that are signed with it, never in chunks with trailers; every
// request that touches an object carries the same encryption, access and tag
// settings; every call ends, because each has a deadline; and an answer is judged
// by its code and status alone. What it does not: it takes the store's word for
// conditions. Whether a store honours them is for a probe to find out.
package s3bucket

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// Bucket is one bucket behind one S3 endpoint.
type Bucket struct {
	client  *s3.Client
	name    string
	objects ObjectOptions
	limits  Timeouts
	server  atomic.Pointer[string] // what the store called itself last
	unasked atomic.Bool            // it refuses to be asked for checksums
}

var _ bucket.Bucket = (*Bucket)(nil)

// New makes a driver of a client that the caller configured. Retries of writes,
// checksums and deadlines are the driver's own and override the client's; the client
// decides about credentials, endpoint, connections and retries of reads. Prefer
// [Open], which also refuses to follow redirects. Errors match [statelatch.ErrInvalid].
func New(client *s3.Client, name string, objects ObjectOptions, limits Timeouts) (*Bucket, error) {
	if name == "" {
		return nil, fmt.Errorf("%w bucket %q: it is empty", statelatch.ErrInvalid, name)
	}
	if err := objects.validate(); err != nil {
		return nil, err
	}
	return &Bucket{client: client, name: name, objects: objects, limits: limits.orDefaults()}, nil
}

// Name is the bucket's name.
func (b *Bucket) Name() string { return b.name }

// Endpoint is the URL that requests go to, without the bucket; empty for AWS's own.
func (b *Bucket) Endpoint() string { return aws.ToString(b.client.Options().BaseEndpoint) }

// Server is what the store called itself (the header Server) in its last answer; empty if it did not, or was not asked
// yet.
func (b *Bucket) Server() string {
	if s := b.server.Load(); s != nil {
		return *s
	}
	return ""
}

// Head implements [bucket.Bucket]. The answer to a HEAD has no body and so no reason: where it may be denied, one GET
// of one byte asks for it, which needs the same right.
func (b *Bucket) Head(ctx context.Context, key string, opts bucket.ReadOptions) (bucket.Object, error) {
	obj, err := b.head(ctx, key, opts)
	if se, ok := errors.AsType[*statelatch.StoreError](err); ok && se.Code == "" &&
		slices.Contains(mayBeDenied[:], se.Status) {
		if why := b.whyDenied(ctx, key, opts); why != nil {
			return bucket.Object{}, why
		}
	}
	return obj, err
}

// mayBeDenied are the statuses of refusals whose reason may be who asks: AWS answers expired credentials with 400.
var mayBeDenied = [...]int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden}

// whyDenied is the refusal of a HEAD in words; nil if it cannot be learned.
func (b *Bucket) whyDenied(ctx context.Context, key string, opts bucket.ReadOptions) error {
	ctx, c := b.begin(ctx, opGet, key, opts.VersionID)
	defer c.End()
	in := &s3.GetObjectInput{
		Bucket: &b.name, Key: &key, VersionId: optional(opts.VersionID),
		Range: aws.String("bytes=0-0"),
	}
	b.objects.applyToGet(in)
	out, err := b.client.GetObject(ctx, in, c.options)
	if err == nil {
		_ = out.Body.Close() // one byte, unread
		return nil
	}
	why, ok := errors.AsType[*statelatch.StoreError](c.fail(err))
	if !ok || !errors.Is(why.Kind, statelatch.ErrDenied) {
		return nil
	}
	why.Op = opHead.Name
	return why
}

func (b *Bucket) head(ctx context.Context, key string, opts bucket.ReadOptions) (bucket.Object, error) {
	ctx, c := b.begin(ctx, opHead, key, opts.VersionID)
	defer c.End()
	in := &s3.HeadObjectInput{Bucket: &b.name, Key: &key, VersionId: optional(opts.VersionID)}
	b.objects.applyToHead(in)
	out, err := b.client.HeadObject(ctx, in, c.options)
	if err != nil {
		return bucket.Object{}, c.fail(err)
	}
	obj := bucket.Object{
		Key:          key,
		ETag:         aws.ToString(out.ETag),
		VersionID:    aws.ToString(out.VersionId),
		Size:         aws.ToInt64(out.ContentLength),
		LastModified: aws.ToTime(out.LastModified),
		Date:         c.date,
		ContentType:  aws.ToString(out.ContentType),
		Encryption:   encryption(string(out.ServerSideEncryption), out.SSECustomerAlgorithm),
		Metadata:     out.Metadata,
	}
	if err := c.checkETag(obj.ETag); err != nil {
		return bucket.Object{}, err
	}
	return obj, nil
}

// Get implements [bucket.Bucket]. Waiting for data is limited by [Timeouts.Request]
// at each read; a slow reader is not.
func (b *Bucket) Get(ctx context.Context, key string, opts bucket.ReadOptions) (bucket.Object, io.ReadCloser, error) {
	asked := !b.objects.SkipS3Checksum && !b.unasked.Load()
	obj, body, err := b.get(ctx, key, opts, asked)
	if asked && isBadRequest(err) { // some refuse the header that asks (B24)
		if obj, body, err = b.get(ctx, key, opts, false); err == nil {
			b.unasked.Store(true)
		}
	}
	if se, ok := errors.AsType[*statelatch.StoreError](err); ok && opts.First > 0 &&
		se.Status == http.StatusRequestedRangeNotSatisfiable { // it has no bytes
		whole := opts
		whole.First = 0
		return b.Get(ctx, key, whole)
	}
	return obj, body, err
}

func (b *Bucket) get(
	ctx context.Context, key string, opts bucket.ReadOptions, ask bool,
) (bucket.Object, io.ReadCloser, error) {
	ctx, c := b.begin(ctx, opGet, key, opts.VersionID)
	in := &s3.GetObjectInput{Bucket: &b.name, Key: &key, VersionId: optional(opts.VersionID)}
	if opts.First > 0 {
		in.Range = aws.String(fmt.Sprintf("bytes=0-%d", opts.First-1))
	}
	b.objects.applyToGet(in)
	var asking []func(*middleware.Stack) error
	if ask {
		asking = append(asking, askChecksum)
	}
	out, err := b.client.GetObject(ctx, in, c.options, s3.WithAPIOptions(asking...))
	if err != nil {
		err = c.fail(err)
		c.End()
		return bucket.Object{}, nil, err
	}
	obj := bucket.Object{
		Key:          key,
		ETag:         aws.ToString(out.ETag),
		VersionID:    aws.ToString(out.VersionId),
		Size:         aws.ToInt64(out.ContentLength),
		LastModified: aws.ToTime(out.LastModified),
		Date:         c.date,
		ContentType:  aws.ToString(out.ContentType),
		Encryption:   encryption(string(out.ServerSideEncryption), out.SSECustomerAlgorithm),
		Metadata:     out.Metadata,
	}
	part := aws.ToString(out.ContentRange)
	err = c.checkETag(obj.ETag)
	switch {
	case err != nil:
	case c.endUnknown:
		err = c.error(statelatch.ErrUnsupported, "the store sends bodies without a length, so a cut connection would look "+
			"like a whole object")
	case part != "" && opts.First == 0:
		err = c.error(statelatch.ErrBroken, "the answer is a part of the object, which nobody asked for")
	case part != "":
		if obj.Size, err = beginning(part, opts.First, obj.Size); err != nil {
			err = c.error(statelatch.ErrBroken, err.Error())
		}
	}
	if err != nil {
		_ = out.Body.Close() // unread, so there is nothing it could add
		c.End()
		return bucket.Object{}, nil, err
	}
	c.Pause()
	body := &body{call: c, from: out.Body, left: -1, claim: b.claimOf(c.header, obj.ETag, checksums)}
	if out.ContentLength != nil {
		body.left = *out.ContentLength
	}
	switch {
	case part != "" && body.left < obj.Size:
		body.claim = nil
	case part == "" && opts.First > 0: // not every store knows ranges
		return obj, struct {
			io.Reader
			io.Closer
		}{io.LimitReader(body, opts.First), body}, nil
	}
	return obj, body, nil
}

// beginning is the size of an object of which the answer is the part that its Content-Range tells: it must be the first
// bytes, as many as were asked for or there are.
func beginning(contentRange string, asked, length int64) (size int64, err error) {
	var last int64
	_, err = fmt.Sscanf(contentRange, "bytes 0-%d/%d", &last, &size)
	if err != nil || last+1 != length || length != min(asked, size) {
		return 0, fmt.Errorf("the answer is %q of the object, %d bytes, and its first %d were asked for",
			statelatch.Printable(contentRange), length, asked)
	}
	return size, nil
}

// Put implements [bucket.Bucket].
func (b *Bucket) Put(
	ctx context.Context, key string, body io.ReadSeeker, opts bucket.PutOptions,
) (bucket.Object, error) {
	sums, err := digest(body)
	if err != nil {
		return bucket.Object{}, &statelatch.StoreError{
			Kind: statelatch.ErrBroken, Op: opPut.Name, Bucket: b.name, Key: key,
			Err: fmt.Errorf("read the body: %w", err),
		}
	}
	ctx, c := b.beginUpload(ctx, opPut.under(opts.If), key, "", sums.size)
	defer c.End()
	if why := bucket.CheckMetadata(opts.Metadata); why != nil {
		return bucket.Object{}, c.error(statelatch.ErrUnsupported, why.Error())
	}
	in := &s3.PutObjectInput{
		Bucket: &b.name, Key: &key,
		// The SDK must not see more of the body than this: it would close a file.
		Body:          struct{ io.ReadSeeker }{body},
		ContentLength: &sums.size,
		ContentType:   aws.String("application/json"),
		Metadata:      opts.Metadata,
	}
	if opts.ContentType != "" {
		in.ContentType = &opts.ContentType
	}
	switch {
	case opts.If.Absent():
		in.IfNoneMatch = aws.String("*")
	case !opts.If.IsZero():
		in.IfMatch = aws.String(opts.If.ETag())
	}
	if b.objects.SkipS3Checksum {
		// What a store understands that knows no newer checksum; Object Lock demands one of the two (B23).
		in.ContentMD5 = aws.String(base64.StdEncoding.EncodeToString(sums.md5))
	} else {
		in.ChecksumSHA256 = aws.String(base64.StdEncoding.EncodeToString(sums.sha256))
	}
	b.objects.applyToPut(in)
	out, err := b.client.PutObject(ctx, in, c.options, s3.WithAPIOptions(signPayload(sums.sha256)))
	if err != nil {
		return bucket.Object{}, c.fail(err)
	}
	obj := bucket.Object{
		Key:        key,
		ETag:       aws.ToString(out.ETag),
		VersionID:  aws.ToString(out.VersionId),
		Date:       c.date,
		Encryption: encryption(string(out.ServerSideEncryption), out.SSECustomerAlgorithm),
	}
	if err := c.checkETag(obj.ETag); err != nil {
		return bucket.Object{}, err
	}
	if obj.Confirmed, err = c.confirm(sums, obj.ETag); err != nil {
		return bucket.Object{}, err
	}
	return obj, nil
}

// Delete implements [bucket.Bucket]. A condition together with a version is refused
// with ErrUnsupported: S3 does not say which of the two versions it would judge.
func (b *Bucket) Delete(ctx context.Context, key string, opts bucket.DeleteOptions) (bucket.Deleted, error) {
	ctx, c := b.begin(ctx, opDelete.under(opts.If), key, opts.VersionID)
	defer c.End()
	switch {
	case opts.If.Absent():
		return bucket.Deleted{}, c.error(statelatch.ErrUnsupported, "a delete cannot be made conditional on absence")
	case !opts.If.IsZero() && opts.VersionID != "":
		return bucket.Deleted{}, c.error(statelatch.ErrUnsupported, "a delete of one version cannot be made conditional")
	}
	in := &s3.DeleteObjectInput{Bucket: &b.name, Key: &key, VersionId: optional(opts.VersionID)}
	if !opts.If.IsZero() {
		in.IfMatch = aws.String(opts.If.ETag())
	}
	out, err := b.client.DeleteObject(ctx, in, c.options)
	if err != nil {
		err := c.fail(err)
		if se, ok := errors.AsType[*statelatch.StoreError](err); ok && opts == (bucket.DeleteOptions{}) &&
			se.Code == "NoSuchKey" {
			return bucket.Deleted{Date: c.date}, nil // some stores report what S3 passes over
		}
		return bucket.Deleted{}, err
	}
	if c.hasBody {
		// It cannot be told by an ETag that a store spoke, and not a proxy's page for one.
		return bucket.Deleted{}, c.error(statelatch.ErrAmbiguous, "the answer to the delete has a body, so it is not S3's")
	}
	return bucket.Deleted{
		VersionID:    aws.ToString(out.VersionId),
		DeleteMarker: aws.ToBool(out.DeleteMarker),
		Date:         c.date,
	}, nil
}

// body is an object's content with the guarantees of the port: it ends with io.EOF only if it is complete and what the
// store says it is, it does not hand out its last bytes before that, and its errors are StoreErrors.
type body struct {
	call  *call
	from  io.ReadCloser
	left  int64  // bytes still to come, -1 if the framing alone tells the end
	claim *claim // nil: the store says nothing that could be checked
	err   error  // for good
}

func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	b.call.Resume()
	n, err := b.from.Read(p)
	b.call.Pause()
	if b.left >= 0 {
		b.left -= int64(n)
	}
	if b.claim != nil {
		b.claim.hash.Write(p[:n])
	}
	switch {
	case err == io.EOF && b.left > 0:
		err = io.ErrUnexpectedEOF
	case b.left == 0, err == io.EOF:
		// Whoever knows the size reads no further, so it is told with the last bytes, not after them.
		if c := b.claim; c != nil && !c.holds() {
			b.err = b.call.altered(statelatch.ErrBroken, c.what, c.want, c.hash.Sum(nil))
			return 0, b.err
		}
		b.claim = nil
	}
	switch err {
	case nil, io.EOF:
		return n, err
	}
	b.err = b.call.fail(err)
	return n, b.err
}

func (b *body) Close() error {
	err := b.from.Close()
	b.call.End()
	return err
}

// options are the terms on which every request of c is made, whatever the client's.
func (c *call) options(o *s3.Options) {
	if c.Op.Write {
		o.Retryer = aws.NopRetryer{} // a 412 after a hidden retry proves nothing (B1)
	}
	// Stores reject or even store the framing of trailing checksums (B24).
	o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	o.HTTPClient = c.Track(o.HTTPClient, c.look)
	o.APIOptions = append(o.APIOptions, awsmiddleware.AddUserAgentKey("statelatch"), leaveUnsigned)
}

// signPayload signs a body whose hash is known, over TLS too, instead of reading
// it once more or leaving it unsigned.
func signPayload(sum []byte) func(*middleware.Stack) error {
	set := middleware.FinalizeMiddlewareFunc("statelatchPayloadHash",
		func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput,
			middleware.Metadata, error,
		) {
			return next.HandleFinalize(v4.SetPayloadHash(ctx, hex.EncodeToString(sum)), in)
		})
	return func(stack *middleware.Stack) error {
		return stack.Finalize.Insert(set, "ComputePayloadHash", middleware.Before)
	}
}

type digests struct {
	sha256, md5 []byte
	size        int64
}

// digest reads body from start to end once and leaves it at its start.
func digest(body io.ReadSeeker) (digests, error) {
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return digests{}, err
	}
	hashes := [...]hash.Hash{sha256.New(), md5.New()}
	n, err := io.Copy(io.MultiWriter(hashes[0], hashes[1]), body)
	if err != nil {
		return digests{}, err
	}
	_, err = body.Seek(0, io.SeekStart)
	return digests{sha256: hashes[0].Sum(nil), md5: hashes[1].Sum(nil), size: n}, err
}

// checkETag refuses what cannot serve as a condition. After a write it is
// done, so only reading back can tell.
func (c *call) checkETag(etag string) error {
	kind := statelatch.ErrUnsupported
	if c.Op.Write {
		kind = statelatch.ErrAmbiguous
	}
	switch {
	case etag == "":
		return c.error(kind, "the answer has no ETag")
	case strings.HasPrefix(etag, "W/"):
		return c.error(kind, "the answer has a weak ETag, "+etag+", which no condition can name; is there a proxy that "+
			"compresses or rewrites answers?")
	}
	return nil
}

func encryption(sse string, customer *string) string {
	if aws.ToString(customer) != "" {
		return "SSE-C"
	}
	return sse
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
