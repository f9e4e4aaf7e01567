package guardhttp

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/pace"
)

// SignatureHeader carries "sha256=" and the HMAC-SHA256 of a webhook's body in hex, where a key is given.
const SignatureHeader = "X-Statelatch-Signature"

const (
	attempts   = 3
	tryTimeout = 5 * time.Second
	firstPause = 100 * time.Millisecond // before the second try, at least; doubles
)

// Webhook posts JSON to a URL. It is safe for concurrent use.
type Webhook struct {
	url    *url.URL
	key    []byte // empty: not signed
	client *http.Client
}

// NewWebhook is the webhook at address, which is a secret. transport takes the place of the guarded one, in tests; nil:
// none does. Errors match [statelatch.ErrInvalid].
func NewWebhook(address string, key []byte, transport http.RoundTripper) (*Webhook, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" { // the error would show what may be a secret
		return nil, fmt.Errorf("%w webhook: want https://HOST/PATH", statelatch.ErrInvalid)
	}
	w := &Webhook{url: u, key: key, client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	ip, err := netip.ParseAddr(u.Hostname())
	switch {
	case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
		return nil, fmt.Errorf("%w webhook %s: want https://HOST/PATH, or http:// to this machine", statelatch.ErrInvalid, w)
	case err != nil && isNumeric(u.Hostname()):
		return nil, fmt.Errorf("%w webhook %s: want a host name, or an address in its usual form", statelatch.ErrInvalid, w)
	case err == nil && Forbidden(ip), serviceNames[strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))]:
		return nil, fmt.Errorf("%w webhook %s: nothing is sent to link-local and metadata addresses", statelatch.ErrInvalid,
			w)
	}
	if transport == nil {
		dialer := &net.Dialer{Timeout: tryTimeout, Control: refuse}
		w.client.Transport = &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, ForceAttemptHTTP2: true, DisableKeepAlives: true,
		}
	}
	return w, nil
}

// String is scheme and host: user, path and query may be secret.
func (w *Webhook) String() string { return statelatch.Printable(w.url.Scheme + "://" + w.url.Host) }

// StatusError is an answer that is not 2xx.
type StatusError struct{ Code int }

func (e StatusError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("it answered with HTTP status %d %s", e.Code, http.StatusText(e.Code)))
}

// Refused reports whether it is this message that the receiver does not want. Another one may be.
func (e StatusError) Refused() bool {
	return e.Code == http.StatusBadRequest || e.Code == http.StatusRequestEntityTooLarge ||
		e.Code == http.StatusUnprocessableEntity
}

// Post posts body until the receiver answers with a 2xx status, three times at most, so that it may get it twice. Other
// answers than 429 and 5xx are final, as [StatusError].
func (w *Webhook) Post(ctx context.Context, body []byte) error {
	for try := 1; ; try++ {
		err := w.try(ctx, body)
		status, answered := errors.AsType[StatusError](err)
		final := errors.Is(err, statelatch.ErrInvalid) || answered && status.Code != http.StatusTooManyRequests &&
			status.Code < 500
		if err == nil || final || try == attempts {
			return err
		}
		if pace.Sleep(ctx, pace.Jitter(firstPause<<try)) != nil {
			return errors.Join(err, context.Cause(ctx))
		}
	}
}

func (w *Webhook) try(ctx context.Context, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url.String(), bytes.NewReader(body))
	if err != nil {
		return withoutURL(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "statelatch")
	if len(w.key) > 0 {
		mac := hmac.New(sha256.New, w.key)
		mac.Write(body)
		req.Header.Set(SignatureHeader, "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return withoutURL(err)
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
	_ = resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return StatusError{resp.StatusCode}
	}
	return nil
}

func withoutURL(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}
