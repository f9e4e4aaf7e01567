package boltstore

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/statelatch/statelatch/s3/s3model"
)

const (
	scanPage    = 500 // versions looked at in one read transaction
	sweepPage   = 32  // versions removed in one update, so that writers hardly wait
	sweepPasses = 3   // the last noncurrent version gone, its delete marker stands alone

	// A sweep rests that many times as long as its last step took, if anybody wrote within that time.
	sweepRest  = 19
	sweepHeeds = time.Second
)

// Sweep applies the lifecycle rules of every bucket once, as S3 does: a number of days
// is over at the midnight (UTC) that follows it. It works in small steps beside other
// requests; every decision is made in the transaction that acts on it. An error ends it
// early, with all that was done so far in effect.
func (s *Store) Sweep(ctx context.Context) error {
	s.sweepMu.Lock()
	defer s.sweepMu.Unlock()
	buckets, err := s.ListBuckets(ctx)
	if err != nil {
		return err
	}
	for _, b := range buckets {
		if !anyEnabled(b.Settings.Lifecycle) {
			continue
		}
		err := s.sweepBucket(ctx, b.Name, b.Settings.Lifecycle)
		if err != nil && !errors.Is(err, s3model.ErrNoSuchBucket) { // removed meanwhile
			return err
		}
	}
	return nil
}

func anyEnabled(rules []s3model.LifecycleRule) bool {
	return slices.ContainsFunc(rules, func(r s3model.LifecycleRule) bool { return r.Enabled })
}

// heed lets writers have the store for most of the time, while there are any.
type heed struct {
	store *Store
	seen  int64     // how many writes there were
	last  time.Time // when that was found to have changed
}

// step does a part of the work of a sweep, and rests.
func (h *heed) step(ctx context.Context, work func() error) error {
	begin := time.Now()
	err := work()
	now := time.Now()
	if n := h.store.writes.Load(); n != h.seen {
		h.seen, h.last = n, now
	}
	if err == nil && now.Sub(h.last) < sweepHeeds {
		h.store.rest(ctx, sweepRest*now.Sub(begin))
	}
	return err
}

// rest waits, but not beyond the end of ctx.
func rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// removesMarkers reports whether a rule removes delete markers that stand alone, as a sweep may leave them.
func removesMarkers(rules []s3model.LifecycleRule) bool {
	return slices.ContainsFunc(rules, func(r s3model.LifecycleRule) bool {
		return r.Enabled && (r.ExpireLoneDeleteMarkers || r.ExpireDays > 0)
	})
}

// tally counts what a sweep did.
type tally struct{ expired, noncurrent, markers, uploads int }

func (s *Store) sweepBucket(ctx context.Context, bucket string, rules []s3model.LifecycleRule) error {
	var total tally
	defer func() {
		if total != (tally{}) {
			s.log.Info("applied lifecycle rules", "bucket", bucket, "expired", total.expired,
				"noncurrent versions removed", total.noncurrent, "delete markers removed", total.markers, "uploads aborted",
				total.uploads)
		}
	}()
	for range sweepPasses {
		before := total
		if err := s.sweepVersions(ctx, bucket, &total); err != nil {
			return err
		}
		if total == before || !removesMarkers(rules) {
			break
		}
	}
	return s.sweepUploads(ctx, bucket, &total)
}

// candidate is a version that a rule applied to when it was looked at.
type candidate struct {
	key string
	seq uint64
}

func (s *Store) sweepVersions(ctx context.Context, bucket string, total *tally) error {
	var at position
	h := &heed{store: s, seen: s.writes.Load()}
	for !at.end {
		if err := ctx.Err(); err != nil {
			return err
		}
		var due []candidate
		err := h.step(ctx, func() error {
			return s.view(func(t *txn) (err error) {
				due, at, err = t.dueVersions(bucket, at, s.now())
				return err
			})
		})
		if err != nil {
			return err
		}
		for len(due) > 0 {
			n := min(len(due), sweepPage)
			var did tally
			err := h.step(ctx, func() error {
				return s.updateBehind(ctx, func(t *txn) error {
					did = tally{}
					return t.expire(bucket, due[:n], s.now(), &did)
				})
			})
			if err != nil {
				return err
			}
			total.expired += did.expired
			total.noncurrent += did.noncurrent
			total.markers += did.markers
			due = due[n:]
		}
	}
	return nil
}

