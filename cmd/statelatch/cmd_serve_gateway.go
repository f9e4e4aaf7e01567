package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/audit"
	"github.com/statelatch/statelatch/bootstrap"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/embedded"
	"github.com/statelatch/statelatch/embedded/local"
	"github.com/statelatch/statelatch/gateway"
	"github.com/statelatch/statelatch/gateway/access"
	"github.com/statelatch/statelatch/gateway/server"
	"github.com/statelatch/statelatch/gateway/session"
	"github.com/statelatch/statelatch/lock"
	"github.com/urfave/cli/v3"
)

// gatewayOptions are those of a gateway alone.
type gatewayOptions struct {
	targetOptions
	config string
	check  bool
	// advertise is this gateway's URL for the others
	advertise string
	weak      bool // a store of tier cas will do
	// ownOnly is a flag that was given and is for a store on this machine; empty: none
	ownOnly string
}

// gatewayFlags are the flags of serve that are for a gateway alone.
func gatewayFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "store", Usage: "`s3://BUCKET[/PREFIX]` be a gateway to this bucket, instead of a store"},
		&cli.StringFlag{Name: "config", Usage: "`FILE` who may do what through the gateway (docs/GATEWAY.md)"},
		&cli.StringFlag{Name: "advertise", Usage: "`URL` at which other gateways of the bucket reach this one (default: " +
			"where it listens)"},
		&cli.BoolFlag{Name: "check", Usage: "check -config, and serve nothing"},
		&cli.BoolFlag{
			Name: "weak-release",
			Usage: "serve a store without an atomic conditional delete (tier cas), where the release of a lock that was " +
				"forced away can remove the next holder's",
		},
	}, without(directoryFlags(), "chdir", "region")...)
}

// gatewayOf reads the flags of a gateway. It is not ok if a store of this machine is meant.
func gatewayOf(c *cli.Command) (o gatewayOptions, ok bool, err error) {
	o = gatewayOptions{
		targetOptions: targetOf(c, c.String("store")), config: c.String("config"), check: c.Bool("check"),
		advertise: c.String("advertise"),
		weak:      c.Bool("weak-release"),
	}
	given := func(names ...string) string {
		for _, name := range names {
			if c.IsSet(name) {
				return name
			}
		}
		return ""
	}
	switch {
	case o.check && o.config == "":
		return o, false, usageError{errors.New("-check wants -config FILE")}
	case c.String("store") == "" && o.config == "":
		if name := given("advertise", "weak-release", "backend-config", "profile", "endpoint", "expected-bucket-owner",
			"audit", "audit-required"); name != "" {
			return o, false, usageError{fmt.Errorf("-%s is for a gateway: give -store s3://BUCKET and -config FILE, too", name)}
		}
		return o, false, nil
	case o.config == "":
		return o, false, usageError{errors.New("-store wants -config FILE, which says who may do what " +
			"(docs/GATEWAY.md has one to begin with)")}
	}
	if c.Bool("env") {
		return o, false, usageError{errors.New("-env is for a store without -config: its clients have keys of their own")}
	}
	o.ownOnly = given("data", "bucket", "region")
	return o, true, nil
}

// checkGateway reports what is wrong with the configuration.
func checkGateway(o gatewayOptions, term terminal) error {
	cfg, err := access.Load(o.config)
	if err == nil {
		_, err = session.Open(cfg, session.Options{})
	}
	if err != nil {
		return err
	}
	term.Print("%s: %s, %s, %s. Nothing is wrong with it.\n", o.config, count(len(cfg.Issuers), "issuer"),
		count(len(cfg.Keys), "static key"), count(len(cfg.Rules), "rule"))
	return nil
}

