package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

const (
	// patience bounds the measurement of one store; the slowest needs about three minutes.
	patience = 10 * time.Minute
	// startup bounds the time until a store makes a bucket.
	startup = time.Minute
)

func buildStatelatch(ctx context.Context, dir string) (string, error) {
	program := filepath.Join(dir, "statelatch")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/statelatch/statelatch/cmd/statelatch") //nolint:gosec // a fixed command
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build statelatch: %w\n%s", err, out)
	}
	return program, nil
}

// measure starts s, probes an unversioned and, where it keeps versions, a versioned bucket, and stops it.
// rounds is the number of rounds of each race.
func measure(ctx context.Context, s store, statelatch string, rounds int) (m measurement, err error) {
	dir, err := os.MkdirTemp("", "store-"+s.name+"-")
	if err != nil {
		return m, err
	}
	defer os.RemoveAll(dir)
	place := newSite(dir, statelatch)
	defer place.wait()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()

	m = measurement{
		Name: s.name, Title: s.title, Runs: 1, Date: time.Now().UTC().Format(time.DateOnly),
		Install: s.install,
	}
	if m.Version, err = place.versionOf(ctx, s); err != nil {
		return m, fmt.Errorf("its version: %w", err)
	}
	endpoint, err := place.start(ctx, s)
	if err != nil {
		return m, fmt.Errorf("start: %w", err)
	}
	m.Start = place.served
	client := s3.New(s3.Options{
		BaseEndpoint: &endpoint, Region: "us-east-1", UsePathStyle: true, RetryMaxAttempts: 1,
		Credentials:                credentials.NewStaticCredentialsProvider(place.access, place.secret, ""),
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
	})
	if err := makeBucket(ctx, client, place, "probe-unversioned"); err != nil {
		return m, err
	}
	if m.Unversioned, _, err = place.probe(ctx, endpoint, "probe-unversioned", rounds); err != nil {
		return m, err
	}
	if err := makeBucket(ctx, client, place, "probe-versioned"); err != nil {
		return m, err
	}
	_, err = client.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{
		Bucket:                  aws.String("probe-versioned"),
		VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
	})
	var refused smithy.APIError
	switch {
	case errors.As(err, &refused):
		m.NoVersions = "keeps no versions"
		return m, nil
	case err != nil:
		return m, err
	}
	versioned, isVersioned, err := place.probe(ctx, endpoint, "probe-versioned", rounds)
	switch {
	case err != nil:
		return m, err
	case !isVersioned:
		m.NoVersions = "keeps no versions, though it accepts being told to"
	default:
		m.Versioned = &versioned
	}
	return m, nil
}

// makeBucket makes a bucket as soon as the store answers.
func makeBucket(ctx context.Context, client *s3.Client, place *site, name string) error {
	ctx, cancel := context.WithTimeout(ctx, startup)
	defer cancel()
	var last error
	for {
		attempt, stop := context.WithTimeout(ctx, 10*time.Second)
		_, err := client.CreateBucket(attempt, &s3.CreateBucketInput{Bucket: &name})
		stop()
		if err == nil || errors.As(err, new(*types.BucketAlreadyOwnedByYou)) {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		if ended := place.ended(); ended != nil {
			return ended
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("make a bucket within %s: %w", startup, last)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// probe runs "statelatch probe" against a bucket. versioned is what the probe found, whatever was asked for.
func (s *site) probe(ctx context.Context, endpoint, bucket string, rounds int) (r report, versioned bool, err error) {
	out, ran := s.output(ctx, []string{
		"AWS_ENDPOINT_URL_S3=" + endpoint, "AWS_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=" + s.access, "AWS_SECRET_ACCESS_KEY=" + s.secret,
	}, s.statelatch, "probe", "-json", "-rounds", strconv.Itoa(rounds), "s3://"+bucket)
	var answer struct {
		report
		Store struct{ Versioned bool }
		Error string
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return r, false, errors.Join(ran, fmt.Errorf("output of probe: %w", err))
	}
	if answer.Tier == "" {
		return r, false, errors.Join(ran, fmt.Errorf("no verdict on %s: %s", bucket, answer.Error))
	}
	return answer.report, answer.Store.Versioned, s.ended() // exit code 13 is a verdict, too
}
