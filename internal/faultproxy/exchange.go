package faultproxy

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// exchange is one request and its answer on their way.
type exchange struct {
	proxy *Proxy
	w     http.ResponseWriter
	r     *http.Request
	line  *Request // under the proxy's lock

	// Of a request that meets a fault:
	body   []byte
	answer *answer // the store's last one
}

// answer is what the store said, read whole.
type answer struct {
	*http.Response
	body []byte
}

// pass lets the request and the answer stream.
func (x *exchange) pass(ctx context.Context) {
	// A store may refuse a body before it has read it, and the client shall learn that at once.
	_ = http.NewResponseController(x.w).EnableFullDuplex()
	resp, err := x.forward(ctx, x.r.Body)
	if err != nil {
		x.cut()
	}
	defer resp.Body.Close()
	x.reply(resp, resp.Body)
}

// forward sends the request to the store.
func (x *exchange) forward(ctx context.Context, body io.ReadCloser) (*http.Response, error) {
	out := x.r.WithContext(ctx)
	out.URL = new(url.URL)
	*out.URL = *x.r.URL
	out.URL.Scheme, out.URL.Host = x.proxy.upstream.Scheme, x.proxy.upstream.Host
	out.RequestURI = ""
	out.Body = body
	out.Header = x.r.Header.Clone()
	if len(out.Header.Values("User-Agent")) == 0 {
		out.Header["User-Agent"] = []string{""} // or net/http adds its own
	}
	if out.Header.Get("Content-Length") == "0" {
		out.TransferEncoding = []string{"identity"} // or net/http leaves the length out, which may be signed
	}
	resp, err := x.proxy.transport.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	x.note(func(line *Request) { line.Stored = resp.StatusCode })
	return resp, nil
}

// read takes the whole request from the client.
func (x *exchange) read() (err error) {
	x.body, err = io.ReadAll(x.r.Body)
	return err
}

// send lets the store process the request that was read, whoever still waits for the answer.
func (x *exchange) send() error {
	body := io.NopCloser(bytes.NewReader(x.body))
	if x.r.ContentLength == 0 {
		body = http.NoBody
	}
	resp, err := x.forward(x.proxy.ctx, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	x.answer = &answer{Response: resp}
	x.answer.body, err = io.ReadAll(resp.Body)
	return err
}

// relay gives the client the store's answer to send.
func (x *exchange) relay() { x.reply(x.answer.Response, bytes.NewReader(x.answer.body)) }

func (x *exchange) reply(resp *http.Response, body io.Reader) {
	h := x.w.Header()
	for name, values := range resp.Header {
		h[name] = values
	}
	for _, name := range [...]string{"Date", "Content-Type"} {
		if len(resp.Header.Values(name)) == 0 {
			h[name] = nil // or net/http makes one up
		}
	}
	x.note(func(line *Request) { line.Status = resp.StatusCode })
	x.w.WriteHeader(resp.StatusCode)
	w := flushing{x.w, http.NewResponseController(x.w)}
	// Even nothing: without a length the answer stays chunked only if its head goes out before its end is known.
	_, err := w.Write(nil)
	if err == nil {
		_, err = io.Copy(w, body)
	}
	if err != nil {
		x.cut()
	}
}

// flushing passes on at once what comes in pieces.
type flushing struct {
	io.Writer
	*http.ResponseController
}

// Write implements io.Writer.
func (f flushing) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	return n, errors.Join(err, f.Flush())
}

// refuse answers in the store's place, as S3 or, to a request for it, as DynamoDB does.
func (x *exchange) refuse(status int, code string) {
	x.refuseWith(status, code, "Injected by the fault proxy.")
}

func (x *exchange) refuseWith(status int, code, message string) {
	var escaped strings.Builder
	_ = xml.EscapeText(&escaped, []byte(message)) // into a builder: it cannot fail
	contentType, body := "application/xml",
		fmt.Sprintf("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>%s</Message></Error>", code,
			escaped.String())
	if api, _, ok := strings.Cut(x.r.Header.Get("X-Amz-Target"), "."); ok {
		service, version, _ := strings.Cut(api, "_")
		contentType = "application/x-amz-json-1.0"
		body = fmt.Sprintf(`{"__type":"com.amazonaws.%s.v%s#%s","message":%q}`, strings.ToLower(service), version, code,
			message)
	}
	x.reply(&http.Response{StatusCode: status, Header: http.Header{
		"Content-Type": {contentType}, "Content-Length": {fmt.Sprint(len(body))},
	}}, strings.NewReader(body))
}

// cut closes the client's connection. It does not return.
func (x *exchange) cut() { panic(http.ErrAbortHandler) }

func (x *exchange) note(change func(*Request)) {
	x.proxy.mu.Lock()
	defer x.proxy.mu.Unlock()
	change(x.line)
}
