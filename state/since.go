package state

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// maxVersions is how many versions Since looks at.
const maxVersions = 100

// Report is what happened to a state since a mark.
type Report struct {
	Mark, Now Version // what it was compared with, and what is there now
	// Moved tells that the content is not the mark's any more. Touches do not count.
	Moved bool
	// Versions lie between Mark and the end, oldest first; a delete marker is one that does not exist. Without Unlisted
	// they are complete; with it there is at most Now.
	Versions []Version
	// Foreign are those of Versions that changed the content and were not named as the caller's own.
	Foreign []Version
	// Anomalies are what a correct client under the lock never does, oldest first.
	Anomalies []Anomaly
	// Unlisted says why only Mark and Now were compared: the bucket keeps no versions (ErrUnsupported), they may not be
	// listed (ErrDenied), or there are more than 100. Nil: every version was looked at.
	Unlisted error
}

// AnomalyKind names what is wrong.
type AnomalyKind string

// The anomalies.
const (
	LineageChanged AnomalyKind = "lineage changed"                // another state was written in its place
	SerialBack     AnomalyKind = "serial stepped back"            // an older state, or one made from it, was written
	SerialRepeated AnomalyKind = "same serial, different content" // two writers built on one state: an update is lost
	Unreadable     AnomalyKind = "not a state any more"           // see Version.Err
	Vanished       AnomalyKind = "deleted or emptied"             // no state is there where one was
	MarkGone       AnomalyKind = "version purged"                 // the mark's version is not among the bucket's any more
)

// Anomaly is one thing that is wrong: After replaced Before. Before.VersionID, where not empty, is the version to bring
// back.
type Anomaly struct {
	Kind          AnomalyKind // what is wrong
	Before, After Version     // the versions that show it
}

// String says it in one line.
func (a Anomaly) String() string {
	s := fmt.Sprintf("%s: %s: %s, then %s", a.Before.Ref, a.Kind, a.Before.describe(), a.After.describe())
	if a.Before.VersionID != "" && a.Kind != MarkGone {
		s += "; overwritten version " + a.Before.VersionID
	}
	return s
}

// Mark remembers the state of ref for [Store.Since], whole, in one GET. It does not look at the digest, and any object
// will do. [Session.Base] is a mark too.
func (s *Store) Mark(ctx context.Context, ref statelatch.Ref) (Version, error) {
	if err := s.admit(ref); err != nil {
		return Version{}, err
	}
	return s.load(ctx, ref, nil)
}

// markPart is how much of a state QuickMark reads: most are no larger, and of others it is enough for the header.
const markPart = 16 << 10

// QuickMark is Mark in one GET of at most 16 KiB, where that is enough for [Store.Since]: a version that the bucket
// keeps can be read whole later, should it have been replaced. Any other is read whole now.
func (s *Store) QuickMark(ctx context.Context, ref statelatch.Ref) (Version, error) {
	if err := s.admit(ref); err != nil {
		return Version{}, err
	}
	var v Version
	err := retry(ctx, func() error {
		obj, body, err := s.Bucket.Get(ctx, ref.Key, bucket.ReadOptions{First: markPart})
		if objectMissing(err) {
			v = Version{Ref: ref}
			return nil
		} else if err != nil {
			return err
		}
		part := &strings.Builder{}
		_, err = io.Copy(part, body)
		if err = errors.Join(err, body.Close()); err != nil {
			return s.bodyError(ref, err)
		}
		if obj.Size <= markPart {
			v, err = examine(strings.NewReader(part.String()))
		} else {
			v = Version{Exists: true, Size: obj.Size}
			// Without a header, which may stand further back, it is read should it be needed.
			v.Header, _ = statelatch.ReadStateHeader(strings.NewReader(part.String()))
		}
		v.of(ref, obj)
		return err
	})
	switch {
	case err != nil:
		return Version{}, fmt.Errorf("read state: %w", err)
	case v.Exists && v.MD5 == "" && !v.keptByBucket():
		return s.load(ctx, ref, nil)
	}
	return v, nil
}

