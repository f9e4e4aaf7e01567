package stores

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/statelatch/statelatch/e2e/internal/rig"
	"github.com/statelatch/statelatch/embedded/boltstore"
	"github.com/statelatch/statelatch/s3/s3model"
)

// lockedOneIn is how many states there are for each that is locked.
const lockedOneIn = 100

// fleetSize is the number of states of the largest fleet; STATELATCH_FULL makes it one that is worth measuring.
func fleetSize() int {
	if rig.Full() {
		return 100_000
	}
	return 5_000
}

// fleets are ways in which the keys lie in a bucket, each below a prefix of its own.
var fleets = []struct {
	name, prefix string
	states       int
	key          func(i int) string
}{
	{"folder-per-key", "live", fleetSize(), func(i int) string { return fmt.Sprintf("live/account-%05d/terraform.tfstate", i) }},
	{"one-folder", "flat", fleetSize() / 10, func(i int) string { return fmt.Sprintf("flat/%05d.tfstate", i) }},
	{"uneven", "mixed", fleetSize() / 10, func(i int) string {
		if i%100 == 0 {
			return fmt.Sprintf("mixed/%x/terraform.tfstate", i)
		}
		return fmt.Sprintf("mixed/platform/prod/cluster-%d/services/%d/terraform.tfstate", i%3, i)
	}},
}

// fillFleet makes a store whose bucket has the states and locks of every fleet, without going through HTTP.
func fillFleet(b *testing.B, dir string) {
	b.Helper()
	store, err := boltstore.Open(boltstore.Config{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	const name = "terraform-state"
	if err := store.CreateBucket(b.Context(), name, "us-east-1"); err != nil {
		b.Fatal(err)
	}
	keys := make(chan string)
	var writers sync.WaitGroup
	for range 256 { // as many as the store commits at once
		writers.Go(func() {
			for key := range keys {
				body := fmt.Sprintf(`{"version":4,"terraform_version":"1.9.0","serial":1,"lineage":%q}`, key)
				if _, err := store.Put(b.Context(), s3model.PutRequest{Bucket: name, Key: key}, bytes.NewReader([]byte(body))); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for _, f := range fleets {
		for i := range f.states {
			keys <- f.key(i)
			if i%lockedOneIn == 0 {
				keys <- f.key(i) + ".tflock"
			}
		}
	}
	close(keys)
	writers.Wait()
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
}

// slowDoor passes requests on to a store, after a while, and counts them.
type slowDoor struct {
	*httptest.Server
	latency  atomic.Int64 // of every request, in nanoseconds
	requests atomic.Int64
}

func newSlowDoor(b *testing.B, store string) *slowDoor {
	b.Helper()
	target, err := url.Parse(store)
	if err != nil {
		b.Fatal(err)
	}
	d := &slowDoor{}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
	}}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.requests.Add(1)
		time.Sleep(time.Duration(d.latency.Load()))
		proxy.ServeHTTP(w, r)
	}))
	b.Cleanup(d.Close)
	return d
}

// measure tells how long do takes and how many requests it sends.
func (d *slowDoor) measure(do func()) (time.Duration, float64) {
	before, start := d.requests.Load(), time.Now()
	do()
	return time.Since(start), float64(d.requests.Load() - before)
}

// BenchmarkFleet is "statelatch states" beside "aws s3 ls --recursive", on the same keys and through the same proxy,
// which counts requests and may hold each back for 50 ms, as a distant store would. The times are of whole processes.
func BenchmarkFleet(b *testing.B) {
	aws := rig.Need(b, "aws")
	w := rig.NewWorld(b)
	fillFleet(b, filepath.Join(w.Home, ".local", "share", "statelatch"))
	door := newSlowDoor(b, w.Serve().URL)
	w.Env["AWS_ENDPOINT_URL_S3"] = door.URL
	for _, f := range fleets {
		for _, latency := range []time.Duration{0, 50 * time.Millisecond} {
			if latency == 0 && f.states < fleetSize() {
				continue // it would only be about the start of the processes
			}
			b.Run(fmt.Sprintf("%s/%v", f.name, latency), func(b *testing.B) {
				door.latency.Store(int64(latency))
				var ours, theirs time.Duration
				var requests, theirRequests float64
				for b.Loop() {
					took, n := door.measure(func() {
						checkFleet(b, f.states, w.Must(w.Home, rig.Binary, "states", "-json", "s3://terraform-state/"+f.prefix))
					})
					ours, requests = ours+took, requests+n
					took, n = door.measure(func() { w.Must(w.Home, aws, "s3", "ls", "--recursive", "s3://terraform-state/"+f.prefix+"/") })
					theirs, theirRequests = theirs+took, theirRequests+n
				}
				b.ReportMetric(requests/float64(b.N), "requests")
				b.ReportMetric(theirRequests/float64(b.N), "aws-requests")
				b.ReportMetric(ours.Seconds()/float64(b.N), "s")
				b.ReportMetric(theirs.Seconds()/float64(b.N), "aws-s")
				b.ReportMetric(theirs.Seconds()/ours.Seconds(), "times-faster")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

func checkFleet(b *testing.B, states int, r rig.Result) {
	b.Helper()
	var got struct {
		Totals struct{ States, Locked int }
	}
	if err := json.Unmarshal([]byte(r.Stdout), &got); err != nil {
		b.Fatal(err)
	}
	if got.Totals.States != states || got.Totals.Locked != states/lockedOneIn {
		b.Fatalf("got %+v, want %d states and %d locks", got.Totals, states, states/lockedOneIn)
	}
}
