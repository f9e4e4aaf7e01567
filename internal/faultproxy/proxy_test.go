package faultproxy_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/statelatch/statelatch/internal/faultproxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds waits that only a defect makes long.
const patience = 20 * time.Second

func upstream(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.URL
}

func start(t *testing.T, upstream string, rules ...faultproxy.Rule) *faultproxy.Proxy {
	t.Helper()
	p, err := faultproxy.Start(upstream, rules...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return p
}

func dial(t *testing.T, url string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func say(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
}

// TestProxy_NoStore: what the store does not answer, the proxy does not answer either.
func TestProxy_NoStore(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = silent.Close()
	cut := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	for _, rules := range [][]faultproxy.Rule{nil, {{Fault: faultproxy.Delay(0)}}} {
		p := start(t, "http://"+silent.Addr().String(), rules...)
		if resp, err := request(t, p, "GET", nil); err == nil {
			t.Errorf("without a store: got %s, want a closed connection", resp.Status)
		}
		if got := p.Requests(); len(got) != 1 || got[0].Status != 0 || got[0].Stored != 0 {
			t.Errorf("log: got %+v, want one request without an answer", got)
		}
	}
	p := start(t, cut)
	if _, err := request(t, p, "GET", nil); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half an answer: got %v, want io.ErrUnexpectedEOF", err)
	}
}

// request makes one request on a connection of its own and reads the answer to its end.
func request(t *testing.T, p *faultproxy.Proxy, method string, header http.Header) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, p.URL+"/bkt/key", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(strings.NewReader(string(body)))
	return resp, err
}

func agent(name string) http.Header { return http.Header{"User-Agent": {name}} }

func TestRule_Selects(t *testing.T) {
	t.Parallel()
	puts := func(r *http.Request) bool { return r.Method == http.MethodPut }
	ours := func(r *http.Request) bool { return strings.Contains(r.UserAgent(), "statelatch/") }
	drop := faultproxy.LoseRequest()
	for _, tc := range []struct {
		name  string
		rules []faultproxy.Rule
		want  string // of PUT, DELETE, PUT, DELETE, PUT, the first two by statelatch: x for a fault
	}{
		{"nothing", nil, "....."},
		{"everything", []faultproxy.Rule{{Fault: drop}}, "xxxxx"},
		{"puts", []faultproxy.Rule{{Match: puts, Fault: drop}}, "x.x.x"},
		{"ours", []faultproxy.Rule{{Match: ours, Fault: drop}}, "xx..."},
		{"second put", []faultproxy.Rule{{Match: puts, Nth: 2, Fault: drop}}, "..x.."},
		{"first two puts", []faultproxy.Rule{{Match: puts, Limit: 2, Fault: drop}}, "x.x.."},
		{"each counts for itself", []faultproxy.Rule{{Nth: 1, Fault: drop}, {Nth: 2, Fault: drop}, {Match: puts, Nth: 3, Fault: drop}}, "xx..x"},
		{"zero fault shields", []faultproxy.Rule{{Match: puts, Nth: 2}, {Fault: drop}}, "xx.xx"},
		{"limit counts what fired", []faultproxy.Rule{{Nth: 1}, {Limit: 1, Fault: drop}}, ".x..."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := start(t, upstream(t, func(http.ResponseWriter, *http.Request) {}), tc.rules...)
			for i, method := range []string{"PUT", "DELETE", "PUT", "DELETE", "PUT"} {
				name := "terraform/1"
				if i < 2 {
					name = "sdk/1 statelatch/1"
				}
				_, err := request(t, p, method, agent(name))
				if dropped := tc.want[i] == 'x'; dropped != (err != nil) {
					t.Errorf("request %d: got %v, want dropped: %t", i+1, err, dropped)
				}
			}
		})
	}
}

