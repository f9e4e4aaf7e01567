package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/evidence"
	"github.com/statelatch/statelatch/fleet"
	"github.com/statelatch/statelatch/lock"
)

// yard is a bucket that can misbehave, and an exporter of it.
type yard struct {
	t     *testing.T
	store *faultbucket.Bucket
	*Exporter
}

func newYard(t *testing.T, cfg Config) *yard {
	t.Helper()
	y := &yard{t: t, store: faultbucket.New(membucket.New("b", membucket.Options{}), faultbucket.Options{})}
	cfg.Locks, cfg.Scope, cfg.WorkspacePrefix = &lock.Manager{Bucket: y.store, Tier: lock.TierFull}, statelatch.Scope{Bucket: "b"}, "env:"
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	y.Exporter = New(cfg)
	return y
}

func (y *yard) put(key, body string) {
	y.t.Helper()
	if _, err := y.store.Put(y.t.Context(), key, strings.NewReader(body), bucket.PutOptions{}); err != nil {
		y.t.Fatal(err)
	}
}

func (y *yard) lock(key, id, who string) {
	y.t.Helper()
	y.put(key+".tflock", string(statelatch.LockInfo{ID: id, Who: who, Operation: "OperationTypeApply", Created: time.Unix(0, 0)}.Marshal()))
}

func (y *yard) remove(key string) {
	y.t.Helper()
	if _, err := y.store.Delete(y.t.Context(), key, bucket.DeleteOptions{}); err != nil {
		y.t.Fatal(err)
	}
}

func (y *yard) collect() {
	y.t.Helper()
	if err := y.Collect(y.t.Context()); err != nil {
		y.t.Fatalf("Collect: %v", err)
	}
}

// wantMetrics checks all series of some metrics, without their comments.
func (y *yard) wantMetrics(want string, names ...string) {
	y.t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(y.Collector()); err != nil {
		y.t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		y.t.Fatalf("Gather: %v", err)
	}
	var got strings.Builder
	for _, f := range families {
		for _, name := range names {
			if f.GetName() != "statelatch_"+name {
				continue
			}
			for _, m := range f.GetMetric() {
				var labels []string
				for _, l := range m.GetLabel() {
					labels = append(labels, l.GetName()+"="+l.GetValue())
				}
				fmt.Fprintf(&got, "%s{%s} %v\n", name, strings.Join(labels, ","), m.GetGauge().GetValue()+m.GetCounter().GetValue())
			}
		}
	}
	if got.String() != want {
		y.t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}

func stateOf(serial int) string {
	return fmt.Sprintf(`{"version":4,"serial":%d,"lineage":"l","resources":[]}`, serial)
}

func TestExporter_Metrics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t, Config{Tier: lock.TierCAS})
		y.put("app/terraform.tfstate", stateOf(7))
		y.put("env:/live/app/terraform.tfstate", stateOf(3))
		y.put("dev/empty.tfstate", "")
		y.put("dev/odd\"\n.tfstate", "no state")
		y.lock("app/terraform.tfstate", "id-1", "bob")
		y.lock("gone/x.tfstate", "id-2", "eve")
		y.wantMetrics("up{} 0\n", "up", "last_success_timestamp_seconds")
		time.Sleep(time.Minute)
		y.collect()
		y.wantMetrics(`keys_left_out{} 0
lock_age_seconds{key=app/terraform.tfstate,verdict=unknown,workspace=default} 60
lock_age_seconds{key=gone/x.tfstate,verdict=unknown,workspace=default} 60
lock_held{key=app/terraform.tfstate,verdict=unknown,workspace=default} 1
lock_held{key=gone/x.tfstate,verdict=unknown,workspace=default} 1
locks{verdict=live} 0
locks{verdict=stale} 0
locks{verdict=unknown} 2
probe_tier{tier=cas} 1
probe_tier{tier=full} 0
probe_tier{tier=none} 0
state_serial{key=app/terraform.tfstate,workspace=default} 7
state_serial{key=env:/live/app/terraform.tfstate,workspace=live} 3
states{} 4
states_flagged{flag=no state} 1
states_flagged{flag=orphan workspace} 0
states_flagged{flag=rescued state} 0
states_flagged{flag=zero bytes} 1
up{} 1
`, "keys_left_out", "lock_age_seconds", "lock_held", "locks", "probe_tier", "state_serial", "states", "states_flagged", "up")
	})
}

