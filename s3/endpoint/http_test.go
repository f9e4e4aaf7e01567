package endpoint

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch/s3/s3model"
)

// wire is r as bytes, with extra header lines and a body of its own.
func wire(tb testing.TB, r *http.Request, extra, body string) string {
	tb.Helper()
	var head bytes.Buffer
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method, r.URL.RequestURI(), r.URL.Host)
	if err := r.Header.Write(&head); err != nil {
		tb.Fatal(err)
	}
	return head.String() + extra + "\r\n" + body
}

func dial(tb testing.TB, f *fixture) (net.Conn, *bufio.Reader) {
	tb.Helper()
	var d net.Dialer
	conn, err := d.DialContext(tb.Context(), "tcp", f.srv.Listener.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	return conn, bufio.NewReader(conn)
}

func writeString(tb testing.TB, w io.Writer, s string) {
	tb.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		tb.Fatal(err)
	}
}

func readAnswer(tb testing.TB, r *bufio.Reader) (status int, body string) {
	tb.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return resp.StatusCode, readAll(tb, resp.Body)
}

func TestServeHTTP_ExpectContinue(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	good := f.signed(t, request{method: "PUT", target: "/" + testBucket + "/k"})
	for _, tt := range []struct {
		name, target string
		edit         func(http.Header)
		want         int
	}{
		{"bad signature", "/k", func(h http.Header) { h.Set("X-Amz-Date", "20200101T000000Z") }, 400},
		{"anonymous", "/k", func(h http.Header) { h.Del("Authorization") }, 403},
	} {
		conn, r := dial(t, f)
		bad := good.Clone(t.Context())
		tt.edit(bad.Header)
		writeString(t, conn, wire(t, bad, "Content-Length: 5\r\nExpect: 100-continue\r\n", ""))
		if status, _ := readAnswer(t, r); status != tt.want {
			t.Errorf("%s: got status %d, want %d without a 100", tt.name, status, tt.want)
		}
	}
	refused := f.signed(t, request{method: "PUT", target: "/other-bucket/k"})
	conn, r := dial(t, f)
	writeString(t, conn, wire(t, refused, "Content-Length: 5\r\nExpect: 100-continue\r\n", ""))
	if status, body := readAnswer(t, r); status != 404 || !strings.Contains(body, "NoSuchBucket") {
		t.Errorf("got %d %q, want 404 NoSuchBucket without a 100", status, body)
	}

	conn, r = dial(t, f)
	writeString(t, conn, wire(t, good, "Content-Length: 5\r\nExpect: 100-continue\r\n", ""))
	if line, err := r.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("got %q, %v, want 100 Continue", line, err)
	}
	if line, err := r.ReadString('\n'); err != nil || line != "\r\n" {
		t.Fatalf("got %q, %v, want the end of the interim answer", line, err)
	}
	writeString(t, conn, "hello")
	if status, body := readAnswer(t, r); status != 200 {
		t.Errorf("got %d %q, want 200", status, body)
	}
}

func TestServeHTTP_UnreadBody(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.put(t, "k", "hello")
	get := f.signed(t, request{method: "GET", target: "/" + testBucket + "/k"})
	put := f.signed(t, request{method: "PUT", target: "/" + testBucket + "/k"})
	put.Header.Del("Authorization")
	// The body of the refused request looks like a request. It must not be taken for one.
	smuggled := "DELETE /" + testBucket + "/k HTTP/1.1\r\nHost: x\r\n\r\n"
	conn, r := dial(t, f)
	writeString(t, conn, wire(t, put, fmt.Sprintf("Content-Length: %d\r\n", len(smuggled)), smuggled)+wire(t, get, "", ""))
	if status, _ := readAnswer(t, r); status != 403 {
		t.Errorf("got status %d, want 403", status)
	}
	if status, body := readAnswer(t, r); status != 200 || body != "hello" {
		t.Errorf("got %d %q on the same connection, want the object", status, body)
	}
}

