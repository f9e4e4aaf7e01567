package export

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/statelatch/statelatch/internal/guardhttp"
)

// shutdownGrace is how long scrapes that are under way may take once Serve has to end.
const shutdownGrace = 10 * time.Second

// All are the exporters of one process.
type All []*Exporter

// Collect looks at every bucket once.
func (all All) Collect(ctx context.Context) error {
	var errs []error
	for _, e := range all {
		errs = append(errs, e.Collect(ctx))
	}
	return errors.Join(errs...)
}

// Run looks at every bucket again and again until ctx ends, or one fails for good; after each look comes after, one at
// a time; nil: nothing does.
func (all All) Run(ctx context.Context, interval time.Duration, after func() error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	one := make(chan struct{}, 1) // a mutex would stop the virtual time of testing/synctest
	var next func() error
	if after != nil {
		next = func() error {
			one <- struct{}{}
			defer func() { <-one }()
			return after()
		}
	}
	ended := make(chan error, len(all))
	for _, e := range all {
		go func() { ended <- e.Run(ctx, interval, next) }()
	}
	var errs []error
	for range all {
		errs = append(errs, <-ended)
		stop()
	}
	return errors.Join(errs...)
}

// Serve serves metrics at /metrics, to who asks for one of names or for the address itself, and looks at every bucket
// again and again, until ctx ends.
func (all All) Serve(
	ctx context.Context, at net.Listener, names []string, metrics prometheus.Gatherer, interval time.Duration,
) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	srv := guardhttp.Listener{Addr: at.Addr(), Names: names, Handler: mux}.Server()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(at) }()
	collecting, stop := context.WithCancel(ctx)
	defer stop()
	collected := make(chan error, 1)
	go func() { collected <- all.Run(collecting, interval, nil) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", at.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if srv.Shutdown(grace) != nil {
		_ = srv.Close()
	}
	return <-collected
}
