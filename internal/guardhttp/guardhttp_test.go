package guardhttp

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/statelatch/statelatch"
)

// receiver is a webhook's other end. It answers with the statuses in turn, with the last one again and again.
type receiver struct {
	mu       sync.Mutex
	statuses []int
	bodies   [][]byte
	headers  []http.Header
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	body, _ := io.ReadAll(req.Body)
	r.bodies, r.headers = append(r.bodies, body), append(r.headers, req.Header)
	status := r.statuses[0]
	if len(r.statuses) > 1 {
		r.statuses = r.statuses[1:]
	}
	if status/100 == 3 {
		w.Header().Set("Location", "/elsewhere")
	}
	w.WriteHeader(status)
}

const key = "0123456789abcdef"

func TestWebhook_Post(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		statuses []int
		requests int
		taken    bool
	}{
		"taken":             {[]int{204}, 1, true},
		"taken the third":   {[]int{503, 429, 200}, 3, true},
		"down":              {[]int{500}, 3, false},
		"refused":           {[]int{403}, 1, false},
		"redirected":        {[]int{302, 200}, 1, false},
		"permanently moved": {[]int{308, 200}, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &receiver{statuses: tc.statuses}
			srv := httptest.NewTLSServer(r)
			defer srv.Close()
			w, err := NewWebhook(srv.URL+"/secret-path?token=secret", []byte(key), nil)
			if err != nil {
				t.Fatal(err)
			}
			w.client.Transport.(*http.Transport).TLSClientConfig = srv.Client().Transport.(*http.Transport).TLSClientConfig
			err = w.Post(t.Context(), []byte(`{"a":1}`))
			if tc.taken != (err == nil) || err != nil && strings.Contains(err.Error()+w.String(), "secret") {
				t.Errorf("got %v, want taken %v and nothing secret", err, tc.taken)
			}
			if len(r.bodies) != tc.requests {
				t.Fatalf("got %d requests, want %d", len(r.bodies), tc.requests)
			}
			for i, body := range r.bodies {
				mac := hmac.New(sha256.New, []byte(key))
				mac.Write(body)
				if want := "sha256=" + hex.EncodeToString(mac.Sum(nil)); r.headers[i].Get(SignatureHeader) != want {
					t.Errorf("signature: got %q, want %q", r.headers[i].Get(SignatureHeader), want)
				}
				if !bytes.Equal(body, r.bodies[0]) {
					t.Errorf("body %d: got %s, want the same", i, body)
				}
			}
		})
	}
}

// Nothing goes to what hands out credentials, whatever a name leads to.
func TestForbidden(t *testing.T) {
	t.Parallel()
	for ip, want := range map[string]bool{
		"169.254.169.254": true, "::ffff:169.254.169.254": true, "fe80::1%eth0": true, "fd00:ec2::254": true, "100.100.100.200": true, "64:ff9b::a9fe:a9fe": true,
		"2002:a9fe:a9fe::1": true, "::a9fe:a9fe": true, "0.0.0.0": true, "0.1.2.3": true, "::": true, "224.0.0.1": true, "ff02::1": true, "168.63.129.16": true, "192.0.0.192": true, "fd20:ce::254": true,
		"::ffff:100.100.100.200": true, "::ffff:0.0.0.0": true, "fd00:ec2::254%eth0": true,
		"fd00:ec2::23": true, "fd00:c1::a9fe:a9fe": true, "64:ff9b:1::a9fe:a9fe": true, "::ffff:0:a9fe:a9fe": true,
		"127.0.0.1": false, "::1": false, "10.0.0.1": false, "8.8.8.8": false, "2001:db8::1": false, "fd12::1": false, "64:ff9b::808:808": false,
	} {
		if got := Forbidden(netip.MustParseAddr(ip)); got != want {
			t.Errorf("%s: got forbidden %v, want %v", ip, got, want)
		}
		if err := refuse("tcp", net.JoinHostPort(ip, "443"), nil); want != errors.Is(err, statelatch.ErrInvalid) {
			t.Errorf("%s: dialling: got %v, want refused: %v", ip, err, want)
		}
	}
}

