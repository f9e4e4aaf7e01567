package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/statelatch/statelatch/bootstrap"
	"github.com/statelatch/statelatch/embedded"
	"github.com/statelatch/statelatch/embedded/boltstore"
	"github.com/statelatch/statelatch/embedded/s3model"
	"github.com/statelatch/statelatch/internal/lazyre"
	"github.com/statelatch/statelatch/internal/lockevents"
	"github.com/statelatch/statelatch/internal/private"
	"github.com/statelatch/statelatch/internal/userdir"
	"github.com/urfave/cli/v3"
)

const (
	defaultAddr   = "127.0.0.1:9820"
	defaultBucket = "terraform-state"
	// credentialsProfile is the profile of the credentials file in the data directory.
	credentialsProfile = "statelatch"
	credentialsFile    = "credentials"

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
		Usage:     "run a state bucket with real locking on this machine",
		UsageText: "statelatch serve [flags]",
		Description: "Starts an S3 store in one process, makes a versioned, encrypted bucket in it,\n" +
			"prints the backend block to paste, and then one line per lock event. Everything\n" +
			"is kept in -data, durably; the key pair is made at the first start and kept\n" +
			"there in the file 'credentials' (mode 0600), unless " + envAccessKey + "\n" +
			"and " + envSecretKey + " give one. Ctrl-C stops it.\n\n" +
			"With -env nothing is started: it prints what sets up a shell for the store that\n" +
			"is running on -data, for terraform, tofu, aws and statelatch alike.\n\n" +
			"Examples:\n" +
			"  statelatch serve\n" +
			"  eval \"$(statelatch serve -env)\"\n" +
			"  statelatch serve -data /srv/state -bucket acme-state\n" +
			"  statelatch serve -addr 0.0.0.0:9820 -tls-cert server.crt -tls-key server.key",
		Flags: []cli.Flag{
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
		},
		Action: func(ctx context.Context, c *cli.Command) error {
			if c.Args().Present() {
				return usageError{fmt.Errorf("serve takes no arguments, got %q", c.Args().First())}
			}
			o := serveOptions{
				data: c.String("data"), addr: c.String("addr"), bucket: c.String("bucket"), domain: c.String("domain"),
				region:  c.String("region"),
				tlsCert: c.String("tls-cert"), tlsKey: c.String("tls-key"), behindTLS: c.Bool("behind-tls"),
			}
			if c.Bool("env") {
				return runServeEnv(ctx, o, term)
			}
			return runServe(ctx, o, term)
		},
	}
}

func runServe(ctx context.Context, o serveOptions, term terminal) (err error) {
	if !s3model.ValidBucketName(o.bucket) {
		return usageError{fmt.Errorf("-bucket %q: want %s", o.bucket, s3model.BucketNameRules)}
	}
	if o.domain != "" && !validDomain.MatchString(o.domain) {
		return usageError{fmt.Errorf("-domain %q: want a host name without a port, such as s3.example.com", o.domain)}
	}
	if o.region != "" && !s3model.ValidRegion(o.region) {
		return usageError{fmt.Errorf("-region %q: want %s", o.region, s3model.RegionRules)}
	}
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

	if err := os.MkdirAll(o.data, 0o700); err != nil {
		return fmt.Errorf("data directory -data %q cannot be made: %w", o.data, err)
	}
	if err := private.Dir(o.data); err != nil {
		return fmt.Errorf("data directory -data: %w", err)
	}
	keys, err := o.keyPair(ctx, term.Getenv)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(term.Err, nil))
	store, err := embedded.Open(embedded.Config{ //nolint:contextcheck // the store outlives any context of its opening
		Dir: o.data, AccessKeyID: keys.id, SecretAccessKey: keys.secret, Domain: o.domain,
		Region: o.region, BehindTLS: o.behindTLS, Logger: logger,
		Watch: func(s s3model.Store) s3model.Store { return lockevents.Watch(s, term.Out, time.Now) },
	})
	if errors.Is(err, boltstore.ErrInUse) {
		return fmt.Errorf("data directory %s is in use by another process: stop that one, or give another -data", o.data)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := store.EnsureBucket(ctx, o.bucket); err != nil {
		return fmt.Errorf("make bucket -bucket %q (-region %q): %w", o.bucket, o.region, err)
	}

	url := endpointURL(listener.Addr(), tlsConfig != nil)
	running := runningStore{Endpoint: url, Region: o.region, OwnKeys: keys.file != ""}
	if err := running.write(o.data); err != nil {
		return err
	}
	defer running.remove(o.data)
	term.Print("%s", o.welcome(url, term.Getenv))

	srv := store.HTTPServer()
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

// clientRegion is the region that clients are told: that of the store, else one that signatures can name.
func clientRegion(region string) string { return cmp.Or(region, s3model.DefaultRegion) }

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

// endpointURL is what a client on this machine uses.
func endpointURL(addr net.Addr, encrypted bool) string {
	host, port, _ := net.SplitHostPort(addr.String())
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		if name, err := os.Hostname(); err == nil {
			host = name
		}
	}
	if encrypted {
		return "https://" + net.JoinHostPort(host, port)
	}
	return "http://" + net.JoinHostPort(host, port)
}

