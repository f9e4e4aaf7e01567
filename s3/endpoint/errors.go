package endpoint

import (
	"context"
	"encoding/xml"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/statelatch/statelatch/s3/s3model"
)

func refuse(code string, status int, message string) *s3model.Error {
	return &s3model.Error{Code: code, Status: status, Message: message}
}

func notImplemented(message string) *s3model.Error {
	return refuse("NotImplemented", http.StatusNotImplemented, message)
}

func invalidArgument(message string) *s3model.Error {
	return refuse("InvalidArgument", http.StatusBadRequest, message)
}

func invalidRequest(message string) *s3model.Error {
	return s3model.ErrInvalidRequest.With(message, nil)
}

func malformedXML(message string) *s3model.Error {
	return refuse("MalformedXML", http.StatusBadRequest,
		"The XML you provided was not well-formed or did not validate against our published schema: "+message+".")
}

// errorDocument is the body of a refusal.
type errorDocument struct {
	XMLName    xml.Name `xml:"Error"`
	Code       string
	Message    string
	BucketName string `xml:",omitempty"`
	Key        string `xml:",omitempty"`
	Condition  string `xml:",omitempty"`
	Endpoint   string `xml:",omitempty"`
	Bucket     string `xml:",omitempty"`
	Resource   string
	RequestID  string `xml:"RequestId"`
}

// fail answers with an error, or cuts the connection if the answer has begun.
func (c *call) fail(err error) {
	if c.w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	var e *s3model.Error
	switch {
	case errors.As(err, &e):
	case c.ctx.Err() != nil && errors.Is(err, context.Canceled):
		e = refuse("RequestTimeout", http.StatusBadRequest, "The connection was closed before the request was done.")
	default:
		e = s3model.ErrInternal.With("", err)
	}
	if e.Status >= http.StatusInternalServerError && e.Status != http.StatusNotImplemented {
		c.Logger.LogAttrs(c.ctx, slog.LevelError, "request failed",
			slog.String("request", c.id), slog.String("op", c.op), slog.String("bucket", c.bucket),
			slog.String("key", c.key), slog.String("code", e.Code), slog.Any("err", err))
	}
	h := c.w.Header()
	for _, name := range []string{
		"Content-Length", "Content-Range", "Content-Encoding", "Etag", "Last-Modified",
		"Accept-Ranges",
	} {
		h.Del(name)
	}
	if e.DeleteMarker {
		h.Set("X-Amz-Delete-Marker", "true")
		if e.Status == http.StatusMethodNotAllowed {
			h.Set("Allow", "DELETE")
		}
	}
	if e.VersionID != "" {
		h.Set("X-Amz-Version-Id", e.VersionID)
	}
	if c.r.Method == http.MethodHead {
		h.Set("Content-Type", "application/xml")
		c.w.WriteHeader(e.Status)
		return
	}
	doc := errorDocument{
		Code: e.Code, Message: e.Message,
		Resource: c.r.URL.Path, RequestID: c.id,
	}
	if c.sig != nil && (c.bucket == "" || e.Code == "NoSuchBucket" || e.Code == "InvalidBucketName") {
		if hint := c.hostHint(); hint != "" {
			doc.Message += " " + hint
		}
	}
	switch {
	case e.Code == "PreconditionFailed":
		doc.Condition = c.condition
	case e.Code == "NoSuchKey", e.Code == "NoSuchVersion":
		doc.Key = c.key
	case e.Code == "PermanentRedirect":
		doc.Endpoint, doc.Bucket = c.r.Host, c.bucket
	case strings.Contains(e.Code, "Bucket"):
		doc.BucketName = c.bucket
	}
	c.writeXML(e.Status, doc)
}
