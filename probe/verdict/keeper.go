package verdict

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/probe"
)

// claimLife is how long another process's probe is waited for, claimPoll how often it is looked for.
const (
	claimLife = time.Minute
	claimPoll = 100 * time.Millisecond
)

// Keeper knows verdicts: of this user on this machine, and those that others left in the buckets. Its functions, where
// they are not nil, are called by Prove and Probe themselves.
type Keeper struct {
	// Dir has a file for each bucket behind an endpoint. Empty: nothing is kept on this machine.
	Dir string
	// Tool is the version of the program, for who reads the verdict in the bucket.
	Tool string
	// Trust takes stores that nobody has probed for TierFull, without a probe.
	Trust bool

	OnWait       func(endpoint string) // another process probes this one
	OnProbe      func(endpoint string) // Prove probes
	OnProgress   func(probe.Progress)  // of the probe of Prove
	OnLeftBehind func(what string)     // the probe could not remove something
	OnUnkept     func(err error)       // the verdict counts, but will not be remembered on this machine
	OnLearn      func(Verdict)         // Prove found it out, or in the bucket: this machine did not know it
}

var errNoDir = errors.New("there is no directory for verdicts")

// Prove returns the verdict that counts for b, or finds it out. AWS's own stores, whose conditions are documented, are
// not probed. The probe is a short one, since somebody waits. Its errors are those of probe.Run; a store that cannot
// lock is no error here, see [Verdict.Err].
func (k Keeper) Prove(ctx context.Context, b *s3bucket.Bucket) (Verdict, error) {
	if v, ok := k.Known(b, time.Now()); ok {
		return v, nil
	}
	if k.Trust || b.Endpoint() == "" {
		return Verdict{Tier: lock.TierFull}, nil
	}
	release, err := k.claim(ctx, b)
	if err != nil {
		return Verdict{}, err
	}
	defer release()
	if v, ok := k.Known(b, time.Now()); ok { // the other process's
		return v, nil
	}
	if v, ok := loadShared(ctx, b); ok {
		if v.Tier != lock.TierNone { // that is asked again, for it may be mended by somebody else's probe
			_ = k.Keep(b, v)
		}
		tell(k.OnLearn, v)
		return v, nil
	}
	tell(k.OnProbe, b.Endpoint())
	opts := probe.Short()
	opts.OnProgress = k.OnProgress
	v, err := k.Probe(ctx, []*s3bucket.Bucket{b}, opts)
	if err == nil {
		tell(k.OnLearn, v)
	}
	return v, err
}

// Doors opens a bucket through the endpoint of cfg and more of them, each once. AWS's own is left out where more are
// given.
func Doors(ctx context.Context, name string, cfg s3bucket.Config, more []string) ([]*s3bucket.Bucket, error) {
	var doors []*s3bucket.Bucket
	for _, endpoint := range append([]string{cfg.Endpoints.S3}, more...) {
		at := cfg
		at.Endpoints.S3 = endpoint
		door, err := s3bucket.Open(ctx, name, at)
		if err != nil {
			return nil, err
		}
		known := slices.ContainsFunc(doors, func(d *s3bucket.Bucket) bool { return d.Endpoint() == door.Endpoint() })
		if aws := door.Endpoint() == "" && len(more) > 0; !known && !aws {
			doors = append(doors, door)
		}
	}
	return doors, nil
}

// Probe probes a bucket through all of doors, at least one, also as the engines write to it, and keeps the verdict.
// Its errors are those of probe.Run.
func (k Keeper) Probe(ctx context.Context, doors []*s3bucket.Bucket, opts probe.Options) (Verdict, error) {
	if len(doors) == 0 {
		return Verdict{}, fmt.Errorf("%w probe: no bucket is given", statelatch.ErrInvalid)
	}
	buckets := make([]bucket.Bucket, len(doors))
	for i, d := range doors {
		buckets[i] = d
	}
	opts.Engines = enginesAt(doors[0])
	r, err := probe.Run(ctx, buckets, opts)
	for _, left := range r.LeftBehind {
		tell(k.OnLeftBehind, left)
	}
	v := verdictOf(r, doors)
	if asked := doors[0].Encoding(); errors.Is(err, statelatch.ErrUnsupported) && len(asked) > 0 {
		how := "write objects that way"
		if asked[0] == "encrypt" {
			how = "encrypt that way"
		}
		return v, fmt.Errorf("the store cannot %s (%s in the configuration), so nothing was found out about its locks: "+
			"leave that out, or set the store up for it: %w",
			how, strings.Join(asked, ", "), err)
	}
	if err != nil {
		return v, err
	}
	var unkept []error
	for _, d := range doors {
		saveShared(ctx, d, v, k.Tool)
		unkept = append(unkept, k.Keep(d, v))
	}
	if err := errors.Join(unkept...); err != nil {
		tell(k.OnUnkept, err)
	}
	return v, nil
}

