package embedded_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/statelatch/statelatch/embedded"
)

// pipes is a listener whose connections are in memory, so that their deadlines pass in a bubble's time.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (p *pipes) dial() net.Conn {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	return ours
}

// world is what a test sees in a bubble.
type world struct {
	t *testing.T
	*pipes
}

// bubble serves a store with one bucket inside a synctest bubble.
func bubble(t *testing.T, limit int, test func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t)
		cfg.MaxConnections = limit
		server, err := embedded.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := server.EnsureBucket(t.Context(), "states"); err != nil {
			t.Fatal(err)
		}
		listener, web := newPipes(), server.HTTPServer()
		served := make(chan error)
		go func() { served <- web.Serve(listener) }()
		defer func() {
			if err := web.Close(); err != nil {
				t.Error(err)
			}
			if err := <-served; !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
			if err := server.Close(); err != nil {
				t.Error(err)
			}
		}()
		test(&world{t, listener})
	})
}

// head renders the head of a PUT with a body of the given length, signed or not.
func head(t *testing.T, key string, length int, signed bool, extra ...string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://store/states/"+key, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
	if signed {
		cfg := config(t)
		if err := v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: cfg.AccessKeyID, SecretAccessKey: cfg.SecretAccessKey}, r, "UNSIGNED-PAYLOAD", "s3", "us-east-1", time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "PUT /states/%s HTTP/1.1\r\nHost: store\r\nContent-Length: %d\r\n", key, length)
	for _, line := range extra {
		b.WriteString(line + "\r\n")
	}
	if err := r.Header.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String() + "\r\n"
}

func say(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Errorf("write: %v", err)
	}
}

// hear returns the status of the next answer, 0 for a connection that was closed instead.
func hear(t *testing.T, r *bufio.Reader) int {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Error(err)
	}
	return resp.StatusCode
}

func TestHTTPServer_BodyThatNeverComes(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		signed bool
		sent   string
		extra  []string
		want   int
		within time.Duration
	}{
		"accepted":                    {true, "", nil, 400, 2 * time.Minute},
		"accepted, half a body":       {true, "half", nil, 400, 2 * time.Minute},
		"accepted, asked to continue": {true, "", []string{"Expect: 100-continue"}, 400, 2 * time.Minute},
		"refused":                     {false, "", nil, 403, 20 * time.Second},
		"refused, half a body":        {false, "half", nil, 403, 20 * time.Second},
		"refused, asked to continue":  {false, "", []string{"Expect: 100-continue"}, 403, 20 * time.Second},
		"refused, large":              {false, strings.Repeat("x", 1000), nil, 403, 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, 0, func(w *world) {
				t := w.t
				conn := w.dial()
				defer conn.Close()
				start := time.Now()
				say(t, conn, head(t, "k", len(tt.sent)+5, tt.signed, tt.extra...))
				if tt.signed || len(tt.extra) == 0 {
					r := bufio.NewReader(conn)
					done := make(chan struct{})
					go func() { defer close(done); _, _ = io.WriteString(conn, tt.sent) }()
					status := hear(t, r)
					for status == 100 {
						status = hear(t, r)
					}
					if status != tt.want {
						t.Errorf("got status %d, want %d", status, tt.want)
					}
					if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
						t.Errorf("got %q, %v behind the answer, want the connection closed", rest, err)
					}
					<-done
				} else {
					r := bufio.NewReader(conn)
					if status := hear(t, r); status != tt.want {
						t.Errorf("got status %d, want %d", status, tt.want)
					}
					_, _ = io.Copy(io.Discard, r) // until it is closed
				}
				if took := time.Since(start); took > tt.within {
					t.Errorf("the connection was kept for %s, want %s at most", took, tt.within)
				}
			})
		})
	}
}

// A client that is slow but alive is served, however long it takes.
func TestHTTPServer_SlowBody(t *testing.T) {
	t.Parallel()
	bubble(t, 0, func(w *world) {
		t := w.t
		conn := w.dial()
		defer conn.Close()
		const bytes = 60
		say(t, conn, head(t, "k", bytes, true))
		for range bytes {
			time.Sleep(50 * time.Second)
			say(t, conn, "x")
		}
		if status := hear(t, bufio.NewReader(conn)); status != 200 {
			t.Errorf("got status %d, want 200", status)
		}
	})
}

// A client that does not take its answer loses its connection.
func TestHTTPServer_AnswerThatIsNotTaken(t *testing.T) {
	t.Parallel()
	bubble(t, 0, func(w *world) {
		t := w.t
		conn := w.dial()
		defer conn.Close()
		r := bufio.NewReader(conn)
		say(t, conn, head(t, "k", 5, true)+"hello")
		if status := hear(t, r); status != 200 {
			t.Fatalf("got status %d, want 200", status)
		}
		say(t, conn, head(t, "k", 5, true)+"hello")
		time.Sleep(5 * time.Minute) // nobody reads
		if _, err := io.WriteString(conn, "x"); err == nil {
			t.Error("the connection is still open")
		}
	})
}

func TestHTTPServer_StrangersShutNobodyOut(t *testing.T) {
	t.Parallel()
	const limit = 8
	bubble(t, limit, func(w *world) {
		t := w.t
		// Somebody works, and takes his time.
		worker := w.dial()
		defer worker.Close()
		say(t, worker, head(t, "slow", 5, true))
		synctest.Wait()
		// Somebody else has a connection that he will use again.
		friend := w.dial()
		defer friend.Close()
		again := bufio.NewReader(friend)
		say(t, friend, head(t, "mine", 5, true)+"hello")
		if status := hear(t, again); status != 200 {
			t.Fatalf("got status %d, want 200", status)
		}

		var strangers []net.Conn
		for i := range 4 * limit {
			conn := w.dial()
			defer conn.Close()
			strangers = append(strangers, conn)
			if i%2 == 0 { // the others say nothing at all
				say(t, conn, head(t, "k", 5, false))
			}
			synctest.Wait()
		}
		for _, conn := range strangers[:3*limit] {
			if conn.SetReadDeadline(time.Now().Add(time.Millisecond)) != nil {
				continue // closed
			}
			if _, err := conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal("an old connection without a signature is still open")
			}
		}
		newcomer := w.dial()
		defer newcomer.Close()
		for name, conn := range map[string]net.Conn{"a newcomer": newcomer, "who was there before": friend} {
			r := again
			if conn == newcomer {
				r = bufio.NewReader(conn)
			}
			say(t, conn, head(t, "k", 5, true)+"hello")
			if status := hear(t, r); status != 200 {
				t.Errorf("%s: got status %d, want 200", name, status)
			}
		}
		say(t, worker, "hello")
		if status := hear(t, bufio.NewReader(worker)); status != 200 {
			t.Errorf("the worker: got status %d, want 200", status)
		}
	})
}