// runGateway serves a bucket until ctx ends: that of -store or of the file, else one on this machine.
func runGateway(ctx context.Context, o gatewayOptions, s serveOptions, term terminal) (err error) {
	cfg, err := access.Load(o.config)
	if err != nil {
		return err
	}
	if o.ref == "" {
		o.ref = cfg.Store
	}
	own := o.ref == ""
	if !own && o.ownOnly != "" {
		return usageError{fmt.Errorf("-%s is for a store on this machine, and the store is %s", o.ownOnly, o.ref)}
	}
	logger := slog.New(slog.NewTextHandler(term.Err, nil))
	registry, err := session.Open(cfg, session.Options{Logger: logger})
	if err != nil {
		return err
	}
	tlsConfig, err := s.tls()
	if err != nil {
		return err
	}
	if own {
		stop, startErr := o.startStore(ctx, s, term, logger)
		if startErr != nil {
			return startErr
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	at, err := o.openScope(ctx, term)
	if err != nil {
		return err
	}
	tier := lock.TierFull // as the tests of the embedded store hold
	if !own {
		tier, err = at.Prove(ctx)
	}
	switch {
	case err != nil:
		return err
	case tier != lock.TierFull && !o.weak:
		return fmt.Errorf("%w: %s has no atomic conditional delete (tier %s), so the release of a lock that was forced away "+
			"can remove the next holder's; -weak-release serves it all the same", statelatch.ErrUnsafeStore, at.scope, tier)
	}
	locks := *at.Manager
	locks.Table = nil // engines that have one lock it themselves
	locks.Tier = tier
	states := *at.Store
	states.Digests = nil
	locks.Fence = states.Touch
	g, err := gateway.New(gateway.Config{
		Locks: &locks, States: &states, Rules: cfg.Rules, Scope: at.scope, Audit: audit.Of(ctx), Logger: logger,
	})
	if err != nil {
		return err
	}
	listener, err := s.listen(ctx, tlsConfig)
	if err != nil {
		return err
	}
	defer listener.Close()
	url := local.URL(listener.Addr(), tlsConfig != nil)
	srv, err := server.New(server.Config{
		Gateway: g, Registry: registry, Region: at.Backend.S3.Region, Encrypts: own || encrypts(at), Domain: s.domain,
		BehindTLS: s.behindTLS, Advertise: cmp.Or(o.advertise, url), Logger: logger,
	})
	if err != nil {
		return err
	}
	term.Print("%s", gatewayWelcome(url, at, cfg))
	return serveUntil(ctx, srv, listener, url, logger, term)
}

// startStore starts the store of this machine behind the gateway, on a loopback port that nobody is told, and points o
// at it.
func (o *gatewayOptions) startStore(
	ctx context.Context, s serveOptions, term terminal, logger *slog.Logger,
) (stop func() error, err error) {
	if s.data, err = s.dataDir(term.Getenv); err != nil {
		return nil, err
	}
	store, keys, err := s.openStore(ctx, term, embedded.Config{Logger: logger})
	if err != nil {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	srv := store.HTTPServer()
	srv.ErrorLog = slog.NewLogLogger(logger.Handler(), slog.LevelWarn)
	go func() { _ = srv.Serve(listener) }() // it ends with stop
	o.ref, o.way.endpoint, o.way.region = "s3://"+s.bucket, local.URL(listener.Addr(), false), local.ClientRegion(s.region)
	o.backendConfig = append(o.backendConfig, "use_path_style=true", "access_key="+keys.ID, "secret_key="+keys.Secret)
	return func() error { return errors.Join(srv.Close(), store.Close()) }, nil
}

// gatewayWelcome is what to paste.
func gatewayWelcome(url string, at place, cfg *access.Config) string {
	block := bootstrap.Block{
		Bucket: at.scope.Bucket, Region: local.ClientRegion(at.Backend.S3.Region), Endpoint: url, PathStyle: true,
	}
	if len(cfg.Issuers) > 0 {
		block.TokenFile = "/path/to/oidc-token"
	}
	text := fmt.Sprintf("Statelatch %s is a gateway to %s at %s\n%s, %s, %s.\n\nWith this in a configuration "+
		"unmodified terraform and tofu go through it:\n\n%s", version(), at.scope, url, count(len(cfg.Rules), "rule"),
		count(len(cfg.Issuers), "issuer"), count(len(cfg.Keys), "static key"), block)
	if len(cfg.Keys) > 0 {
		text += "\nA static key is used as any AWS key pair: AWS_SHARED_CREDENTIALS_FILE=" + cfg.Keys[0].File + "\n"
	}
	return text + "\nWhat is done (Ctrl-C stops the gateway):\n"
}

// encrypts reports whether every object is encrypted by the store: it was told to, or it is AWS's, which always does.
func encrypts(at place) bool {
	objects := at.Backend.S3.ObjectOptions
	return objects.Encrypt && objects.SSECustomerKey == "" || s3bucket.OnAWS(at.Bucket.Endpoint())
}
