package rig

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Server is a running "statelatch serve".
type Server struct {
	*Process
	URL, Data string
	Paste     string // the line for a shell that it printed
	Block     string // the backend block
}

// Serve starts the store and points the world's environment at it, by what the program itself prints.
func (w *World) Serve(args ...string) *Server {
	w.T.Helper()
	data := filepath.Join(w.Home, ".local", "share", "statelatch") // where it is by itself
	p := w.Start(w.Home, Binary, append([]string{"serve", "-data", data, "-addr", "127.0.0.1:0"}, args...)...)
	p.WaitFor(`Lock events`)
	s := &Server{Process: p, Data: data}
	printed := p.Snapshot().Stdout
	paste := regexp.MustCompile(`(?m)^eval .*$`).FindString(printed)
	if paste == "" {
		w.T.Fatalf("serve printed nothing to paste: %s", printed)
	}
	for kv := range strings.SplitSeq(w.Must(w.Home, "sh", "-c", "set -e; "+paste+"; env -0").Stdout, "\x00") {
		if k, v, ok := strings.Cut(kv, "="); ok && strings.HasPrefix(k, "AWS_") {
			w.Env[k] = v
		}
	}
	s.URL, s.Paste = w.Env["AWS_ENDPOINT_URL_S3"], paste
	block := regexp.MustCompile(`(?s)terraform \{\n.*?\n\}\n`).FindString(printed)
	if block == "" {
		w.T.Fatalf("serve printed no backend block: %s", printed)
	}
	s.Block = block
	return s
}

// HTTPGet returns the status and the body.
func HTTPGet(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, content)
}

// PlainBucket makes a bucket that keeps no versions.
func PlainBucket(t *testing.T, url, accessKey, secretKey, name string) {
	t.Helper()
	client := s3.New(s3.Options{
		BaseEndpoint: &url, Region: "us-east-1", UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(accessKey, secretKey, ""),
	})
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(name)}); err != nil {
		t.Fatal(err)
	}
}
