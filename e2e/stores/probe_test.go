package stores

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/e2e/internal/rig"
)

// weakener stands in front of a store and honours conditions badly. What it passes on it signs anew.
type weakener struct {
	store     *store
	lookFirst bool // decide conditions itself, by a look before the write; otherwise they are dropped

	mu      sync.Mutex
	written []string // paths
}

func newWeakener(t *testing.T, s *store, lookFirst bool) (*weakener, *store) {
	t.Helper()
	w := &weakener{store: s, lookFirst: lookFirst}
	srv := httptest.NewServer(w)
	t.Cleanup(srv.Close)
	return w, &store{url: srv.URL, accessKey: s.accessKey, secretKey: s.secretKey}
}

func (p *weakener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		p.mu.Lock()
		p.written = append(p.written, r.URL.Path)
		p.mu.Unlock()
	}
	ifMatch, ifAbsent := r.Header.Get("If-Match"), r.Header.Get("If-None-Match") != ""
	if p.lookFirst && (ifMatch != "" || ifAbsent) {
		etag, err := p.look(r.Context(), r.URL.Path)
		switch {
		case err != nil:
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		case ifMatch != "" && etag == "":
			refuse(w, http.StatusNotFound, "NoSuchKey")
			return
		case ifAbsent && etag != "", ifMatch != "" && ifMatch != etag:
			refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
			return
		}
	}
	target, _ := url.Parse(p.store.url)
	proxy := httputil.ReverseProxy{Rewrite: func(pr *httputil.ProxyRequest) {
		pr.SetURL(target)
		pr.Out.Header.Del("If-Match")
		pr.Out.Header.Del("If-None-Match")
		p.sign(pr.Out)
	}}
	proxy.ServeHTTP(w, r)
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", code)
}

// look returns the ETag of what is there now, empty if nothing is.
func (p *weakener) look(ctx context.Context, path string) (etag string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodHead, p.store.url+path, nil)
	if err != nil {
		return "", err
	}
	r.Header.Set("X-Amz-Content-Sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
	p.sign(r)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	return resp.Header.Get("ETag"), resp.Body.Close()
}

func (p *weakener) sign(r *http.Request) {
	r.Header.Del("Authorization")
	r.Header.Del("Accept-Encoding")
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	keys := aws.Credentials{AccessKeyID: p.store.accessKey, SecretAccessKey: p.store.secretKey}
	// A request that cannot be signed is refused by the store.
	_ = signer.SignHTTP(r.Context(), keys, r, r.Header.Get("X-Amz-Content-Sha256"), "s3", "us-east-1", time.Now())
}

// outsideProbes are the paths below bucket that were written and are no probe's.
func (p *weakener) outsideProbes() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.written), func(path string) bool { return strings.Contains(path, "/.statelatch-probe/") })
}

// userOf is a world that is pointed at a store, and probes.
func userOf(tb testing.TB, s *store) *rig.World {
	tb.Helper()
	w := rig.NewWorld(tb)
	w.Env["AWS_ACCESS_KEY_ID"], w.Env["AWS_SECRET_ACCESS_KEY"], w.Env["AWS_ENDPOINT_URL_S3"] = s.accessKey, s.secretKey, s.url
	delete(w.Env, "STATELATCH_PROBE")
	return w
}

// isVerdict reports whether a probe keeps what it found there, for other machines.
func isVerdict(key string) bool { return strings.HasPrefix(key, statelatch.ProbePrefix+"verdict-") }