func tell[T any](to func(T), what T) {
	if to != nil {
		to(what)
	}
}

func verdictOf(r probe.Result, doors []*s3bucket.Bucket) Verdict {
	v := Verdict{
		Tier: r.Tier,
		Store: Store{
			Endpoint: doors[0].Endpoint(), Bucket: doors[0].Name(), Versioned: r.Versioned, Server: doors[0].Server(),
			ETagIsMD5: r.ETagIsMD5, ClockSkewSeconds: r.ClockSkew.Seconds(),
		},
		Checks: []Check{}, Clients: r.Clients, Rounds: r.Rounds, Requests: r.Requests,
		Seconds: r.Elapsed.Round(time.Millisecond).Seconds(), At: time.Now().UTC().Truncate(time.Second),
		LeftBehind: r.LeftBehind,
	}
	for _, d := range doors[1:] {
		v.Store.MoreEndpoints = append(v.Store.MoreEndpoints, d.Endpoint())
	}
	for _, c := range r.Checks {
		v.Checks = append(v.Checks, Check(c))
	}
	return v
}

// enginesAt are the engines as they write to b.
func enginesAt(b *s3bucket.Bucket) []probe.Engine {
	as := func(w s3bucket.EngineWrite) probe.Write {
		return func(ctx context.Context, key, content string, create bool) (string, error) {
			return b.PutAs(ctx, w, key, []byte(content), create)
		}
	}
	var engines []probe.Engine
	for _, w := range b.EngineWrites() {
		e := probe.Engine{Name: w.Engine, Write: as(w)}
		for _, c := range w.Cures() {
			e.Cures = append(e.Cures, probe.Cure{How: c.String(), Write: as(c)})
		}
		engines = append(engines, e)
	}
	return engines
}

// Known returns the verdict of this machine that counts for b at a time.
func (k Keeper) Known(b *s3bucket.Bucket, now time.Time) (v Verdict, ok bool) {
	v, ok = k.last(b)
	return v, ok && v.countsAt(now.Sub(v.At))
}

// ReleaseTier is the tier under which locks are released, as far as it is known. A verdict that ran out since the
// lock was taken still tells more than none.
func (k Keeper) ReleaseTier(b *s3bucket.Bucket) lock.Tier {
	if v, ok := k.last(b); ok {
		return v.Tier
	}
	return lock.TierFull
}

// Forget drops the verdict of this machine for b. There may be none.
func (k Keeper) Forget(b *s3bucket.Bucket) error {
	if k.Dir == "" {
		return nil
	}
	if err := os.Remove(k.file(b)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (k Keeper) file(b *s3bucket.Bucket) string {
	sum := sha256.Sum256([]byte(b.Endpoint() + "\x00" + b.Name()))
	return filepath.Join(k.Dir, hex.EncodeToString(sum[:16])+".json")
}

// last is Known however long ago it was.
func (k Keeper) last(b *s3bucket.Bucket) (v Verdict, ok bool) {
	if k.Dir == "" {
		return v, false
	}
	body, err := os.ReadFile(k.file(b))
	if err != nil || json.Unmarshal(body, &v) != nil {
		return Verdict{}, false
	}
	return v, v.Tier != lock.TierUnknown && v.Store.Bucket == b.Name() &&
		cmp.Or(b.Server(), v.Store.Server) == v.Store.Server
}

// Keep replaces what is kept for b on this machine in one step: other processes read it at any time.
func (k Keeper) Keep(b *s3bucket.Bucket, v Verdict) (err error) {
	if k.Dir == "" {
		return errNoDir
	}
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(k.Dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(k.Dir, "new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(append(body, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), k.file(b))
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// claim makes this process the only one of this user that probes b before a first lock, until release is called. It
// waits for another one that is at it, once: what is not known afterwards everybody finds out alone.
func (k Keeper) claim(ctx context.Context, b *s3bucket.Bucket) (release func(), err error) {
	release = func() {}
	if k.Dir == "" || os.MkdirAll(k.Dir, 0o700) != nil {
		return release, nil //nolint:nilerr // nothing can be kept here, and that is told after the probe
	}
	name := strings.TrimSuffix(k.file(b), ".json") + ".probing"
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case err == nil:
		_ = f.Close() // empty
		return func() { _ = os.Remove(name) }, nil
	case !errors.Is(err, fs.ErrExist):
		return release, nil // nothing can be kept here
	}
	for told := false; ; told = true {
		info, err := os.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			return release, nil
		}
		if err != nil {
			return release, err
		}
		if age := time.Since(info.ModTime()); age < -claimLife || age > claimLife {
			_ = os.Remove(name) // its process was killed
			return release, nil
		}
		if !told {
			tell(k.OnWait, b.Endpoint())
		}
		select {
		case <-ctx.Done():
			return release, context.Cause(ctx)
		case <-time.After(claimPoll):
		}
	}
}
