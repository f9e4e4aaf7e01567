package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/statelatch/statelatch/bootstrap"
	"github.com/statelatch/statelatch/embedded"
	"github.com/statelatch/statelatch/embedded/boltstore"
	"github.com/statelatch/statelatch/embedded/local"
	"github.com/statelatch/statelatch/internal/lazyre"
	"github.com/statelatch/statelatch/internal/lockevents"
	"github.com/statelatch/statelatch/internal/private"
	"github.com/statelatch/statelatch/internal/userdir"
	"github.com/statelatch/statelatch/s3/s3model"
	"github.com/statelatch/statelatch/s3/sigv4"
	"github.com/urfave/cli/v3"
)

const (
	defaultAddr   = "127.0.0.1:9820"
	defaultBucket = "terraform-state"

	envAccessKey = "STATELATCH_ACCESS_KEY_ID"
	envSecretKey = "STATELATCH_SECRET_ACCESS_KEY"

	// shutdownGrace is how long requests under way may take after Ctrl-C.
	shutdownGrace = 10 * time.Second
)

var validDomain = lazyre.New(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)

type serveOptions struct {
	data, addr, bucket string
	domain, region     string
	tlsCert, tlsKey    string
	behindTLS          bool
}

func serveCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "serve",
		Usage:     "run a state bucket on this machine, or a gateway to one",
		UsageText: "statelatch serve [flags]",
		Description: "Starts an S3 store in one process, makes a versioned, encrypted bucket in it,\n" +
			"prints the backend block to paste, and then one line per lock event. Everything\n" +
			"is kept in -data, durably; the key pair is made at the first start and kept\n" +
			"there in the file 'credentials' (mode 0600), unless " + envAccessKey + "\n" +
			"and " + envSecretKey + " give one. Ctrl-C stops it.\n\n" +
			"With -env nothing is started: it prints what sets up a shell for the store that\n" +
			"is running on -data, for terraform, tofu, aws and statelatch alike.\n\n" +
			"With -store it keeps nothing, but is a gateway to that bucket: engines whose\n" +
			"endpoints point at it, unchanged, lose no update and need no keys of the bucket.\n" +
			"-config says who may do what, by the token of a job or a key of its own; -check\n" +
			"says what is wrong with that file. Several gateways on one bucket are one.\n" +
			"With -config and no -store, here or in the file, the store on this machine is\n" +
			"behind the gateway.\n\n" +
			"Examples:\n" +
			"  statelatch serve\n" +
			"  eval \"$(statelatch serve -env)\"\n" +
			"  statelatch serve -data /srv/state -bucket acme-state\n" +
			"  statelatch serve -addr 0.0.0.0:9820 -tls-cert server.crt -tls-key server.key\n" +
			"  statelatch serve -config rules.hcl -check\n" +
			"  statelatch serve -store s3://acme-state -config rules.hcl -addr 0.0.0.0:443 -tls-cert server.crt -tls-key server.key\n" +
			"  statelatch serve -store s3://acme-state/team-a -config rules.hcl -behind-tls -audit s3://acme-audit/gateway",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "data", Usage: "`DIR` where everything is kept (default: statelatch in the user's data " +
				"directory)"},
			&cli.StringFlag{Name: "addr", Usage: "`HOST:PORT` address to listen on (default " +
				"" + defaultAddr + ")", Value: defaultAddr},
			&cli.StringFlag{Name: "bucket", Usage: "`NAME` bucket to make (default " +
				"" + defaultBucket + ")", Value: defaultBucket},
			&cli.StringFlag{Name: "domain", Usage: "`DOMAIN` also serve BUCKET.DOMAIN (virtual-host style)"},
			&cli.StringFlag{Name: "region", Usage: "`REGION` make the bucket there, and refuse requests signed for " +
				"another region than " +
				"their bucket's, as AWS does (default: any region will do)"},
			&cli.BoolFlag{Name: "env", Usage: "print the environment for the store that is running on -data"},
			&cli.StringFlag{Name: "tls-cert", Usage: "`FILE` certificate chain in PEM, needed beyond loopback"},
			&cli.StringFlag{Name: "tls-key", Usage: "`FILE` its private key in PEM"},
			&cli.BoolFlag{
				Name: "behind-tls", Usage: "a proxy on this machine ends TLS: policies take what it sends for encrypted",
			},
		}, gatewayFlags()...),
		Action: func(ctx context.Context, c *cli.Command) error {
			if c.Args().Present() {
				return usageError{fmt.Errorf("serve takes no arguments, got %q", c.Args().First())}
			}
			o := serveOptions{
				data: c.String("data"), addr: c.String("addr"), bucket: c.String("bucket"), domain: c.String("domain"),
				region:  c.String("region"),
				tlsCert: c.String("tls-cert"), tlsKey: c.String("tls-key"), behindTLS: c.Bool("behind-tls"),
			}
			gw, isGateway, err := gatewayOf(c)
			if err == nil {
				err = o.valid()
			}
			switch {
			case err != nil:
				return err
			case gw.check:
				return checkGateway(gw, term)
			case isGateway:
				return gw.finish(ctx, term, runGateway(ctx, gw, o, term))
			case c.Bool("env"):
				return runServeEnv(ctx, o, term)
			}
			return runServe(ctx, o, term)
		},
	}
}

