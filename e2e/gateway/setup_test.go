package gateway

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/statelatch/statelatch/e2e/internal/rig"
	"github.com/statelatch/statelatch/internal/faultproxy"
	"github.com/statelatch/statelatch/internal/issuertest"
)

const ref = "s3://terraform-state/" + rig.StateKey

// estate is a store, an issuer, and gateways before the store.
type estate struct {
	t      testing.TB
	near   *rig.World // whoever may speak to the store: the gateways, and clients on the bucket itself
	store  *rig.Server
	wire   *faultproxy.Proxy // between gateways and store
	issuer *issuertest.Issuer
	rules  string // the file
	door   *balancer

	mu   sync.Mutex
	open []*rig.Process
}

// roles are the rules of these tests: pipelines by the claim "team", people by key.
const roles = `
master_key_file = "master.key"
issuer "ci" {
  url      = %q
  audience = %q
}
key "ana" { file = "ana.key" }
key "op" { file = "op.key" }
allow "operators" {
  keys   = ["op"]
  states = ["*"]
  may    = ["admin"]
}
allow "people" {
  keys   = ["*"]
  states = ["app/*", "env:/*/app/*"]
  may    = ["read", "lock", "write", "delete"]
}
allow "deploy" {
  issuer = "ci"
  claims = { team = "deploy" }
  states = ["app/*", "env:/*/app/*"]
  may    = ["read", "lock", "write", "delete"]
}
allow "pull requests plan" {
  issuer = "ci"
  claims = { team = "*" }
  states = ["app/*"]
  may    = ["read", "lock"]
}
`

func newEstate(tb testing.TB, gateways int, rules ...faultproxy.Rule) *estate {
	tb.Helper()
	rig.Need(tb, rig.Engine())
	e := &estate{t: tb, near: rig.NewWorld(tb), issuer: issuertest.New(tb)}
	e.store = e.near.Serve()
	e.wire = rig.StartProxy(tb, e.store.URL, rules...)
	e.near.File("master.key", secret()+"\n")
	for _, name := range []string{"ana", "op"} {
		e.near.File(name+".key", fmt.Sprintf("[default]\naws_access_key_id = KEYOF%s00000000000\naws_secret_access_key = %s\n",
			strings.ToUpper(name), secret()))
	}
	e.rules = e.near.File("rules.hcl", fmt.Sprintf(roles, e.issuer.URL, issuertest.Audience))
	e.door = newBalancer(tb)
	for range gateways {
		e.addGateway()
	}
	return e
}

func secret() string {
	random := make([]byte, 32)
	_, _ = rand.Read(random)
	return base64.StdEncoding.EncodeToString(random)
}

// addGateway starts one more.
func (e *estate) addGateway() *rig.Process {
	e.t.Helper()
	p := e.near.Start(e.near.Home, rig.Binary, "serve", "-store", "s3://terraform-state", "-config", e.rules,
		"-endpoint", e.wire.URL, "-addr", "127.0.0.1:0")
	url := p.WaitFor(`at (http://\S+)`)[1]
	e.mu.Lock()
	e.open = append(e.open, p)
	e.mu.Unlock()
	e.door.add(p, strings.TrimPrefix(url, "http://"))
	return p
}

// kill ends a gateway as a crash does.
func (e *estate) kill(p *rig.Process) {
	e.door.remove(p)
	p.Signal(syscall.SIGKILL)
	<-p.Done
	e.mu.Lock()
	e.open = slices.DeleteFunc(e.open, func(o *rig.Process) bool { return o == p })
	e.mu.Unlock()
}

// engine is a directory of an engine behind the gateways, in a world that knows nothing of the store's keys.
type engine struct {
	*rig.World
	dir string
}

const config = `terraform {
  backend "s3" {
    bucket       = "terraform-state"
    key          = %q
    region       = "us-east-1"
    use_lockfile = true

    endpoints                   = { s3 = %[2]q, sts = %[2]q }
    use_path_style              = true
    skip_credentials_validation = true
    skip_requesting_account_id  = true
    skip_metadata_api_check     = true
%[3]s
  }
}
variable "value" { default = "0" }
variable "hold" { default = "" }
variable "big" { default = "" }
resource "terraform_data" "a" {
  input = "${var.value}${var.big == "" ? "" : file(var.big)}"
}
resource "terraform_data" "held" {
  count            = var.hold == "" ? 0 : 1
  triggers_replace = var.value
  provisioner "local-exec" {
    command = "touch '${var.hold}.begun'; while [ ! -e '${var.hold}' ]; do sleep 0.05; done"
  }
}
output "value" { value = var.value }
`

