// Package server puts a gateway's doors behind one address.
package server

import (
	"fmt"
	"log/slog"
	"net/http"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/gateway"
	"github.com/statelatch/statelatch/gateway/s3door"
	"github.com/statelatch/statelatch/gateway/session"
	"github.com/statelatch/statelatch/gateway/stsdoor"
	"github.com/statelatch/statelatch/s3/endpoint"
	"github.com/statelatch/statelatch/s3/s3server"
	"github.com/statelatch/statelatch/s3/sigv4"
)

// Config says what is served. Gateway and Registry are required.
type Config struct {
	Gateway  *gateway.Gateway  // what the doors lead to
	Registry *session.Registry // who may knock
	Region   string            // of the bucket; empty: us-east-1
	// Encrypts says that all objects are encrypted with keys of the store: see s3door.Config.
	Encrypts bool
	Domain   string // also serve BUCKET.DOMAIN; empty: path style alone
	// BehindTLS says that a proxy in front ends TLS.
	BehindTLS bool
	// Advertise is the URL, http or https, at which other gateways of the bucket reach this one; empty: they do not, and a
	// state in parts must come to one gateway.
	Advertise      string
	SpoolDir       string       // where bodies wait; empty: os.TempDir
	MaxConnections int          // 0: see s3server.NewConnections
	Logger         *slog.Logger // nil: nothing is told
}

// New returns a server with the S3 door and the STS door, which clients may find at the same address. It has the
// limits that belong around them. Errors match statelatch.ErrInvalid.
func New(cfg Config) (*http.Server, error) {
	if cfg.Gateway == nil || cfg.Registry == nil {
		return nil, fmt.Errorf("%w gateway server: Gateway and Registry are required", statelatch.ErrInvalid)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	conns := s3server.NewConnections(cfg.MaxConnections)
	parts := &uploads{self: cfg.Advertise, registry: cfg.Registry, logger: cfg.Logger}
	s3 := endpoint.New(endpoint.Config{
		Store: s3door.New(s3door.Config{
			Gateway: cfg.Gateway, Region: cfg.Region, Encrypts: cfg.Encrypts, SpoolDir: cfg.SpoolDir, Logger: cfg.Logger,
			NewUploadID: parts.newID,
		}),
		Verifier: &sigv4.Verifier{Lookup: cfg.Registry.Lookup},
		Logger:   cfg.Logger, Domain: cfg.Domain, BehindTLS: cfg.BehindTLS, Verified: conns.Verified,
	})
	sts := stsdoor.New(stsdoor.Config{Registry: cfg.Registry, Verified: conns.Verified, Logger: cfg.Logger})
	return conns.Server(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if stsdoor.Is(r) {
			sts.ServeHTTP(w, r)
			return
		}
		if to, ok := parts.elsewhere(r); ok {
			parts.passOn(w, r, to)
			return
		}
		s3.ServeHTTP(w, r)
	})), nil
}
