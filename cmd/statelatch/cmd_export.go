package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/export"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/probe"
	"github.com/urfave/cli/v3"
)

const (
	defaultMetricsAddr = "127.0.0.1:9821"
	// envAlertWebhook keeps a webhook's URL, which mostly is a secret, out of the process list.
	envAlertWebhook = "STATELATCH_ALERT_WEBHOOK"
	// envAlertKey is what its messages are signed with.
	envAlertKey = "STATELATCH_ALERT_KEY"
)

type exportOptions struct {
	targetOptions
	scopes           []string
	listen, textfile string
	hosts            []string
	interval         time.Duration
	once             bool
	maxSeries        int
	holder           bool
	askCI            bool
	probe            bool
	webhook          string
	alertAge         time.Duration
	alertVerdict     string
}

func exportCommand(term terminal) *cli.Command {
	return &cli.Command{
		Name:      "export",
		Usage:     "export locks and states of a bucket as Prometheus metrics",
		UsageText: "statelatch export [flags] [s3://BUCKET[/PREFIX]]...",
		Description: "Looks at the bucket every -interval and serves what it found last at /metrics, so that a scrape costs the store\n" +
			"nothing; or writes it to -textfile for the node exporter, once unless -interval is given. States are read for\n" +
			"their serial only after they were written. Keys beyond -max-series have no series of their own, locked ones\n" +
			"come first; totals count all. Lock IDs are never labels, holders only with -holder. Clients that wait for a lock leave no\n" +
			"trace in the bucket and are not counted.\n\n" +
			"With -alert-webhook a lock that is older than -alert-older-than is reported as JSON with a \"text\" for " +
			"Slack and its\n" +
			"like, once, and once more when it is gone; signed with " + envAlertKey +
			" if that is set. After a restart it is\n" +
			"reported again. -alert-verdict says which locks: stale; unknown: all that are not provably live; any.\n\n" +
			"/metrics answers to this machine's names and addresses, on a loopback address to localhost alone, and to what\n" +
			"-allow-host names.\n\n" +
			"Examples:\n" +
			"  statelatch export s3://acme-state\n" +
			"  statelatch export -textfile /var/lib/node_exporter/statelatch.prom s3://acme-state/prod\n" +
			"  " + envAlertWebhook + "=https://hooks.example.com/T0/B0 statelatch export -alert-older-than 2h s3://acme-state",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "listen", Usage: "`HOST:PORT` serve /metrics there (default " + defaultMetricsAddr + ")"},
			&cli.StringSliceFlag{
				Name: "allow-host", HideDefault: true,
				Usage: "`HOST` a host name that /metrics is asked by, beyond this machine's; repeatable",
			},
			&cli.StringFlag{Name: "textfile", Usage: "`FILE` write the metrics there instead, in one step"},
			&durationFlag{
				Name: "interval", Value: time.Minute, Usage: "how often to look at the bucket (default 1m)",
				HideDefault: true,
			},
			&cli.IntFlag{
				Name: "max-series", Value: export.DefaultMaxSeries,
				Usage: fmt.Sprintf("keys with series of their own (default %d)", export.DefaultMaxSeries),
			},
			&cli.BoolFlag{Name: "holder", Usage: "put who holds a lock into a label"},
			askCIFlag(),
			&cli.BoolFlag{Name: "probe", Usage: "probe the store first, if no verdict is known"},
			&cli.StringFlag{
				Name: "alert-webhook", Sources: cli.EnvVars(envAlertWebhook),
				Usage: "`URL` tell it about old locks; better in " + envAlertWebhook,
			},
			&durationFlag{
				Name: "alert-older-than", Value: time.Hour, Usage: "how old is too old (default 1h)",
				HideDefault: true,
			},
			&choiceFlag{
				Name: "alert-verdict", Value: string(export.VerdictsAny),
				Config: choices{string(export.VerdictsStale), string(export.VerdictsUnknown), string(export.VerdictsAny)},
				Usage:  "of which locks (default any)",
			},
		}, directoryFlags()...),
		Action: func(ctx context.Context, c *cli.Command) error {
			o := exportOptions{
				targetOptions: targetOf(c, c.Args().First()), scopes: wholeRefs(c), listen: c.String("listen"),
				hosts: c.StringSlice("allow-host"), textfile: c.String("textfile"), interval: c.Duration("interval"),
				once: c.String("textfile") != "" && !c.IsSet("interval"), maxSeries: c.Int("max-series"), holder: c.Bool("holder"),
				askCI: c.Bool("ask-ci"), probe: c.Bool("probe"), webhook: c.String("alert-webhook"),
				alertAge:     c.Duration("alert-older-than"),
				alertVerdict: c.String("alert-verdict"),
			}
			if err := notTwice(o.scopes); err != nil {
				return err
			}
			if err := o.check(c.IsSet("alert-older-than") || c.IsSet("alert-verdict")); err != nil {
				return err
			}
			return o.finish(ctx, term, runExport(ctx, o, term))
		},
	}
}

