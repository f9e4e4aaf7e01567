package local

import (
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

// The pair is made once, also by several that start at a time, and is never replaced.
func TestKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	type made struct {
		keys KeyPair
		err  error
	}
	all := make(chan made)
	for range 8 {
		go func() {
			keys, err := Keys(t.Context(), dir)
			all <- made{keys, err}
		}()
	}
	first := <-all
	for range 7 {
		if m := <-all; m != first || m.err != nil || !m.keys.InFile || m.keys.Secret == "" {
			t.Errorf("got %v, %v, want one pair for all", m, first)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("got %v, %v, want the credentials alone", left, err)
	}
	file := filepath.Join(dir, CredentialsFile)
	if err := os.WriteFile(file, []byte("[other]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Keys(t.Context(), dir); err == nil {
		t.Error("a file without the profile: got no error")
	}
}

// A store is found while something listens where it said.
func TestFind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := Find(t.Context(), dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("an empty directory: got %v", err)
	}
	srv := httptest.NewServer(nil)
	r := Running{Endpoint: URL(srv.Listener.Addr(), false), Region: "eu-west-1", OwnKeys: true}
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	if got, err := Find(t.Context(), dir); err != nil || got != r {
		t.Errorf("got %v, %v, want %v", got, err, r)
	}
	srv.Close()
	if _, err := Find(t.Context(), dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a store that was killed: got %v", err)
	}
	Running{Endpoint: "http://127.0.0.1:1"}.Remove(dir) // another's
	if got, err := readRunning(dir); err != nil || got != r {
		t.Errorf("got %v, %v, want it still", got, err)
	}
	if r.Remove(dir); r.Write(filepath.Join(dir, "none")) == nil {
		t.Error("without a directory: got no error")
	}
	if err := os.WriteFile(filepath.Join(dir, runningFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Find(t.Context(), dir); err == nil || errors.Is(err, ErrNotRunning) {
		t.Errorf("a file that cannot be read: got %v", err)
	}
}

func TestRunning_Environment(t *testing.T) {
	t.Parallel()
	getenv := func(name string) string {
		return map[string]string{"AWS_ACCESS_KEY_ID": "old", "AWS_PROFILE": "old"}[name]
	}
	for _, tc := range []struct {
		running Running
		want    string
	}{
		{
			Running{Endpoint: "http://h:1", OwnKeys: true},
			"[{AWS_ACCESS_KEY_ID  } {AWS_SHARED_CREDENTIALS_FILE d/credentials } {AWS_PROFILE statelatch } " +
				"{AWS_ENDPOINT_URL_S3 http://h:1 } {AWS_REGION us-east-1 }]",
		},
		{
			Running{Endpoint: "http://h:1", Region: "eu-west-1"},
			"[{AWS_PROFILE  } {AWS_ACCESS_KEY_ID  ID} {AWS_SECRET_ACCESS_KEY  SECRET} " +
				"{AWS_ENDPOINT_URL_S3 http://h:1 } {AWS_REGION eu-west-1 }]",
		},
	} {
		got := fmt.Sprint(tc.running.Environment("d", [2]string{"ID", "SECRET"}, getenv))
		if got != filepath.FromSlash(tc.want) && got != tc.want {
			t.Errorf("got %s, want %s", got, tc.want)
		}
	}
}

func TestURL(t *testing.T) {
	t.Parallel()
	if got := URL(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9820}, true); got != "https://127.0.0.1:9820" {
		t.Errorf("got %s", got)
	}
	name, err := os.Hostname()
	if got := URL(&net.TCPAddr{IP: net.IPv4zero, Port: 1}, false); err == nil && got != "http://"+net.JoinHostPort(name, "1") {
		t.Errorf("everywhere: got %s, want this machine's name", got)
	}
}
