package export

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// What comes after each look comes one at a time, and what ends one ends all.
func TestAll_Run(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		all := All{newYard(t, Config{}).Exporter, newYard(t, Config{}).Exporter}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute+time.Second)
		defer cancel()
		after, within := 0, false
		err := all.Run(ctx, time.Minute, func() error {
			if within {
				t.Error("two at a time")
			}
			within = true
			time.Sleep(time.Second)
			within = false
			after++
			return nil
		})
		if err != nil || after < 4 || after > 6 {
			t.Errorf("got %v after %d looks", err, after)
		}
		full := errors.New("disk full")
		if err := all.Run(t.Context(), time.Minute, func() error { return full }); !errors.Is(err, full) {
			t.Errorf("got %v, want %v", err, full)
		}
	})
}

func TestAll_Serve(t *testing.T) {
	t.Parallel()
	e := newYard(t, Config{}).Exporter
	metrics := prometheus.NewPedanticRegistry()
	if err := metrics.Register(e.Collector()); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- All{e}.Serve(ctx, listener, nil, metrics, time.Hour) }()
	for path, want := range map[string]string{"/metrics": "statelatch_up", "/": "404"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+listener.Addr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if !strings.Contains(string(body), want) {
			t.Errorf("%s: got %s, want %q in it", path, body, want)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("got %v", err)
	}
}
