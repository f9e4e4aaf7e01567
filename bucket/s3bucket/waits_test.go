package s3bucket

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// silence is a server that reads requests and never answers.
func silence(t *testing.T) *store {
	t.Helper()
	stop := make(chan struct{})
	s := newStore(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-stop:
		}
	})
	t.Cleanup(func() { close(stop) }) // before the server closes, which waits for handlers
	return s
}

func TestBucket_AllCalls_SilentServer(t *testing.T) {
	t.Parallel()
	const short = time.Second // long enough to connect on a busy machine
	for _, limits := range []Timeouts{{Request: short}, {ResponseHeader: short}} {
		every(t, func() (*store, Config) {
			s := silence(t)
			cfg := s.config()
			cfg.Timeouts, cfg.MaxRetries = limits, 1
			return s, cfg
		}, func(i int, err error, s *store) {
			kind := statelatch.ErrBroken
			if calls[i].write {
				kind = statelatch.ErrAmbiguous
			}
			checkKind(t, err, kind)
			if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
				t.Errorf("%s: error %v looks like the end of the caller's context", calls[i].name, err)
			}
			s.only(t)
		})
	}
}

func TestBucket_AllCalls_ContextEnds(t *testing.T) {
	t.Parallel()
	for _, c := range calls {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			s := newStore(t, func(_ http.ResponseWriter, r *http.Request) {
				cancel()
				<-r.Context().Done()
			})
			b := open(t, s.config())
			kind := statelatch.ErrBroken
			if c.write {
				kind = statelatch.ErrAmbiguous
			}
			err := c.do(ctx, b)
			checkKind(t, err, kind)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("error %v does not match context.Canceled", err)
			}
			s.only(t)

			err = c.do(ctx, b) // once done, nothing is sent
			if !errors.Is(err, context.Canceled) {
				t.Errorf("error %v does not match context.Canceled", err)
			}
			s.only(t)
		})
	}
}

// half is an HTTP client whose answers begin, and then the caller gives up.
type half struct{ giveUp context.CancelFunc }

func (h half) Do(req *http.Request) (*http.Response, error) {
	begun := strings.NewReader(`<?xml version="1.0" encoding="UTF-8"?><ListBucketResult>`)
	return &http.Response{
		StatusCode: http.StatusOK, ProtoMajor: 1, Header: http.Header{"Etag": {`"e1"`}}, ContentLength: 1000, Request: req,
		Body: io.NopCloser(io.MultiReader(begun, readerFunc(func([]byte) (int, error) {
			h.giveUp()
			<-req.Context().Done()
			return 0, req.Context().Err()
		}))),
	}, nil
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// The end of the caller's context is the cause, not the half answer that it left.
func TestBucket_Reads_ContextEndsInTheAnswer(t *testing.T) {
	t.Parallel()
	for _, c := range calls {
		if c.write || c.name == "head" {
			continue
		}
		ctx, cancel := context.WithCancel(t.Context())
		client := s3.New(s3.Options{
			Region: "eu-central-1", BaseEndpoint: aws.String("http://s3.test"), UsePathStyle: true, HTTPClient: half{cancel},
			Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secretexample", ""),
		})
		b, err := New(client, "bkt", ObjectOptions{}, Timeouts{})
		if err != nil {
			t.Fatal(err)
		}
		if c.name == "get" {
			_, _, err = bucket.ReadAll(ctx, b, testKey, 1000)
		} else {
			err = c.do(ctx, b)
		}
		checkKind(t, err, statelatch.ErrBroken)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error %v does not match context.Canceled", c.name, err)
		}
	}
}

// A body that is cut short is an error, whether it came with a length or in chunks.
func TestBucket_Get_CutBody(t *testing.T) {
	t.Parallel()
	for name, head := range map[string]string{
		"length":  "Content-Length: 100\r\n\r\nabc",
		"chunked": "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t, raw(t, "HTTP/1.1 200 OK\r\nETag: \"e1\"\r\n"+head))
			_, body, err := b.Get(t.Context(), testKey, bucket.ReadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer body.Close()
			data, err := io.ReadAll(body)
			se := storeError(t, err, statelatch.ErrBroken)
			if !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || string(data) != "abc" {
				t.Errorf("got %q, %v, want abc and io.ErrUnexpectedEOF", data, se)
			}
		})
	}
}

// A transport that ends a short body with a plain io.EOF, as the SDK has.
func TestBody_Read_PlainEOFBeforeTheEnd(t *testing.T) {
	t.Parallel()
	for left, want := range map[int64]error{3: nil, -1: nil, 4: statelatch.ErrBroken} {
		b := open(t, raw(t, ""))
		_, c := b.begin(t.Context(), opGet, testKey, "")
		r := &body{call: c, from: io.NopCloser(strings.NewReader("abc")), left: left}
		data, err := io.ReadAll(r)
		if string(data) != "abc" {
			t.Errorf("%d bytes announced: got %q, want abc", left, data)
		}
		if want != nil {
			checkKind(t, err, want)
		} else if err != nil {
			t.Errorf("%d bytes announced: got %v, want nil", left, err)
		}
		if err := r.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
}

func TestBucket_Get_UnmarkedEndIsRefused(t *testing.T) {
	t.Parallel()
	b := open(t, raw(t, "HTTP/1.1 200 OK\r\nETag: \"e1\"\r\nConnection: close\r\n\r\nabc"))
	_, _, err := b.Get(t.Context(), testKey, bucket.ReadOptions{})
	checkKind(t, err, statelatch.ErrUnsupported)
}

// raw serves every connection the same bytes and closes it.
func raw(t *testing.T, reply string) Config {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				_, _ = io.WriteString(conn, reply)
			}
			_ = conn.Close()
		}
	}()
	return Config{
		Region: "eu-central-1", Endpoints: Endpoints{S3: "http://" + l.Addr().String()},
		AccessKey: "AKIDEXAMPLE", SecretKey: "secretexample", MaxRetries: 1,
	}
}

func TestBucket_Get_BodyStalls(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	s := newStore(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"e1"`)
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "abc")
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
		case <-stop:
		}
	})
	t.Cleanup(func() { close(stop) })
	cfg := s.config()
	cfg.Timeouts.Request = time.Second // long enough for the header to come
	_, body, err := open(t, cfg).Get(t.Context(), testKey, bucket.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	_, err = io.ReadAll(body)
	checkKind(t, err, statelatch.ErrBroken)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		t.Errorf("error %v looks like the end of the caller's context", err)
	}
}
