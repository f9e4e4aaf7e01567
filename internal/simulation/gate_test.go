package simulation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/gateway"
	"github.com/statelatch/statelatch/gateway/access"
	"github.com/statelatch/statelatch/gateway/s3door"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/s3/s3model"
	"github.com/statelatch/statelatch/state"
)

// gate is one process of a gateway, with its own way to the bucket.
type gate struct {
	*process
	door *s3door.Store
}

// house is where a gateway runs: in one process after the other.
type house struct {
	number, lives int

	mu  sync.Mutex
	now *gate // nil: none runs
}

var gatewayRules = sync.OnceValues(func() (access.Rules, error) {
	cfg, err := access.Parse([]byte(`
master_key_file = "master"
key "person" { file = "person" }
issuer "ci" {
  url      = "https://issuer.example"
  audience = "statelatch"
}
allow "people" {
  keys   = ["person"]
  states = ["*"]
  may    = ["admin"]
}
allow "pipelines" {
  issuer = "ci"
  states = ["*"]
  may    = ["read", "lock", "write"]
}
`), "rules.hcl")
	return cfg.Rules, err
})

// open starts a process of the gateway.
func (w *world) open(h *house) *gate {
	h.lives++
	name := fmt.Sprintf("g%d.%d", h.number, h.lives)
	p := w.newProcess(name, uint64(300_000+1000*h.number+h.lives), w.loss)
	p.gate = true
	states := &state.Store{Bucket: wire{p}}
	rules, err := gatewayRules()
	if err != nil {
		panic(err)
	}
	g, err := gateway.New(gateway.Config{
		Locks: &lock.Manager{
			Bucket: wire{p}, Tier: lock.TierFull, Fence: states.Touch, Boot: p.boot, NewID: p.newID,
		},
		States: states, Rules: rules, Name: name,
	})
	if err != nil {
		panic(err)
	}
	at := &gate{process: p, door: s3door.New(s3door.Config{Gateway: g})}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = at
	return at
}

func (h *house) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = nil
}