// position is how far a walk over the versions of a bucket has come.
type position struct {
	key  string // of the last version
	seq  uint64 // its number
	rank int    // how many versions of the key are newer than it
	end  bool
}

// dueVersions looks at the next scanPage versions for those that a rule applies to. In a
// bucket that changes meanwhile it may propose too many; expire decides.
func (t *txn) dueVersions(bucket string, at position, now time.Time) ([]candidate, position, error) {
	b, err := t.bucketOf(bucket)
	if err != nil {
		return nil, at, err
	}
	rules := b.Settings.Lifecycle
	c := newVersionCursor(t, bucket)
	if at.key == "" {
		c.seek(nil)
	} else {
		c.seekAfter(at.key, at.seq)
	}
	var due []candidate
	for range scanPage {
		key, current, more, err := c.peek()
		if err != nil {
			return nil, at, err
		}
		if !more {
			at.end = true
			break
		}
		r, err := c.next(current)
		if err != nil {
			return nil, at, err
		}
		if key == at.key {
			at.rank++
		} else {
			at.key, at.rank = key, 0
		}
		at.seq = r.Seq
		newer := func(n int) (bool, error) { return at.rank-1 >= n, nil }
		alone := func() (bool, error) {
			next, _, more, err := c.peek()
			return !more || next != key, err
		}
		is, err := isDue(rules, key, r, at.rank == 0, now, newer, alone)
		if err != nil {
			return nil, at, err
		}
		if is {
			due = append(due, candidate{key: key, seq: r.Seq})
		}
	}
	return due, at, nil
}

// isDue reports whether a rule demands that a version goes. newer tells whether at least
// n noncurrent versions are newer than it, alone whether its key has no other version.
func isDue(rules []s3model.LifecycleRule, key string, r *record, latest bool, now time.Time,
	newer func(n int) (bool, error), alone func() (bool, error),
) (bool, error) {
	for i := range rules {
		rule := &rules[i]
		if !rule.Enabled || !strings.HasPrefix(key, rule.Prefix) || !applies(rule, r) {
			continue
		}
		aged := rule.ExpireDays > 0 && over(r.Modified, rule.ExpireDays, now)
		dated := !rule.ExpireDate.IsZero() && !now.Before(rule.ExpireDate)
		var is bool
		var err error
		switch {
		case !latest:
			if rule.NoncurrentDays > 0 && over(r.Retired, rule.NoncurrentDays, now) {
				is, err = newer(rule.NewerNoncurrentVersions)
			}
		case !r.Marker:
			is = aged || dated
		case rule.ExpireLoneDeleteMarkers || aged:
			is, err = alone()
		}
		if is || err != nil {
			return is, err
		}
	}
	return false, nil
}