func TestPutObject_ShortBody(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	put := f.signed(t, request{method: "PUT", target: "/" + testBucket + "/k"})
	conn, r := dial(t, f)
	writeString(t, conn, wire(t, put, "Content-Length: 10\r\n", "hello"))
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if status, body := readAnswer(t, r); status != 400 || !strings.Contains(body, "<Code>IncompleteBody</Code>") {
		t.Errorf("got %d %q, want 400 IncompleteBody", status, body)
	}
	f.send(t, request{method: "GET", target: "/" + testBucket + "/k"}).want(t, 404, "NoSuchKey")
}

func TestPutObject_Length(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	put := f.signed(t, request{method: "PUT", target: "/" + testBucket + "/k"})
	for _, tt := range []struct{ name, extra, body, code string }{
		{"chunked without length", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n", "MissingContentLength"},
		{"too large", "Content-Length: 5368709121\r\nExpect: 100-continue\r\n", "", "EntityTooLarge"},
	} {
		conn, r := dial(t, f)
		writeString(t, conn, wire(t, put, tt.extra, tt.body))
		if status, body := readAnswer(t, r); !strings.Contains(body, "<Code>"+tt.code+"</Code>") {
			t.Errorf("%s: got %d %q, want %s", tt.name, status, body, tt.code)
		}
	}
}

func TestPutObject_Trailer(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const crc = "NhCmhg==" // of "hello"
	for _, tt := range []struct {
		name, announce, body, encoding, code string
		status                               int
		header                               map[string]string
	}{
		{"right", "x-amz-checksum-crc32", "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:" + crc + "\r\n\r\n", "aws-chunked", "", 200, nil},
		{"with encoding", "x-amz-checksum-crc32", "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:" + crc + "\r\n\r\n", "br,aws-chunked", "", 200, nil},
		{"wrong", "x-amz-checksum-crc32", "5\r\nhellO\r\n0\r\nx-amz-checksum-crc32:" + crc + "\r\n\r\n", "aws-chunked", "BadDigest", 400, nil},
		{"nonsense", "x-amz-checksum-crc32", "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:abc\r\n\r\n", "aws-chunked", "InvalidRequest", 400, nil},
		{"missing", "x-amz-checksum-crc32", "5\r\nhello\r\n0\r\n\r\n", "aws-chunked", "MalformedTrailerError", 400, nil},
		{"no checksum", "x-amz-meta-a", "5\r\nhello\r\n0\r\nx-amz-meta-a:1\r\n\r\n", "aws-chunked", "InvalidRequest", 400, nil},
		{"checksum not supported", "x-amz-checksum-sha512", "5\r\nhello\r\n0\r\nx-amz-checksum-sha512:x\r\n\r\n", "aws-chunked", "NotImplemented", 501, nil},
		{"header and trailer", "x-amz-checksum-crc32", "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:" + crc + "\r\n\r\n", "aws-chunked", "InvalidRequest", 400, map[string]string{"x-amz-checksum-crc32c": "mnG7TA=="}},
		{"cut", "x-amz-checksum-crc32", "5\r\nhel", "aws-chunked", "IncompleteBody", 400, nil},
		{"longer", "x-amz-checksum-crc32", "6\r\nhello!\r\n0\r\nx-amz-checksum-crc32:" + crc + "\r\n\r\n", "aws-chunked", "IncompleteBody", 400, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			header := map[string]string{
				"X-Amz-Content-Sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "X-Amz-Decoded-Content-Length": "5",
				"X-Amz-Trailer": tt.announce, "Content-Encoding": tt.encoding,
			}
			for name, value := range tt.header {
				header[name] = value
			}
			f.send(t, request{method: "PUT", target: "/" + testBucket + "/k", header: header, body: tt.body}).want(t, tt.status, tt.code)
			got := f.send(t, request{method: "GET", target: "/" + testBucket + "/k"})
			if tt.code != "" {
				got.want(t, 404, "NoSuchKey")
				return
			}
			want := strings.TrimSuffix(strings.TrimSuffix(tt.encoding, "aws-chunked"), ",")
			if got.body != "hello" || got.header.Get("Content-Encoding") != want {
				t.Errorf("got %q with encoding %q, want hello with %q", got.body, got.header.Get("Content-Encoding"), want)
			}
			f.send(t, request{method: "DELETE", target: "/" + testBucket + "/k"}).want(t, 204, "")
		})
	}
}

