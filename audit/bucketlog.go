package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/internal/lazyre"
	"github.com/statelatch/statelatch/internal/pace"
)

const (
	headName = "head.json"
	// tries is how often in a row a request may fail in passing.
	tries = 5
)

// retryPace is the pause between tries.
var retryPace = pace.Backoff{Min: 50 * time.Millisecond, Max: time.Second}

// BucketLog is a log in a bucket: PREFIX/<20-digit number>.json an event, each created on the condition that there is
// none of that number, and PREFIX/head.json. Writers need s3:GetObject, s3:PutObject and s3:ListBucket
// there, and must not have s3:DeleteObject.
type BucketLog struct {
	// Keys sign what is appended. They must not be changed once it is in use.
	Keys Keys

	bucket bucket.Bucket
	prefix string
}

// NewBucketLog is the log below prefix, which has no slash at its end. The error matches [statelatch.ErrInvalid].
func NewBucketLog(b bucket.Bucket, prefix string) (*BucketLog, error) {
	if err := checkPrefix(prefix); err != nil {
		return nil, err
	}
	return &BucketLog{bucket: b, prefix: prefix}, nil
}

// checkPrefix refuses where an audit log would be taken for a state, or get lost among states.
func checkPrefix(prefix string) error {
	switch {
	case prefix == "":
		return fmt.Errorf("%w audit location: the prefix is missing: want s3://BUCKET/PREFIX, such as s3://acme-state/audit",
			statelatch.ErrInvalid)
	case strings.HasPrefix(prefix+"/", statelatch.DefaultWorkspaceKeyPrefix+"/"):
		return fmt.Errorf("%w audit location: prefix %q: what is below %s/ is taken for a workspace", statelatch.ErrInvalid,
			prefix, statelatch.DefaultWorkspaceKeyPrefix)
	case strings.HasPrefix(prefix+"/", statelatch.ProbePrefix):
		return fmt.Errorf("%w audit location: prefix %q: %s is for probes", statelatch.ErrInvalid, prefix,
			statelatch.ProbePrefix)
	}
	if kind, _ := statelatch.ClassifyKey(prefix + "/" + headName); kind != statelatch.KeyOther ||
		strings.Contains(prefix+"/", ".tfstate/") || statelatch.IsLockKey(prefix) {
		return fmt.Errorf("%w audit location: prefix %q: it is a state's or a lock's own", statelatch.ErrInvalid, prefix)
	}
	return nil
}

// String is s3://BUCKET/PREFIX.
func (l *BucketLog) String() string { return "s3://" + l.bucket.Name() + "/" + l.prefix }

func (l *BucketLog) key(seq uint64) string { return fmt.Sprintf("%s/%020d.json", l.prefix, seq) }

var eventName = lazyre.New(`^([0-9]{20})\.json$`)

// number is the number that a key stands for, 0 if it is no event's.
func (l *BucketLog) number(key string) uint64 {
	m := eventName.FindStringSubmatch(strings.TrimPrefix(key, l.prefix+"/"))
	if m == nil {
		return 0
	}
	n, err := strconv.ParseUint(m[1], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// Append stores e under the next free number, and then moves the head. A head that a writer which died left behind is
// moved along. Where the head cannot be moved the event is stored all the same, and the error says so.
func (l *BucketLog) Append(ctx context.Context, e Event) error {
	last, etag, now, err := l.head(ctx)
	if err != nil {
		return fmt.Errorf("audit log %s: %w", l, err)
	}
	e.StoreTime = now.UTC()
	for {
		raw, is := last.next(e, l.Keys...)
		stored, err := l.create(ctx, is.Seq, raw)
		if err != nil {
			return fmt.Errorf("audit log %s: event %d: %w", l, is.Seq, err)
		}
		if stored {
			if err := l.advance(ctx, is, etag); err != nil {
				return fmt.Errorf("audit log %s: event %d is stored, but the head was not moved to it: %w", l, is.Seq, err)
			}
			return nil
		}
		if last, err = l.newest(ctx, last); err != nil {
			return fmt.Errorf("audit log %s: %w", l, err)
		}
	}
}

// create stores raw as the event of that number. It reports false if another event has the number. An outcome that is
// not known is settled by reading back: the number is taken once and for all, so that a late copy of the request finds
// itself refused.
func (l *BucketLog) create(ctx context.Context, seq uint64, raw []byte) (stored bool, err error) {
	key := l.key(seq)
	unknown := false
	for try := 1; ; try++ {
		_, err = l.bucket.Put(ctx, key, bytes.NewReader(raw), bucket.PutOptions{If: bucket.IfAbsent})
		unknown = unknown || errors.Is(err, statelatch.ErrAmbiguous)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, statelatch.ErrPreconditionFailed), errors.Is(err, statelatch.ErrAmbiguous):
			_, found, lookErr := bucket.ReadAll(ctx, l.bucket, key, MaxEvent)
			switch {
			case lookErr == nil && bytes.Equal(found, raw):
				return true, nil
			case lookErr == nil && errors.Is(err, statelatch.ErrAltered):
				// not another's: ours, damaged, as the next one would be
				return false, err
			case lookErr == nil:
				return false, nil
			case errors.Is(lookErr, statelatch.ErrInvalid): // too large for ours
				return false, nil
			case passing(lookErr) && try == tries:
				err = errors.Join(err, lookErr)
			}
		case !passing(err):
			return false, ambiguous(err, unknown)
		}
		if try >= tries {
			return false, ambiguous(err, unknown)
		}
		if pace.Sleep(ctx, retryPace.Pause(try)) != nil {
			return false, ambiguous(errors.Join(context.Cause(ctx), err), unknown)
		}
	}
}