// expire decides again about each version and acts.
func (t *txn) expire(bucket string, due []candidate, now time.Time, did *tally) error {
	b, err := t.bucketOf(bucket)
	if err != nil {
		return err
	}
	var latest *record // of the key that is looked at
	for i, d := range due {
		if i == 0 || d.key != due[i-1].key || latest == nil {
			if latest, err = t.latest(bucket, d.key); err != nil {
				return err
			}
		}
		if latest == nil {
			continue
		}
		r, isLatest := latest, latest.Seq == d.seq
		if !isLatest {
			r = &record{}
			ok, err := t.get(historyTable, historyKey(bucket, d.key, d.seq), r)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
		}
		newer := func(n int) (bool, error) { return t.newerNoncurrent(bucket, d.key, latest.Seq, d.seq, n) }
		alone := func() (bool, error) {
			others, err := t.newerNoncurrent(bucket, d.key, latest.Seq, 0, 1)
			return !others, err
		}
		is, err := isDue(b.Settings.Lifecycle, d.key, r, isLatest, now, newer, alone)
		if err != nil {
			return err
		}
		if !is {
			continue
		}
		switch {
		case !isLatest:
			did.noncurrent++
		case r.Marker:
			did.markers++
		default:
			did.expired++
		}
		if isLatest && !r.Marker && b.Settings.Versioning != s3model.Unversioned {
			_, err = t.insertMarker(b, bucket, d.key, r, randomBytes(idSize), now.UnixNano())
		} else {
			err = t.removeVersion(bucket, d.key, r, isLatest)
		}
		if err != nil {
			return err
		}
		if isLatest {
			latest = nil
		}
	}
	return nil
}

// newerNoncurrent reports whether the key has at least n versions between latest and
// seq. It reads no more than those.
func (t *txn) newerNoncurrent(bucket, key string, latest, seq uint64, n int) (bool, error) {
	if n <= 0 {
		return true, nil
	}
	count := 0
	prefix := join(bucket, "")
	err := scan(t.Tx, historyTable, join(bucket, key, ""), func(k, _ []byte) (bool, error) {
		_, at, ok := splitHistoryKey(k[len(prefix):])
		if !ok {
			return false, damaged("key %q of table %s", k, historyTable)
		}
		if at <= seq {
			return false, nil
		}
		if at != latest {
			count++
		}
		return count < n, nil
	})
	return count >= n, err
}

// filtered reports whether the rule asks for what a delete marker does not have.
func filtered(rule *s3model.LifecycleRule) bool {
	return len(rule.Tags) > 0 || rule.SizeAbove >= 0 || rule.SizeBelow > 0
}

// applies reports whether a version passes the rule's filter by tags and size.
func applies(rule *s3model.LifecycleRule, r *record) bool {
	if r.Marker {
		return !filtered(rule)
	}
	for k, v := range rule.Tags {
		if have, ok := r.Tags[k]; !ok || have != v {
			return false
		}
	}
	return r.Size > rule.SizeAbove && (rule.SizeBelow <= 0 || r.Size < rule.SizeBelow)
}

// over reports whether the midnight after days days from since has come.
func over(since int64, days int, now time.Time) bool {
	end := fromNano(since).AddDate(0, 0, days)
	midnight := end.Truncate(24 * time.Hour) // days of UTC, which has no other length
	if midnight.Before(end) {
		midnight = midnight.Add(24 * time.Hour)
	}
	return !now.Before(midnight)
}

// sweepUploads aborts the uploads that a rule gives up on.
func (s *Store) sweepUploads(ctx context.Context, bucket string, total *tally) error {
	type address struct{ key, id string }
	var due []address
	err := s.view(func(t *txn) error {
		due = nil
		b, err := t.bucketOf(bucket)
		if err != nil {
			return err
		}
		now := s.now()
		return t.eachUpload(bucket, "", func(key, id string, u *uploadRecord) {
			for i := range b.Settings.Lifecycle {
				rule := &b.Settings.Lifecycle[i]
				if rule.Enabled && rule.AbortUploadsAfterDays > 0 && strings.HasPrefix(key, rule.Prefix) &&
					over(u.Started, rule.AbortUploadsAfterDays, now) {
					due = append(due, address{key, id})
					return
				}
			}
		})
	})
	if err != nil {
		return err
	}
	for _, a := range due {
		err := s.AbortUpload(ctx, bucket, a.key, a.id)
		if errors.Is(err, s3model.ErrNoSuchUpload) {
			continue // completed meanwhile
		}
		if err != nil {
			return err
		}
		total.uploads++
	}
	return nil
}
