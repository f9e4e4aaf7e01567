package main

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestExport_Usage(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	for _, tc := range []struct {
		args []string
		text string
	}{
		{[]string{"-listen", "127.0.0.1:0", "-textfile", "x"}, "give one of them"},
		{[]string{"-interval", "10ms"}, "-interval 10ms"},
		{[]string{"-max-series", "0"}, "-max-series 0"},
		{[]string{"-alert-older-than", "2h"}, "need -alert-webhook"},
		{[]string{"-alert-webhook", "https://x.example/T0KEN", "-textfile", "x"}, "needs -interval"},
		{[]string{"-alert-webhook", "x.example/T0KEN"}, "want https://HOST"},
		{[]string{"-alert-webhook", "http://x.example/T0KEN"}, "want https://HOST"},
		{[]string{"-alert-webhook", "https://169.254.169.254/T0KEN"}, "metadata"},
		{[]string{"-alert-webhook", "https://x.example", "-alert-verdict", "old"}, `-alert-verdict "old"`},
		{[]string{"-listen", "nowhere"}, `-listen "nowhere"`},
	} {
		o := s.run(append([]string{"export", "s3://demo"}, tc.args...)...)
		if s.want(o, 2, tc.text); strings.Contains(o.err, "T0KEN") {
			t.Errorf("%q: the URL is shown: %s", tc.args, o.err)
		}
	}
}

func TestExport_Textfile(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	s.put("app/terraform.tfstate", []byte(stateBody(7, "l", "a")))
	s.want(s.run("lock", "-who", "bob", demoRef), 0)
	file := filepath.Join(t.TempDir(), "statelatch.prom")
	s.want(s.run("export", "-textfile", file, "-holder", "-probe", "s3://demo"), 0)
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`statelatch_lock_held{holder="bob",key="app/terraform.tfstate",verdict="unknown",workspace="default"} 1`,
		`statelatch_state_serial{key="app/terraform.tfstate",workspace="default"} 7`,
		`statelatch_probe_tier{tier="full"} 1`, "statelatch_states 1\n", "statelatch_up 1\n",
	} {
		if !strings.Contains(string(content), want) {
			t.Errorf("the file lacks %s:\n%s", want, content)
		}
	}
	s.want(s.run("export", "-textfile", file, "s3://missing"), 10, "missing")
	if content, err = os.ReadFile(file); err != nil || !strings.Contains(string(content), "statelatch_up 0\n") {
		t.Errorf("after a failure: %v, want statelatch_up 0 in\n%s", err, content)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*")); err != nil || len(left) != 1 {
		t.Errorf("left behind: %q", left)
	}
}

// /metrics is not read by a page whose own name leads here.
func TestExport_AnswersItsOwnHost(t *testing.T) {
	t.Parallel()
	s := newShell(t).withStore()
	ctx, stop := context.WithCancel(t.Context())
	errs, done := &watched{grew: make(chan struct{}, 1)}, make(chan struct{})
	go func() {
		defer close(done)
		run(ctx, append([]string{"statelatch", "export", "-listen", "127.0.0.1:0", "-allow-host", "metrics.example.com", "s3://demo"}, s.flags...), terminal{
			In: strings.NewReader(""), Out: errs, Err: errs, Getenv: func(k string) string { return s.env[k] },
		})
	}()
	r := &running{t: t, stop: stop, done: done, out: errs}
	t.Cleanup(func() { stop(); <-done })
	url := r.await(`Metrics at (http://\S+/metrics)`)[1]
	for host, want := range map[string]int{"": 200, "metrics.example.com": 200, "evil.example": http.StatusMisdirectedRequest} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("asked for %q: got %d, want %d", host, resp.StatusCode, want)
		}
	}
}