// Before returns the version that v replaced, with its header. It is absent where there was none, or it was deleted. V
// is a version that the bucket keeps.
//
//	ErrNotFound     v is not among the versions
//	ErrUnsupported  the bucket keeps none
func (s *Store) Before(ctx context.Context, v Version) (Version, error) {
	if err := s.serves(v.Ref); err != nil {
		return Version{}, err
	}
	var before Version
	err := retry(ctx, func() error {
		seen := false
		for obj, err := range s.Bucket.ListVersions(ctx, bucket.ListOptions{Prefix: v.Ref.Key, PageSize: firstPage}) {
			switch {
			case err != nil:
				return err
			case seen && (obj.Key != v.Ref.Key || obj.DeleteMarker):
				before = Version{Ref: v.Ref}
				return nil
			case seen:
				before = listed(v.Ref, obj)
				return nil
			}
			seen = obj.Key == v.Ref.Key && obj.VersionID == v.VersionID
		}
		if !seen {
			return fmt.Errorf("%w: version %q of %s", statelatch.ErrNotFound, v.VersionID, v.Ref)
		}
		before = Version{Ref: v.Ref}
		return nil
	})
	if err == nil && before.Exists {
		err = s.ReadHeader(ctx, &before)
	}
	return before, err
}

// Since tells what happened to the state since mark. Where the bucket keeps versions that is a short listing if nothing
// did, else a GET for the header of each new version too; elsewhere it is a HEAD, else a GET too. Own are the ETags of
// the caller's own writes. Writes that overwrote others without looking, as the engines' do, show as anomalies. Of a
// mark of an absent state, what was created and deleted again meanwhile is not seen.
func (s *Store) Since(ctx context.Context, mark Version, own ...string) (r Report, err error) {
	r = Report{Mark: mark, Now: mark}
	if err := s.serves(mark.Ref); err != nil {
		return r, err
	}
	markSeen := false
	r.Versions, markSeen, err = s.chain(ctx, mark)
	switch {
	case errors.Is(err, errUnlisted):
		unlisted := err
		if _, same, err := s.unchanged(ctx, mark); same || err != nil {
			return r, err
		}
		if r.Now, err = s.load(ctx, mark.Ref, nil); err != nil {
			return r, err
		}
		r.Unlisted, r.Versions = unlisted, []Version{r.Now}
	case err != nil:
		return r, fmt.Errorf("look at versions of state: %w", err)
	case len(r.Versions) > 0:
		r.Now = r.Versions[len(r.Versions)-1]
	case mark.Exists && !markSeen: // its last version was purged, so that nothing is left
		r.Now = Version{Ref: mark.Ref}
	}
	if mark.Exists && !markSeen && r.Unlisted == nil {
		r.Anomalies = append(r.Anomalies, Anomaly{MarkGone, mark, r.Now})
	}
	prev, moved := mark, false
	for i := range r.Versions {
		v := &r.Versions[i]
		kind, changed, err := s.Compare(ctx, &prev, v)
		if err != nil {
			return r, fmt.Errorf("look at versions of state: %w", err)
		}
		moved = moved || changed
		if changed && (!v.Exists || !slices.Contains(own, v.ETag)) {
			r.Foreign = append(r.Foreign, *v)
			if kind != "" {
				r.Anomalies = append(r.Anomalies, Anomaly{kind, prev, *v})
			}
		}
		prev = *v
	}
	if moved { // unless it is what it was again
		_, r.Moved, err = s.Compare(ctx, &mark, &r.Now)
	}
	if err != nil {
		return r, fmt.Errorf("look at versions of state: %w", err)
	}
	return r, nil
}