// keyPair is the store's one key pair.
type keyPair struct {
	id, secret string
	file       string // where it is kept; empty if the environment gave it
}

// keyPair takes the pair from the environment, else from the data directory, where it makes one at first.
func (o serveOptions) keyPair(ctx context.Context, getenv func(string) string) (keyPair, error) {
	id, secret := getenv(envAccessKey), getenv(envSecretKey)
	if id != "" || secret != "" {
		if id == "" || secret == "" {
			return keyPair{}, usageError{fmt.Errorf("%s and %s go together: set both, or neither to have a pair made",
				envAccessKey, envSecretKey)}
		}
		if err := embedded.CheckKeyPair(id, secret); err != nil {
			return keyPair{}, usageError{fmt.Errorf("%s, %s: %w; or set neither to have a pair made", envAccessKey, envSecretKey,
				err)}
		}
		return keyPair{id: id, secret: secret}, nil
	}
	file := filepath.Join(o.data, credentialsFile)
	if err := makeCredentials(file); err != nil {
		return keyPair{}, err
	}
	profile, err := config.LoadSharedConfigProfile(ctx, credentialsProfile, func(lo *config.LoadSharedConfigOptions) {
		lo.ConfigFiles, lo.CredentialsFiles = []string{}, []string{file}
	})
	if err != nil || !profile.Credentials.HasKeys() {
		return keyPair{}, fmt.Errorf("%s has no usable profile [%s]: mend it, or remove it to get a new key pair", file,
			credentialsProfile)
	}
	keys := keyPair{profile.Credentials.AccessKeyID, profile.Credentials.SecretAccessKey, file}
	if err := embedded.CheckKeyPair(keys.id, keys.secret); err != nil {
		return keyPair{}, fmt.Errorf("%s: profile [%s]: %w; or remove the file to get a new key pair", file,
			credentialsProfile, err)
	}
	return keys, nil
}

// makeCredentials writes a fresh key pair unless the file exists, all or nothing.
func makeCredentials(file string) error {
	if err := private.File(file); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("credentials file: %w", err)
	}
	var random [10 + 30]byte
	_, _ = rand.Read(random[:]) // never fails
	body := fmt.Sprintf("# The key pair of the Statelatch store in this directory.\n[%s]\naws_access_key_id = "+
		"SLAT%s\naws_secret_access_key = %s\n",
		credentialsProfile, base32.StdEncoding.EncodeToString(random[:10]), base64.RawURLEncoding.EncodeToString(random[10:]))
	tmp, err := os.CreateTemp(filepath.Dir(file), "credentials-*") // mode 0600
	if err != nil {
		return fmt.Errorf("credentials file: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(body)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("credentials file: %w", err)
	}
	// Link refuses to replace a file that another process made meanwhile.
	if err := os.Link(tmp.Name(), file); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("credentials file: %w", err)
	}
	return nil
}

// welcome is what to paste.
func (o serveOptions) welcome(url string, getenv func(string) string) string {
	block := bootstrap.Block{Bucket: o.bucket, Region: clientRegion(o.region), Endpoint: url, PathStyle: true}
	return fmt.Sprintf(`Statelatch %s serves %s
Bucket %s: versioned, encrypted, locking. Data in %s

Put this into your Terraform or OpenTofu configuration:

%s
and this into your shell, for terraform, aws and statelatch alike:

eval "$(%s)"

Lock events (Ctrl-C stops the store):
`, version(), url, o.bucket, o.data, block, o.envCommand(getenv))
}
