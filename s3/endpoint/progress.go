package endpoint

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// drainTime is how long the body of a request that was answered without it may still take to arrive, so that the
// connection can be used again. It is one span for all of it, however it trickles.
const drainTime = 5 * time.Second

// sendContinue answers "Expect: 100-continue" of a request without a body, to which net/http says nothing. HTTP allows
// that; botocore, which has then seen no 100, reads its next answer on the connection wrong.
func sendContinue(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 && r.ProtoMinor >= 1 && r.ContentLength == 0 &&
		strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
		w.WriteHeader(http.StatusContinue)
	}
}

// progress ends connections on which nothing moves. Each read of the body and each write of the
// answer has a deadline of its own, so that a slow client is served and a silent one is not.
type progress struct {
	*http.ResponseController
	patience time.Duration
	body     *watchedBody
}

// watchBody returns r with a body that is watched. net/http keeps its own, which it looks at when r is answered.
func (p *progress) watchBody(r *http.Request) *http.Request {
	if r.Body == nil || r.Body == http.NoBody {
		return r
	}
	r = r.WithContext(r.Context()) // a copy
	p.body = &watchedBody{ReadCloser: r.Body, progress: p}
	r.Body = p.body
	return r
}

// answer is called before the answer begins. What is left of the body, net/http reads before it sends the answer.
func (p *progress) answer() {
	if p.body != nil && !p.body.ended {
		wait := drainTime
		if p.body.err != nil {
			wait = 0 // it had its time, or the connection is gone
		}
		_ = p.SetReadDeadline(time.Now().Add(wait))
	}
	p.write()
}

// write is called before a piece of the answer is written. Where there are no deadlines there are no connections to
// end.
func (p *progress) write() { _ = p.SetWriteDeadline(time.Now().Add(p.patience)) }

type watchedBody struct {
	io.ReadCloser
	progress *progress
	ended    bool
	err      error
}

// Read implements io.Reader.
func (b *watchedBody) Read(p []byte) (int, error) {
	_ = b.progress.SetReadDeadline(time.Now().Add(b.progress.patience))
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.ended = errors.Is(err, io.EOF)
		b.err = err
		// From now on net/http watches for the client's leaving, for as long as the work takes.
		_ = b.progress.SetReadDeadline(time.Time{})
	}
	return n, err
}