// unchanged reports whether the state is still the one that was read, by a HEAD.
func (s *Store) unchanged(ctx context.Context, mark Version) (now bucket.Object, same bool, err error) {
	err = retry(ctx, func() (err error) {
		now, err = s.Bucket.Head(ctx, mark.Ref.Key, bucket.ReadOptions{})
		return err
	})
	named := func(id string) string { return cmp.Or(id, "null") } // which is the name of an object without versions
	switch {
	case objectMissing(err):
		return bucket.Object{}, !mark.Exists, nil
	case err != nil:
		return now, false, fmt.Errorf("look at state: %w", err)
	}
	return now, mark.Exists && now.ETag == mark.ETag && named(now.VersionID) == named(mark.VersionID), nil
}

// errUnlisted marks the reasons why a report does without the versions in between.
var errUnlisted = errors.New("versions not compared")

// firstPage is how many versions are asked for at first: few runs store more.
const firstPage = 8

// chain returns the versions of exactly the mark's key that are newer than it, oldest first, with their headers.
func (s *Store) chain(ctx context.Context, mark Version) (chain []Version, markSeen bool, err error) {
	if mark.Exists && !mark.keptByBucket() {
		return nil, false, fmt.Errorf("%w: %w: the bucket kept none", errUnlisted, statelatch.ErrUnsupported)
	}
	more := true
	for page := firstPage; more && err == nil; page = maxVersions + 1 {
		err = retry(ctx, func() (err error) {
			chain, markSeen, more, err = s.newer(ctx, mark, page)
			return err
		})
		if more && page > maxVersions {
			err = fmt.Errorf("%w: there are more than %d", errUnlisted, maxVersions)
		}
	}
	if errors.Is(err, statelatch.ErrUnsupported) || errors.Is(err, statelatch.ErrDenied) {
		err = fmt.Errorf("%w: %w", errUnlisted, err)
	}
	if err == nil {
		slices.Reverse(chain)
		err = s.readHeaders(ctx, chain)
	}
	if err != nil {
		return nil, false, err
	}
	return chain, markSeen, nil
}

// newer lists the versions that are newer than the mark, newest first, in one page. There may be more.
func (s *Store) newer(ctx context.Context, mark Version, page int) (newer []Version, markSeen, more bool, err error) {
	// A prefix finds other keys too, the lock's for one, but they all sort behind.
	for obj, err := range s.Bucket.ListVersions(ctx, bucket.ListOptions{Prefix: mark.Ref.Key, PageSize: page}) {
		switch {
		case err != nil:
			return nil, false, false, err
		case obj.Key != mark.Ref.Key, !mark.Exists && obj.DeleteMarker:
			return newer, false, false, nil
		case mark.Exists && obj.VersionID == mark.VersionID:
			return newer, true, false, nil
		case len(newer) == page-1:
			return newer, false, true, nil
		}
		newer = append(newer, listed(mark.Ref, obj))
	}
	return newer, false, false, nil
}

// listed is a version as a listing tells it, without its header.
func listed(ref statelatch.Ref, obj bucket.Object) Version {
	return Version{
		Ref: ref, Exists: !obj.DeleteMarker, ETag: obj.ETag, VersionID: obj.VersionID, Size: obj.Size,
		LastModified: obj.LastModified,
	}
}

// headersAtOnce is how many headers are read at a time.
const headersAtOnce = 8

