package embedded_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/embedded"
)

// A whole S3 for the time of a test: engines and SDKs reach it by its URL.
func ExampleOpen() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()

	const id, secret = "EXAMPLEKEY0001", "kept-by-this-example-alone-0001"
	store, err := embedded.Open(embedded.Config{Dir: dir, AccessKeyID: id, SecretAccessKey: secret})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = store.Close() }()
	if err := store.EnsureBucket(ctx, "acme-state"); err != nil {
		fmt.Println(err)
		return
	}
	server := httptest.NewServer(store.Handler()) // in production store.HTTPServer, which has limits
	defer server.Close()

	b, err := s3bucket.Open(ctx, "acme-state", s3bucket.Config{
		Region: "us-east-1", AccessKey: id, SecretKey: secret, Endpoints: s3bucket.Endpoints{S3: server.URL},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = b.Put(ctx, "prod/network.tfstate", strings.NewReader("{}"), bucket.PutOptions{If: bucket.IfAbsent})
	fmt.Println("stored:", err == nil)
	// Output: stored: true
}
