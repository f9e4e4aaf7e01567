package probe

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// The names of the checks that others need.
const (
	nameETag        = "etag"
	nameCreate      = "create"
	nameSwap        = "compare-and-swap"
	nameDelete      = "conditional-delete"
	nameAfterDelete = "create-after-delete"
)

// maxSkew is what the clocks behind Date and Last-Modified may differ by.
const maxSkew = 5 * time.Second

// largeBody is of a size that stores put elsewhere than small objects, as states mostly are.
var largeBody = sync.OnceValue(func() string { return strings.Repeat("0123456789abcdef", 256<<10/16) })

// check is one question.
type check struct {
	name   string
	need   Need
	after  []string // without these it means nothing
	once   bool     // it bears a bad network by itself
	long   bool     // it takes many requests and decides about no tier
	run    func(ctx context.Context, p *prober, name string) (evidence string, err error)
	advice func(refused bool) string
}

// checks are all of them, the simple ones first.
func checks() []check {
	return []check{
		{name: nameETag, need: NeedCAS, run: checkETag, advice: adviseETag},
		{name: nameCreate, need: NeedCAS, after: []string{nameETag}, run: checkCreate, advice: adviseNone},
		{name: nameSwap, need: NeedCAS, after: []string{nameETag}, run: checkSwap, advice: adviseNone},
		{name: "compare-and-swap-absent", need: NeedCAS, after: []string{nameETag}, run: checkSwapAbsent, advice: adviseNone},
		{name: nameDelete, need: NeedFull, after: []string{nameETag}, run: checkDelete, advice: adviseCAS},
		{
			name: nameAfterDelete, need: NeedCAS, after: []string{nameETag, nameCreate}, run: checkAfterDelete,
			advice: adviseAfterDelete,
		},
		{name: "clock", after: []string{nameETag}, run: checkClock, advice: adviseClock},
		raceOf("race/create", NeedCAS, race{who: "creators", scene: free, cond: creates, decisive: true}, nameCreate),
		raceOf("race/create-after-delete", NeedCAS, race{who: "creators", scene: deleted, cond: creates}, nameAfterDelete),
		raceOf("race/compare-and-swap", NeedCAS, race{who: "writers", scene: taken, cond: matches, decisive: true}, nameSwap),
		raceOf("race/compare-and-delete", NeedFull, race{who: "deleters", scene: taken, cond: matches, deletes: all},
			nameDelete),
		raceOf("race/replace-against-delete", NeedFull,
			race{who: "writers and deleters", scene: taken, cond: matches, deletes: everySecond}, nameSwap, nameDelete),
		raceOf("race/delete-against-create", NeedFull,
			race{who: "clients", scene: taken, cond: deletesOrCreates, deletes: everySecond, handover: true}, nameCreate,
			nameDelete),
		{
			name: "race/torn-reads", after: []string{nameETag, nameSwap}, once: true, long: true, run: raceTornReads,
			advice: adviseTorn,
		},
	}
}

func adviseNone(refused bool) string {
	if refused {
		return "The store refuses what a lock is made of. That harms nobody, but nothing can be locked here, by " +
			"terraform's use_lockfile neither: " +
			"use a later version of the store or another one (docs/STORES.md)."
	}
	return "Two clients can hold one lock at the same time, with terraform's use_lockfile, too, and nothing fails until " +
		"they overwrite each other. " +
		"Let only one client at a time write states here; use a later version of the store or another one (docs/STORES.md)."
}

func adviseCAS(refused bool) string {
	if refused {
		return "The store refuses conditional deletes. Locks exclude each other, but a release can only look first " +
			"and delete then, " +
			"and a lock whose holder died is not taken over: remove it with force-unlock once the holder is certainly gone."
	}
	return "A delete can remove a lock that somebody else took in between. Locks exclude each other, but releases look " +
		"first and delete then, " +
		"and a lock whose holder died is not taken over: remove it with force-unlock once the holder is certainly gone."
}

