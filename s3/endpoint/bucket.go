package endpoint

import (
	"encoding/xml"
	"errors"
	"net/http"
	"strings"

	"github.com/statelatch/statelatch/s3/s3model"
)

type bucketXML struct {
	Name         string
	CreationDate string
	BucketRegion string
}

type listBucketsXML struct {
	XMLName           xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListAllMyBucketsResult"`
	Owner             *ownerXML
	Buckets           []bucketXML `xml:"Buckets>Bucket"`
	ContinuationToken string      `xml:",omitempty"`
	Prefix            string      `xml:",omitempty"`
}

func (c *call) listBuckets() error {
	limit := 10000
	if c.query.Has("max-buckets") {
		n, ok := parseDigits(c.query.Get("max-buckets"))
		if !ok || n < 1 || n > 10000 {
			return invalidArgument("Argument max-buckets must be an integer between 1 and 10000")
		}
		limit = int(n)
	}
	after := ""
	if c.query.Has("continuation-token") {
		var err error
		if after, err = decodeToken(c.query.Get("continuation-token")); err != nil {
			return err
		}
	}
	buckets, err := c.Store.ListBuckets(c.ctx)
	if err != nil {
		return err
	}
	prefix, region := c.query.Get("prefix"), c.query.Get("bucket-region")
	doc := listBucketsXML{Owner: owner(), Prefix: prefix}
	for _, b := range buckets {
		if b.Name <= after || !strings.HasPrefix(b.Name, prefix) || (region != "" && region != b.Region()) {
			continue
		}
		if len(doc.Buckets) == limit {
			doc.ContinuationToken = encodeToken(doc.Buckets[limit-1].Name)
			break
		}
		doc.Buckets = append(doc.Buckets, bucketXML{b.Name, xmlTime(b.Created), b.Region()})
	}
	c.writeXML(http.StatusOK, doc)
	return nil
}

func (c *call) createBucket() error {
	if strings.EqualFold(c.r.Header.Get("X-Amz-Bucket-Object-Lock-Enabled"), "true") {
		return notImplemented("Object Lock is not supported by this store.")
	}
	if v := c.r.Header.Get("X-Amz-Object-Ownership"); v != "" && v != bucketOwnerEnforced {
		return notImplemented("Object ownership other than BucketOwnerEnforced is not supported by this store.")
	}
	doc, err := c.document()
	if err != nil {
		return err
	}
	location, err := parseCreateBucket(doc)
	if err != nil {
		return err
	}
	if err := c.checkNewRegion(location); err != nil {
		return err
	}
	err = c.Store.CreateBucket(c.ctx, c.bucket, location)
	if errors.Is(err, s3model.ErrBucketAlreadyOwnedByYou) && location == "" {
		// S3's oldest region answers its owner 200, and clients there count on it.
		if b, again := c.Store.GetBucket(c.ctx, c.bucket); again == nil && b.Location == "" {
			err = nil
		}
	}
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", "/"+c.bucket)
	return c.ok()
}

// parseCreateBucket returns the location constraint; us-east-1, where S3 has none, becomes empty.
func parseCreateBucket(doc []byte) (string, error) {
	if len(doc) == 0 {
		return "", nil
	}
	root, err := parseXML(doc, "CreateBucketConfiguration")
	if err != nil {
		return "", err
	}
	var location string
	if err := root.decode(fields{
		"LocationConstraint": word(&location),
		"Location":           unsupported("A bucket in a single zone"),
		"Bucket":             unsupported("A directory bucket"),
		"Tags":               unsupported("Tagging a bucket while creating it"),
	}); err != nil {
		return "", err
	}
	if location != "" && !s3model.ValidRegion(location) {
		return "", refuse("InvalidLocationConstraint", http.StatusBadRequest,
			"The specified location-constraint is not valid")
	}
	if location == s3model.DefaultRegion {
		location = ""
	}
	return location, nil
}

func (c *call) deleteBucket() error {
	if err := c.Store.DeleteBucket(c.ctx, c.bucket); err != nil {
		return err
	}
	return c.noContent()
}

func (c *call) headBucket() error {
	b, err := c.Store.GetBucket(c.ctx, c.bucket)
	if err != nil {
		return err
	}
	c.w.Header().Set("X-Amz-Bucket-Region", b.Region())
	c.w.Header().Set("X-Amz-Access-Point-Alias", "false")
	c.w.Header().Set("Content-Type", "application/xml")
	c.w.WriteHeader(http.StatusOK)
	return nil
}

func (c *call) getLocation() error {
	b, err := c.Store.GetBucket(c.ctx, c.bucket)
	if err != nil {
		return err
	}
	c.writeXML(http.StatusOK, struct {
		XMLName  xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ LocationConstraint"`
		Location string   `xml:",chardata"`
	}{Location: b.Location})
	return nil
}
