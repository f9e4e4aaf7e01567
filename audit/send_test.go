package audit

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
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/membucket"
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

func TestWebhook_Append(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		statuses []int
		requests int
		stored   bool
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
			w, err := newWebhook(srv.URL+"/secret-path?token=secret", []byte("the key"))
			if err != nil {
				t.Fatal(err)
			}
			w.client.Transport.(*http.Transport).TLSClientConfig = srv.Client().Transport.(*http.Transport).TLSClientConfig
			err = w.Append(t.Context(), event("x"))
			if tc.stored != (err == nil) || err != nil && strings.Contains(err.Error()+w.String(), "secret") {
				t.Errorf("got %v, want stored %v and nothing secret", err, tc.stored)
			}
			if len(r.bodies) != tc.requests {
				t.Fatalf("got %d requests, want %d", len(r.bodies), tc.requests)
			}
			for i, body := range r.bodies {
				mac := hmac.New(sha256.New, []byte("the key"))
				mac.Write(body)
				if want := "sha256=" + hex.EncodeToString(mac.Sum(nil)); r.headers[i].Get(SignatureHeader) != want {
					t.Errorf("signature: got %q, want %q", r.headers[i].Get(SignatureHeader), want)
				}
				if e, err := Parse(body); err != nil || e.ID != "x" || !bytes.Equal(body, r.bodies[0]) {
					t.Errorf("body %d: got %s, %v; want the same event", i, body, err)
				}
			}
		})
	}
}

func TestWebhook_Append_ChainOfAProcess(t *testing.T) {
	t.Parallel()
	r := &receiver{statuses: []int{200}}
	srv := httptest.NewServer(r)
	defer srv.Close()
	w, err := newWebhook(srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := w.Append(t.Context(), event("x")); err != nil {
			t.Fatal(err)
		}
	}
	var c Contents
	for _, body := range r.bodies {
		c.Records = append(c.Records, Record{Raw: body})
	}
	c.Head = &w.chain.last
	if report := Verify(c); len(report.Findings) != 0 || report.Events != 3 {
		t.Errorf("got %+v, want a chain of 3", report)
	}
	if r.headers[0].Get(SignatureHeader) != "" {
		t.Error("signed without a key")
	}
}

// No event goes to what hands out credentials, whatever a name leads to.
func TestWebhook_ForbiddenAddresses(t *testing.T) {
	t.Parallel()
	for ip, want := range map[string]bool{
		"169.254.169.254": true, "::ffff:169.254.169.254": true, "fe80::1%eth0": true, "fd00:ec2::254": true, "100.100.100.200": true,
		"::ffff:100.100.100.200": true, "::ffff:0.0.0.0": true, "fd00:ec2::254%eth0": true,
		"0.0.0.0": true, "224.0.0.1": true, "127.0.0.1": false, "10.0.0.1": false, "8.8.8.8": false, "2001:db8::1": false,
	} {
		if got := forbidden(netip.MustParseAddr(ip)); got != want {
			t.Errorf("%s: got forbidden %v, want %v", ip, got, want)
		}
		if err := refuseForbidden("tcp", net.JoinHostPort(ip, "443"), nil); want != errors.Is(err, statelatch.ErrInvalid) {
			t.Errorf("%s: dialling: got %v, want refused: %v", ip, err, want)
		}
	}
}

func TestOpen_Locations(t *testing.T) {
	t.Parallel()
	for location, want := range map[string]string{
		"s3://b/audit/": "s3://b/audit", "file:/x/y": "file:/x/y", "syslog:": "syslog:", "syslog:udp://h:514": "syslog:udp://h:514",
		"https://hooks.example.com/secret?x=secret": "https://hooks.example.com", "http://localhost:1/x": "http://localhost:1",
		"s3://b": "", "s3://": "", "s3://b/../b": "", "file:": "", "syslog:h:514": "", "syslog:udp://h": "", "syslog:unix:///x": "", "http://example.com/secret": "",
		"https:///secret": "", "https://169.254.169.254/secret": "", "https://[fd00:ec2::254]/": "", "ftp://x/secret": "", "audit.log": "", "https://a b/secret": "", "hooks.example.com/secret": "", "secret": "", "secret:": "",
	} {
		sink, err := Open(location, nil, func(name string) (bucket.Bucket, error) { return membucket.New(name, membucket.Options{}), nil })
		switch {
		case want == "" && (!errors.Is(err, statelatch.ErrInvalid) || strings.Contains(err.Error(), "secret")):
			t.Errorf("%s: got %v, want ErrInvalid without the secret", location, err)
		case want != "" && (err != nil || sink.String() != want):
			t.Errorf("%s: got %v, %v; want %s", location, sink, err, want)
		}
	}
}

func TestEvent_Clean(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ü", 5000)
	raw, _ := Head{}.next(Event{
		Who: "a\x1b[2Jb\n\xff", Reason: long, Detail: long, Ref: "s3://b/" + long, Client: long, VersionID: long,
		Run: &statelatch.Run{URL: long, Actor: "x\x00"},
	})
	e, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	if e.Who != `a\x1b[2Jb\n?` || !strings.HasSuffix(e.Reason, "ü…") || len(e.Reason) > maxText || e.Run.Actor != `x\x00` || len(raw) > 8<<10 {
		t.Errorf("got %d bytes: %+v", len(raw), e)
	}
	if e.Prev != zeroHash || e.Seq != 1 || len(e.Chain) != 32 {
		t.Errorf("the first event: %+v", e)
	}
}