func adviseAfterDelete(refused bool) string {
	if refused {
		return "A state could be locked only once: what is deleted counts as still there. Switch versioning off or use a " +
			"later version of the store (docs/STORES.md)."
	}
	return adviseNone(false)
}

func adviseETag(bool) string {
	return "No condition can name a version of an object here. Reach the store without a proxy that compresses or " +
		"rewrites answers, or use another one (docs/STORES.md)."
}

func adviseClock(bool) string {
	return "The age of locks, and with it whether an -expires has passed, is off by as much. Set the clocks of the " +
		"store's machines."
}

func adviseTorn(bool) string {
	return "Who reads a state while it is written may get a mixture of two. Read states under their lock only, " +
		"plans included."
}

// seed writes the object that a check is about, under a key that nobody has used. Where the store cannot create
// conditionally it is written all the same, for the checks that can do without.
func (p *prober) seed(ctx context.Context, key, content string) (bucket.Object, error) {
	obj, err := p.put(ctx, p.door(), key, content, bucket.IfAbsent)
	if errors.Is(err, statelatch.ErrPreconditionFailed) || refusedOutright(err) {
		obj, err = p.put(ctx, p.door(), key, content, bucket.Condition{})
		if refusedOutright(err) && !errors.Is(err, statelatch.ErrNoBucket) {
			return obj, cannotStore{err}
		}
	}
	return obj, err
}

// remove deletes the object that a check is about, without a condition only where the store has none.
func (p *prober) remove(ctx context.Context, key, etag string) error {
	if p.missing([]string{nameDelete}) != "" {
		return p.delete(ctx, p.door(), key, bucket.Condition{})
	}
	return p.delete(ctx, p.door(), key, bucket.IfMatch(etag))
}

// holds expects an object to be there with this content, and absent not to be there at all.
func (p *prober) holds(ctx context.Context, key, content, after string) error {
	_, got, found, err := p.get(ctx, key)
	switch {
	case err != nil:
		return err
	case !found:
		return failure{evidence: "the object was gone after " + after}
	case got != content:
		return failure{evidence: fmt.Sprintf("%s was accepted or refused, but %s was there afterwards, not %s", after,
			left(got), left(content))}
	}
	return nil
}

func (p *prober) absent(ctx context.Context, key, after string) error {
	switch _, got, found, err := p.get(ctx, key); {
	case err != nil:
		return err
	case found:
		return failure{evidence: fmt.Sprintf("%s was there after %s", left(got), after)}
	}
	return nil
}

// mustRefuse judges the answer to a request whose condition does not hold.
func mustRefuse(err error, what string) error {
	switch {
	case err == nil:
		return failure{evidence: what + " was accepted"}
	case errors.Is(err, statelatch.ErrPreconditionFailed),
		errors.Is(err, statelatch.ErrNotFound) && !errors.Is(err, statelatch.ErrNoBucket):
		return nil
	case refusedOutright(err):
		return failure{evidence: what + " is not supported: " + said(err), refused: true, again: true}
	}
	return err
}

// mustAccept judges the answer to a request whose condition holds.
func mustAccept(err error, what string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, statelatch.ErrPreconditionFailed),
		errors.Is(err, statelatch.ErrNotFound) && !errors.Is(err, statelatch.ErrNoBucket):
		return failure{evidence: what + " was refused: " + said(err), refused: true, again: true}
	case refusedOutright(err):
		return failure{evidence: what + " is not supported: " + said(err), refused: true, again: true}
	}
	return err
}