// valid refuses what no server can be.
func (o serveOptions) valid() error {
	if !s3model.ValidBucketName(o.bucket) {
		return usageError{fmt.Errorf("-bucket %q: want %s", o.bucket, s3model.BucketNameRules)}
	}
	if o.domain != "" && !validDomain.MatchString(o.domain) {
		return usageError{fmt.Errorf("-domain %q: want a host name without a port, such as s3.example.com", o.domain)}
	}
	if o.region != "" && !s3model.ValidRegion(o.region) {
		return usageError{fmt.Errorf("-region %q: want %s", o.region, s3model.RegionRules)}
	}
	return nil
}

func runServe(ctx context.Context, o serveOptions, term terminal) (err error) {
	tlsConfig, err := o.tls()
	if err != nil {
		return err
	}
	if o.data, err = o.dataDir(term.Getenv); err != nil {
		return err
	}
	listener, err := o.listen(ctx, tlsConfig)
	if err != nil {
		return err
	}
	defer listener.Close()

	logger := slog.New(slog.NewTextHandler(term.Err, nil))
	store, keys, err := o.openStore(ctx, term, embedded.Config{
		Domain: o.domain, BehindTLS: o.behindTLS, Logger: logger,
		Watch: func(s s3model.Store) s3model.Store { return lockevents.Watch(s, term.Out, time.Now) },
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()

	url := local.URL(listener.Addr(), tlsConfig != nil)
	running := local.Running{Endpoint: url, Region: o.region, OwnKeys: keys.InFile}
	if err := running.Write(o.data); err != nil {
		return fmt.Errorf("data directory -data: %w", err)
	}
	defer running.Remove(o.data)
	term.Print("%s", o.welcome(url, term.Getenv))

	return serveUntil(ctx, store.HTTPServer(), listener, url, logger, term)
}

// openStore opens the store in -data, and makes its bucket. It fills in what cfg leaves open.
func (o serveOptions) openStore(
	ctx context.Context, term terminal, cfg embedded.Config,
) (*embedded.Server, local.KeyPair, error) {
	if err := os.MkdirAll(o.data, 0o700); err != nil {
		return nil, local.KeyPair{}, fmt.Errorf("data directory -data %q cannot be made: %w", o.data, err)
	}
	if err := private.Dir(o.data); err != nil {
		return nil, local.KeyPair{}, fmt.Errorf("data directory -data: %w", err)
	}
	keys, err := o.keyPair(ctx, term.Getenv)
	if err != nil {
		return nil, local.KeyPair{}, err
	}
	cfg.Dir, cfg.AccessKeyID, cfg.SecretAccessKey, cfg.Region = o.data, keys.ID, keys.Secret, o.region
	store, err := embedded.Open(cfg) //nolint:contextcheck // the store outlives any context of its opening
	if errors.Is(err, boltstore.ErrInUse) {
		return nil, local.KeyPair{}, fmt.Errorf("data directory %s is in use by another process: stop that one, or give "+
			"another -data", o.data)
	}
	if err != nil {
		return nil, local.KeyPair{}, err
	}
	if err := store.EnsureBucket(ctx, o.bucket); err != nil {
		err = fmt.Errorf("make bucket -bucket %q (-region %q): %w", o.bucket, o.region, err)
		return nil, local.KeyPair{}, errors.Join(err, store.Close())
	}
	return store, keys, nil
}

// serveUntil serves a listener until ctx ends, and lets requests that are under way end then.
func serveUntil(
	ctx context.Context, srv *http.Server, listener net.Listener, url string, logger *slog.Logger, term terminal,
) error {
	srv.ErrorLog = slog.NewLogLogger(logger.Handler(), slog.LevelWarn)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", url, err)
	case <-ctx.Done():
	}
	term.Say("\nStopping.\n")
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		_ = srv.Close()
	}
	return nil
}

