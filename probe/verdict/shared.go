package verdict

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
	// maxShared is far above what a verdict takes.
	maxShared = 64 << 10

	// maxSharedDelay is what the clock of who probed may differ from the store's by, as signatures may. A verdict that
	// came later was copied with its bucket, perhaps from another store, or brought back.
	maxSharedDelay = 15 * time.Minute
)

// shared is a verdict in the bucket: the tier, the store, what failed, and who says so.
type shared struct {
	Verdict

	Version string `json:"version"` // of the program that probed
}

// sharedKey is where the verdict for one endpoint is. Nothing in the bucket but probes reads or writes below that
// prefix.
func sharedKey(b *s3bucket.Bucket) string {
	sum := sha256.Sum256([]byte(b.Endpoint()))
	return statelatch.ProbePrefix + "verdict-" + hex.EncodeToString(sum[:8]) + ".json"
}

// loadShared returns the verdict in the bucket if it counts. One that is missing, denied, old, copied or makes no sense
// is none.
func loadShared(ctx context.Context, b *s3bucket.Bucket) (Verdict, bool) {
	obj, content, err := readShared(ctx, b)
	var s shared
	if err != nil || json.Unmarshal(content, &s) != nil {
		return Verdict{}, false
	}
	if s.Tier == lock.TierUnknown || s.Store.Endpoint != b.Endpoint() || s.Store.Bucket != b.Name() ||
		b.Server() != s.Store.Server {
		return Verdict{}, false
	}
	dated := !obj.Date.IsZero() && !obj.LastModified.IsZero() && obj.LastModified.Sub(s.At).Abs() <= maxSharedDelay
	return s.Verdict, s.Tier == lock.TierNone || dated && s.countsAt(obj.Date.Sub(obj.LastModified))
}

func readShared(ctx context.Context, b *s3bucket.Bucket) (bucket.Object, []byte, error) {
	obj, body, err := b.Get(ctx, sharedKey(b), bucket.ReadOptions{})
	if err != nil {
		return obj, nil, err
	}
	content, err := io.ReadAll(io.LimitReader(body, maxShared))
	return obj, content, errors.Join(err, body.Close())
}

// saveShared keeps a verdict in the bucket, unless somebody else does so at the same time. Where that is not possible
// the next machine probes by itself, so no failure is told. AWS's own store is not probed unasked, and needs none.
func saveShared(ctx context.Context, b *s3bucket.Bucket, v Verdict, tool string) {
	if b.Endpoint() == "" {
		return
	}
	v.Store.Endpoint, v.Store.MoreEndpoints, v.LeftBehind = b.Endpoint(), nil, nil
	failed := []Check{}
	for _, c := range v.Checks {
		if c.Outcome == probe.Failed {
			failed = append(failed, c)
		}
	}
	v.Checks = failed
	content, err := json.Marshal(shared{v, tool})
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
