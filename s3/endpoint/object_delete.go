package endpoint

import (
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"

	"github.com/statelatch/statelatch/internal/iampolicy"
	"github.com/statelatch/statelatch/s3/s3model"
)

const (
	maxDeleteEntries  = 1000
	maxDeleteDocument = 2 << 20 // bytes: a thousand of the longest keys, escaped
	parallelDeletions = 16      // so that the store can group their commits
)

func (c *call) deleteObject() error {
	req := s3model.DeleteRequest{Bucket: c.bucket, Key: c.key, VersionID: c.query.Get("versionId")}
	if c.query.Has("versionId") && req.VersionID == "" {
		return invalidArgument("Version id cannot be the empty string")
	}
	var err error
	if req.If, err = c.writeCondition(); err != nil {
		return err
	}
	result, err := c.Store.Delete(c.ctx, req)
	if err != nil {
		return err
	}
	c.setVersion(result.VersionID)
	if result.DeleteMarker {
		c.w.Header().Set("X-Amz-Delete-Marker", "true")
	}
	return c.noContent()
}

type deletedXML struct {
	Key                   string
	VersionID             string `xml:"VersionId,omitempty"`
	DeleteMarker          bool   `xml:",omitempty"`
	DeleteMarkerVersionID string `xml:"DeleteMarkerVersionId,omitempty"`
}

type deleteErrorXML struct {
	Key       string
	VersionID string `xml:"VersionId,omitempty"`
	Code      string
	Message   string
}

type deleteResultXML struct {
	XMLName xml.Name         `xml:"http://s3.amazonaws.com/doc/2006-03-01/ DeleteResult"`
	Deleted []deletedXML     `xml:",omitempty"`
	Errors  []deleteErrorXML `xml:"Error,omitempty"`
}

func (c *call) deleteObjects() error {
	p, err := c.payload()
	if err != nil {
		return err
	}
	if !p.hasChecksum() {
		return invalidRequest("Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
	}
	doc, err := readDocument(p, maxDeleteDocument)
	if err != nil {
		return err
	}
	requests, quiet, err := parseDelete(doc)
	if err != nil {
		return err
	}
	if _, err := c.Store.GetBucket(c.ctx, c.bucket); err != nil {
		return err
	}
	policy, err := c.bucketPolicy(c.bucket)
	if err != nil {
		return err
	}
	results := make([]s3model.DeleteResult, len(requests))
	failures := make([]error, len(requests))
	slots := make(chan struct{}, parallelDeletions)
	var wg sync.WaitGroup
	for i := range requests {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			requests[i].Bucket = c.bucket
			results[i], failures[i] = c.deleteEntry(policy, requests[i])
		})
	}
	wg.Wait()
	if err := c.ctx.Err(); err != nil {
		return err // nobody waits for the answer, and the failures are the client's
	}
	c.writeXML(http.StatusOK, c.deleteAnswer(requests, results, failures, quiet))
	return nil
}

// deleteEntry runs in a goroutine of its own, so a panic must not pass it.
func (c *call) deleteEntry(
	policy *iampolicy.Policy, req s3model.DeleteRequest,
) (result s3model.DeleteResult, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = s3model.ErrInternal.With("", fmt.Errorf("panic: %v\n%s", v, debug.Stack()))
		}
	}()
	if err := checkKey(req.Key); err != nil {
		return result, err
	}
	a := ask{action: "s3:DeleteObject", bucket: req.Bucket, key: req.Key, version: req.VersionID, ifMatch: req.If.IfMatch}
	if req.VersionID != "" {
		a.action = "s3:DeleteObjectVersion"
	}
	if err := c.permit(policy, a); err != nil {
		return result, err
	}
	return c.Store.Delete(c.ctx, req)
}

func (c *call) deleteAnswer(
	requests []s3model.DeleteRequest, results []s3model.DeleteResult, failures []error, quiet bool,
) deleteResultXML {
	var out deleteResultXML
	for i, req := range requests {
		if err := failures[i]; err != nil {
			var e *s3model.Error
			if !errors.As(err, &e) {
				e = s3model.ErrInternal
			}
			if e.Status >= http.StatusInternalServerError {
				c.Logger.LogAttrs(c.ctx, slog.LevelError, "deletion failed", slog.String("request", c.id),
					slog.String("bucket", c.bucket), slog.String("key", req.Key), slog.Any("err", err))
			}
			out.Errors = append(out.Errors, deleteErrorXML{req.Key, req.VersionID, e.Code, e.Message})
			continue
		}
		if quiet {
			continue
		}
		d := deletedXML{Key: req.Key, VersionID: req.VersionID}
		if d.DeleteMarker = results[i].DeleteMarker; d.DeleteMarker {
			d.DeleteMarkerVersionID = results[i].VersionID
		}
		out.Deleted = append(out.Deleted, d)
	}
	return out
}

// parseDelete parses the body of DeleteObjects.
func parseDelete(doc []byte) (requests []s3model.DeleteRequest, quiet bool, err error) {
	root, err := parseXML(doc, "Delete")
	if err != nil {
		return nil, false, err
	}
	err = root.decode(fields{
		"Quiet": boolean(&quiet),
		"Object": many(func(n *node) error {
			var req s3model.DeleteRequest
			if err := n.decode(fields{
				"Key":              text(&req.Key),
				"VersionId":        word(&req.VersionID),
				"ETag":             one(func(v *node) error { return parseDeleteETag(v, &req.If) }),
				"LastModifiedTime": unsupported("The condition LastModifiedTime"),
				"Size":             unsupported("The condition Size"),
			}); err != nil {
				return err
			}
			if req.Key == "" {
				return malformedXML("an Object has no Key")
			}
			requests = append(requests, req)
			return nil
		}),
	})
	if err == nil && (len(requests) == 0 || len(requests) > maxDeleteEntries) {
		err = malformedXML("it must have 1 to 1000 Objects")
	}
	return requests, quiet, err
}

// parseDeleteETag parses the condition of an entry. An empty one is refused, not taken for none.
func parseDeleteETag(n *node, cond *s3model.Condition) error {
	value, err := n.value()
	if err != nil {
		return err
	}
	var ok bool
	if cond.IfMatch, ok = parseETag([]string{value}); !ok {
		return malformedXML("an ETag is not valid")
	}
	return nil
}