func TestProxy_Log(t *testing.T) {
	t.Parallel()
	p := start(t, upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			w.WriteHeader(http.StatusNoContent)
		}
	}))
	get := http.Header{"User-Agent": {"a/1"}, "If-Match": {`"e"`}}
	put := http.Header{"User-Agent": {"b/1"}, "If-None-Match": {"*"}, "X-Amz-Target": {"DynamoDB_20120810.GetItem"}}
	_, _ = request(t, p, "GET", get)
	p.Add(faultproxy.Rule{Fault: faultproxy.AnswerAfter(500, "InternalError")}, faultproxy.Rule{Nth: 1, Fault: faultproxy.LoseRequest()})
	_, _ = request(t, p, "DELETE", agent("a/1"))
	p.Heal()
	p.Add(faultproxy.Rule{Fault: faultproxy.Answer(503, "SlowDown")})
	_, _ = request(t, p, "PUT", put)
	want := []faultproxy.Request{
		{Method: "GET", Path: "/bkt/key", UserAgent: "a/1", IfMatch: `"e"`, Stored: 200, Status: 200},
		{Method: "DELETE", Path: "/bkt/key", UserAgent: "a/1", Fault: "answer 500 after", Stored: 204, Status: 500},
		{Method: "PUT", Path: "/bkt/key", UserAgent: "b/1", IfNoneMatch: "*", Target: "DynamoDB_20120810.GetItem", Fault: "answer 503", Status: 503},
	}
	if diff := cmp.Diff(want, p.Requests()); diff != "" {
		t.Errorf("Requests (-want +got):\n%s", diff)
	}
	if got := p.Count(func(r faultproxy.Request) bool { return r.UserAgent == "a/1" }); got != 2 {
		t.Errorf("Count: got %d requests by a/1, want 2", got)
	}
	if got := p.Count(nil); got != 3 {
		t.Errorf("Count: got %d, want 3", got)
	}
}

// TestAnswer_DynamoDB: an SDK finds the error code where DynamoDB puts it.
func TestAnswer_DynamoDB(t *testing.T) {
	t.Parallel()
	p := start(t, "http://127.0.0.1:9", faultproxy.Rule{Fault: faultproxy.Answer(400, "ConditionalCheckFailedException")})
	resp, err := request(t, p, "POST", http.Header{"X-Amz-Target": {"DynamoDB_20120810.PutItem"}})
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	const want = `{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"Injected by the fault proxy."}`
	if string(body) != want || resp.StatusCode != http.StatusBadRequest || resp.Header.Get("Content-Type") != "application/x-amz-json-1.0" {
		t.Errorf("got %s %v %s, want 400 %s", resp.Status, resp.Header, body, want)
	}
}

// TestDelay: the store is asked after the delay, and answers before it with DelayReply.
func TestDelay(t *testing.T) {
	t.Parallel()
	const d = 50 * time.Millisecond
	asked := make(chan time.Time, 1)
	p := start(t, upstream(t, func(http.ResponseWriter, *http.Request) { asked <- time.Now() }),
		faultproxy.Rule{Nth: 1, Fault: faultproxy.Delay(d)}, faultproxy.Rule{Nth: 2, Fault: faultproxy.DelayReply(d)})
	begin := time.Now()
	_, err := request(t, p, "PUT", nil)
	if waited := (<-asked).Sub(begin); err != nil || waited < d {
		t.Errorf("Delay: store asked after %v, %v, want at least %v", waited, err, d)
	}
	_, err = request(t, p, "PUT", nil)
	if waited := time.Since(<-asked); err != nil || waited < d {
		t.Errorf("DelayReply: answered %v after the store was asked, %v, want at least %v", waited, err, d)
	}
}