// ambiguous makes err match ErrAmbiguous if a request before may have been executed.
func ambiguous(err error, unknown bool) error {
	if unknown && !errors.Is(err, statelatch.ErrAmbiguous) {
		return fmt.Errorf("%w: %w", statelatch.ErrAmbiguous, err)
	}
	return err
}

// newest is the last event behind after, which somebody else has stored meanwhile.
func (l *BucketLog) newest(ctx context.Context, after Head) (Head, error) {
	seq := after.Seq + 1 // it is there, whatever a listing that lags behind says
	err := retry(ctx, func() error {
		for obj, err := range l.bucket.List(ctx, bucket.ListOptions{Prefix: l.prefix + "/", StartAfter: l.key(after.Seq)}) {
			if err != nil {
				return err
			}
			seq = max(seq, l.number(obj.Key))
		}
		return nil
	})
	if err != nil {
		return Head{}, err
	}
	var raw []byte
	err = retry(ctx, func() (err error) {
		_, raw, err = bucket.ReadAll(ctx, l.bucket, l.key(seq), MaxEvent)
		return err
	})
	if err != nil {
		return Head{}, fmt.Errorf("event %d: %w", seq, err)
	}
	h, err := headOf(raw)
	if err != nil || h.Seq != seq {
		return Head{}, fmt.Errorf("%w: event %d, the newest, is not what a writer left there: see 'statelatch "+
			"audit verify %s'", statelatch.ErrInvalid, seq, l)
	}
	return h, nil
}

// head reads the head: zero, and no ETag, if there is none. now is the store's clock where it tells it.
func (l *BucketLog) head(ctx context.Context) (h Head, etag string, now time.Time, err error) {
	var obj bucket.Object
	var raw []byte
	err = retry(ctx, func() (err error) {
		obj, raw, err = bucket.ReadAll(ctx, l.bucket, path.Join(l.prefix, headName), MaxEvent)
		return err
	})
	if errors.Is(err, statelatch.ErrNotFound) && !errors.Is(err, statelatch.ErrNoBucket) {
		return Head{}, "", time.Time{}, nil
	}
	if err == nil {
		h, err = parseHead(raw)
	}
	return h, obj.ETag, obj.Date, err
}

// advance moves the head to h, unless it is there or beyond. etag is what was last seen of it, empty if there was none.
func (l *BucketLog) advance(ctx context.Context, h Head, etag string) error {
	for try := 1; ; try++ {
		cond := bucket.IfAbsent
		if etag != "" {
			cond = bucket.IfMatch(etag)
		}
		_, err := l.bucket.Put(ctx, path.Join(l.prefix, headName), bytes.NewReader(h.marshal()), bucket.PutOptions{If: cond})
		moved := errors.Is(err, statelatch.ErrPreconditionFailed) ||
			errors.Is(err, statelatch.ErrNotFound) && !errors.Is(err, statelatch.ErrNoBucket)
		switch {
		case err == nil:
			return nil
		case moved:
			try = 0 // somebody else's progress
		case try == tries, !passing(err) && !errors.Is(err, statelatch.ErrAmbiguous):
			return err
		}
		if pace.Sleep(ctx, retryPace.Pause(try)) != nil {
			return context.Cause(ctx)
		}
		var now Head
		if now, etag, _, err = l.head(ctx); err != nil {
			return err
		}
		if now.Seq >= h.Seq {
			return nil
		}
	}
}

// Read returns everything that is stored, many requests at a time. Where events are appended meanwhile they may or may
// not be among it. Errors are the bucket's, or match [statelatch.ErrNotFound] if nothing at all is there.
func (l *BucketLog) Read(ctx context.Context) (Contents, error) {
	c, err := l.ReadSince(ctx, time.Time{})
	if err == nil {
		c.Older, c.OlderErr = l.older(ctx)
	}
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return c, err
}

// maxAhead is how far the clock of whoever did something may be ahead of the store's, so that it is found by its time.
const maxAhead = time.Hour