// A state is read again only after it was written; a failed collection leaves the last one in place.
func TestExporter_Collect_CostAndFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t, Config{})
		y.put("a.tfstate", stateOf(1))
		y.put("b.tfstate", stateOf(1))
		y.collect()
		y.collect()
		y.wantMetrics("headers_read_total{} 2\n", "headers_read_total")
		y.put("a.tfstate", stateOf(2))
		y.collect()
		want := "headers_read_total{} 3\nstate_serial{key=a.tfstate,workspace=default} 2\nstate_serial{key=b.tfstate,workspace=default} 1\n"
		y.wantMetrics(want+"up{} 1\n", "headers_read_total", "state_serial", "up")

		y.store.Add(faultbucket.Rule{Op: faultbucket.OpList, Fault: faultbucket.Answer(http.StatusForbidden)})
		if err := y.Collect(t.Context()); !errors.Is(err, statelatch.ErrDenied) {
			t.Errorf("Collect: got %v", err)
		}
		y.wantMetrics("collect_errors_total{} 1\n"+want+"up{} 0\n", "collect_errors_total", "headers_read_total", "state_serial", "up")
	})
}

// Locked keys come first, and what is left out is counted.
func TestExporter_MaxSeries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t, Config{MaxSeries: 3, Holder: true})
		for i := range 20 {
			y.put(fmt.Sprintf("%02d.tfstate", i), stateOf(i))
		}
		y.lock("19.tfstate", "id-1", "bob\xff<!channel>")
		y.collect()
		y.wantMetrics(`keys_left_out{} 17
lock_held{holder=bob�<!channel>,key=19.tfstate,verdict=unknown,workspace=default} 1
locks{verdict=live} 0
locks{verdict=stale} 0
locks{verdict=unknown} 1
state_serial{key=00.tfstate,workspace=default} 0
state_serial{key=01.tfstate,workspace=default} 1
state_serial{key=19.tfstate,workspace=default} 19
states{} 20
`, "keys_left_out", "lock_held", "locks", "state_serial", "states")
	})
}

// Lock object and item of different holders are one series, and a text that is no UTF-8 is a label all the
// same.
func TestExporter_Locks_OneSeries(t *testing.T) {
	t.Parallel()
	y := newYard(t, Config{})
	held := func(key string, age time.Duration) fleet.Lock {
		l := fleet.Lock{Held: lock.Held{Ref: statelatch.Ref{Bucket: "b", Key: key}, Age: age}, Verdict: evidence.Verdict{State: evidence.Unknown}}
		if age > 0 {
			l.Since = time.Unix(1, 0)
		}
		return l
	}
	c := &collection{locks: []fleet.Lock{held("a", time.Hour), held("a", 0), held("b\xff", 0)}}
	c.choose(10)
	y.last = c
	y.wantMetrics(`lock_age_seconds{key=a,verdict=unknown,workspace=default} 3600
lock_held{key="b\xff",verdict=unknown,workspace=default} 1
lock_held{key=a,verdict=unknown,workspace=default} 1
`, "lock_held", "lock_age_seconds")
}

// hook is a webhook: it answers with the codes it is given, then with 200.
type hook struct {
	mu    sync.Mutex
	codes []int // 0: no answer
	got   []Message
	tries int
}

func (h *hook) RoundTrip(r *http.Request) (*http.Response, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tries++
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	code := http.StatusOK
	if len(h.codes) > 0 {
		code, h.codes = h.codes[0], h.codes[1:]
	}
	if code == 0 {
		return nil, errors.New("connection refused")
	}
	if !strings.HasPrefix(r.Header.Get("X-Statelatch-Signature"), "sha256=") {
		return nil, errors.New("not signed")
	}
	if code == http.StatusOK {
		var m Message
		if err := json.Unmarshal(body, &m); err != nil {
			return nil, err
		}
		h.got = append(h.got, m)
	}
	header := http.Header{"Location": {"http://elsewhere.example/" + "x"}}
	return &http.Response{StatusCode: code, Header: header, Body: io.NopCloser(strings.NewReader("")), Request: r}, nil
}

const secretURL = "https://hooks.example.com/services/T0KEN"

func newAlerted(t *testing.T, verdicts Verdicts, codes ...int) (*yard, *hook, *strings.Builder) {
	t.Helper()
	h, log := &hook{codes: codes}, &strings.Builder{}
	alerts, err := NewAlerts(secretURL, []byte(strings.Repeat("k", 32)), time.Hour, verdicts, h)
	if err != nil {
		t.Fatal(err)
	}
	return newYard(t, Config{Alerts: alerts, Log: slog.New(slog.NewTextHandler(log, nil))}), h, log
}

func (h *hook) events() string {
	var all []string
	for _, m := range h.got {
		all = append(all, m.Event+" "+m.LockID)
	}
	return strings.Join(all, ", ")
}

