package main

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
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/internal/userdir"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/probe"
)

const (
	// verdictLife is how long a probe is believed: stores are updated, and versioning is switched on.
	verdictLife = 24 * time.Hour

	// claimLife is how long another process's probe is waited for, claimPoll how often it is looked for.
	claimLife = time.Minute
	claimPoll = 100 * time.Millisecond
)

// probeJSON is a verdict, as it is printed and kept.
type probeJSON struct {
	Tier       string      `json:"tier"`
	Store      storeJSON   `json:"store"`
	Checks     []checkJSON `json:"checks"`
	Clients    int         `json:"clients"`
	Rounds     int         `json:"rounds"`
	Requests   int         `json:"requests"`
	Seconds    float64     `json:"seconds"`
	At         time.Time   `json:"at"`
	LeftBehind []string    `json:"left_behind,omitempty"`
}

type storeJSON struct {
	Endpoint         string   `json:"endpoint"`
	MoreEndpoints    []string `json:"more_endpoints,omitempty"`
	Bucket           string   `json:"bucket"`
	Versioned        bool     `json:"versioned"`
	Server           string   `json:"server"`
	ETagIsMD5        bool     `json:"etag_is_md5"`
	ClockSkewSeconds float64  `json:"clock_skew_seconds"`
}

type checkJSON struct {
	Name        string        `json:"name"`
	RequiredFor probe.Need    `json:"required_for"`
	Outcome     probe.Outcome `json:"outcome"`
	Evidence    string        `json:"evidence"`
	Advice      string        `json:"advice,omitempty"`
}

// tierNames are the tiers in output and in kept verdicts.
var tierNames = map[lock.Tier]string{lock.TierFull: "full", lock.TierCAS: "cas", lock.TierNone: "none"}

func (p probeJSON) tier() (lock.Tier, bool) {
	for tier, name := range tierNames {
		if name == p.Tier {
			return tier, true
		}
	}
	return lock.TierNone, false
}

// decisive is the check that the tier is due to.
func (p probeJSON) decisive() checkJSON {
	need := probe.NeedFull
	if p.Tier == tierNames[lock.TierNone] {
		need = probe.NeedCAS
	}
	for _, c := range p.Checks {
		if c.RequiredFor == need && c.Outcome == probe.Failed {
			return c
		}
	}
	return checkJSON{}
}