// TestHold: everything waits for the thaw, also what has lost its client; then there is no fault any more.
func TestHold(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var reached []string
	arrived := make(chan struct{}, 1)
	p := start(t, upstream(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		reached = append(reached, r.URL.Path+" "+string(body))
		if r.URL.Path == "/gone" {
			arrived <- struct{}{}
		}
	}))
	thaw, met := make(chan struct{}), make(chan struct{}, 1)
	p.Add(faultproxy.Rule{
		Match: func(*http.Request) bool { met <- struct{}{}; return true },
		Fault: faultproxy.Hold(thaw),
	})
	gone := dial(t, p.URL)
	say(t, gone, "PUT /gone HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
	<-met
	in := bufio.NewReader(gone)
	if leave, err := in.ReadString('\n'); err != nil || !strings.Contains(leave, "100") {
		t.Fatalf("got %q, %v, want leave to send the body", leave, err)
	}
	say(t, gone, "late")
	_ = gone.Close()
	stays := dial(t, p.URL)
	say(t, stays, "PUT /stays HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
	<-met
	mu.Lock()
	if len(reached) != 0 {
		t.Errorf("the store saw %q before the thaw", reached)
	}
	mu.Unlock()
	close(thaw)
	resp, err := http.ReadResponse(bufio.NewReader(stays), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	<-arrived
	mu.Lock()
	slices.Sort(reached)
	if want := []string{"/gone late", "/stays x"}; !slices.Equal(reached, want) {
		t.Errorf("the store saw %q after the thaw, want %q", reached, want)
	}
	mu.Unlock()
	if _, err := request(t, p, "GET", nil); err != nil {
		t.Errorf("after the thaw: %v", err)
	}
}

// TestProxy_Close: nothing outlives it, whatever it waits for; goleak looks too.
func TestProxy_Close(t *testing.T) {
	t.Parallel()
	ready := make(chan struct{}, 1)
	hanging := upstream(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		ready <- struct{}{}
		<-r.Context().Done()
	})
	never := make(chan struct{})
	for _, tc := range []struct {
		name     string
		fault    faultproxy.Fault
		upstream bool // the request gets there
	}{
		{"no fault", faultproxy.Fault{}, true},
		{"lose reply", faultproxy.LoseReply(), true},
		{"delay", faultproxy.Delay(time.Hour), false},
		{"hold", faultproxy.Hold(never), false},
		{"hold for ever", faultproxy.Hold(nil), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := faultproxy.Start(hanging, faultproxy.Rule{
				Match: func(*http.Request) bool {
					if !tc.upstream {
						ready <- struct{}{}
					}
					return true
				}, Fault: tc.fault,
			})
			if err != nil {
				t.Fatal(err)
			}
			conn := dial(t, p.URL)
			say(t, conn, "PUT /bkt/key HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
			<-ready
			if err := p.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			if answer, _ := io.ReadAll(conn); len(answer) != 0 {
				t.Errorf("got %q, want a closed connection", answer)
			}
			if p.Deliver() != 0 {
				t.Error("Deliver after Close: got a request delivered")
			}
		})
	}
}

// TestProxy_Close_Uploads: neither a client that stops sending nor a store that stops taking keeps it.
func TestProxy_Close_Uploads(t *testing.T) {
	t.Parallel()
	ready, release := make(chan struct{}, 2), make(chan struct{})
	p, err := faultproxy.Start(upstream(t, func(http.ResponseWriter, *http.Request) {
		ready <- struct{}{}
		<-release
	}))
	if err != nil {
		t.Fatal(err)
	}
	const head = "PUT /bkt/key HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
	half, stuck := dial(t, p.URL), dial(t, p.URL)
	say(t, half, head+"half")
	say(t, stuck, head)
	<-ready
	<-ready
	var sender sync.WaitGroup
	sender.Go(func() {
		chunk := make([]byte, 1<<16)
		for n := 0; n < 1e9; n += len(chunk) {
			// No progress for a while: everything on the way is full.
			_ = stuck.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
			if _, err := stuck.Write(chunk); err != nil {
				return
			}
		}
	})
	sender.Wait()
	if err := p.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	close(release)
}

func TestStart_Refusals(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "127.0.0.1:9000", "https://127.0.0.1:9000", "http://127.0.0.1:9000/s3", "http://"} {
		if p, err := faultproxy.Start(bad); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", bad)) {
			t.Errorf("Start(%q): got %v, %v, want an error that names it", bad, p, err)
		}
	}
}
