package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/probe"
)

// A verdict is kept in the bucket, too, so that a machine that knows nothing reads what a colleague's probe found, in
// one request. Whoever may write there may lie about the store, as they may overwrite states. So it never replaces what
// this user's own probe found, it runs out by the store's own clock, and it counts only for the endpoint that it was
// made at.

const (
	// maxSharedVerdict is far above what a verdict takes.
	maxSharedVerdict = 64 << 10

	// maxVerdictDelay is what the clock of who probed may differ from the store's by, as signatures may. A verdict that
	// came later was copied with its bucket, perhaps from another store, or brought back.
	maxVerdictDelay = 15 * time.Minute
)

// sharedJSON is a verdict in the bucket: the tier, the store, what failed, and who says so.
type sharedJSON struct {
	probeJSON

	Version string `json:"version"` // of the program that probed
}

// sharedKey is where the verdict for one endpoint is. Nothing in the bucket but probes reads or writes below that
// prefix.
func sharedKey(b *s3bucket.Bucket) string {
	sum := sha256.Sum256([]byte(b.Endpoint()))
	return statelatch.ProbePrefix + "verdict-" + hex.EncodeToString(sum[:8]) + ".json"
}

// loadShared returns the verdict in the bucket if it counts. One that is missing, denied, old, copied or makes no sense
// is none. That the store cannot lock counts however old it is, as in verdicts.load.
func loadShared(ctx context.Context, b *s3bucket.Bucket) (v probeJSON, ok bool) {
	obj, content, err := readShared(ctx, b)
	var shared sharedJSON
	if err != nil || json.Unmarshal(content, &shared) != nil {
		return probeJSON{}, false
	}
	v = shared.probeJSON
	tier, known := v.tier()
	if !known || v.Store.Endpoint != b.Endpoint() || v.Store.Bucket != b.Name() || b.Server() != v.Store.Server {
		return probeJSON{}, false
	}
	age := obj.Date.Sub(obj.LastModified)
	young := !obj.Date.IsZero() && !obj.LastModified.IsZero() && age > -time.Minute && age < verdictLife &&
		obj.LastModified.Sub(v.At).Abs() <= maxVerdictDelay
	return v, young || tier == lock.TierNone
}

func readShared(ctx context.Context, b *s3bucket.Bucket) (bucket.Object, []byte, error) {
	obj, body, err := b.Get(ctx, sharedKey(b), bucket.ReadOptions{})
	if err != nil {
		return obj, nil, err
	}
	content, err := io.ReadAll(io.LimitReader(body, maxSharedVerdict))
	return obj, content, errors.Join(err, body.Close())
}

// saveShared keeps a verdict in the bucket, unless somebody else does so at the same time. Where that is not possible
// the next machine probes by itself, so no failure is told. AWS's own store is not probed unasked, and needs none.
func saveShared(ctx context.Context, b *s3bucket.Bucket, v probeJSON) {
	if b.Endpoint() == "" {
		return
	}
	v.Store.Endpoint, v.Store.MoreEndpoints, v.LeftBehind = b.Endpoint(), nil, nil
	failed := []checkJSON{}
	for _, c := range v.Checks {
		if c.Outcome == probe.Failed {
			failed = append(failed, c)
		}
	}
	v.Checks = failed
	content, err := json.Marshal(sharedJSON{v, version()})
	if err != nil {
		return
	}
	cond := bucket.IfAbsent
	switch now, _, err := readShared(ctx, b); {
	case err == nil:
		cond = bucket.IfMatch(now.ETag)
	case !errors.Is(err, statelatch.ErrNotFound):
		return
	}
	_, _ = b.Put(ctx, sharedKey(b), bytes.NewReader(append(content, '\n')), bucket.PutOptions{If: cond})
}
