package gateway

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/e2e/internal/rig"
	"github.com/statelatch/statelatch/gateway"
	"github.com/statelatch/statelatch/gateway/access"
	"github.com/statelatch/statelatch/gateway/server"
	"github.com/statelatch/statelatch/gateway/session"
	"github.com/statelatch/statelatch/gateway/stsdoor"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/s3/endpoint"
	"github.com/statelatch/statelatch/state"
)

// suiteDomain is where suites find the buckets, by way of a proxy: they use the virtual-hosted style.
const suiteDomain = "s3.example"

// notThroughGateways are the tests of the engines' suites that do what a gateway refuses, and how that is seen.
var notThroughGateways = map[string]string{
	"TestRemoteClient_stateChecksum": "it has no lineage", // nor has it bytes, later: no engine stores such
	// SSE-C, which is refused at the HEAD before the first write, or its lock's GET. A HEAD has no body to say why.
	"TestBackendSSECustomerKey":                     "StatusCode: 400",
	"TestBackendSSECustomerKey/config_valid":        "StatusCode: 400",
	"TestBackendSSECustomerKey/envvar_valid":        "StatusCode: 400",
	"TestBackendSSECustomerKeyConfig":               "StatusCode: 400",
	"TestBackendSSECustomerKeyConfig/valid":         "StatusCode: 400",
	"TestBackendSSECustomerKeyEnvVar":               "StatusCode: 400",
	"TestBackendSSECustomerKeyEnvVar/valid":         "StatusCode: 400",
	"TestRemoteS3ClientLocks":                       "StatusCode: 400",
	"TestRemoteS3ClientLocks/with_sse_customer_key": "StatusCode: 400",
}

// The engines' own acceptance tests of backend "s3" end through the gateway as they do on the store.
// STATELATCH_SUITE names the compiled tests of an engine, STATELATCH_SUITE_RUN some of them, with commas between:
//
//	go test -c -o /tmp/s3.test ./internal/backend/remote-state/s3
func TestGateway_EngineSuite(t *testing.T) {
	suite := os.Getenv("STATELATCH_SUITE")
	if suite == "" {
		t.Skip("STATELATCH_SUITE does not name the compiled S3 tests of an engine")
	}
	near := rig.NewWorld(t)
	store := near.Serve("-region", "us-west-2", "-domain", suiteDomain)
	dynamo := near.Dynalite()
	skipped := func(r map[string]string) (names []string) {
		for name, outcome := range r {
			if outcome == "SKIP" && !strings.Contains(name, "/") {
				names = append(names, name)
			}
		}
		return slices.Sorted(slices.Values(names))
	}
	// run runs one test, or all: the tests change the environment of those after them.
	run := func(env map[string]string, pattern string) (outcomes map[string]string, out string) {
		w := rig.NewWorld(t)
		maps.Copy(w.Env, near.Env)
		delete(w.Env, "AWS_REGION")
		maps.Copy(w.Env, env)
		r := w.Run(w.Home, suite, "-test.v", "-test.run", pattern)
		outcomes = map[string]string{}
		for _, m := range regexp.MustCompile(`(?m)^\s*--- (PASS|FAIL|SKIP): (\S+)`).FindAllStringSubmatch(r.Stdout, -1) {
			outcomes[m[2]] = m[1]
		}
		return outcomes, r.Stdout + r.Stderr
	}
	unit, _ := run(nil, ".") // without TF_ACC it skips the acceptance tests
	acceptance := slices.DeleteFunc(skipped(unit), func(name string) bool {
		return strings.HasPrefix(name, "TestBackendConfig_") // they look at AWS's addresses, and send nothing to S3
	})
	if only := os.Getenv("STATELATCH_SUITE_RUN"); only != "" {
		acceptance = strings.Split(only, ",")
	}
	fronts := []*front{newFront(t, near, store.URL, false), newFront(t, near, store.URL, true)}
	direct, through, logs := map[string]string{}, map[string]string{}, map[string][2]string{}
	for _, name := range acceptance {
		var said [2]string // on the store, through the gateway
		for i, all := range []map[string]string{direct, through} {
			outcomes, out := run(map[string]string{
				"TF_ACC": "1", "AWS_ENDPOINT_URL_DYNAMODB": dynamo, "AWS_ENDPOINT_URL_STS": fronts[i].url,
				"AWS_ENDPOINT_URL_S3": "http://" + suiteDomain, "HTTP_PROXY": fronts[i].url, "HTTPS_PROXY": fronts[i].url,
			}, "^"+name+"$")
			maps.Copy(all, outcomes)
			said[i] = out
		}
		logs[name] = said
	}
	count := map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(direct)) {
		test, _, _ := strings.Cut(name, "/")
		on, behind, said := direct[name], through[name], logs[test]
		refusal, refused := notThroughGateways[name]
		switch {
		case refused && (behind != "FAIL" || !strings.Contains(said[1], refusal)):
			t.Errorf("%s: %s through the gateway, which should refuse with %q:\n%s", name, behind, refusal, said[1])
		case !refused && on != behind:
			t.Errorf("%s: %s on the store, %s through the gateway:\n%s\n%s", name, on, behind, said[0], said[1])
		case !refused && on == "FAIL":
			t.Logf("%s: %s on the store, too:\n%s", name, on, said[0])
		}
		count["store "+on]++
		count["gateway "+behind]++
	}
	t.Logf("%v, %d requests through the gateway", count, fronts[1].served.Load())
	if fronts[0].served.Load() != 0 || fronts[1].served.Load() == 0 {
		t.Error("the requests did not go where they should")
	}
	if count["store PASS"] == 0 {
		t.Error("no test passed on the store")
	}
}

