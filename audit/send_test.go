package audit

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/membucket"
)

func TestWebhook_Append_ChainOfAProcess(t *testing.T) {
	t.Parallel()
	var c Contents
	var signed string
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		c.Records = append(c.Records, Record{Raw: body})
		signed += req.Header.Get(SignatureHeader)
	}))
	defer srv.Close()
	w, err := Open(srv.URL, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := w.Append(t.Context(), event("x")); err != nil {
			t.Fatal(err)
		}
	}
	c.Head = &w.(*webhook).chain.last
	if report := Verify(c); len(report.Findings) != 0 || report.Events != 3 {
		t.Errorf("got %+v, want a chain of 3", report)
	}
	if signed != "" {
		t.Error("signed without a key")
	}
}

func TestOpen_Locations(t *testing.T) {
	t.Parallel()
	for location, want := range map[string]string{
		"s3://b/audit/": "s3://b/audit", "s3://arn:aws:s3:us-east-1:123456789012:accesspoint/x/audit": "s3://arn:aws:s3:us-east-1:123456789012:accesspoint/x/audit", "file:/x/y": "file:/x/y", "syslog:": "syslog:", "syslog:udp://h:514": "syslog:udp://h:514",
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