// check refuses what does not fit together.
func (o *exportOptions) check(alertGiven bool) error {
	switch {
	case o.listen != "" && o.textfile != "":
		return usageError{errors.New("-listen and -textfile: give one of them")}
	case o.interval < time.Second:
		return usageError{fmt.Errorf("-interval %v: at least 1s", o.interval)}
	case o.maxSeries < 1:
		return usageError{fmt.Errorf("-max-series %d: it must be positive", o.maxSeries)}
	case o.alertAge <= 0:
		return usageError{fmt.Errorf("-alert-older-than %v: it must be positive", o.alertAge)}
	case alertGiven && o.webhook == "":
		return usageError{fmt.Errorf("-alert-older-than and -alert-verdict need -alert-webhook URL, or %s", envAlertWebhook)}
	case o.webhook != "" && o.once:
		return usageError{errors.New("-alert-webhook with -textfile needs -interval: nothing is remembered from one " +
			"run to the next")}
	}
	if o.listen == "" && o.textfile == "" {
		o.listen = defaultMetricsAddr
	}
	return nil
}

func runExport(ctx context.Context, o exportOptions, term terminal) error {
	places, err := o.openScopes(ctx, term, o.scopes)
	if err != nil {
		return err
	}
	all := export.All{}
	metrics := prometheus.NewPedanticRegistry()
	for _, p := range places {
		e, err := o.exporter(ctx, term, p)
		if err != nil {
			return err
		}
		to := prometheus.Registerer(metrics)
		if len(places) > 1 {
			to = prometheus.WrapRegistererWith(prometheus.Labels{"scope": p.scope.String()}, metrics)
		}
		if err := to.Register(e.Collector()); err != nil {
			return err
		}
		all = append(all, e)
	}
	if o.textfile != "" {
		return o.writeFile(ctx, all, metrics)
	}
	return o.serve(ctx, all, metrics, term)
}

// exporter is for one bucket, or a part of it.
func (o exportOptions) exporter(ctx context.Context, term terminal, p place) (*export.Exporter, error) {
	tier, err := o.tier(ctx, term, p.Bucket)
	if err != nil {
		return nil, err
	}
	cfg := export.Config{
		Locks: &lock.Manager{Bucket: p.Bucket}, Scope: p.scope, WorkspacePrefix: p.Backend.WorkspaceKeyPrefix,
		Evidence:  evidenceOf(term, o.askCI),
		MaxSeries: o.maxSeries, Holder: o.holder, Tier: tier, Log: slog.New(slog.NewTextHandler(term.Err, nil)),
	}
	if p.Table != nil {
		cfg.Locks.Table = p.Table
	}
	if o.webhook != "" {
		if cfg.Alerts, err = export.NewAlerts(o.webhook, []byte(term.Getenv(envAlertKey)), o.alertAge,
			export.Verdicts(o.alertVerdict), nil); err != nil {
			return nil, usageError{fmt.Errorf("-alert-webhook, %s: %w", envAlertKey, err)}
		}
	}
	return export.New(cfg), nil
}

// tier is what a probe said, as far as it is known.
func (o exportOptions) tier(ctx context.Context, term terminal, b *s3bucket.Bucket) (lock.Tier, error) {
	k := keeper(term)
	if v, ok := k.Known(b, time.Now()); ok || !o.probe {
		return v.Tier, nil
	}
	v, err := k.Probe(ctx, []*s3bucket.Bucket{b}, probe.Short())
	return v.Tier, err
}

// writeFile writes the metrics in one step: once, or after every collection. A collection that fails is written, too.
func (o exportOptions) writeFile(ctx context.Context, e export.All, metrics *prometheus.Registry) error {
	write := func() error {
		if err := prometheus.WriteToTextfile(o.textfile, metrics); err != nil {
			return fmt.Errorf("-textfile: %w", err)
		}
		return nil
	}
	err := e.Collect(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err = errors.Join(err, write()); err != nil || o.once {
		return err
	}
	return e.Run(ctx, o.interval, write)
}

// serve serves the metrics until ctx ends. What is wrong with the bucket's name or the rights to it shows before it
// starts.
func (o exportOptions) serve(ctx context.Context, e export.All, metrics *prometheus.Registry, term terminal) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return usageError{fmt.Errorf("-listen %q: %w", o.listen, err)}
	}
	defer listener.Close()
	if err := e.Collect(ctx); err != nil {
		return err
	}
	term.Say("Metrics at http://%s/metrics, looked for every %v. Ctrl-C ends it.\n", listener.Addr(), o.interval)
	return e.Serve(ctx, listener, o.hosts, metrics, o.interval)
}