// probeStore probes a bucket through all of doors and keeps the verdict.
func probeStore(ctx context.Context, term terminal, doors []*s3bucket.Bucket, opts probe.Options) (probeJSON, error) {
	buckets := make([]bucket.Bucket, len(doors))
	for i, d := range doors {
		buckets[i] = d
	}
	opts.Engines = enginesAt(doors[0])
	r, err := probe.Run(ctx, buckets, opts)
	v := probeJSON{
		Tier: tierNames[r.Tier],
		Store: storeJSON{
			Endpoint: doors[0].Endpoint(), Bucket: doors[0].Name(), Versioned: r.Versioned, Server: doors[0].Server(),
			ETagIsMD5: r.ETagIsMD5, ClockSkewSeconds: r.ClockSkew.Seconds(),
		},
		Checks: []checkJSON{}, Clients: r.Clients, Rounds: r.Rounds, Requests: r.Requests,
		Seconds: r.Elapsed.Round(time.Millisecond).Seconds(), At: time.Now().UTC().Truncate(time.Second), LeftBehind: r.LeftBehind,
	}
	for _, d := range doors[1:] {
		v.Store.MoreEndpoints = append(v.Store.MoreEndpoints, d.Endpoint())
	}
	for _, c := range r.Checks {
		v.Checks = append(v.Checks, checkJSON(c))
	}
	for _, left := range r.LeftBehind {
		term.say("Warning: the probe left something behind: %s\n", statelatch.Printable(left))
	}
	if errors.Is(err, statelatch.ErrUnsupported) {
		if asked := doors[0].Encoding(); len(asked) > 0 {
			how := "write objects that way"
			if asked[0] == "encrypt" {
				how = "encrypt that way"
			}
			return v, fmt.Errorf("the store cannot %s (%s in the configuration), so nothing was found out about its locks: leave that out, or set the store up for it: %w",
				how, strings.Join(asked, ", "), err)
		}
	}
	if err != nil {
		return v, err
	}
	kept, err := openVerdicts(term.getenv)
	for _, d := range doors {
		saveShared(ctx, d, v)
		err = errors.Join(err, kept.save(d, v))
	}
	if err != nil {
		term.say("Warning: this verdict will not be remembered: %v\n", err)
	}
	return v, nil
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

// enginesFail is why the engines cannot write to a store on which Statelatch can; empty if they can.
func (p probeJSON) enginesFail() string {
	for _, c := range p.Checks {
		if c.Name == probe.NameEngines && c.Outcome == probe.Failed {
			return c.Advice
		}
	}
	return ""
}

// verdicts keeps what probes found, for this user on this machine: one file for each bucket behind an endpoint. The
// zero verdicts keeps nothing.
type verdicts struct{ dir string }

func openVerdicts(getenv func(string) string) (verdicts, error) {
	dir, err := userdir.State(getenv)
	if err != nil {
		return verdicts{}, err
	}
	return verdicts{filepath.Join(dir, "probes")}, nil
}

func (k verdicts) file(b *s3bucket.Bucket) string {
	sum := sha256.Sum256([]byte(b.Endpoint() + "\x00" + b.Name()))
	return filepath.Join(k.dir, hex.EncodeToString(sum[:16])+".json")
}

// load returns a verdict that still counts: young enough, and not of a store that calls itself otherwise by now. That a
// store cannot lock counts until somebody probes it: the probe before a lock is a short one, and may have fewer
// endpoints.
func (k verdicts) load(b *s3bucket.Bucket, now time.Time) (v probeJSON, ok bool) {
	v, ok = k.last(b)
	age := now.Sub(v.At)
	return v, ok && (v.Tier == tierNames[lock.TierNone] || age > -time.Minute && age < verdictLife)
}

// last is load however long ago it was.
func (k verdicts) last(b *s3bucket.Bucket) (v probeJSON, ok bool) {
	if k.dir == "" {
		return v, false
	}
	body, err := os.ReadFile(k.file(b))
	if err != nil || json.Unmarshal(body, &v) != nil {
		return probeJSON{}, false
	}
	_, known := v.tier()
	return v, known && v.Store.Bucket == b.Name() && cmp.Or(b.Server(), v.Store.Server) == v.Store.Server
}

// save replaces what is kept in one step: other processes read it at any time.
func (k verdicts) save(b *s3bucket.Bucket, v probeJSON) (err error) {
	if k.dir == "" {
		return nil
	}
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(k.dir, "new-*") // mode 0600
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
func (k verdicts) claim(ctx context.Context, term terminal, b *s3bucket.Bucket) (release func(), err error) {
	release = func() {}
	if k.dir == "" || os.MkdirAll(k.dir, 0o700) != nil {
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
			term.say("Waiting for another process that probes whether %s can lock safely.\n", b.Endpoint())
		}
		select {
		case <-ctx.Done():
			return release, context.Cause(ctx)
		case <-time.After(claimPoll):
		}
	}
}

// releaseTier is the tier under which locks are given back, as far as it is known. A verdict that ran out since the
// lock was taken still tells more than none.
func releaseTier(term terminal, b *s3bucket.Bucket) lock.Tier {
	kept, _ := openVerdicts(term.getenv)
	v, ok := kept.last(b)
	if !ok {
		return lock.TierFull
	}
	tier, _ := v.tier()
	return tier
}

// proveRemovals refuses to remove locks on a store that cannot lock, because nothing there can be made conditional: it
// puts the refusal into the steps. For a lock with a lease the state is fenced, which rests on conditions, so for one
// the store is probed first if need be.
func proveRemovals(ctx context.Context, term terminal, steps []unlockStep) {
	var leased []target
	for _, s := range steps {
		if s.deed != deedNone && s.held.Leased() {
			leased = append(leased, s.target)
		}
	}
	err := proveTiers(ctx, term, leased)
	for i := range steps {
		s := &steps[i]
		switch {
		case s.deed == deedNone:
		case s.held.Leased() && err != nil && !errors.Is(err, statelatch.ErrUnsafeStore):
			s.err = err
		case s.locks.Tier == lock.TierNone:
			s.err = fmt.Errorf("%w (see %s); nothing was removed. If nobody uses that state, 'terraform force-unlock %s' removes its lock, or delete s3://%s/%s",
				statelatch.ErrUnsafeStore, s.again.command("probe"), shellQuote(s.held.Info.ID), s.ref.Bucket, s.ref.LockKey())
		case s.deed == deedExpired && s.held.Leased() && s.locks.Tier != lock.TierFull:
			s.err = fmt.Errorf("%w: without an atomic conditional delete nobody can prove that a lease is over for good; "+
				"if its holder is certainly gone: %s", statelatch.ErrUnsafeStore, s.again.command("unlock"))
		}
		if s.err != nil {
			s.deed = deedNone
		}
	}
}

// proveTiers sees to it that every store can lock before anything is locked, and tells the managers how well.
// On a store that is not AWS's own, whose conditions are not documented, the first lock of a day proves it.
func proveTiers(ctx context.Context, term terminal, targets []target) error {
	known := make(map[string]probeJSON)
	for _, t := range targets {
		at := t.bucket.Endpoint() + "\x00" + t.bucket.Name()
		v, ok := known[at]
		if !ok {
			var err error
			if v, err = proveStore(ctx, term, t.bucket); err != nil {
				return err
			}
			known[at] = v
		}
		tier, _ := v.tier()
		t.locks.Tier = tier
		if tier == lock.TierNone {
			c := v.decisive()
			return fmt.Errorf("%w: s3://%s failed the check %q on %s: %s. Probe again for the details, or once the store has been changed: %s",
				statelatch.ErrUnsafeStore, t.bucket.Name(), c.Name, v.At.UTC().Format("2006-01-02 15:04 UTC"), statelatch.Printable(c.Evidence), t.again.command("probe"))
		}
	}
	return nil
}

// proveStore returns what is known about a store, or finds it out.
func proveStore(ctx context.Context, term terminal, b *s3bucket.Bucket) (probeJSON, error) {
	kept, _ := openVerdicts(term.getenv)
	if v, ok := kept.load(b, time.Now()); ok {
		return v, nil
	}
	switch mode := term.getenv("STATELATCH_PROBE"); {
	case mode != "" && mode != "on" && mode != "off":
		return probeJSON{}, usageError{fmt.Errorf("STATELATCH_PROBE=%q: want 'on' or 'off'", mode)}
	case mode == "off" || b.Endpoint() == "":
		return probeJSON{Tier: tierNames[lock.TierFull]}, nil
	}
	release, err := kept.claim(ctx, term, b)
	if err != nil {
		return probeJSON{}, err
	}
	defer release()
	if v, ok := kept.load(b, time.Now()); ok { // the other process's
		return v, nil
	}
	if v, ok := loadShared(ctx, b); ok {
		if v.Tier != tierNames[lock.TierNone] { // that is asked again, for it may be mended by somebody else's probe
			_ = kept.save(b, v)
		}
		v.warn(term)
		return v, nil
	}
	term.say("Probing whether %s can lock safely, as not every S3 store can (once a day; STATELATCH_PROBE=off skips it).\n", b.Endpoint())
	line := &liveLine{term: term}
	opts := probe.Short() // somebody waits
	opts.OnProgress = tellProbe(line)
	v, err := probeStore(ctx, term, []*s3bucket.Bucket{b}, opts)
	line.clear()
	switch {
	case errors.Is(err, statelatch.ErrDenied):
		return v, fmt.Errorf("the probe of the store was denied (STATELATCH_PROBE=off skips it): %w", err)
	case err != nil:
		return v, fmt.Errorf("nothing was locked: %w", err)
	}
	v.warn(term)
	return v, nil
}

// warn tells whoever locks that the engines will fail to write there.
func (p probeJSON) warn(term terminal) {
	if advice := p.enginesFail(); advice != "" && p.Tier != tierNames[lock.TierNone] {
		term.say("Warning: %s\n", statelatch.Printable(advice))
	}
}