func forgetVerdicts(t *testing.T, b bucket.Bucket) {
	t.Helper()
	for o, err := range b.List(t.Context(), bucket.ListOptions{Prefix: statelatch.ProbePrefix + "verdict-"}) {
		if err == nil {
			_, err = b.Delete(t.Context(), o.Key, bucket.DeleteOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// verdict is what the tests read of "probe -json".
type verdict struct {
	Tier  string `json:"tier"`
	Store struct {
		Versioned bool `json:"versioned"`
	} `json:"store"`
	Checks []struct {
		Name, Outcome, Evidence string
	} `json:"checks"`
	LeftBehind []string `json:"left_behind"`
}

func probe(w *rig.World, args ...string) (verdict, rig.Result) {
	w.T.Helper()
	command := []string{"probe", "-json"}
	if !rig.Full() {
		command = append(command, "-clients", "16", "-rounds", "10")
	}
	r := w.Statelatch(append(command, args...)...)
	var v verdict
	if err := json.Unmarshal([]byte(r.Stdout), &v); err != nil {
		w.T.Fatalf("probe -json: %v: %v", err, r)
	}
	return v, r
}

func TestProbe_Embedded(t *testing.T) {
	t.Parallel()
	s := embeddedStore(t)
	w := userOf(t, s)
	for _, versioned := range []bool{false, true} {
		b := s.bucket(t, versioned)
		for _, args := range [][]string{
			{"s3://" + b.Name()},
			{"-endpoint", s.url, "-endpoint", strings.Replace(s.url, "127.0.0.1", "localhost", 1), "s3://" + b.Name()},
		} {
			v, r := probe(w, args...)
			if r.Code != 0 || v.Tier != "full" || v.Store.Versioned != versioned || len(v.LeftBehind) > 0 {
				t.Errorf("versioned %v, probe %q: got %v, want tier full", versioned, args, r)
			}
			for _, c := range v.Checks {
				if c.Outcome != "passed" {
					t.Errorf("versioned %v, probe %q: got %+v, want passed", versioned, args, c)
				}
			}
		}
		for o, err := range b.ListVersions(t.Context(), bucket.ListOptions{}) {
			if err == nil && isVerdict(o.Key) {
				continue
			}
			t.Errorf("versioned %v: got %q, %v left, want nothing but the verdict", versioned, o.Key, err)
		}
	}
}

func TestProbe_Versitygw(t *testing.T) {
	t.Parallel()
	s := startVersitygw(t)
	b := s.bucket(t, false)
	w := userOf(t, s)
	for range 3 {
		v, r := probe(w, "s3://"+b.Name())
		if r.Code != 0 || v.Tier != "cas" {
			t.Fatalf("got %v, want tier cas", r)
		}
	}
	ref := "s3://" + b.Name() + "/app/terraform.tfstate"
	if r := w.Statelatch("lock", ref); r.Code != 0 {
		t.Fatalf("lock: %v", r)
	}
	if r := w.Statelatch("unlock", ref); r.Code != 0 || !strings.Contains(r.Stderr, "weak release") {
		t.Errorf("unlock: got %v, want a warning that the release is weak", r)
	}
	if r := w.Statelatch("lock", "-takeover", "expired", ref); r.Code != 13 {
		t.Errorf("lock -takeover expired: got %v, want exit 13", r)
	}
	for o, err := range b.List(t.Context(), bucket.ListOptions{}) {
		if err == nil && isVerdict(o.Key) {
			continue
		}
		t.Errorf("got %q, %v left, want nothing but the verdict", o.Key, err)
	}
}

// Whatever a command is, on a store that cannot lock it is refused, every time, and writes nothing but the probe's own
// objects.
func TestProbe_UnsafeStoreIsRefused(t *testing.T) {
	t.Parallel()
	for name, lookFirst := range map[string]bool{"conditions are stripped": false, "conditions are checked first": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inner := embeddedStore(t)
			b := inner.bucket(t, true)
			proxy, s := newWeakener(t, inner, lookFirst)
			w := userOf(t, s)
			ref := "s3://" + b.Name() + "/app/terraform.tfstate"
			ran := filepath.Join(w.Home, "ran")
			state := filepath.Join(w.Home, "new.tfstate")
			w.Write(state, `{"version":4,"serial":1,"lineage":"x","resources":[]}`)
			rounds := 1 // with five probes each; the store and its proxy are slow under the race detector
			if rig.Full() {
				rounds = 10
			}
			for range rounds {
				for _, args := range [][]string{
					{"lock", ref}, {"run", ref, "--", "touch", ran}, {"push", state, ref}, {"workspace", "delete", "staging", ref},
				} {
					w.Env["STATELATCH_STATE_DIR"] = t.TempDir() // nothing is known
					forgetVerdicts(t, b)
					for _, known := range []bool{false, true} {
						r := w.Statelatch(args...)
						if r.Code != 13 || !strings.Contains(r.Stderr, "statelatch probe s3://"+b.Name()) || strings.Contains(r.Stderr, "Probing") == known {
							t.Fatalf("%q, verdict known %v: got %v, want exit 13", args, known, r)
						}
					}
				}
				if v, r := probe(w, "s3://"+b.Name()); r.Code != 13 || v.Tier != "none" || len(v.LeftBehind) > 0 {
					t.Fatalf("probe: got %v, want tier none", r)
				}
			}
			if _, err := os.Stat(ran); err == nil {
				t.Error("the command of run was started")
			}
			if paths := proxy.outsideProbes(); len(paths) > 0 {
				t.Errorf("got %q written, want nothing but the probes' own", paths)
			}
			for o, err := range b.ListVersions(t.Context(), bucket.ListOptions{}) {
				if err == nil && isVerdict(o.Key) {
					continue
				}
				t.Errorf("got %q, %v left, want nothing but the verdict", o.Key, err)
			}
		})
	}
}
