// Package pace is how the project waits between tries and makes what has to be unique. Nothing in it holds a clock:
// under testing/synctest its time is virtual, and the pauses of a run repeat.
package pace

import (
	"context"
	crypto "crypto/rand"
	"encoding/hex"
	"math/rand/v2"
	"time"
)

// Sleep waits for d, or for the end of ctx, whose error it returns.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Jitter is a random share of d, at least a half, so that waiters do not move in step.
func Jitter(d time.Duration) time.Duration {
	source := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0)) // under virtual time a run repeats
	return d/2 + time.Duration(source.Int64N(int64(d/2+1)))
}

// Backoff bounds the pauses after failures in a row.
type Backoff struct {
	Min, Max time.Duration
}

// Pause is the [Jitter] of Min, doubled with each failure after the first, which is number 0, up to Max.
func (b Backoff) Pause(failures int) time.Duration {
	return Jitter(min(b.Min<<min(failures, 8), b.Max))
}

// Nonce returns 16 random bytes.
func Nonce() (b [16]byte) {
	_, _ = crypto.Read(b[:]) // never fails
	return b
}

// HexNonce is a [Nonce] in 32 hex digits.
func HexNonce() string {
	b := Nonce()
	return hex.EncodeToString(b[:])
}
