package endpoint

import (
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/statelatch/statelatch/s3/s3model"
	"github.com/statelatch/statelatch/s3/sigv4"
)

// getObject serves GetObject and HeadObject.
func (c *call) getObject() error {
	req, err := c.readRequest()
	if err != nil {
		return err
	}
	if req.Encryption, err = c.readEncryption(); err != nil {
		return err
	}
	for _, name := range responseParams {
		if !validHeaderValue(c.query.Get(name)) {
			return invalidArgument("The parameter " + name + " has characters that a header may not have.")
		}
	}
	if c.r.Method == http.MethodHead {
		obj, err := c.Store.Head(c.ctx, req)
		if err != nil {
			return err
		}
		_, err = c.answerObject(obj)
		return err
	}
	obj, body, err := c.Store.Get(c.ctx, req)
	if err != nil {
		return err
	}
	defer body.Close()
	span, err := c.answerObject(obj)
	if err != nil || span == nil || span.length == 0 {
		return err
	}
	return c.send(body, *span)
}

// span is the piece of an object that is asked for.
type span struct{ offset, length int64 }

// answerObject evaluates conditions and range and writes the header of the answer. A nil
// span says that there is no body to be sent.
func (c *call) answerObject(obj s3model.Object) (*span, error) {
	h := c.w.Header()
	h.Set("Etag", quoted(obj.ETag))
	h.Set("Last-Modified", obj.LastModified.UTC().Format(http.TimeFormat))
	c.setVersion(obj.VersionID)
	switch status, name := readConditions(c.r.Header, "", obj); status {
	case http.StatusNotModified:
		c.w.WriteHeader(status)
		return nil, nil
	case http.StatusPreconditionFailed:
		c.condition = name
		return nil, s3model.ErrPreconditionFailed
	}
	part, status, err := c.spanOf(obj)
	if err != nil {
		return nil, err
	}
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Type", "binary/octet-stream")
	for name, value := range obj.Metadata {
		h.Set(name, value)
	}
	for _, name := range responseParams {
		if v := c.query.Get(name); v != "" {
			h.Set(strings.TrimPrefix(name, "response-"), v)
		}
	}
	if obj.TagCount > 0 {
		h.Set("X-Amz-Tagging-Count", strconv.Itoa(obj.TagCount))
	}
	c.setEncryption(obj.Encryption)
	// A checksum describes the whole object; with a piece of it, clients would refuse the piece.
	if strings.EqualFold(c.r.Header.Get("X-Amz-Checksum-Mode"), "ENABLED") && part.length == obj.Size {
		c.setChecksum(obj.Checksum)
	}
	if status == http.StatusPartialContent {
		h.Set("Content-Range", "bytes "+strconv.FormatInt(part.offset, 10)+"-"+
			strconv.FormatInt(part.offset+part.length-1, 10)+"/"+strconv.FormatInt(obj.Size, 10))
	}
	h.Set("Content-Length", strconv.FormatInt(part.length, 10))
	c.w.WriteHeader(status)
	if c.r.Method == http.MethodHead {
		return nil, nil
	}
	return &part, nil
}

// send copies the piece to the client. The status has been sent, so a failure
// of the store can only be shown by cutting the connection.
func (c *call) send(body io.ReadSeeker, s span) error {
	if _, err := body.Seek(s.offset, io.SeekStart); err != nil {
		return c.cutShort(err)
	}
	src := &watched{r: body}
	n, err := io.Copy(c.w, &io.LimitedReader{R: src, N: s.length})
	switch {
	case src.err != nil:
		return c.cutShort(src.err)
	case err == nil && n != s.length:
		return c.cutShort(io.ErrUnexpectedEOF)
	}
	return nil // an error of the connection is the client's affair
}

func (c *call) cutShort(err error) error {
	c.Logger.LogAttrs(c.ctx, slog.LevelError, "object could not be read to its end",
		slog.String("request", c.id), slog.String("bucket", c.bucket), slog.String("key", c.key), slog.Any("err", err))
	return s3model.ErrInternal.With("", err)
}

// watched remembers an error of the store, to tell it from one of the connection.
type watched struct {
	r   io.Reader
	err error
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err != nil && err != io.EOF {
		w.err = err
	}
	return n, err
}