func checkETag(ctx context.Context, p *prober, name string) (string, error) {
	key := p.key(name)
	obj, err := p.seed(ctx, key, name)
	p.requests.Add(1)
	head, headErr := p.door().Head(ctx, key, bucket.ReadOptions{})
	if errors.Is(headErr, statelatch.ErrUnsupported) && (err == nil || errors.Is(err, statelatch.ErrAmbiguous)) {
		// after the write a driver cannot say more
		return "", failure{evidence: "an object has no usable ETag: " + said(headErr), refused: true}
	}
	if err != nil {
		return "", err
	}
	got, _, found, err := p.get(ctx, key)
	switch {
	case err != nil:
		return "", err
	case !found, errors.Is(headErr, statelatch.ErrNotFound):
		return "", failure{evidence: "an object that was written is not found"}
	case headErr != nil:
		return "", headErr
	case obj.ETag == "" || strings.HasPrefix(obj.ETag, "W/"):
		return "", failure{evidence: fmt.Sprintf("the ETag of an object is %q", obj.ETag)}
	case head.ETag != obj.ETag || got.ETag != obj.ETag:
		return "", failure{evidence: fmt.Sprintf("one object has the ETag %s in the answer to PUT, %s to HEAD and %s to GET",
			obj.ETag, head.ETag, got.ETag)}
	}
	p.now = got.Date
	sum := md5.Sum([]byte(name))
	p.ETagIsMD5 = obj.ETag == `"`+hex.EncodeToString(sum[:])+`"`
	if p.ETagIsMD5 {
		return "the same in PUT, GET and HEAD, the body's MD5", nil
	}
	return "the same in PUT, GET and HEAD, not the body's MD5", nil
}

func checkCreate(ctx context.Context, p *prober, name string) (string, error) {
	key := p.key(name)
	_, err := p.put(ctx, p.door(), key, "first", bucket.IfAbsent)
	if err := mustAccept(err, "a create of a free key"); err != nil {
		return "", err
	}
	_, err = p.put(ctx, p.door(), key, "second", bucket.IfAbsent)
	if err := mustRefuse(err, "a create over an object"); err != nil {
		return "", err
	}
	if err := p.holds(ctx, key, "first", "a second create"); err != nil {
		return "", err
	}
	_, large := p.put(ctx, p.door(), key, largeBody(), bucket.IfAbsent)
	if err := mustRefuse(large, "a large create over an object"); err != nil {
		return "", err
	}
	if err := p.holds(ctx, key, "first", "a large create over it"); err != nil {
		return "", err
	}
	return "a second one was refused (" + said(err) + "), the first body was still there", nil
}

func checkSwap(ctx context.Context, p *prober, name string) (string, error) {
	key := p.key(name)
	obj, err := p.seed(ctx, key, "first")
	if err != nil {
		return "", err
	}
	_, refusal := p.put(ctx, p.door(), key, "wrong", bucket.IfMatch(otherETag(obj.ETag)))
	if err := mustRefuse(refusal, "a write on another ETag"); err != nil {
		return "", err
	}
	if err := p.holds(ctx, key, "first", "a write on another ETag"); err != nil {
		return "", err
	}
	swapped, err := p.put(ctx, p.door(), key, "second", bucket.IfMatch(obj.ETag))
	if err := mustAccept(err, "a write on the right ETag"); err != nil {
		return "", err
	}
	if swapped.ETag == obj.ETag {
		return "", failure{evidence: "two bodies have the same ETag " + obj.ETag}
	}
	for _, body := range []string{"stale", largeBody()} {
		_, refusal = p.put(ctx, p.door(), key, body, bucket.IfMatch(obj.ETag))
		if err := mustRefuse(refusal, "a write on an ETag of the past"); err != nil {
			return "", err
		}
	}
	if err := p.holds(ctx, key, "second", "writes on the right ETag and on one of the past"); err != nil {
		return "", err
	}
	return "refused on a wrong and on a past ETag (" + said(refusal) + "), accepted on the right one", nil
}

func checkSwapAbsent(ctx context.Context, p *prober, name string) (string, error) {
	key := p.key(name)
	_, refusal := p.put(ctx, p.door(), key, "wrong", bucket.IfMatch(otherETag("")))
	if err := mustRefuse(refusal, "a write on an ETag where there is no object"); err != nil {
		return "", err
	}
	return "refused (" + said(refusal) + "), nothing was created",
		p.absent(ctx, key, "a write on an ETag where there was no object")
}

