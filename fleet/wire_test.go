package fleet_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/embedded"
	"github.com/statelatch/statelatch/fleet"
)

// wire counts what a store is asked and sends.
type wire struct{ connections, requests, sent atomic.Int64 }

type countedWriter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (w countedWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.n.Add(int64(n))
	return n, err
}

// newStore starts a store over HTTP with a bucket "demo".
func newStore(t *testing.T) (*s3bucket.Bucket, *wire) {
	t.Helper()
	store, err := embedded.Open(embedded.Config{Dir: t.TempDir(), AccessKeyID: "key", SecretAccessKey: "secret-key"})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.EnsureBucket(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	w := &wire{}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.requests.Add(1)
		store.Handler().ServeHTTP(countedWriter{rw, &w.sent}, r)
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			w.connections.Add(1)
		}
	}
	srv.Start()
	t.Cleanup(func() {
		srv.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	b, err := s3bucket.Open(t.Context(), "demo", s3bucket.Config{
		Endpoints: s3bucket.Endpoints{S3: srv.URL}, Region: "us-east-1", AccessKey: "key", SecretKey: "secret-key",
	})
	if err != nil {
		t.Fatal(err)
	}
	return b, w
}

// A header costs its beginning of a state, however large the state is, and a request on a connection that is there.
func TestStates_Headers_Wire(t *testing.T) {
	t.Parallel()
	const states = 100
	for _, size := range []int{4 << 10, 65 << 10, 300 << 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			b, w := newStore(t)
			var all []int
			for i := range states {
				all = append(all, i)
			}
			err := fleet.Each(t.Context(), 8, all, func(ctx context.Context, i int) error {
				content := fmt.Sprintf(`{"version":4,"terraform_version":"1.9.0","serial":7,"lineage":"L%d","outputs":{},"x":%q}`,
					i, strings.Repeat("x", size))
				key := fmt.Sprintf("%03d.tfstate", i)
				_, err := b.Put(ctx, key, strings.NewReader(content), bucket.PutOptions{})
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			requests, sent := w.requests.Load(), w.sent.Load()
			found, err := fleet.States(t.Context(), b, statelatch.Scope{Bucket: "demo"}, fleet.StatesOptions{Headers: true})
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range found {
				if s.Header == nil || s.Header.Serial != 7 {
					t.Errorf("%s: got %+v, %v, want serial 7", s.Key, s.Header, s.Problem)
				}
			}
			// One a worker, and some more where a request came just before its worker's connection was free again.
			if n := w.connections.Load(); n > 32 {
				t.Errorf("%d connections, want no more than 32 for 16 workers", n)
			}
			if n := w.requests.Load() - requests; len(found) != states || n != states+1 {
				t.Errorf("%d requests for %d states, want a listing and one a state", n, len(found))
			}
			if n := (w.sent.Load() - sent) / states; n > 64<<10 {
				t.Errorf("%d bytes a state, want at most 64 KiB", n)
			}
		})
	}
}