// readHeaders reads those of the versions that exist.
func (s *Store) readHeaders(ctx context.Context, versions []Version) error {
	errs := make([]error, len(versions))
	slots := make(chan struct{}, headersAtOnce)
	var all sync.WaitGroup
	for i := range versions {
		if !versions[i].Exists {
			continue
		}
		slots <- struct{}{}
		all.Go(func() {
			errs[i] = s.ReadHeader(ctx, &versions[i])
			<-slots
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

const (
	// verified is up to which size a body is read whole for its header. Only the whole can be compared with what the
	// store says of it.
	verified = 64 << 10
	// headerPart is how much is read of larger ones: an engine's header is in the first 200 bytes.
	headerPart = 4 << 10
)

// ReadHeader fills Header, Err and Provenance of a listed version, of which Ref and VersionID are set; Size, where it
// is known, saves reading. Of a body above 64 KiB the beginning is read, if it has the header, and then nothing proves
// that the header is as it was stored: whoever acts on it reads the whole first, as [Store.Open] does.
func (s *Store) ReadHeader(ctx context.Context, v *Version) error {
	if err := s.serves(v.Ref); err != nil {
		return err
	}
	return retry(ctx, func() error {
		first := int64(verified)
		if v.Size > verified {
			first = headerPart
		}
		header, whole, err := s.readHeader(ctx, *v, first)
		if !whole && err == nil && header.err != nil {
			// It stands further back, as in what OpenTofu encrypted; or this is no state, which must be true.
			header, _, err = s.readHeader(ctx, *v, 0)
		}
		if err == nil {
			v.Header, v.Err, v.Provenance = header.StateHeader, header.err, header.provenance
		}
		return err
	})
}

// heading is a header as far as it could be read: err is of what was read, not of reading.
type heading struct {
	statelatch.StateHeader
	err        error
	provenance Provenance
}

// readHeader reads the header of v from the first bytes of its body, 0: from all of it, and these to their end, which
// keeps the connection.
func (s *Store) readHeader(ctx context.Context, v Version, first int64) (h heading, whole bool, err error) {
	at := placeOf(v.Ref, v.VersionID)
	at.read.First = first
	obj, body, err := s.Bucket.Get(ctx, at.key, at.read)
	if err != nil {
		return h, false, err
	}
	source := &errorReader{r: body}
	h.provenance = recorded(obj.Metadata)
	h.StateHeader, h.err = statelatch.ReadStateHeader(source)
	if source.err == nil {
		_, _ = io.Copy(io.Discard, source)
	}
	_ = body.Close()
	if source.err != nil && !errors.Is(source.err, io.EOF) {
		return h, false, s.bodyError(v.Ref, source.err)
	}
	return h, first == 0 || obj.Size <= first, nil
}

// readWhole replaces a listed version by what its whole body says.
func (s *Store) readWhole(ctx context.Context, v *Version) error {
	if err := s.serves(v.Ref); err != nil || !v.Exists || v.MD5 != "" {
		return err
	}
	return retry(ctx, func() error {
		whole, err := s.get(ctx, v.Ref, v.VersionID, nil)
		if err == nil {
			v.Header, v.Err, v.Provenance = whole.Header, whole.Err, whole.Provenance
			v.MD5, v.content, v.shape = whole.MD5, whole.content, whole.shape
		}
		return err
	})
}

// Compare judges a listed version by the one before it, both with their headers. Where those do not tell, it reads the
// bodies. Kind is empty if nothing is wrong; without changed v is a touch.
func (s *Store) Compare(ctx context.Context, prev, v *Version) (kind AnomalyKind, changed bool, err error) {
	if prev.Exists && v.Exists && prev.ETag == v.ETag && prev.Size == v.Size {
		return "", false, nil
	}
	// Only the whole body tells whether serial 0 is a claim of zero bytes or somebody's state.
	for _, u := range [...]*Version{prev, v} {
		if u.Header.Serial == 0 {
			err = errors.Join(err, s.readWhole(ctx, u))
		}
	}
	if err != nil {
		return "", false, err
	}
	had, has := !prev.IsVoid(), !v.IsVoid()
	switch {
	case had != has && had:
		return Vanished, true, nil
	case !had:
		return "", has, nil
	case v.Err != nil && prev.Err == nil:
		return Unreadable, true, nil
	case v.Err == nil && prev.Err == nil && prev.Header.Lineage != v.Header.Lineage:
		return LineageChanged, true, nil
	case v.Header.Serial < prev.Header.Serial:
		return SerialBack, true, nil
	case v.Header.Serial > prev.Header.Serial:
		return "", true, nil
	}
	// The same serial: a touch, or a second state made from the same one. Only the whole bodies tell.
	if err := errors.Join(s.readWhole(ctx, prev), s.readWhole(ctx, v)); err != nil {
		return "", false, err
	}
	if prev.content == v.content {
		return "", false, nil
	}
	return SerialRepeated, true, nil
}