// pipeline is an engine that gets sessions by a token of the issuer.
func (e *estate) pipeline(team string) *engine {
	e.t.Helper()
	w := rig.NewWorld(e.t)
	token := w.File("token", e.issuer.Token(map[string]any{"team": team}))
	return e.engineOf(w, fmt.Sprintf(`
    assume_role_with_web_identity = {
      role_arn                = "arn:aws:iam::000000000000:role/any"
      web_identity_token_file = %q
    }`, token))
}

// person is an engine with a static key.
func (e *estate) person(name string) *engine {
	e.t.Helper()
	w := rig.NewWorld(e.t)
	w.Env["AWS_SHARED_CREDENTIALS_FILE"] = filepath.Join(e.near.Home, name+".key")
	return e.engineOf(w, "")
}

func (e *estate) engineOf(w *rig.World, extra string) *engine {
	e.t.Helper()
	dir := filepath.Join(w.Home, "tf")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		e.t.Fatal(err)
	}
	w.Write(filepath.Join(dir, "main.tf"), fmt.Sprintf(config, rig.StateKey, e.door.url, extra))
	w.Must(dir, rig.Engine(), "init", "-input=false", "-no-color")
	return &engine{w, dir}
}

// direct is an engine on the bucket itself.
func (e *estate) direct() *engine {
	e.t.Helper()
	dir := filepath.Join(e.near.Home, "direct")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		e.t.Fatal(err)
	}
	e.near.Write(filepath.Join(dir, "main.tf"), strings.Replace(fmt.Sprintf(config, rig.StateKey, e.store.URL, ""),
		fmt.Sprintf(", sts = %q", e.store.URL), "", 1))
	e.near.Must(dir, rig.Engine(), "init", "-input=false", "-no-color")
	return &engine{e.near, dir}
}

func (g *engine) run(args ...string) rig.Result { return g.Run(g.dir, rig.Engine(), args...) }

// apply stores a value.
func (g *engine) apply(value string, more ...string) rig.Result {
	return g.run(slices.Concat(rig.Apply, []string{"-var", "value=" + value}, more)...)
}

// big is a file that makes a state of about twice its megabytes.
func (g *engine) big(megabytes int) string {
	return g.File("big", strings.Repeat("0123456789abcde\n", megabytes<<20/16))
}

// hold begins an apply that stands still in its middle, and returns it with what makes it go on.
func (g *engine) hold(value string) (p *rig.Process, goOn func()) {
	g.T.Helper()
	gate := filepath.Join(g.Home, "gate")
	p = g.Start(g.dir, rig.Engine(), slices.Concat(rig.Apply, []string{"-var", "value=" + value, "-var", "hold=" + gate})...)
	for end := time.Now().Add(rig.Patience); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(gate + ".begun"); err == nil {
			break
		}
		select {
		case <-p.Done:
			g.T.Fatalf("it ended before it stood still: %v", p.Output())
		default:
		}
		if time.Now().After(end) {
			g.T.Fatalf("it does not begin: %v", p.Snapshot())
		}
	}
	return p, func() { g.Write(gate, "") }
}

// balancer spreads connections over gateways, as one in front of them does.
type balancer struct {
	url string

	mu       sync.Mutex
	backends map[*rig.Process]string
	alone    *rig.Process
	turn     int
}

func newBalancer(tb testing.TB) *balancer {
	tb.Helper()
	listener, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	b := &balancer{
		url: "http://" + listener.Addr().String(), backends: map[*rig.Process]string{},
	}
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	tb.Cleanup(func() {
		_ = listener.Close()
		cancel()
		running.Wait()
	})
	running.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { b.serve(ctx, c) })
		}
	})
	return b
}

func (b *balancer) add(p *rig.Process, address string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.backends[p] = address
}

func (b *balancer) remove(p *rig.Process) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.backends, p)
}

// only sends new connections to one alone, until all.
func (b *balancer) only(p *rig.Process) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.alone = p
}

func (b *balancer) all() { b.only(nil) }

// next is a gateway that is up, another one each time.
func (b *balancer) next() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var up []string
	for p, address := range b.backends {
		if b.alone == nil || b.alone == p {
			up = append(up, address)
		}
	}
	slices.Sort(up)
	if len(up) == 0 {
		return ""
	}
	b.turn++
	return up[b.turn%len(up)]
}

func (b *balancer) serve(ctx context.Context, c net.Conn) {
	defer c.Close()
	var backend net.Conn
	for range 100 { // until one is up
		var err error
		if address := b.next(); address != "" {
			if backend, err = new(net.Dialer).DialContext(ctx, "tcp", address); err == nil {
				break
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
	if backend == nil {
		return
	}
	defer backend.Close()
	stop := context.AfterFunc(ctx, func() { _ = errors.Join(c.Close(), backend.Close()) })
	defer stop()
	done := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{c, backend}, {backend, c}} {
		go func() {
			_, _ = io.Copy(way[0], way[1])
			_ = errors.Join(way[0].Close(), way[1].Close())
			done <- struct{}{}
		}()
	}
	<-done
	<-done
}
