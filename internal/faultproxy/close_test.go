package faultproxy

import (
	"context"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
)

// TestProxy_Close_Waits: what a request is suffering is over when Close returns.
func TestProxy_Close_Waits(t *testing.T) {
	t.Parallel()
	met := make(chan struct{})
	var over atomic.Bool
	p, err := Start("http://127.0.0.1:9", Rule{Fault: Fault{"slow", func(x *exchange) {
		close(met)
		<-x.proxy.ctx.Done()
		for range 10_000 {
			runtime.Gosched()
		}
		over.Store(true)
	}}})
	if err != nil {
		t.Fatal(err)
	}
	client := make(chan struct{})
	go func() {
		defer close(client)
		req, _ := http.NewRequestWithContext(context.Background(), http.MethodPut, p.URL, http.NoBody)
		if resp, err := (&http.Transport{}).RoundTrip(req); err == nil {
			_ = resp.Body.Close()
		}
	}()
	<-met
	if err := p.Close(); err != nil || !over.Load() {
		t.Errorf("Close: got %v with the fault over: %t, want it over", err, over.Load())
	}
	<-client
}