// front stands before the store for a suite, which makes and removes buckets: what is about a bucket itself goes to the
// store, what is about states and locks to a gateway of that bucket.
type front struct {
	t        *testing.T
	pair     session.KeyPair
	store    *url.URL
	url      string
	registry *session.Registry
	rules    access.Rules
	gateways bool
	direct   http.Handler
	sts      http.Handler
	served   atomic.Int64 // requests, by gateways

	mu      sync.Mutex
	open    map[string]http.Handler // gateways, by bucket
	regions map[string]string       // of the buckets that were made
}

func newFront(t *testing.T, near *rig.World, store string, gateways bool) *front {
	t.Helper()
	f := &front{t: t, gateways: gateways, open: map[string]http.Handler{}, regions: map[string]string{}}
	var err error
	if f.store, err = url.Parse(store); err != nil {
		t.Fatal(err)
	}
	keyFile := near.Env["AWS_SHARED_CREDENTIALS_FILE"]
	if f.pair, err = session.ReadKeyPair(keyFile); err != nil {
		t.Fatal(err)
	}
	cfg, err := access.Load(near.File("suite.hcl", fmt.Sprintf(`
key "suite" { file = %q }
allow "all" {
  keys   = ["suite"]
  states = ["*"]
  may    = ["admin"]
}
`, keyFile)))
	if err != nil {
		t.Fatal(err)
	}
	f.rules = cfg.Rules
	if f.registry, err = session.Open(cfg, session.Options{}); err != nil {
		t.Fatal(err)
	}
	f.sts = stsdoor.New(stsdoor.Config{Registry: f.registry})
	f.direct = &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", f.store.Host },
		Transport: &http.Transport{DisableCompression: true},
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.url = "http://" + l.Addr().String()
	srv := &http.Server{Handler: f, ConnContext: endpoint.ConnContext}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return f
}

var credential = regexp.MustCompile(`Credential=[^/]+/[^/]+/([^/]+)/`)

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if stsdoor.Is(r) {
		f.sts.ServeHTTP(w, r)
		return
	}
	name := strings.TrimSuffix(r.Host, "."+suiteDomain)
	key := strings.TrimPrefix(r.URL.Path, "/")
	r.URL.Scheme, r.URL.Host = "", "" // as the proxy that it is to the suite, it gets them
	query := r.URL.Query()
	ofStates := key != "" && !query.Has("versionId") || key == "" && query.Has("list-type")
	if f.gateways && ofStates {
		if g := f.gateway(name); g != nil {
			f.served.Add(1)
			g.ServeHTTP(w, r)
			return
		}
	}
	if key == "" && (r.Method == http.MethodPut || r.Method == http.MethodDelete) && r.URL.RawQuery == "" {
		f.mu.Lock()
		delete(f.open, name)
		if signed := credential.FindStringSubmatch(r.Header.Get("Authorization")); signed != nil {
			f.regions[name] = signed[1] // suites make a bucket by its region's endpoint
		}
		f.mu.Unlock()
	}
	f.direct.ServeHTTP(w, r)
}

// gateway is that of a bucket, nil if there is no such bucket.
func (f *front) gateway(name string) http.Handler {
	f.mu.Lock()
	defer f.mu.Unlock()
	if g, ok := f.open[name]; ok {
		return g
	}
	region, ok := f.regions[name]
	if !ok {
		return nil
	}
	b, err := s3bucket.Open(f.t.Context(), name, s3bucket.Config{
		Region: region, Endpoints: s3bucket.Endpoints{S3: "http://" + f.store.Host}, UsePathStyle: true,
		AccessKey: f.pair.ID, SecretKey: f.pair.Secret, ObjectOptions: s3bucket.ObjectOptions{Encrypt: true},
	})
	if err != nil {
		f.t.Error(err)
		return nil
	}
	states := &state.Store{Bucket: b}
	g, err := gateway.New(gateway.Config{
		Locks:  &lock.Manager{Bucket: b, Tier: lock.TierFull, Fence: states.Touch},
		States: states, Rules: f.rules,
	})
	if err != nil {
		f.t.Error(err)
		return nil
	}
	srv, err := server.New(server.Config{
		Gateway: g, Registry: f.registry, Region: region, Encrypts: true, Domain: suiteDomain,
	})
	if err != nil {
		f.t.Error(err)
		return nil
	}
	f.open[name] = srv.Handler
	return srv.Handler
}
