package audit

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
	"syscall"
	"time"

	"github.com/statelatch/statelatch"
)

// SignatureHeader carries "sha256=" and the HMAC-SHA256 of a webhook's body in hex, where a key is given.
const SignatureHeader = "X-Statelatch-Signature"

// webhookTry bounds one request.
const webhookTry = 5 * time.Second

// webhook posts every event. A receiver may get one twice, and knows it by its ID.
type webhook struct {
	url    *url.URL
	key    []byte // empty: not signed
	client *http.Client
	chain  processChain
}

func newWebhook(location string, key []byte) (*webhook, error) {
	u, err := url.Parse(location)
	if err != nil || u.Hostname() == "" { // the error would show what may be a secret
		return nil, fmt.Errorf("%w audit location: it is no URL: want https://HOST/PATH", statelatch.ErrInvalid)
	}
	ip, err := netip.ParseAddr(u.Hostname())
	isIP := err == nil
	loopback := isIP && ip.IsLoopback() || u.Hostname() == "localhost"
	switch {
	case u.Scheme != "https" && !loopback:
		return nil, fmt.Errorf("%w audit location %s: want https://, or http:// to this machine", statelatch.ErrInvalid, shown(u))
	case isIP && forbidden(ip):
		return nil, fmt.Errorf("%w audit location %s: link-local and metadata addresses take no events", statelatch.ErrInvalid, shown(u))
	}
	dialer := &net.Dialer{Timeout: webhookTry, Control: refuseForbidden}
	return &webhook{url: u, key: key, client: &http.Client{
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, ForceAttemptHTTP2: true, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// shown is u without what may be secret: user, path and query.
func shown(u *url.URL) string { return u.Scheme + "://" + u.Host }

// metadata are addresses of clouds' metadata services that are not link-local.
var metadata = []netip.Addr{netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("100.100.100.200")}

// forbidden reports whether no audit log can be at ip.
func forbidden(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	if ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() {
		return true
	}
	for _, m := range metadata {
		if ip == m {
			return true
		}
	}
	return false
}

// refuseForbidden looks at the address that a name has led to.
func refuseForbidden(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if forbidden(at.Addr()) {
		return fmt.Errorf("%w: %s: link-local and metadata addresses take no events", statelatch.ErrInvalid, at.Addr())
	}
	return nil
}

// String is scheme and host.
func (w *webhook) String() string { return shown(w.url) }

// Append posts e until the receiver answers with a 2xx status, three times at most. Other answers than 429 and 5xx are final.
func (w *webhook) Append(ctx context.Context, e Event) error {
	const attempts = 3
	raw := w.chain.next(e)
	for try := 1; ; try++ {
		again, err := w.post(ctx, raw)
		if err == nil {
			return nil
		}
		if !again || try == attempts {
			return fmt.Errorf("audit log %s: %w", w, err)
		}
		if pauseErr := pause(ctx, try+1); pauseErr != nil {
			return fmt.Errorf("audit log %s: %w", w, errors.Join(err, pauseErr))
		}
	}
}

func (w *webhook) post(ctx context.Context, raw []byte) (again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, webhookTry)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url.String(), bytes.NewReader(raw))
	if err != nil {
		return false, plainError(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "statelatch")
	if len(w.key) > 0 {
		mac := hmac.New(sha256.New, w.key)
		mac.Write(raw)
		req.Header.Set(SignatureHeader, "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return !errors.Is(err, statelatch.ErrInvalid), plainError(err)
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 1<<10)
	_ = resp.Body.Close()
	if resp.StatusCode/100 == 2 {
		return false, nil
	}
	return resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500, fmt.Errorf("HTTP %s", resp.Status)
}

// plainError is err without the URL, whose path and query are often what admits to a webhook.
func plainError(err error) error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		return ue.Err
	}
	return err
}