// spanOf finds the piece that Range or partNumber asks for, and the status that goes with it.
func (c *call) spanOf(obj s3model.Object) (span, int, error) {
	whole := span{0, obj.Size}
	header := c.r.Header.Get("Range")
	if c.query.Has("partNumber") {
		if header != "" {
			return whole, 0, invalidRequest("Cannot specify both Range header and partNumber query parameter")
		}
		return c.partSpan(obj)
	}
	if header == "" || !inRange(c.r.Header.Get("If-Range"), obj) {
		return whole, http.StatusOK, nil
	}
	part, ok, satisfiable := parseRange(header, obj.Size)
	switch {
	case !ok:
		return whole, http.StatusOK, nil
	case !satisfiable:
		return whole, 0, refuse("InvalidRange", http.StatusRequestedRangeNotSatisfiable,
			"The requested range is not satisfiable")
	}
	return part, http.StatusPartialContent, nil
}

// inRange says whether If-Range, an ETag or a date, allows a range: a client that continues a
// download must not get a piece of another object.
func inRange(validator string, obj s3model.Object) bool {
	if validator == "" {
		return true
	}
	if t, err := sigv4.ParseTime(validator); err == nil {
		return obj.LastModified.Truncate(time.Second).Equal(t)
	}
	return validator == quoted(obj.ETag)
}

func (c *call) partSpan(obj s3model.Object) (span, int, error) {
	number, err := strconv.Atoi(c.query.Get("partNumber"))
	if err != nil || number < 1 || number > maxPartNumber {
		return span{}, 0, invalidArgument("Part number must be an integer between 1 and 10000, inclusive")
	}
	sizes := obj.Parts
	if len(sizes) == 0 {
		sizes = []int64{obj.Size}
	} else {
		c.w.Header().Set("X-Amz-Mp-Parts-Count", strconv.Itoa(len(sizes)))
	}
	if number > len(sizes) {
		return span{}, 0, refuse("InvalidPartNumber", http.StatusRequestedRangeNotSatisfiable,
			"The requested partnumber is not satisfiable")
	}
	part := span{length: sizes[number-1]}
	for _, size := range sizes[:number-1] {
		part.offset += size
	}
	if part.length == 0 {
		return part, http.StatusOK, nil
	}
	return part, http.StatusPartialContent, nil
}

// parseRange parses a Range header. ok is false for what RFC 9110 lets a server ignore:
// other units, several ranges, and malformed ones.
func parseRange(header string, size int64) (s span, ok, satisfiable bool) {
	spec, found := strings.CutPrefix(strings.TrimSpace(header), "bytes=")
	first, last, dash := strings.Cut(strings.TrimSpace(spec), "-")
	if !found || !dash {
		return s, false, false
	}
	if first == "" {
		n, valid := parseDigits(last)
		if !valid {
			return s, false, false
		}
		n = min(n, size)
		return span{size - n, n}, true, n > 0
	}
	from, valid := parseDigits(first)
	if !valid {
		return s, false, false
	}
	to := size - 1
	if last != "" {
		end, valid := parseDigits(last)
		if !valid || end < from {
			return s, false, false
		}
		to = min(to, end)
	}
	return span{from, to - from + 1}, true, from < size
}

// parseDigits parses a number without a sign. Numbers too large for any object become the largest one.
func parseDigits(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		n = 1<<63 - 1
	}
	return n, true
}

// readConditions evaluates the conditions of a read as RFC 9110 orders them: a date counts
// only if the ETag condition of its kind is absent. It returns 0, 304 or 412, and the header that decided.
func readConditions(h http.Header, prefix string, obj s3model.Object) (int, string) {
	modified := obj.LastModified.Truncate(time.Second)
	if values := h.Values(prefix + "If-Match"); len(values) > 0 {
		if !matchETags(values, obj.ETag) {
			return http.StatusPreconditionFailed, "If-Match"
		}
	} else if t, err := sigv4.ParseTime(h.Get(prefix + "If-Unmodified-Since")); err == nil && modified.After(t) {
		return http.StatusPreconditionFailed, "If-Unmodified-Since"
	}
	if values := h.Values(prefix + "If-None-Match"); len(values) > 0 {
		if matchETags(values, obj.ETag) {
			return http.StatusNotModified, "If-None-Match"
		}
	} else if t, err := sigv4.ParseTime(h.Get(prefix + "If-Modified-Since")); err == nil && !modified.After(t) {
		return http.StatusNotModified, "If-Modified-Since"
	}
	return 0, ""
}

// matchETags says whether a list of ETags, quoted or not, has the given one or is *.
func matchETags(values []string, etag string) bool {
	for _, value := range values {
		for s := range strings.SplitSeq(value, ",") {
			s = strings.TrimPrefix(strings.TrimSpace(s), "W/")
			if s == "*" || strings.Trim(s, `"`) == etag {
				return true
			}
		}
	}
	return false
}
