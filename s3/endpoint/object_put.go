package endpoint

import (
	"github.com/statelatch/statelatch/s3/s3model"
)

// maxPutSize is S3's limit for one request, in bytes.
const maxPutSize = 5 << 30

func (c *call) putOrCopyObject() error {
	if c.isCopy() {
		c.op = "CopyObject"
		if err := c.served(); err != nil {
			return err
		}
		return c.copyObject()
	}
	if name := c.sourceCondition(); name != "" {
		return invalidRequest(name + " needs x-amz-copy-source.")
	}
	return c.putObject()
}

// isCopy says whether a PUT names a source. An empty one counts: the client did not mean its
// empty body to be the object.
func (c *call) isCopy() bool { return len(c.r.Header.Values("X-Amz-Copy-Source")) > 0 }

// sourceCondition is the name of a condition on the source of a copy, empty if there is none.
func (c *call) sourceCondition() string {
	for _, name := range sourceConditions {
		if len(c.r.Header.Values(name)) > 0 {
			return name
		}
	}
	return ""
}

// putRequest collects what the headers say about an object to be written.
func (c *call) putRequest() (s3model.PutRequest, error) {
	req := s3model.PutRequest{Bucket: c.bucket, Key: c.key}
	var err error
	if req.Metadata, err = c.metadata(); err != nil {
		return req, err
	}
	if req.Tags, err = c.taggingHeader(); err != nil {
		return req, err
	}
	req.Encryption, err = c.writeEncryption()
	return req, err
}

func (c *call) putObject() error {
	req, err := c.putRequest()
	if err != nil {
		return err
	}
	if req.If, err = c.writeCondition(); err != nil {
		return err
	}
	body, err := c.payload()
	if err != nil {
		return err
	}
	if body.body.Len() > maxPutSize {
		return s3model.ErrTooLarge
	}
	// The store decides on the bucket only after the body; this spares the client sending it.
	if _, err := c.Store.GetBucket(c.ctx, c.bucket); err != nil {
		return err
	}
	req.Finish = body.finish
	obj, err := c.Store.Put(c.ctx, req, body)
	if err != nil {
		return err
	}
	c.w.Header().Set("Etag", quoted(obj.ETag))
	c.setVersion(obj.VersionID)
	c.setEncryption(obj.Encryption)
	c.setChecksum(obj.Checksum)
	return c.ok()
}
