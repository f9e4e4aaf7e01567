package embedded

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	headerTime  = 10 * time.Second // for the headers of a request, and for the handshake of TLS
	idleTime    = 2 * time.Minute
	headerBytes = 64 << 10

	maxConnections = 1000
)

// connections keeps the number of open connections below a limit without shutting anybody out: for a new one
// the least valuable is closed, which is one that never brought a valid signature, else one that is idle.
// A request that was verified is never cut off.
type connections struct {
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

// HTTPServer returns a server for the store with the limits that belong around it: times for headers and idleness,
// the size of headers, and the number of connections, beyond which those give way that never
// brought a valid signature. The caller serves listeners with it, and shuts it down before Close.
func (s *Server) HTTPServer() *http.Server {
	return &http.Server{
		Handler: s.handler, ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: headerBytes,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connectionKey{}, c)
		},
		ConnState: s.connections.changed,
	}
}

// changed is http.Server.ConnState. For a new connection it is called before the next is accepted.
func (cs *connections) changed(c net.Conn, state http.ConnState) {
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

// verified notes that a request with a right signature came over the connection of ctx.
func (cs *connections) verified(ctx context.Context) {
	c, _ := ctx.Value(connectionKey{}).(net.Conn)
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if e := cs.open[c]; e != nil {
		e.verified, e.busy = true, true
	}
}

// evict closes one connection for the sake of the new one, or the new one if all others work.
func (cs *connections) evict(fresh net.Conn) {
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