func checkDelete(ctx context.Context, p *prober, name string) (string, error) {
	key := p.key(name)
	obj, err := p.seed(ctx, key, "first")
	if err != nil {
		return "", err
	}
	refusal := p.delete(ctx, p.door(), key, bucket.IfMatch(otherETag(obj.ETag)))
	if err := mustRefuse(refusal, "a delete on another ETag"); err != nil {
		return "", err
	}
	if err := p.holds(ctx, key, "first", "a delete on another ETag"); err != nil {
		return "", err
	}
	err = p.delete(ctx, p.door(), key, bucket.IfMatch(obj.ETag))
	if err := mustAccept(err, "a delete on the right ETag"); err != nil {
		return "", err
	}
	return "refused on another ETag (" + said(refusal) + "), accepted on the right one",
		p.absent(ctx, key, "a delete on the right ETag")
}

// checkAfterDelete finds stores that take a delete marker for an object (Q3).
func checkAfterDelete(ctx context.Context, p *prober, name string) (string, error) {
	key := p.key(name)
	obj, err := p.seed(ctx, key, "first")
	if err != nil {
		return "", err
	}
	if err := p.remove(ctx, key, obj.ETag); err != nil {
		return "", err
	}
	_, err = p.put(ctx, p.door(), key, "second", bucket.IfAbsent)
	if err := mustAccept(err, "a create where an object was deleted"); err != nil {
		return "", err
	}
	_, refusal := p.put(ctx, p.door(), key, "third", bucket.IfAbsent)
	if err := mustRefuse(refusal, "a create over an object that had been deleted once"); err != nil {
		return "", err
	}
	if err := p.holds(ctx, key, "second", "a create, a delete and two creates"); err != nil {
		return "", err
	}
	if p.Versioned {
		return "accepted above a delete marker, the next one refused (" + said(refusal) + ")", nil
	}
	return "accepted, the next one refused (" + said(refusal) + "); the bucket keeps no versions", nil
}

func checkClock(ctx context.Context, p *prober, name string) (string, error) {
	key := p.key(name)
	if _, err := p.seed(ctx, key, name); err != nil {
		return "", err
	}
	obj, _, found, err := p.get(ctx, key)
	switch {
	case err != nil:
		return "", err
	case !found:
		return "", failure{evidence: "an object that was written is not found"}
	case obj.Date.IsZero() || obj.LastModified.IsZero():
		return "", failure{evidence: "an answer lacks Date or Last-Modified"}
	}
	p.ClockSkew = obj.Date.Sub(obj.LastModified)
	evidence := fmt.Sprintf("Date is %v after Last-Modified of an object just written", p.ClockSkew)
	if p.ClockSkew.Abs() > maxSkew {
		return "", failure{evidence: evidence}
	}
	return evidence, nil
}

// otherETag is one that looks right and is not etag.
func otherETag(etag string) string {
	const wrong = `"0123456789abcdef0123456789abcdef"`
	if etag == wrong {
		return `"f` + wrong[2:]
	}
	return wrong
}

// said is the store's answer in short.
func said(err error) string {
	se, ok := errors.AsType[*statelatch.StoreError](err)
	switch {
	case !ok:
		return fmt.Sprint(err)
	case se.Status != 0:
		return strings.TrimSpace(fmt.Sprintf("HTTP %d %s", se.Status, statelatch.Printable(se.Code)))
	case se.Message != "":
		return statelatch.Printable(se.Message)
	}
	return se.Kind.Error()
}

// left names a content in evidence.
func left(content string) string {
	if content == "" {
		return "nothing"
	}
	if len(content) > 40 {
		return fmt.Sprintf("a body of %d bytes", len(content))
	}
	return fmt.Sprintf("the body %q", content)
}
