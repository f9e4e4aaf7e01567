package faultproxy_test

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/statelatch/statelatch/internal/faultproxy"
)

// seen is a request as a server gets it.
type seen struct {
	Method, Target, Host, Body string
	Length                     int64
	Transfer                   []string
	Header, Trailer            http.Header
}

// heard is an answer as a client gets it.
type heard struct {
	Status   string
	Header   http.Header
	Length   int64
	Transfer []string
	Body     string
}

// TestProxy_PassesWhatWasSent sends the same bytes to a server directly and through the proxy, on one connection
// each: as they stream, and as they are when a fault has held them.
func TestProxy_PassesWhatWasSent(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var requests []seen
	server := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		requests = append(requests, seen{r.Method, r.RequestURI, r.Host, string(body), r.ContentLength, r.TransferEncoding, r.Header, r.Trailer})
		mu.Unlock()
		w.Header()["Date"] = nil
		switch r.Method {
		case http.MethodPut:
			w.Header()["Content-Type"] = nil
			w.Header().Set("Etag", `"e-1"`)
			w.WriteHeader(http.StatusOK)
		case http.MethodDelete:
			w.Header().Set("Date", "Sat, 21 Nov 2026 08:07:03 GMT")
			w.WriteHeader(http.StatusNoContent)
		case http.MethodHead:
			w.Header().Set("Content-Length", "12345")
		case http.MethodGet:
			_, _ = io.WriteString(w, "in chunks, ")
			_ = http.NewResponseController(w).Flush()
			_, _ = io.WriteString(w, "two")
		default:
			w.WriteHeader(http.StatusPreconditionFailed)
			_, _ = io.WriteString(w, "<Error/>")
		}
	})
	const host = "Host: states.example:1234\r\n"
	messages := []string{
		"PUT /bkt/a%2Fb//c%20d/../%C3%A9+~e?x-id=PutObject&empty&k=%2B&k=;2 HTTP/1.1\r\n" + host +
			"user-agent: odd/1.0  (x)\r\nX-Amz-Meta: one\r\nX-Amz-Meta: two\r\nIf-None-Match: *\r\nExpect: 100-continue\r\n" +
			"x-amz-content-sha256: STREAMING\r\nContent-Encoding: aws-chunked\r\nContent-Length: 5\r\n\r\nhello",
		"PUT /bkt/empty HTTP/1.1\r\n" + host + "Content-Length: 0\r\n\r\n",
		"PUT /bkt/chunked? HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 7\r\n\r\n",
		"DELETE /bkt/key HTTP/1.1\r\n" + host + "If-Match: \"e-1\"\r\n\r\n",
		"DELETE /bkt/key HTTP/1.1\r\n" + host + "Content-Length: 0\r\n\r\n",
		"HEAD /bkt/key HTTP/1.1\r\n" + host + "Range: bytes=0-1\r\n\r\n",
		"GET /bkt/key?versionId=v%201 HTTP/1.1\r\n" + host + "Accept-Encoding: identity\r\nTE: trailers\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n",
		"GET /bkt/key HTTP/1.1\r\n" + host + "Connection: keep-alive\r\n\r\n",
		"POST / HTTP/1.1\r\n" + host + "X-Amz-Target: DynamoDB_20120810.PutItem\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: 2\r\n\r\n{}",
		"POST /bkt?delete HTTP/1.1\r\n" + host + "Connection: close\r\nContent-Length: 1\r\n\r\nx",
	}
	talk := func(url string) ([]seen, []heard) {
		conn := dial(t, url)
		in := bufio.NewReader(conn)
		var answers []heard
		for _, m := range messages {
			say(t, conn, m)
			method, _, _ := strings.Cut(m, " ")
			for {
				resp, err := http.ReadResponse(in, &http.Request{Method: method})
				if err != nil {
					t.Fatalf("%.40q: %v", m, err)
				}
				body, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Fatalf("%.40q: %v", m, err)
				}
				answers = append(answers, heard{resp.Status, resp.Header, resp.ContentLength, resp.TransferEncoding, string(body)})
				if resp.StatusCode != http.StatusContinue {
					break
				}
			}
		}
		mu.Lock()
		defer mu.Unlock()
		got := requests
		requests = nil
		return got, answers
	}
	wantSeen, wantHeard := talk(server)
	if len(wantSeen) != len(messages) {
		t.Fatalf("requests: got %d directly, want %d", len(wantSeen), len(messages))
	}
	for _, fault := range []faultproxy.Fault{{}, faultproxy.Delay(0)} {
		gotSeen, gotHeard := talk(start(t, server, faultproxy.Rule{Fault: fault}).URL)
		if diff := cmp.Diff(wantSeen, gotSeen); diff != "" {
			t.Errorf("fault %q: requests (-direct +proxy):\n%s", fault, diff)
		}
		if diff := cmp.Diff(wantHeard, gotHeard); diff != "" {
			t.Errorf("fault %q: answers (-direct +proxy):\n%s", fault, diff)
		}
	}
}

// TestProxy_Expect: a client that waits for leave to send its body gets the store's leave, or its refusal.
func TestProxy_Expect(t *testing.T) {
	t.Parallel()
	p := start(t, upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusPreconditionFailed)
	}))
	conn := dial(t, p.URL)
	say(t, conn, "PUT /bkt/key HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5000000\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusPreconditionFailed {
		t.Errorf("got %s, want 412 before the body", resp.Status)
	}
}

// TestProxy_Streams: neither body waits for its end, nor for the other.
func TestProxy_Streams(t *testing.T) {
	t.Parallel()
	p := start(t, upstream(t, func(w http.ResponseWriter, r *http.Request) {
		echo := http.NewResponseController(w)
		_ = echo.EnableFullDuplex()
		_ = echo.Flush() // the head goes out before there is a body
		var b [1]byte
		for {
			if _, err := io.ReadFull(r.Body, b[:]); err != nil {
				return
			}
			_, _ = w.Write(b[:])
			_ = echo.Flush()
		}
	}))
	conn := dial(t, p.URL)
	say(t, conn, "PUT /bkt/key HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b [1]byte
	for _, next := range []string{"1", "2", "3"} {
		say(t, conn, next)
		if _, err := io.ReadFull(resp.Body, b[:]); err != nil || string(b[:]) != next {
			t.Fatalf("got %q, %v, want %q back", b, err, next)
		}
	}
	if _, err := io.ReadFull(resp.Body, b[:]); !errors.Is(err, io.EOF) {
		t.Errorf("end: got %v, want io.EOF", err)
	}
}