// faultyStore fails in the ways a store can.
type faultyStore struct {
	s3model.Store
	getBucket func() (s3model.Bucket, error)
	body      io.ReadSeekCloser
}

func (s *faultyStore) GetBucket(ctx context.Context, name string) (s3model.Bucket, error) {
	if s.getBucket != nil {
		return s.getBucket()
	}
	return s.Store.GetBucket(ctx, name)
}

func (s *faultyStore) Get(ctx context.Context, req s3model.ReadRequest) (s3model.Object, io.ReadSeekCloser, error) {
	obj, body, err := s.Store.Get(ctx, req)
	if err == nil && s.body != nil {
		_ = body.Close()
		body = s.body
	}
	return obj, body, err
}

func TestServeHTTP_StoreFails(t *testing.T) {
	t.Parallel()
	for name, getBucket := range map[string]func() (s3model.Bucket, error){
		"panic": func() (s3model.Bucket, error) { panic("the secret reason") },
		"error": func() (s3model.Bucket, error) { return s3model.Bucket{}, errors.New("the secret reason") },
		"full": func() (s3model.Bucket, error) {
			return s3model.Bucket{}, s3model.ErrStorageFull.With("", errors.New("the secret reason"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, func(c *Config) { c.Store = &faultyStore{Store: c.Store, getBucket: getBucket} })
			a := f.send(t, request{method: "GET", target: "/" + testBucket + "?location"})
			if name == "full" {
				a.want(t, 507, "InsufficientStorage")
			} else {
				a.want(t, 500, "InternalError")
			}
			if strings.Contains(a.body, "secret reason") || strings.Contains(a.body, "goroutine") {
				t.Errorf("got %q, want no internals", a.body)
			}
			if log := f.log.String(); !strings.Contains(log, "the secret reason") || !strings.Contains(log, a.err.RequestID) {
				t.Errorf("got log %q, want the reason under the request's ID", log)
			}
		})
	}
}

func (s *faultyStore) Delete(ctx context.Context, req s3model.DeleteRequest) (s3model.DeleteResult, error) {
	if req.Key == "panic" {
		panic("the secret reason")
	}
	return s.Store.Delete(ctx, req)
}

func TestDeleteObjects_StorePanics(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *Config) { c.Store = &faultyStore{Store: c.Store} })
	f.put(t, "k", "x")
	const doc = "<Delete><Object><Key>panic</Key></Object><Object><Key>k</Key></Object></Delete>"
	a := f.send(t, request{method: "POST", target: "/" + testBucket + "?delete", header: map[string]string{"Content-MD5": md5Of(doc)}, body: doc})
	a.want(t, 200, "")
	if !strings.Contains(a.body, "<Error><Key>panic</Key><Code>InternalError</Code>") || !strings.Contains(a.body, "<Deleted><Key>k</Key></Deleted>") || strings.Contains(a.body, "secret") {
		t.Errorf("got %s, want one failure without its reason and one deletion", a.body)
	}
	if log := f.log.String(); !strings.Contains(log, "the secret reason") {
		t.Errorf("got log %q, want the reason", log)
	}
}

// A client that has gone must not fill the log with the entries it no longer waits for.
func TestDeleteObjects_ClientGone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const doc = "<Delete><Object><Key>a</Key></Object><Object><Key>b</Key></Object></Delete>"
	ctx, cancel := context.WithCancel(t.Context())
	r := f.signed(t, request{method: "POST", target: "/" + testBucket + "?delete", header: map[string]string{"Content-MD5": md5Of(doc)}, body: doc}).WithContext(ctx)
	r.Host = r.URL.Host
	cancel()
	f.srv.Config.Handler.ServeHTTP(httptest.NewRecorder(), r)
	if log := f.log.String(); strings.Contains(log, "level=ERROR") {
		t.Errorf("got log %q, want no failure of the store", log)
	}
}

