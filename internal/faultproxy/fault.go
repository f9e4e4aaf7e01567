package faultproxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/statelatch/statelatch/internal/fault"
)

// Fault is what happens to a request. The zero Fault is none.
type Fault struct {
	name string
	play func(*exchange)
}

// String is the name of the fault in the log.
func (f Fault) String() string { return f.name }

// LoseRequest cuts the client off; the store sees nothing.
func LoseRequest() Fault {
	return Fault{fault.LoseRequest, func(x *exchange) { x.cut() }}
}

// LoseReply lets the store process the request completely, then cuts the client off without an answer.
func LoseReply() Fault {
	return Fault{fault.LoseReply, func(x *exchange) {
		_ = x.send()
		x.cut()
	}}
}

// Answer answers with a status and an S3 (or DynamoDB) error code; the store sees nothing. Such as
// 409 ConditionalRequestConflict, 412 PreconditionFailed, 503 SlowDown.
func Answer(status int, code string) Fault {
	return Fault{fault.Answer(status), func(x *exchange) { x.refuse(status, code) }}
}

// Refuse is [Answer] with a message.
func Refuse(status int, code, message string) Fault {
	return Fault{fault.Answer(status), func(x *exchange) { x.refuseWith(status, code, message) }}
}

// AnswerAfter lets the store process the request completely, then answers as [Answer] does, such as
// 500 InternalError.
func AnswerAfter(status int, code string) Fault {
	return Fault{fault.AnswerAfter(status), func(x *exchange) {
		if x.send() != nil {
			x.cut()
		}
		x.refuse(status, code)
	}}
}

// Delay holds a request back for d before the store sees it.
func Delay(d time.Duration) Fault {
	return Fault{fault.Delay, func(x *exchange) { x.deliver(fault.Sleep(d)(x.proxy.ctx) == nil) }}
}

// Hold holds requests back until release is closed, and is no fault from then on.
func Hold(release <-chan struct{}) Fault {
	return Fault{fault.Delay, func(x *exchange) { x.deliver(fault.Receive(release)(x.proxy.ctx) == nil) }}
}

// deliver lets the store answer the client, unless the wait before it was in vain.
func (x *exchange) deliver(waited bool) {
	if !waited || x.send() != nil {
		x.cut()
	}
	x.relay()
}

// DelayReply lets the store process the request at once and holds its answer back for d.
func DelayReply(d time.Duration) Fault {
	return Fault{fault.DelayReply, func(x *exchange) {
		if x.send() != nil || fault.Sleep(d)(x.proxy.ctx) != nil {
			x.cut()
		}
		x.relay()
	}}
}

// Duplicate lets the store process the request twice, one after the other, and gives the client the first answer.
func Duplicate() Fault {
	return Fault{fault.Duplicate, func(x *exchange) {
		if x.send() != nil {
			x.cut()
		}
		first := x.answer
		_ = x.send()
		x.answer = first
		x.relay()
	}}
}

// Late cuts the client off; the store sees the request at [Proxy.Deliver].
func Late() Fault {
	return Fault{fault.Late, func(x *exchange) {
		x.proxy.hold(x)
		x.cut()
	}}
}

// IgnoreCondition makes the store weak: the request reaches it without If-Match and If-None-Match. As
// they may be signed, the request is signed anew, with the key pair given. Bodies that
// are signed in chunks are refused with 501.
func IgnoreCondition(accessKeyID, secretAccessKey string) Fault {
	key := aws.Credentials{AccessKeyID: accessKeyID, SecretAccessKey: secretAccessKey}
	return Fault{fault.IgnoreCondition, func(x *exchange) {
		x.r.Header.Del("If-Match")
		x.r.Header.Del("If-None-Match")
		if err := x.sign(key); err != nil {
			x.refuse(http.StatusNotImplemented, "NotImplemented")
			return
		}
		x.deliver(true)
	}}
}

// AlterReply lets the store process the request and changes its answer's body on the way, by putting text in the place
// of the first old, which must be of the same length. The headers stay, those about the body as well.
func AlterReply(old, text string) Fault {
	return Fault{fault.AlterReply, func(x *exchange) {
		if x.send() != nil {
			x.cut()
		}
		x.answer.body = altered(x.answer.body, old, text)
		x.relay()
	}}
}

// AlterRequest changes the body of a request on its way, as [AlterReply] does an answer's, to a store that does not
// notice: the request is signed anew, with the key pair given, and says no more what the body is. Bodies that are
// signed in chunks are refused with 501.
func AlterRequest(old, text, accessKeyID, secretAccessKey string) Fault {
	key := aws.Credentials{AccessKeyID: accessKeyID, SecretAccessKey: secretAccessKey}
	return Fault{fault.AlterRequest, func(x *exchange) {
		x.body = altered(x.body, old, text)
		sum := sha256.Sum256(x.body)
		x.r.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
		x.r.Header.Del("Content-Md5")
		for name := range x.r.Header {
			if strings.HasPrefix(name, "X-Amz-Checksum-") {
				x.r.Header.Del(name)
			}
		}
		if err := x.sign(key); err != nil {
			x.refuse(http.StatusNotImplemented, "NotImplemented")
			return
		}
		x.deliver(true)
	}}
}

func altered(body []byte, old, text string) []byte {
	if len(old) != len(text) {
		panic(fmt.Sprintf("faultproxy: %q and %q are not of one length", old, text))
	}
	return bytes.Replace(body, []byte(old), []byte(text), 1)
}

// sign renews the signature in the Authorization header, if there is one, for the same time and scope.
func (x *exchange) sign(key aws.Credentials) error {
	h := x.r.Header
	_, credential, ok := strings.Cut(h.Get("Authorization"), "Credential=")
	if !ok {
		return nil
	}
	scope := strings.Split(strings.SplitN(credential, ",", 2)[0], "/") // key, day, region, service, aws4_request
	payload := h.Get("X-Amz-Content-Sha256")
	at, err := time.Parse("20060102T150405Z", h.Get("X-Amz-Date"))
	if len(scope) < 5 || strings.HasPrefix(payload, "STREAMING-AWS4-") || err != nil {
		return fmt.Errorf("%w: this signature", errors.ErrUnsupported)
	}
	h.Del("Authorization")
	n := len(scope)
	return v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }).
		SignHTTP(context.Background(), key, x.r, payload, scope[n-2], scope[n-3], at)
}
