package s3model

import (
	"context"
	"time"
)

// Account is the number of the one account to which everything belongs.
const Account = "000000000000"

// Caller is what a call of a [Store] comes from: the request of a client.
type Caller struct {
	Who        any    // what sigv4.Verifier.Lookup said of the key that signed the request
	Attempt    int    // which attempt of the client's SDK it is, from 1; 0: it does not say
	Connection uint64 // that the request came over, unique in this process; 0: not known, see endpoint.ConnContext
	RequestID  string // that the answer carries
	Call       string // of the client's SDK, the same in all its attempts; empty: it does not say
	Agent      string // the client's User-Agent; anybody may send any
	// Signed is when the client signed the request, by its own clock, to the second.
	Signed time.Time
}

type callerKey struct{}

// WithCaller returns a context for calls that come from c.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf returns what the calls with ctx come from; zero if it is not known.
func CallerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}