// ReadSince implements [Log]: the numbers of events are in the order in which they were stored, so that it looks for
// the first of them and lists from there. An event that a clock an hour ahead dated may be left out.
func (l *BucketLog) ReadSince(ctx context.Context, since time.Time) (Contents, error) {
	// The head first: every event that it covers is there by now.
	head, etag, _, err := l.head(ctx)
	var c Contents
	switch {
	case errors.Is(err, statelatch.ErrInvalid):
		c.HeadErr = err
	case err != nil:
		return c, err
	case etag != "":
		c.Head = &head
	}
	after := ""
	if !since.IsZero() && c.Head != nil && head.Seq > 0 {
		if c.Earlier, err = l.before(ctx, since.Add(-maxAhead), head.Seq); err != nil {
			return c, err
		}
		after = l.key(c.Earlier)
	}
	for obj, err := range l.bucket.List(ctx, bucket.ListOptions{Prefix: l.prefix + "/", StartAfter: after}) {
		if err != nil {
			return c, err
		}
		switch n := l.number(obj.Key); {
		case n > 0:
			c.Records = append(c.Records, Record{Name: obj.Key, Number: n, Stored: obj.LastModified})
		case obj.Key != path.Join(l.prefix, headName):
			c.Foreign = append(c.Foreign, obj.Key)
		}
	}
	if len(c.Records)+len(c.Foreign) == 0 && etag == "" {
		return c, nothingThere(l)
	}
	all := make([]*Record, len(c.Records))
	for i := range c.Records {
		all[i] = &c.Records[i]
	}
	err = fleet.Each(ctx, 0, all, func(ctx context.Context, r *Record) error {
		err := retry(ctx, func() (err error) {
			_, r.Raw, err = bucket.ReadAll(ctx, l.bucket, r.Name, MaxEvent)
			return err
		})
		if errors.Is(err, statelatch.ErrInvalid) || errors.Is(err, statelatch.ErrNotFound) {
			return nil // no event of ours, or removed just now: Verify tells
		}
		return err
	})
	return c, err
}

// before is how many events, of so many, were certainly stored before a time. It asks for some two dozen at most. What
// was tampered with since is younger than it was, so that no event that is younger is among them.
func (l *BucketLog) before(ctx context.Context, when time.Time, events uint64) (uint64, error) {
	var known uint64 // all up to it are older
	for left := events; left > known; {
		middle := known + (left-known)/2
		stored, number, err := l.next(ctx, middle)
		switch {
		case err != nil:
			return 0, err
		case number == 0, !stored.Before(when):
			left = middle
		default:
			known = number
		}
	}
	return known, nil
}

// next is when the first event behind a number was stored, and its number; 0: there is none.
func (l *BucketLog) next(ctx context.Context, number uint64) (stored time.Time, found uint64, err error) {
	err = retry(ctx, func() error {
		found = 0
		opts := bucket.ListOptions{Prefix: l.prefix + "/", StartAfter: l.key(number), PageSize: 1}
		for obj, err := range l.bucket.List(ctx, opts) {
			if err != nil {
				return err
			}
			if stored, found = obj.LastModified, l.number(obj.Key); found > 0 || obj.Key > l.key(math.MaxUint64) {
				return nil
			}
		}
		return nil
	})
	return stored, found, err
}

// errNoVersions says that the bucket keeps none.
var errNoVersions = fmt.Errorf("%w: the bucket keeps no versions", statelatch.ErrUnsupported)

// older reads what the bucket keeps of the log beside what is current: the older versions of events, and of the head,
// and where something was deleted. Of an event's one and only version there is nothing to say.
func (l *BucketLog) older(ctx context.Context) ([]Older, error) {
	var all []Older
	var versioned bool
	for obj, err := range l.bucket.ListVersions(ctx, bucket.ListOptions{Prefix: l.prefix + "/"}) {
		if err != nil {
			return nil, err
		}
		versioned = versioned || bucket.KeptVersion(obj.VersionID)
		number, isHead := l.number(obj.Key), obj.Key == path.Join(l.prefix, headName)
		if number == 0 && !isHead || obj.IsLatest && !obj.DeleteMarker && !isHead {
			continue
		}
		all = append(all, Older{
			Name: obj.Key, Number: number, VersionID: obj.VersionID, Stored: obj.LastModified, Deleted: obj.DeleteMarker,
			Current: obj.IsLatest,
		})
	}
	if !versioned {
		return nil, errNoVersions
	}
	var unread []*Older
	for i, o := range all {
		if !o.Deleted {
			unread = append(unread, &all[i])
		}
	}
	err := fleet.Each(ctx, 0, unread, func(ctx context.Context, o *Older) error {
		err := retry(ctx, func() error {
			_, body, err := l.bucket.Get(ctx, o.Name, bucket.ReadOptions{VersionID: o.VersionID})
			if err != nil {
				return err
			}
			o.Raw, err = io.ReadAll(io.LimitReader(body, MaxEvent+1))
			return errors.Join(err, body.Close())
		})
		if errors.Is(err, statelatch.ErrNotFound) { // it has just expired
			o.Raw = nil
			return nil
		}
		return err
	})
	return all, err
}

// retry calls do again when it failed in passing.
func retry(ctx context.Context, do func() error) error {
	for try := 1; ; try++ {
		err := do()
		if err == nil || !passing(err) || try == tries {
			return err
		}
		if pace.Sleep(ctx, retryPace.Pause(try)) != nil {
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// passing reports whether a request that failed changed nothing and may succeed the next time.
func passing(err error) bool {
	return errors.Is(err, statelatch.ErrThrottled) || errors.Is(err, statelatch.ErrConflict) ||
		errors.Is(err, statelatch.ErrBroken)
}