func TestServeHTTP_HTTP2(t *testing.T) {
	t.Parallel()
	faulty := &faultyStore{}
	f := newFixture(t, func(c *Config) { faulty.Store = c.Store; c.Store = faulty })
	srv := httptest.NewUnstartedServer(f.srv.Config.Handler)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	f.srv = srv
	f.Client = f.newClient()
	f.put(t, "a+b /../ü", "hello")
	if got := f.get(t, "a+b /../ü"); got != "hello" {
		t.Errorf("got %q, want hello", got)
	}
	get := request{method: "GET", target: "/" + testBucket + "/a%2Bb%20/../%C3%BC"}
	resp, err := srv.Client().Transport.RoundTrip(f.signed(t, get))
	if err != nil {
		t.Fatal(err)
	}
	if body := readAll(t, resp.Body); resp.ProtoMajor != 2 || body != "hello" {
		t.Errorf("got %q by %s, want hello by HTTP/2", body, resp.Proto)
	}
	put := f.signed(t, request{method: "PUT", target: "/" + testBucket + "/k"})
	put.ContentLength, put.Body = -1, io.NopCloser(strings.NewReader("hello")) // HTTP/2 needs no length; S3 does
	f.do(t, put).want(t, 411, "MissingContentLength")
	faulty.body = &brokenBody{}
	resp, err = srv.Client().Transport.RoundTrip(f.signed(t, get))
	if err == nil {
		defer resp.Body.Close()
		_, err = io.ReadAll(resp.Body)
	}
	if err == nil {
		t.Error("got a whole body, want a stream that was reset")
	}
}

// brokenBody fails after three bytes.
type brokenBody struct{ n int }

func (b *brokenBody) Read(p []byte) (int, error) {
	if b.n == 3 {
		return 0, errors.New("the disk failed")
	}
	b.n++
	p[0] = 'x'
	return 1, nil
}

func (b *brokenBody) Seek(int64, int) (int64, error) { return 0, nil }
func (b *brokenBody) Close() error                   { return nil }

func TestGetObject_BodyFails(t *testing.T) {
	t.Parallel()
	faulty := &faultyStore{body: &brokenBody{}}
	f := newFixture(t, func(c *Config) { faulty.Store = c.Store; c.Store = faulty })
	f.put(t, "k", "hello")
	resp, err := f.srv.Client().Transport.RoundTrip(f.signed(t, request{method: "GET", target: "/" + testBucket + "/k"}))
	if err == nil {
		defer resp.Body.Close()
		_, err = io.ReadAll(resp.Body)
	}
	if err == nil {
		t.Error("got a whole body, want a connection cut in the middle")
	}
	if log := f.log.String(); !strings.Contains(log, "the disk failed") {
		t.Errorf("got log %q, want the reason", log)
	}
}

func TestServeHTTP_BodyThatNeverComes(t *testing.T) {
	t.Parallel()
	for _, version := range []int{1, 2} {
		f := newFixture(t, func(c *Config) { c.Patience = 10 * time.Millisecond })
		srv := httptest.NewUnstartedServer(f.srv.Config.Handler)
		srv.EnableHTTP2 = version == 2
		srv.StartTLS()
		t.Cleanup(srv.Close)
		f.srv = srv
		put := f.signed(t, request{method: "PUT", target: "/" + testBucket + "/k", body: "hello"})
		r, w := io.Pipe()
		t.Cleanup(func() { _ = w.Close() })
		put.Body, put.GetBody = r, nil
		resp, err := srv.Client().Transport.RoundTrip(put)
		if err != nil {
			t.Fatalf("HTTP/%d: %v", version, err)
		}
		if body := readAll(t, resp.Body); resp.ProtoMajor != version || resp.StatusCode != http.StatusBadRequest || !strings.Contains(body, "RequestTimeout") {
			t.Errorf("HTTP/%d: got %s %d %s, want 400 RequestTimeout", version, resp.Proto, resp.StatusCode, body)
		}
	}
}

func TestNew_MissingConfig(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("got a handler without a store, want a panic")
		}
	}()
	New(Config{})
}
