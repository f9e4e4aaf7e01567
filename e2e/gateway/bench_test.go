package gateway

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/statelatch/statelatch/e2e/internal/rig"
	"github.com/statelatch/statelatch/internal/faultproxy"
)

// client is a plain client with a key file.
func client(tb testing.TB, url, keyFile string) *s3.Client {
	tb.Helper()
	text, err := os.ReadFile(keyFile)
	if err != nil {
		tb.Fatal(err)
	}
	field := func(name string) string {
		return strings.TrimSpace(regexp.MustCompile(name + ` *= *(.*)`).FindStringSubmatch(string(text))[1])
	}
	return s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(url), UsePathStyle: true, AppID: "HashiCorp",
		Credentials: credentials.NewStaticCredentialsProvider(field("aws_access_key_id"), field("aws_secret_access_key"), ""),
	})
}

// cycle is what an engine sends for an apply that stores the state once, the listing apart. It returns how long each
// request took.
func cycle(tb testing.TB, c *s3.Client, serial int) []time.Duration {
	tb.Helper()
	bucket, key, lock := aws.String("terraform-state"), aws.String("app/bench.tfstate"), aws.String("app/bench.tfstate.tflock")
	var took []time.Duration
	timed := func(err error, start time.Time) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	start := time.Now()
	_, err := c.PutObject(tb.Context(), &s3.PutObjectInput{
		Bucket: bucket, Key: lock, IfNoneMatch: aws.String("*"), ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
		Body: strings.NewReader(fmt.Sprintf(`{"ID":"%d","Operation":"OperationTypeApply","Info":"","Who":"bench","Version":"1.11.4","Created":"2026-01-01T00:00:00Z","Path":"terraform-state/app/bench.tfstate"}`, serial)),
	})
	timed(err, start)
	start = time.Now()
	if _, err = c.HeadObject(tb.Context(), &s3.HeadObjectInput{Bucket: bucket, Key: key}); serial == 1 {
		err = nil // there is none yet
	}
	timed(err, start)
	if serial > 1 {
		start = time.Now()
		out, err := c.GetObject(tb.Context(), &s3.GetObjectInput{Bucket: bucket, Key: key})
		if err == nil {
			_, err = io.Copy(io.Discard, out.Body)
			_ = out.Body.Close()
		}
		timed(err, start)
	}
	start = time.Now()
	_, err = c.PutObject(tb.Context(), &s3.PutObjectInput{
		Bucket: bucket, Key: key, Body: strings.NewReader(rig.StateWithSerial(serial, "v")),
		ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
	})
	timed(err, start)
	start = time.Now()
	out, err := c.GetObject(tb.Context(), &s3.GetObjectInput{Bucket: bucket, Key: lock})
	if err == nil {
		_, err = io.Copy(io.Discard, out.Body)
		_ = out.Body.Close()
	}
	timed(err, start)
	start = time.Now()
	_, err = c.DeleteObject(tb.Context(), &s3.DeleteObjectInput{Bucket: bucket, Key: lock})
	timed(err, start)
	return took
}

// BenchmarkApply is what an engine sends for an apply: to the store, through a gateway, and through versitygw's S3
// proxy, which gives it no condition.
func BenchmarkApply(b *testing.B) {
	e := newEstate(b, 1)
	direct := e.near.File("direct.key", fmt.Sprintf("aws_access_key_id=%s\naws_secret_access_key=%s\n", e.keyOf("ID"), e.keyOf("SECRET")))
	ways := []struct {
		name string
		c    *s3.Client
	}{
		{"direct", client(b, e.store.URL, direct)},
		{"gateway", client(b, e.door.url, filepath.Join(e.near.Home, "ana.key"))},
	}
	if url := e.versitygw(b); url != "" {
		ways = append(ways, struct {
			name string
			c    *s3.Client
		}{"versitygw", client(b, url, direct)})
	}
	serial := 0
	for _, way := range ways {
		b.Run(way.name, func(b *testing.B) {
			var all []time.Duration
			for b.Loop() {
				serial++
				all = append(all, cycle(b, way.c, serial)...)
			}
			slices.Sort(all)
			b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "ms/request-p50")
		})
	}
}

// keyOf is a part of the store's key pair.
func (e *estate) keyOf(part string) string {
	text, err := os.ReadFile(filepath.Join(e.store.Data, "credentials"))
	if err != nil {
		e.t.Fatal(err)
	}
	name := map[string]string{"ID": "aws_access_key_id", "SECRET": "aws_secret_access_key"}[part]
	m := regexp.MustCompile(`(?i)` + name + ` *= *(\S+)`).FindStringSubmatch(string(text))
	if m == nil {
		e.t.Fatalf("no %s in the store's credentials", name)
	}
	return m[1]
}

// versitygw starts versitygw as a proxy to the store; empty: it is not installed.
func (e *estate) versitygw(b *testing.B) string {
	b.Helper()
	program := rig.Need(b, "versitygw")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	p := e.near.Start(e.near.Home, program, "--port", address, "--access", e.keyOf("ID"), "--secret", e.keyOf("SECRET"),
		"s3", "--access", e.keyOf("ID"), "--secret", e.keyOf("SECRET"), "--endpoint", e.store.URL, "--use-path-style")
	rig.AwaitPort(b, p, address[strings.LastIndex(address, ":")+1:])
	return "http://" + address
}

// BenchmarkPlan is a real plan where each request to the store takes 50 ms: with an engine that speaks to the store, and
// through a gateway beside the engine.
func BenchmarkPlan(b *testing.B) {
	e := newEstate(b, 1)
	slow := faultproxy.Rule{Match: func(*http.Request) bool { return true }, Fault: faultproxy.Delay(50 * time.Millisecond)}
	far := rig.StartProxy(b, e.store.URL, slow)
	behind := e.pipeline("deploy")
	if r := behind.apply("1"); r.Code != 0 {
		b.Fatal(r)
	}
	direct := e.direct()
	path := filepath.Join(direct.dir, "main.tf")
	text, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	direct.Write(path, strings.ReplaceAll(string(text), e.store.URL, far.URL))
	direct.Must(direct.dir, rig.Engine(), "init", "-input=false", "-no-color", "-reconfigure")
	e.wire.Add(slow)
	for _, way := range []struct {
		name string
		g    *engine
	}{{"direct", direct}, {"gateway", behind}} {
		b.Run(way.name, func(b *testing.B) {
			for b.Loop() {
				way.g.Must(way.g.dir, rig.Engine(), "plan", "-input=false", "-no-color", "-var", "value=1")
			}
		})
	}
}