func TestAlerts_OncePerLock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		y, h, _ := newAlerted(t, VerdictsUnknown)
		y.lock("env:/live/app", "id-1", "bob <!channel>\x1b[2J")
		y.collect()
		time.Sleep(time.Hour)
		y.lock("young", "id-2", "eve")
		for range 3 {
			y.collect()
		}
		if got := h.events(); got != "lock_old id-1" {
			t.Fatalf("got %s", got)
		}
		m := h.got[0]
		if m.Ref != "s3://b/env:/live/app" || m.Workspace != "live" || m.AgeSeconds != 3600 || m.Verdict != evidence.Unknown ||
			!strings.Contains(m.Text, `bob &lt;!channel&gt;\x1b[2J`) || strings.ContainsAny(m.Text, "<\x1b") {
			t.Errorf("got %+v", m)
		}
		// It cannot be read: that is not gone. Somebody else's lock on the same key is another lock.
		y.store.Add(faultbucket.Rule{Op: faultbucket.OpGet, Limit: 100, Fault: faultbucket.Answer(http.StatusForbidden)})
		y.collect()
		if got := h.events(); got != "lock_old id-1" {
			t.Errorf("while it cannot be read: got %s", got)
		}
		y.store.Heal()
		y.remove("env:/live/app.tflock")
		y.lock("env:/live/app", "id-3", "eve")
		y.collect()
		y.collect()
		time.Sleep(time.Hour)
		y.collect()
		want := "lock_old id-1, lock_gone id-1, lock_old id-3, lock_old id-2"
		if got := h.events(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

// Tries are few, redirects are not followed, and the URL, which is a secret, is nowhere to be read.
func TestAlerts_NotTaken(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		codes         []int
		tries, unsent int
		events        string
	}{
		"passes":      {[]int{503, 0}, 3, 0, "lock_old id-1"},
		"goes on":     {[]int{503, 503, 503, 503}, 3, 1, ""},
		"refused":     {[]int{404}, 1, 1, ""},
		"redirected":  {[]int{302}, 1, 1, ""},
		"unreachable": {[]int{0, 0, 0}, 3, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				y, h, log := newAlerted(t, VerdictsAny, tc.codes...)
				y.lock("app", "id-1", "bob")
				time.Sleep(2 * time.Hour)
				y.collect()
				if h.tries != tc.tries || h.events() != tc.events || y.cfg.Alerts.unsent.Load() != int64(tc.unsent) {
					t.Errorf("got %d tries, %q, %d unsent", h.tries, h.events(), y.cfg.Alerts.unsent.Load())
				}
				if strings.Contains(log.String(), "T0KEN") {
					t.Errorf("the log shows the secret: %s", log)
				}
				if h.codes = nil; tc.unsent > 0 {
					y.collect()
				}
				if got := h.events(); got != "lock_old id-1" {
					t.Errorf("after the next collection: got %s", got)
				}
			})
		})
	}
}

// A message that the webhook refuses for good keeps no other from it.
func TestAlerts_OneRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		y, h, _ := newAlerted(t, VerdictsAny, 400)
		y.lock("app", "id-1", "bob")
		y.lock("beta", "id-2", "bob")
		time.Sleep(2 * time.Hour)
		y.collect()
		if got := h.events(); got != "lock_old id-2" {
			t.Errorf("got %s, want the second lock's", got)
		}
	})
}

func TestAlerts_Verdicts(t *testing.T) {
	t.Parallel()
	for verdicts, want := range map[Verdicts]string{VerdictsStale: "stale", VerdictsUnknown: "stale unknown", VerdictsAny: "live stale unknown"} {
		var got []string
		for _, s := range []evidence.State{evidence.Live, evidence.Stale, evidence.Unknown} {
			if verdicts.include(s) {
				got = append(got, string(s))
			}
		}
		if g := strings.Join(got, " "); g != want {
			t.Errorf("%s: got %s, want %s", verdicts, g, want)
		}
	}
	for _, address := range []string{"", "hooks.example.com/T0KEN", "ftp://x/T0KEN", "https:///T0KEN", "https://x/%zzT0KEN", "http://x.example/T0KEN", "https://169.254.169.254/T0KEN"} {
		if _, err := NewAlerts(address, nil, time.Hour, VerdictsAny, nil); !errors.Is(err, statelatch.ErrInvalid) || strings.Contains(err.Error(), "T0KEN") {
			t.Errorf("%q: got %v", address, err)
		}
	}
}

func TestExporter_Run_EndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t, Config{})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute+time.Second)
		defer cancel()
		written := 0
		if err := y.Run(ctx, time.Minute, func() error { written++; return nil }); err != nil || written != 3 {
			t.Errorf("Run: %v after %d collections, want nil after 3", err, written)
		}
		full := errors.New("disk full")
		if err := y.Run(t.Context(), time.Minute, func() error { return full }); !errors.Is(err, full) {
			t.Errorf("Run: got %v, want %v", err, full)
		}
	})
}

// States and locks come of one listing.
func TestExporter_Collect_ListsOnce(t *testing.T) {
	t.Parallel()
	y := newYard(t, Config{})
	y.put("a.tfstate", `{"version":4,"serial":1,"lineage":"x"}`)
	y.lock("a.tfstate", "id", "alice")
	y.lock("b.tfstate", "id", "bob")
	y.collect()
	if n := y.store.Count(faultbucket.OpList, ""); n != 1 {
		t.Errorf("%d listings, want one", n)
	}
	if n := len(y.last.locks); n != 2 {
		t.Errorf("got %d locks, want 2", n)
	}
}
