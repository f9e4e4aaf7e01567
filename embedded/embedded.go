// Package embedded is an S3 store in one process: an endpoint that speaks S3's
// protocol over a durable store in a directory. Everything else reaches it over
// HTTP like any other S3.
//
// What it guarantees: an acknowledged write survives the death of the process and of the
// machine; every condition is decided in the transaction that acts on it; no request is served
// without a valid signature. What it does not: replication, and more than one process on a directory.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/statelatch/statelatch/embedded/boltstore"
	"github.com/statelatch/statelatch/s3/endpoint"
	"github.com/statelatch/statelatch/s3/s3model"
	"github.com/statelatch/statelatch/s3/s3server"
	"github.com/statelatch/statelatch/s3/sigv4"
)

// Config says what to serve.
type Config struct {
	// Dir keeps everything; it is created if absent. One process at a time.
	Dir string
	// AccessKeyID and SecretAccessKey are the one key pair that may do everything; see sigv4.CheckKeyPair.
	AccessKeyID, SecretAccessKey string
	// Domain enables requests for BUCKET.DOMAIN beside path style; empty means path style alone.
	Domain string
	// Region, if not empty, is where EnsureBucket makes buckets, and has requests refused that are signed for another
	// region than their bucket is in, as on AWS. Empty means us-east-1, and that a request may be signed for any.
	Region string
	// BehindTLS says that a proxy in front ends TLS: plain HTTP is taken for encrypted, by policies and with
	// customer keys.
	BehindTLS bool
	// Watch, if not nil, wraps the store that the endpoint uses, to see what passes.
	Watch func(s3model.Store) s3model.Store
	// MaxConnections bounds the connections of HTTPServer. Zero means 1000, or half of what the process may open.
	MaxConnections int
	// Logger gets what went wrong inside; nil means slog.Default.
	Logger *slog.Logger
}

// Server is an open store and its endpoint.
type Server struct {
	store       *boltstore.Store
	region      string
	handler     http.Handler
	connections *s3server.Connections
}

// Open opens or creates the store. It fails if another process has it open (boltstore.ErrInUse).
func Open(cfg Config) (*Server, error) {
	if cfg.AccessKeyID == "" || cfg.SecretAccessKey == "" {
		return nil, errors.New("embedded: a key pair is required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Region != "" && !s3model.ValidRegion(cfg.Region) {
		return nil, fmt.Errorf("embedded: region %q: want %s", cfg.Region, s3model.RegionRules)
	}
	store, err := boltstore.Open(boltstore.Config{Dir: cfg.Dir, Logger: cfg.Logger})
	if err != nil {
		return nil, err
	}
	var served s3model.Store = store
	if cfg.Watch != nil {
		served = cfg.Watch(store)
	}
	conns := s3server.NewConnections(cfg.MaxConnections)
	return &Server{store: store, region: cfg.Region, connections: conns, handler: endpoint.New(endpoint.Config{
		Store:     served,
		Logger:    cfg.Logger,
		Domain:    cfg.Domain,
		Regional:  cfg.Region != "",
		BehindTLS: cfg.BehindTLS,
		Verified:  conns.Verified,
		Verifier:  &sigv4.Verifier{Lookup: sigv4.OneKey(cfg.AccessKeyID, cfg.SecretAccessKey)},
	})}, nil
}

// Handler serves the S3 protocol. It needs limits around it (see HTTPServer), and nothing in front of it that
// cleans or cuts paths, as http.ServeMux and http.StripPrefix do: keys such as a//b are keys, and paths are signed.
func (s *Server) Handler() http.Handler { return s.handler }

// HTTPServer returns a server for the store with the limits that belong around it (see package s3server). The caller
// serves listeners with it, and shuts it down before Close.
func (s *Server) HTTPServer() *http.Server { return s.connections.Server(s.handler) }

// EnsureBucket creates a versioned, encrypted bucket in the region of Config, or leaves an existing one as it is. One
// in another region is an error, if Config names one.
func (s *Server) EnsureBucket(ctx context.Context, name string) error {
	if !s3model.ValidBucketName(name) {
		return fmt.Errorf("bucket name %q: want %s", name, s3model.BucketNameRules)
	}
	location := s.region
	if location == s3model.DefaultRegion {
		location = "" // as S3 has it
	}
	err := s.store.CreateBucketWith(ctx, name, location,
		s3model.Settings{Versioning: s3model.Enabled, EncryptByDefault: true})
	if !errors.Is(err, s3model.ErrBucketAlreadyOwnedByYou) {
		return err
	}
	b, err := s.store.GetBucket(ctx, name)
	if err != nil || s.region == "" || b.Location == location {
		return err
	}
	return fmt.Errorf("the bucket is in the region %s, not %s: give that one, or another bucket", b.Region(), s.region)
}

// Close waits for what is being committed and closes the store. Requests that come later fail.
func (s *Server) Close() error { return s.store.Close() }
