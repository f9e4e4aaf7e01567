package s3bucket

import (
	"net/url"
	"slices"
	"strings"

	"github.com/hashicorp/aws-sdk-go-base/v2/endpoints"
)

// Store tells stores apart: within one a bucket's name is unique. It is the endpoint of a store that is not AWS's, else
// AWS's partition.
func (b *Bucket) Store() string {
	if endpoint := b.Endpoint(); !OnAWS(endpoint) {
		return endpoint
	}
	if p, ok := endpoints.PartitionForRegion(endpoints.DefaultPartitions(), b.client.Options().Region); ok {
		return p.ID()
	}
	return "aws"
}

// OnAWS reports whether an endpoint is one of AWS's: the region then decides where a bucket is.
func OnAWS(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil || u.Hostname() == "" {
		return true
	}
	return slices.ContainsFunc(endpoints.DefaultPartitions(), func(p endpoints.Partition) bool {
		return strings.HasSuffix(u.Hostname(), "."+p.DNSSuffix())
	})
}