func TestNewWebhook_Addresses(t *testing.T) {
	t.Parallel()
	for address, ok := range map[string]bool{
		"https://hooks.example.com/SECRET": true, "http://127.0.0.1:1/SECRET": true, "http://localhost/SECRET": true, "http://[::1]:1/SECRET": true, "https://10.0.0.1/SECRET": true,
		"http://hooks.example.com/SECRET": false, "http://10.0.0.1/SECRET": false, "https://169.254.169.254/SECRET": false, "https://[fe80::1]/SECRET": false, "https://0.0.0.0/SECRET": false,
		"https://metadata.google.internal/SECRET": false, "https://Metadata./SECRET": false, "http://localhost.example.com/SECRET": false, "ftp://127.0.0.1/SECRET": false, "file:///SECRET": false, "SECRET": false,
		"https://[::ffff:169.254.169.254]/SECRET": false, "https://": false, "https://2852039166/SECRET": false, "https://0xa9fea9fe/SECRET": false, "https://0251.0376.0251.0376/SECRET": false, "https://169.254.43518/SECRET": false,
		"https://169.254.169.254./SECRET": false, "https://u:SECRET@169.254.169.254/": false, "https://u:SECRET@h/": true, "unix:///SECRET": false, "https://[fe80::1%25eth0]/SECRET": false, "https://metadata.tencentyun.com/SECRET": false,
		"https://1password.example.com/SECRET": true, "https://h.0x.example/SECRET": true, "https://x/%zzSECRET": false,
	} {
		w, err := NewWebhook(address, []byte(key), nil)
		if ok != (err == nil) || err != nil && (!errors.Is(err, statelatch.ErrInvalid) || strings.Contains(err.Error(), "SECRET")) {
			t.Errorf("%s: got %v, want taken: %t", address, err, ok)
		}
		if err == nil && strings.Contains(w.String(), "SECRET") {
			t.Errorf("%s: shown as %s", address, w)
		}
	}
	if _, err := NewWebhook("https://x/", []byte("SECRET"), nil); !errors.Is(err, statelatch.ErrInvalid) || strings.Contains(err.Error(), "SECRET") || !strings.Contains(err.Error(), "6 bytes") {
		t.Errorf("a short key: got %v", err)
	}
}

func TestListener_Hosts(t *testing.T) {
	t.Parallel()
	loopback, every := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9821}, &net.TCPAddr{IP: net.IPv4zero, Port: 9821}
	for _, tc := range []struct {
		addr net.Addr
		host string
		want int
	}{
		{loopback, "127.0.0.1:9821", 200},
		{loopback, "localhost:9821", 200},
		{loopback, "LOCALHOST", 200},
		{loopback, "[::1]:9821", 200},
		{loopback, "[::1]", 200},
		{loopback, "localhost.", 200},
		{loopback, "evil.example:9821", 421},
		{loopback, "evil.example", 421},
		{loopback, "127.0.0.1.evil.example", 421},
		{loopback, "10.0.0.1", 421},
		{loopback, "localhost.evil.example", 421},
		{loopback, "", 421},
		{loopback, "::1", 421},
		{loopback, "metrics.example.com", 200},
		{loopback, "Metrics.Example.com:9821", 200},
		{loopback, "dotted.example.com", 200},
		{loopback, "dotted.example.com.:9821", 200},
		{loopback, "fd12::1", 421},
		{loopback, "[fd12::1]:9821", 200},
		{loopback, "[0:0:0:0:0:0:0:1]", 200},
		{loopback, "127.1", 421},
		{loopback, "localhost:80:80", 421},
		{loopback, "u@localhost", 421},
		{every, "10.0.0.1:9821", 200},
		{every, "[2001:db8::1]:9821", 200},
		{every, "evil.example:9821", 421},
		{every, "localhost", 200},
		{every, "metrics.example.com", 200},
	} {
		l := Listener{Addr: tc.addr, Names: []string{"metrics.example.com", "Dotted.example.com.:9821", "[fd12::1]"}, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Host = tc.host
		w := httptest.NewRecorder()
		l.ServeHTTP(w, r)
		if w.Code != tc.want {
			t.Errorf("%v asked for %q: got %d, want %d", tc.addr, tc.host, w.Code, tc.want)
		}
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		w = httptest.NewRecorder()
		if l.ServeHTTP(w, r); w.Code == 200 {
			t.Errorf("%q: a request of another site is answered", tc.host)
		}
	}
}