func (o serveOptions) dataDir(getenv func(string) string) (string, error) {
	if o.data != "" {
		return filepath.Abs(o.data)
	}
	dir, err := userdir.Data(getenv)
	if err != nil {
		return "", usageError{fmt.Errorf("%w: say where to keep the data with -data DIR", err)}
	}
	return dir, nil
}

func (o serveOptions) tls() (*tls.Config, error) {
	if (o.tlsCert == "") != (o.tlsKey == "") {
		return nil, usageError{errors.New("-tls-cert and -tls-key go together: give both or neither")}
	}
	if o.behindTLS && o.tlsCert != "" {
		return nil, usageError{errors.New("-behind-tls and -tls-cert: want one, for where TLS ends")}
	}
	if o.tlsCert == "" {
		host, _, err := net.SplitHostPort(o.addr)
		if err != nil {
			return nil, usageError{fmt.Errorf("-addr %q: want HOST:PORT, such as %s", o.addr, defaultAddr)}
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return nil, usageError{fmt.Errorf("-addr %q is reachable from other machines, and without TLS so are your states: "+
				"add -tls-cert FILE -tls-key FILE, or listen on 127.0.0.1", o.addr)}
		}
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(o.tlsCert, o.tlsKey)
	if err != nil {
		return nil, usageError{fmt.Errorf("-tls-cert %q, -tls-key %q: %w", o.tlsCert, o.tlsKey, err)}
	}
	return &tls.Config{
		Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
	}, nil
}

func (o serveOptions) listen(ctx context.Context, tlsConfig *tls.Config) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", o.addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("-addr %q: the port is in use: stop what listens there, or give another, such as -addr "+
			"127.0.0.1:0 for any free one", o.addr)
	}
	if err != nil {
		return nil, fmt.Errorf("-addr %q: %w", o.addr, err)
	}
	if tlsConfig != nil {
		listener = tls.NewListener(listener, tlsConfig)
	}
	return listener, nil
}

// keyPair takes the pair from the environment, else from the data directory, where it makes one at first.
func (o serveOptions) keyPair(ctx context.Context, getenv func(string) string) (local.KeyPair, error) {
	id, secret := getenv(envAccessKey), getenv(envSecretKey)
	if id == "" && secret == "" {
		return local.Keys(ctx, o.data)
	}
	if id == "" || secret == "" {
		return local.KeyPair{}, usageError{fmt.Errorf("%s and %s go together: set both, or neither to have a pair made",
			envAccessKey, envSecretKey)}
	}
	if err := sigv4.CheckKeyPair(id, secret); err != nil {
		return local.KeyPair{}, usageError{fmt.Errorf("%s, %s: %w; or set neither to have a pair made", envAccessKey,
			envSecretKey, err)}
	}
	return local.KeyPair{ID: id, Secret: secret}, nil
}

// welcome is what to paste.
func (o serveOptions) welcome(url string, getenv func(string) string) string {
	block := bootstrap.Block{Bucket: o.bucket, Region: local.ClientRegion(o.region), Endpoint: url, PathStyle: true}
	return fmt.Sprintf(`Statelatch %s serves %s
Bucket %s: versioned, encrypted, locking. Data in %s

Put this into your Terraform or OpenTofu configuration:

%s
and this into your shell, for terraform, aws and statelatch alike:

eval "$(%s)"

Lock events (Ctrl-C stops the store):
`, version(), url, o.bucket, o.data, block, o.envCommand(getenv))
}
