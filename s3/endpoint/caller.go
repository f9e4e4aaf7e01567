package endpoint

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
)

// connections counts connections, so that each has a number of its own.
var connections atomic.Uint64

type connectionKey struct{}

// ConnContext gives every connection a number, for s3model.Caller; it is for the field of http.Server.
func ConnContext(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, connections.Add(1))
}

func connection(ctx context.Context) uint64 {
	n, _ := ctx.Value(connectionKey{}).(uint64)
	return n
}

// attempt is which attempt of an AWS SDK r is, from 1; 0 if it does not say. SDKs send
// "Amz-Sdk-Request: attempt=2; max=5".
func attempt(r *http.Request) int {
	for field := range strings.SplitSeq(r.Header.Get("Amz-Sdk-Request"), ";") {
		if digits, ok := strings.CutPrefix(strings.TrimSpace(field), "attempt="); ok {
			if n, err := strconv.Atoi(digits); err == nil && n > 0 {
				return n
			}
		}
	}
	return 0
}
