// Package way finds the state or the bucket that a command line means, and how to reach it, and names it again for the
// next command.
package way

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/backendconf"
	"github.com/statelatch/statelatch/backendconf/terragrunt"
	"github.com/statelatch/statelatch/internal/term"
)

// EnvBucket names the bucket that a KEY alone is in, and the one that is meant where no working directory decides.
const EnvBucket = "STATELATCH_BUCKET"

// Bucket is the bucket of the environment; empty: it names none.
func Bucket(getenv func(string) string) string {
	return strings.TrimSuffix(strings.TrimPrefix(getenv(EnvBucket), "s3://"), "/")
}

// Line is what a command line says. Profile, Region and Endpoint count more than any configuration.
type Line struct {
	Ref           string // empty: the working directory decides
	Workspace     string // of the working directory, where the command names one; empty: the environment decides
	Chdir         string
	BackendConfig []string
	Owner         string // the account that the bucket must belong to; empty: any

	Profile, Region, Endpoint string

	Getenv    func(string) string
	LookupEnv func(string) (value string, set bool)
	// Allow is asked before terragrunt is, which runs what the files of a unit say.
	Allow func(ctx context.Context, why *terragrunt.UnknownError, files []string) error
}

func (l Line) options() backendconf.Options {
	return backendconf.Options{Dir: l.Chdir, BackendConfig: l.BackendConfig, Getenv: l.Getenv}
}

// directory finds the backend of the working directory: as terragrunt sees it in a unit, else as engines do.
func (l Line) directory(ctx context.Context) (backendconf.Backend, error) {
	backend, err := terragrunt.Load(ctx, terragrunt.Options{
		Dir: l.Chdir, BackendConfig: l.BackendConfig, LookupEnv: l.LookupEnv,
	}, func(why *terragrunt.UnknownError, files []string) error { return l.Allow(ctx, why, files) })
	l.Reach(&backend)
	return backend, err
}

// Backend finds the backend of the state, without connecting.
func (l Line) Backend(ctx context.Context) (backendconf.Backend, error) {
	if l.Ref == "" {
		backend, err := l.directory(ctx)
		if err != nil && backendconf.IsElsewhere(err) && Bucket(l.Getenv) != "" {
			err = fmt.Errorf("%w; of the bucket that %s names, give the KEY alone", err, EnvBucket)
		}
		return backend, err
	}
	ref, err := statelatch.ParseRef(l.Ref)
	if err != nil {
		return backendconf.Backend{}, err
	}
	backend, err := backendconf.ForRef(ref, l.options())
	l.Reach(&backend)
	return backend, err
}

// Scope finds the bucket, or the part of it that is named, and how to reach it, without connecting.
func (l Line) Scope(ctx context.Context) (statelatch.Scope, backendconf.Backend, error) {
	if l.Ref == "" {
		backend, err := l.directory(ctx)
		name := Bucket(l.Getenv)
		if err == nil || name == "" || !backendconf.IsElsewhere(err) {
			return statelatch.Scope{Bucket: backend.Bucket}, backend, err
		}
		l.Ref = "s3://" + name
	}
	scope, err := statelatch.ParseScope(l.Ref)
	if err != nil {
		return statelatch.Scope{}, backendconf.Backend{}, err
	}
	backend, err := backendconf.ForBucket(scope.Bucket, l.options())
	l.Reach(&backend)
	return scope, backend, err
}

// Reach puts what the line says into a backend.
func (l Line) Reach(b *backendconf.Backend) {
	b.S3.ExpectedBucketOwner = l.Owner
	if l.Profile != "" { // keys beside it would count more
		b.S3.Profile, b.S3.AccessKey, b.S3.SecretKey, b.S3.Token = l.Profile, "", "", ""
	}
	b.S3.Region = cmp.Or(l.Region, b.S3.Region)
	b.S3.Endpoints.S3 = cmp.Or(l.Endpoint, b.S3.Endpoints.S3)
}

// Again names the same state again, to paste and without secrets: what stands before the command, and behind its verb.
// Of the environment only the workspace is repeated: whoever pastes the command from the log of a pipeline has none,
// and would meet another state.
func (l Line) Again() (env, args string) {
	if workspace := cmp.Or(l.Workspace, l.Getenv("TF_WORKSPACE")); l.Ref == "" && workspace != "" {
		env = "TF_WORKSPACE=" + term.ShellQuote(workspace) + " "
	}
	endpoint := l.Endpoint
	if u, err := url.Parse(endpoint); err == nil && u.User != nil {
		endpoint = "..."
	}
	words := [][2]string{{"-chdir", l.Chdir}}
	for _, item := range l.BackendConfig {
		words = append(words, [2]string{"-backend-config", backendconf.Repeatable(item)})
	}
	words = append(words, [][2]string{
		{"-profile", l.Profile}, {"-region", l.Region}, {"-endpoint", endpoint}, {"-expected-bucket-owner", l.Owner},
	}...)
	for _, w := range words {
		if w[1] != "" {
			args += " " + w[0] + " " + term.ShellQuote(w[1])
		}
	}
	if l.Ref != "" {
		args += " " + term.ShellQuote(l.Ref)
	}
	return env, args
}

// For is the line that names one state of the bucket of a backend: where the working directory was named, with what its
// backend says about the way there.
func (l Line) For(backend backendconf.Backend, ref statelatch.Ref) Line {
	if own, err := backend.Ref(); l.Ref == "" && err == nil && own == ref {
		return l
	}
	if l.Ref == "" {
		l.Chdir = ""
		var endpoints []string
		if s3 := backend.S3.Endpoints.S3; s3 != "" {
			endpoints = append(endpoints, `s3="`+s3+`"`)
		}
		if backend.DynamoDBEndpoint != "" {
			endpoints = append(endpoints, `dynamodb="`+backend.DynamoDBEndpoint+`"`)
		}
		given := l.BackendConfig
		l.BackendConfig = nil
		for _, setting := range [...][2]string{
			{"region", backend.S3.Region}, {"profile", backend.S3.Profile}, {"dynamodb_table", backend.DynamoDBTable},
		} {
			if setting[1] != "" {
				l.BackendConfig = append(l.BackendConfig, setting[0]+"="+setting[1])
			}
		}
		if len(endpoints) > 0 {
			l.BackendConfig = append(l.BackendConfig, "endpoints={"+strings.Join(endpoints, ",")+"}")
		}
		l.BackendConfig = append(l.BackendConfig, given...)
	}
	l.Ref = ref.String()
	return l
}
