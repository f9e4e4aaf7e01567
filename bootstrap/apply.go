package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/statelatch/statelatch/bucket/s3bucket"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/pace"
)

// A bucket's configuration is eventually consistent on AWS, usually within seconds.
const (
	patience   = 2 * time.Minute // for one step to be seen
	firstPause = 250 * time.Millisecond
	longPause  = 5 * time.Second
)

// ErrChanged says that a bucket is not what it was when its plan was made. Nothing was changed.
var ErrChanged = errors.New("the bucket has changed since the plan was made; nothing was changed: run " +
	"the command again")

// Outcome is what became of a step.
type Outcome struct {
	Step
	Skipped string // why it was passed over; empty: it is done, and the store shows it
}

// Apply carries out a plan that was shown, and tells report about each step that is done. It reads the bucket again
// first and returns [ErrChanged] if another plan would come out. It stops at the first step that fails, names the
// steps before it by report alone, and can be repeated. What was required and the store does not have is an error at
// the end ([statelatch.ErrUnsupported]). The result is the bucket as it was read last.
func Apply(ctx context.Context, c *s3.Client, d Desired, shown Plan, report func(Outcome)) (Actual, error) {
	a, err := Inspect(ctx, c, d.Bucket)
	if err != nil {
		return a, err
	}
	now, err := NewPlan(d, a)
	if err != nil {
		return a, err
	}
	if !now.same(shown) {
		return a, ErrChanged
	}
	var missed []error
	for _, s := range shown.Skipped {
		if s.Required {
			missed = append(missed, fmt.Errorf("%s: %w: %s", s.ID, statelatch.ErrUnsupported, s.Why))
		}
	}
	for _, s := range shown.Steps {
		err := carryOut(ctx, c, d, s.ID, shown, &a)
		switch {
		case errors.Is(err, statelatch.ErrUnsupported) && s.required:
			missed = append(missed, err)
			continue
		case errors.Is(err, statelatch.ErrUnsupported):
			report(Outcome{s, "the store cannot do this: " + err.Error()})
			continue
		case err != nil:
			return a, fmt.Errorf("%s: %w", s.What, err)
		}
		report(Outcome{Step: s})
	}
	return a, errors.Join(missed...)
}

// carryOut writes what a step is about, and reads it back until the store shows it.
func carryOut(ctx context.Context, c *s3.Client, d Desired, id string, shown Plan, a *Actual) error {
	if id != idBucket && a.Exists { // the steps before this one took their time
		a.refresh(ctx, c, d.Bucket, id)
	}
	deadline, written := time.Now().Add(patience), false
	var last Step // that was written
	for pause := firstPause; ; pause = min(2*pause, longPause) {
		now, err := NewPlan(d, *a)
		if err != nil && !errors.Is(err, statelatch.ErrNotFound) {
			// not found: the bucket is so new that not all of S3 knows it
			return err
		}
		step, wanted := now.step(id)
		if err == nil && !wanted {
			return now.unsupported(id, d.Bucket, shown)
		}
		if written && last.garbled != nil && last.garbled(*a) {
			if err := call(ctx, d.Bucket, "put "+id+" of", last.Action,
				func(ctx context.Context) error { return last.undo(ctx, c) }); err != nil {
				return fmt.Errorf("the store keeps it otherwise than it was written, and it could not be taken back: %w", err)
			}
			return &statelatch.StoreError{
				Kind: statelatch.ErrUnsupported, Op: "put " + id + " of", Bucket: d.Bucket,
				Message: "the store kept only parts of it, so it was taken back",
			}
		}
		if err == nil && !written {
			err = step.carryOut(ctx, c, d.Bucket)
			if err == nil {
				written, last = true, step
				if err := reread(ctx, c, d.Bucket, id, a); err != nil {
					return err
				}
				continue
			}
			if !passing(err) {
				return err
			}
		}
		if time.Now().After(deadline) {
			if err == nil {
				err = fmt.Errorf("it was written, but after %v the store still does not show it: run the command again", patience)
			}
			return err
		}
		if err := pace.Sleep(ctx, pause); err != nil {
			return &statelatch.StoreError{Kind: statelatch.ErrBroken, Op: "put " + id + " of", Bucket: d.Bucket, Err: err}
		}
		if err := reread(ctx, c, d.Bucket, id, a); err != nil {
			return err
		}
	}
}

// unsupported is why a step that is not wanted any more was not done: once the bucket was created, the store turned
// out to have no such setting. Nil if it is done.
func (p Plan) unsupported(id, bucket string, shown Plan) error {
	for _, s := range p.Skipped {
		if s.ID == id && !slices.Contains(shown.Skipped, s) {
			return &statelatch.StoreError{
				Kind: statelatch.ErrUnsupported, Op: "put " + id + " of", Bucket: bucket,
				Message: s.Why,
			}
		}
	}
	return nil
}

// passing reports whether a write is worth another try: another change may be under way, a new bucket not known
// everywhere.
func passing(err error) bool {
	return errors.Is(err, statelatch.ErrConflict) || errors.Is(err, statelatch.ErrThrottled) ||
		errors.Is(err, statelatch.ErrNotFound)
}

func (s Step) carryOut(ctx context.Context, c *s3.Client, bucket string) error {
	return call(ctx, bucket, "put "+s.ID+" of", s.Action, func(ctx context.Context) error { return s.write(ctx, c) })
}

// reread reads a setting again; of a bucket that was just created, all of them.
func reread(ctx context.Context, c *s3.Client, bucket, id string, a *Actual) (err error) {
	if id == idBucket {
		*a, err = Inspect(ctx, c, bucket)
		return err
	}
	a.refresh(ctx, c, bucket, id)
	return nil
}

// create makes the bucket. S3 owns each name once in the world.
func (d Desired) create(ctx context.Context, c *s3.Client) error {
	in := &s3.CreateBucketInput{Bucket: &d.Bucket}
	if l := d.locationConstraint(); l != "" {
		in.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(l)}
	}
	_, err := c.CreateBucket(ctx, in, withoutExpectedOwner)
	code := ""
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		code = api.ErrorCode()
	}
	switch code {
	case "BucketAlreadyOwnedByYou": // our own request, whose answer was lost: the bucket was absent a moment ago
		return nil
	case "InvalidLocationConstraint", "IllegalLocationConstraintException", "InvalidRegion":
		if in.CreateBucketConfiguration != nil && !s3bucket.OnAWS(d.Endpoint) {
			// to many stores the region is only a word in the signature
			in.CreateBucketConfiguration = nil
			_, err = c.CreateBucket(ctx, in, withoutExpectedOwner)
		}
	}
	return err
}

// withoutExpectedOwner takes off the header that the client puts on every request: nobody owns the bucket yet.
func withoutExpectedOwner(o *s3.Options) {
	remove := middleware.FinalizeMiddlewareFunc("statelatchNoExpectedOwner",
		func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput,
			middleware.Metadata, error,
		) {
			if req, ok := in.Request.(*smithyhttp.Request); ok {
				req.Header.Del("X-Amz-Expected-Bucket-Owner")
			}
			return next.HandleFinalize(ctx, in)
		})
	o.APIOptions = append(o.APIOptions,
		func(stack *middleware.Stack) error { return stack.Finalize.Add(remove, middleware.Before) })
}
