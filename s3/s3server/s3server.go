// Package s3server is the http.Server around an S3 endpoint: times, sizes, and the number of connections, beyond which
// those give way that never brought a valid signature.
package s3server

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/statelatch/statelatch/s3/endpoint"
)

const (
	headerTime  = 10 * time.Second // for the headers of a request, and for the handshake of TLS
	idleTime    = 2 * time.Minute
	headerBytes = 64 << 10

	maxConnections = 1000
)

// Connections keeps the number of open connections below a limit without shutting anybody out: for a new one
// the least valuable is closed, which is one that never brought a valid signature, else one that is idle.
// A request that was verified is never cut off.
type Connections struct {
	limit int

	mu   sync.Mutex
	open map[net.Conn]*connection
	seq  uint64
}

type connection struct {
	since    uint64 // when it came, or became idle
	verified bool   // it brought a valid signature
	busy     bool   // a verified request is under way
}

type connectionKey struct{}

// NewConnections allows so many at a time; 0: 1000, or half of what the process may open, since the rest is for the
// files behind them.
func NewConnections(limit int) *Connections {
	if limit == 0 {
		limit = maxConnections
		if n := descriptors(); n > 0 {
			limit = int(min(maxConnections, n/2))
		}
	}
	return &Connections{limit: limit, open: map[net.Conn]*connection{}}
}

// Server returns a server for an endpoint, whose Config.Verified must be Verified. The caller serves listeners with it.
func (cs *Connections) Server(handler http.Handler) *http.Server {
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: headerBytes,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(endpoint.ConnContext(ctx, c), connectionKey{}, c)
		},
		ConnState: cs.changed,
	}
}

// changed is http.Server.ConnState. For a new connection it is called before the next is accepted.
func (cs *Connections) changed(c net.Conn, state http.ConnState) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.seq++
	switch state {
	case http.StateNew:
		cs.open[c] = &connection{since: cs.seq}
		if len(cs.open) > cs.limit {
			cs.evict(c)
		}
	case http.StateIdle:
		if e := cs.open[c]; e != nil {
			e.busy, e.since = false, cs.seq
		}
	case http.StateClosed, http.StateHijacked:
		delete(cs.open, c)
	case http.StateActive: // nothing is known of it before its signature is
	}
}

// Verified notes that a request with a right signature came over the connection of ctx.
func (cs *Connections) Verified(ctx context.Context) {
	c, _ := ctx.Value(connectionKey{}).(net.Conn)
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if e := cs.open[c]; e != nil {
		e.verified, e.busy = true, true
	}
}

// evict closes one connection for the sake of the new one, or the new one if all others work.
func (cs *Connections) evict(fresh net.Conn) {
	victim, worst := fresh, (*connection)(nil)
	for c, e := range cs.open {
		if c == fresh || e.busy {
			continue
		}
		if worst == nil || (e.verified != worst.verified && !e.verified) ||
			(e.verified == worst.verified && e.since < worst.since) {
			victim, worst = c, e
		}
	}
	delete(cs.open, victim)
	if t, ok := victim.(*tls.Conn); ok {
		victim = t.NetConn() // Close of the other would wait for its peer
	}
	_ = victim.Close() // its server finds it closed
}