func (h *house) running() *gate {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

// keep runs a gateway to the end: it is stopped, its network fails, and it dies and is started anew.
func (w *world) keep(h *house, done <-chan struct{}) {
	for g := h.running(); ; {
		select {
		case <-done:
			return
		case <-time.After(g.between(5*time.Second, 90*time.Second)):
		}
		switch {
		case w.pauses && g.chance(0.5):
			g.stop(0, g.between(20*time.Second, 40*time.Second))
		case w.kills && g.chance(0.6):
			g.kill(0)
			h.close()
			time.Sleep(g.between(time.Millisecond, 5*time.Second))
			g = w.open(h)
		case g.chance(w.loss):
			g.cut(0, g.between(5*time.Second, time.Minute))
		}
	}
}

// request is one of an engine's.
type request struct {
	op      string // "head", "get", "put", "delete"
	key     string
	absent  bool // If-None-Match: *
	body    []byte
	attempt int
	signed  time.Time
}

func (r request) String() string { return fmt.Sprintf("%s %s, attempt %d", r.op, r.key, r.attempt) }

// reply is what an engine gets back. Status 0: nothing.
type reply struct {
	status int
	body   []byte
	err    error // for the history
	from   *gate
	fault  string // what happened on the way; empty: nothing
}

func (r reply) String() string {
	if r.status == 0 {
		return "no reply"
	}
	if r.err != nil {
		return fmt.Sprintf("%d %v", r.status, r.err)
	}
	return fmt.Sprint(r.status)
}

// knock sends r of p to the gateway at h and waits for an answer, as an HTTP client does. A gateway that is stopped keeps
// what came meanwhile, and answers when it goes on. Of a client that gives up some gateways hear, and some do not.
func (p *process) knock(h *house, session access.Session, r request) reply {
	p.sleep(p.turn(message{op: r.op, key: r.key}))
	if p.dead() {
		return reply{err: errKilled}
	}
	f := p.deliver()
	back := p.between(time.Millisecond, 40*time.Millisecond)
	if f.status == http.StatusConflict {
		f.status = http.StatusServiceUnavailable // as whatever stands before a gateway answers
	}
	p.w.noteLocked(p, "  asks gateway %d for %v, fault: %q", h.number, r, f.name)
	gone, give := context.WithCancel(context.Background())
	if p.chance(0.5) {
		gone = context.WithoutCancel(gone)
	}
	replies := make(chan reply, 4)
	for i, at := range f.arrive {
		time.AfterFunc(at, func() {
			got := h.serve(gone, session, r)
			if i == f.of && !f.broken && f.status == 0 {
				time.Sleep(back)
				replies <- got
			}
		})
	}
	if f.reply > 0 && (f.broken || f.status != 0) {
		time.AfterFunc(f.reply, func() { replies <- reply{status: f.status, err: errNoReply} })
	}
	timeout := time.NewTimer(p.timeout)
	defer timeout.Stop()
	var got reply
	select {
	case got = <-replies:
	case <-timeout.C:
		got.err = errNoReply
	}
	give()
	p.sleep(0)
	if p.dead() {
		return reply{err: errKilled}
	}
	got.fault = f.name
	p.w.noteLocked(p, "  answer to %v: %v", r, got)
	return got
}

// serve is what the gateway's process does with a request that has arrived.
func (h *house) serve(ctx context.Context, session access.Session, r request) reply {
	g := h.running()
	if g == nil {
		return reply{err: errNoReply}
	}
	g.sleep(0)
	g.w.noteLocked(g.process, "  %s: %v", session.ID, r)
	got := g.answer(s3model.WithCaller(ctx, s3model.Caller{
		Who: session, Connection: 1, Agent: "HashiCorp Terraform", Attempt: r.attempt, Signed: r.signed,
	}), r)
	g.sleep(0)
	if g.dead() {
		return reply{err: errNoReply}
	}
	g.w.noteLocked(g.process, "  %s: %v: %v", session.ID, r, got)
	got.from = g
	return got
}

// answer passes a request through the door.
func (g *gate) answer(ctx context.Context, r request) reply {
	var body []byte
	var err error
	switch read := (s3model.ReadRequest{Bucket: ref.Bucket, Key: r.key}); r.op {
	case "head":
		_, err = g.door.Head(ctx, read)
	case "get":
		var stored io.ReadSeekCloser
		if _, stored, err = g.door.Get(ctx, read); err == nil {
			body, err = io.ReadAll(stored)
			err = errors.Join(err, stored.Close())
		}
	case "put":
		_, err = g.door.Put(ctx, s3model.PutRequest{
			Bucket: ref.Bucket, Key: r.key, If: s3model.Condition{IfAbsent: r.absent},
		}, bytes.NewReader(r.body))
	case "delete":
		_, err = g.door.Delete(ctx, s3model.DeleteRequest{Bucket: ref.Bucket, Key: r.key})
	}
	return reply{status: statusOf(err), body: body, err: err}
}

func statusOf(err error) int {
	if err == nil {
		return http.StatusOK
	}
	if answer, ok := errors.AsType[*s3model.Error](err); ok {
		return answer.Status
	}
	return http.StatusInternalServerError
}

// ask sends r to the bucket itself.
func (p *process) ask(r request) reply {
	ctx, b := context.Background(), wire{p}
	var body []byte
	var err error
	switch r.op {
	case "head":
		_, err = b.Head(ctx, r.key, bucket.ReadOptions{})
	case "get":
		_, body, err = bucket.ReadAll(ctx, b, r.key, 1<<20)
	case "put":
		cond := bucket.Condition{}
		if r.absent {
			cond = bucket.IfAbsent
		}
		_, err = b.Put(ctx, r.key, bytes.NewReader(r.body), bucket.PutOptions{If: cond})
	case "delete":
		_, err = b.Delete(ctx, r.key, bucket.DeleteOptions{})
	}
	got := reply{body: body, err: err}
	switch {
	case err == nil:
		got.status = http.StatusOK
	case errors.Is(err, statelatch.ErrPreconditionFailed):
		got.status = http.StatusPreconditionFailed
	case errors.Is(err, statelatch.ErrNotFound):
		got.status = http.StatusNotFound
	}
	return got
}
