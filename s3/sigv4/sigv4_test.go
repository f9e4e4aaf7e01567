package sigv4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/statelatch/statelatch/s3/s3model"
)

// The example credentials and time of AWS's documentation of the algorithm.
const (
	testKey    = "AKIAIOSFODNN7EXAMPLE"
	testSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	testHost   = "store.example.test:9000"
)

var testTime = time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)

func newVerifier(now time.Time) *Verifier {
	return &Verifier{
		Lookup: OneKey(testKey, testSecret),
		Now:    func() time.Time { return now },
	}
}

func newSDKSigner() *v4.Signer {
	return v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
}

func credentials() aws.Credentials {
	return aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret}
}

// received is r as a server would see it, parsed from the wire.
func received(tb testing.TB, r *http.Request) *http.Request {
	tb.Helper()
	var wire bytes.Buffer
	if err := r.Write(&wire); err != nil {
		tb.Fatal(err)
	}
	return readRequest(tb, wire.Bytes())
}

// signedRequest makes a request signed by the SDK's signer, as a client would.
func signedRequest(tb testing.TB, method, target, body string, header map[string]string) *http.Request {
	tb.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, target, strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	for name, value := range header {
		r.Header.Add(name, value)
	}
	payload := r.Header.Get("X-Amz-Content-Sha256")
	if payload == "" {
		payload = sha256Hex(body)
		r.Header.Set("X-Amz-Content-Sha256", payload)
	}
	if err := newSDKSigner().SignHTTP(tb.Context(), credentials(), r, payload, "s3", "eu-central-1", testTime); err != nil {
		tb.Fatal(err)
	}
	return r
}

func wantCode(tb testing.TB, err error, code string, status int) {
	tb.Helper()
	var e *s3model.Error
	if !errors.As(err, &e) || e.Code != code || e.Status != status {
		tb.Fatalf("got error %v, want code %s with status %d", err, code, status)
	}
	if strings.Contains(e.Error(), testSecret) {
		tb.Fatalf("the error shows the secret: %v", err)
	}
}

func TestVerifier_Verify_SDKSigned(t *testing.T) {
	t.Parallel()
	for _, target := range []string{
		"http://" + testHost + "/",
		"http://" + testHost + "/bucket/key",
		"http://" + testHost + "/bucket//a//b/../c/./",
		"http://" + testHost + "/bucket/sp%20ace%2Bplus%3Dequals%26amp%3Fq%23h",
		"http://" + testHost + "/bucket/%E2%98%83/%C3%A4%25~_-.%21%27%28%29%2A",
		"http://" + testHost + "/bucket/%25E2%2598",
		"http://" + testHost + "/bucket/env%3A/dev/terraform.tfstate",
		"http://" + testHost + "/bucket?list-type=2&prefix=a%2Fb%20c&delimiter=%2F&x",
		"http://" + testHost + "/bucket?b=2&a=2&a=1&B=3&a-b=1&aa=%3B%26%3D",
		"http://" + testHost + "/bucket?versions&key-marker=%E2%98%83%2B",
		"http://xn--bcher-kva.example/bucket?uploads=",
	} {
		t.Run(target, func(t *testing.T) {
			t.Parallel()
			r := signedRequest(t, http.MethodPut, target, "hello", map[string]string{
				"X-Amz-Meta-Blanks": "  many   blanks  inside ",
				"Content-Type":      "text/plain",
				"X-Amz-Meta-Empty":  "",
			})
			got, err := newVerifier(testTime).Verify(received(t, r))
			if err != nil {
				t.Fatalf("got error %v, want none", err)
			}
			if got.AccessKeyID != testKey || got.Region != "eu-central-1" || got.Presigned {
				t.Errorf("got %+v, want the signer's key and region", got)
			}
		})
	}
}

func TestVerifier_Verify_RepeatedHeaders(t *testing.T) {
	t.Parallel()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+testHost+"/b/k", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header["X-Amz-Meta-Twice"] = []string{" a  b ", "c"}
	r.Header.Set("X-Amz-Content-Sha256", emptySHA256)
	if err := newSDKSigner().SignHTTP(t.Context(), credentials(), r, emptySHA256, "s3", "us-east-1", testTime); err != nil {
		t.Fatal(err)
	}
	r = received(t, r)
	if _, err := newVerifier(testTime).Verify(r); err != nil {
		t.Fatalf("got error %v, want none", err)
	}
	r.Header["X-Amz-Meta-Twice"] = []string{"c", "a b"}
	_, err = newVerifier(testTime).Verify(r)
	wantCode(t, err, "SignatureDoesNotMatch", 403)
}

func TestVerifier_Verify_Tampered(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		tamper func(*http.Request)
		code   string
		status int
	}{
		{"method", func(r *http.Request) { r.Method = http.MethodDelete }, "SignatureDoesNotMatch", 403},
		{"path", func(r *http.Request) { r.URL.Path = "/bucket/other" }, "SignatureDoesNotMatch", 403},
		{"path slash", func(r *http.Request) { r.URL.Path += "/" }, "SignatureDoesNotMatch", 403},
		{"query value", func(r *http.Request) { r.URL.RawQuery = "versionId=2&tagging" }, "SignatureDoesNotMatch", 403},
		{"query added", func(r *http.Request) { r.URL.RawQuery += "&acl" }, "SignatureDoesNotMatch", 403},
		{"query semicolon", func(r *http.Request) { r.URL.RawQuery += "&a;b" }, "SignatureDoesNotMatch", 403},
		{"query removed", func(r *http.Request) { r.URL.RawQuery = "" }, "SignatureDoesNotMatch", 403},
		{"query broken", func(r *http.Request) { r.URL.RawQuery += "&a=%zz" }, "InvalidURI", 400},
		{"host", func(r *http.Request) { r.Host = "other.example.test" }, "SignatureDoesNotMatch", 403},
		{"signed header", func(r *http.Request) { r.Header.Set("X-Amz-Meta-A", "2") }, "SignatureDoesNotMatch", 403},
		{"signed header removed", func(r *http.Request) { r.Header.Del("X-Amz-Meta-A") }, "SignatureDoesNotMatch", 403},
		{"signed header twice", func(r *http.Request) { r.Header.Add("X-Amz-Meta-A", "2") }, "SignatureDoesNotMatch", 403},
		{"unsigned amz header", func(r *http.Request) { r.Header.Set("X-Amz-Acl", "private") }, "AccessDenied", 403},
		{"payload hash", func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", emptySHA256) }, "SignatureDoesNotMatch", 403},
		{"payload unsigned", func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD") }, "SignatureDoesNotMatch", 403},
		{"payload missing", func(r *http.Request) { r.Header.Del("X-Amz-Content-Sha256") }, "InvalidRequest", 400},
		{"payload nonsense", func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", "abc") }, "InvalidArgument", 400},
		{"payload sigv4a", func(r *http.Request) {
			r.Header.Set("X-Amz-Content-Sha256", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD")
		}, "NotImplemented", 501},
		{"content length", func(r *http.Request) { r.ContentLength = 4; r.Header.Set("Content-Length", "4") }, "SignatureDoesNotMatch", 403},
		{"body gone", func(r *http.Request) { r.ContentLength = 0 }, "XAmzContentSHA256Mismatch", 400},
		{"date", func(r *http.Request) { r.Header.Set("X-Amz-Date", "20130524T000001Z") }, "SignatureDoesNotMatch", 403},
		{"other day", func(r *http.Request) { r.Header.Set("X-Amz-Date", "20130525T000000Z") }, "AuthorizationHeaderMalformed", 400},
		{"date missing", func(r *http.Request) { r.Header.Del("X-Amz-Date") }, "AccessDenied", 403},
		{"region", editAuth("eu-central-1", "us-east-1"), "SignatureDoesNotMatch", 403},
		{"service", editAuth("/s3/", "/ec2/"), "AuthorizationHeaderMalformed", 400},
		{"terminal", editAuth("aws4_request", "aws5_request"), "AuthorizationHeaderMalformed", 400},
		{"credential short", editAuth("/s3/aws4_request", ""), "AuthorizationHeaderMalformed", 400},
		{"unknown key", editAuth(testKey, "AKIANOBODY"), "InvalidAccessKeyId", 403},
		{"host not signed", editAuth(";host;", ";"), "AuthorizationHeaderMalformed", 400},
		{"amz header not signed", editAuth(";x-amz-meta-a", ""), "AccessDenied", 403},
		{"signed headers order", editAuth("host;x-amz-content-sha256", "x-amz-content-sha256;host"), "AuthorizationHeaderMalformed", 400},
		{"signed header repeated", editAuth("host;", "host;host;"), "AuthorizationHeaderMalformed", 400},
		{"signature short", func(r *http.Request) {
			v := r.Header.Get("Authorization")
			r.Header.Set("Authorization", v[:len(v)-1])
		}, "AuthorizationHeaderMalformed", 400},
		{"signature flipped", func(r *http.Request) {
			v := r.Header.Get("Authorization")
			last := "0"
			if strings.HasSuffix(v, "0") {
				last = "1"
			}
			r.Header.Set("Authorization", v[:len(v)-1]+last)
		}, "SignatureDoesNotMatch", 403},
		{"field repeated", func(r *http.Request) {
			r.Header.Set("Authorization", r.Header.Get("Authorization")+", Signature="+emptySHA256)
		}, "AuthorizationHeaderMalformed", 400},
		{"two signatures", func(r *http.Request) { r.Header.Add("Authorization", r.Header.Get("Authorization")) }, "InvalidArgument", 400},
		{"header and query", func(r *http.Request) { r.URL.RawQuery += "&X-Amz-Algorithm=AWS4-HMAC-SHA256" }, "InvalidArgument", 400},
		{"anonymous", func(r *http.Request) { r.Header.Del("Authorization") }, "AccessDenied", 403},
		{"sigv2 header", func(r *http.Request) { r.Header.Set("Authorization", "AWS "+testKey+":c2ln") }, "InvalidRequest", 400},
		{"sigv2 query", func(r *http.Request) {
			r.Header.Del("Authorization")
			r.URL.RawQuery = "AWSAccessKeyId=" + testKey + "&Expires=1&Signature=c2ln"
		}, "InvalidRequest", 400},
		{"sigv4a", editAuth("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), "NotImplemented", 501},
		{"basic", func(r *http.Request) { r.Header.Set("Authorization", "Basic YTpi") }, "InvalidArgument", 400},
		{"only scheme", func(r *http.Request) { r.Header.Set("Authorization", "AWS4-HMAC-SHA256") }, "AuthorizationHeaderMalformed", 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := received(t, signedRequest(t, http.MethodPut, "http://"+testHost+"/bucket/key?tagging&versionId=1", "hello",
				map[string]string{"X-Amz-Meta-A": "1"}))
			tt.tamper(r)
			_, err := newVerifier(testTime).Verify(r)
			wantCode(t, err, tt.code, tt.status)
		})
	}
}

func editAuth(from, to string) func(*http.Request) {
	return func(r *http.Request) {
		v := r.Header.Get("Authorization")
		if !strings.Contains(v, from) {
			panic("the header has no " + from)
		}
		r.Header.Set("Authorization", strings.Replace(v, from, to, 1))
	}
}

func TestVerifier_Verify_WrongSecret(t *testing.T) {
	t.Parallel()
	v := newVerifier(testTime)
	v.Lookup = OneKey(testKey, "another")
	_, err := v.Verify(received(t, signedRequest(t, http.MethodGet, "http://"+testHost+"/b", "", nil)))
	wantCode(t, err, "SignatureDoesNotMatch", 403)
}

func TestVerifier_Verify_SessionToken(t *testing.T) {
	t.Parallel()
	r := signedRequest(t, http.MethodGet, "http://"+testHost+"/b", "", map[string]string{"X-Amz-Security-Token": "t"})
	_, err := newVerifier(testTime).Verify(received(t, r))
	wantCode(t, err, "InvalidToken", 400)

	// sessions is a Lookup of sessions, whose token is "right" or "old".
	sessions := func(_ context.Context, id, token string) (Key, error) {
		switch {
		case id != testKey:
			return Key{}, ErrUnknownKey
		case token == "old":
			return Key{}, ErrExpiredToken
		case token != "right":
			return Key{}, ErrInvalidToken
		}
		return Key{Secret: testSecret, Who: "ana"}, nil
	}
	const target = "http://" + testHost + "/b/k"
	withToken := func(token string) *http.Request {
		return signedRequest(t, http.MethodGet, target, "", map[string]string{"X-Amz-Security-Token": token})
	}
	tests := []struct {
		name string
		r    *http.Request
		edit func(*http.Request)
		code string
	}{
		{"right", withToken("right"), nil, ""},
		{"old", withToken("old"), nil, "ExpiredToken"},
		{"wrong", withToken("wrong"), nil, "InvalidToken"},
		{"none", signedRequest(t, http.MethodGet, target, "", nil), nil, "InvalidToken"},
		{"exchanged", withToken("right "), func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "old") }, "ExpiredToken"},
		{"signed with another", withToken("old"), func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "right") }, "SignatureDoesNotMatch"},
		{"not signed", withToken("right"), editAuth(";x-amz-security-token", ""), "AccessDenied"},
		{"added", signedRequest(t, http.MethodGet, target, "", nil), func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "right") }, "AccessDenied"},
		{"twice", withToken("right"), func(r *http.Request) { r.Header.Add("X-Amz-Security-Token", "right") }, "InvalidArgument"},
		{"in the query, too", withToken("right"), func(r *http.Request) { r.URL.RawQuery = "X-Amz-Security-Token=right" }, "InvalidArgument"},
		{"presigned", presigned(t, target+"?X-Amz-Security-Token=right", 60, nil), nil, ""},
		{"presigned, old", presigned(t, target+"?X-Amz-Security-Token=old", 60, nil), nil, "ExpiredToken"},
		{"presigned, added", presigned(t, target, 60, nil), func(r *http.Request) { r.URL.RawQuery += "&X-Amz-Security-Token=right" }, "SignatureDoesNotMatch"},
		{"presigned, exchanged", presigned(t, target+"?X-Amz-Security-Token=old", 60, nil), func(r *http.Request) {
			r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "Token=old", "Token=right", 1)
		}, "SignatureDoesNotMatch"},
	}
	for _, tt := range tests {
		r := received(t, tt.r)
		if tt.edit != nil {
			tt.edit(r)
		}
		v := newVerifier(testTime)
		v.Lookup = sessions
		got, err := v.Verify(r)
		if tt.code == "" {
			if err != nil || got.Who != "ana" {
				t.Errorf("%s: got %+v, %v, want the session's principal", tt.name, got, err)
			}
			continue
		}
		var e *s3model.Error
		if !errors.As(err, &e) || e.Code != tt.code {
			t.Errorf("%s: got error %v, want code %s", tt.name, err, tt.code)
		}
	}
}

func TestVerifier_Verify_LookupFails(t *testing.T) {
	t.Parallel()
	for code, key := range map[string]Key{"InternalError": {Secret: testSecret}, "InvalidAccessKeyId": {}} {
		v := newVerifier(testTime)
		v.Lookup = func(context.Context, string, string) (Key, error) {
			if key.Secret != "" {
				return key, errors.New("the disk is gone")
			}
			return key, nil
		}
		_, err := v.Verify(received(t, signedRequest(t, http.MethodGet, "http://"+testHost+"/b", "", nil)))
		var e *s3model.Error
		if !errors.As(err, &e) || e.Code != code || strings.Contains(e.Message, "disk") {
			t.Errorf("got error %v, want code %s, and the cause for the log alone", err, code)
		}
	}
}

func TestVerifier_VerifyWhole(t *testing.T) {
	t.Parallel()
	const body = "Action=GetCallerIdentity&Version=2011-06-15"
	form := func(service string) *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+testHost+"/", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
		if err := v4.NewSigner().SignHTTP(t.Context(), credentials(), r, sha256Hex(body), service, "eu-west-1", testTime); err != nil {
			t.Fatal(err)
		}
		return received(t, r)
	}
	edited := func(edit func(*http.Request)) *http.Request {
		r := form("sts")
		edit(r)
		return r
	}
	tests := []struct {
		name string
		r    *http.Request
		body string
		code string
	}{
		{"right", form("sts"), body, ""},
		{"another body", form("sts"), body + "&a=b", "SignatureDoesNotMatch"},
		{"another service", form("s3"), body, "AuthorizationHeaderMalformed"},
		{"another path", edited(func(r *http.Request) { r.URL.Path = "/b" }), body, "InvalidURI"},
		{"not signed", edited(func(r *http.Request) { r.Header.Del("Authorization") }), body, "AccessDenied"},
		{"presigned", edited(func(r *http.Request) {
			r.Header.Del("Authorization")
			r.URL.RawQuery = presigned(t, "http://"+testHost+"/", 60, nil).URL.RawQuery
		}), body, "AccessDenied"},
		{"another hash", edited(func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", emptySHA256) }), body, "XAmzContentSHA256Mismatch"},
	}
	for _, tt := range tests {
		v := newVerifier(testTime)
		v.Service = "sts"
		_, err := v.VerifyWhole(tt.r, []byte(tt.body))
		var e *s3model.Error
		if tt.code == "" && err != nil || tt.code != "" && (!errors.As(err, &e) || e.Code != tt.code) {
			t.Errorf("%s: got error %v, want code %q", tt.name, err, tt.code)
		}
	}
	if _, err := newVerifier(testTime).Verify(form("sts")); err == nil {
		t.Error("a signature for sts was taken for one for s3")
	}
}

func TestVerifier_Verify_Skew(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		offset time.Duration
		ok     bool
	}{
		{0, true},
		{15 * time.Minute, true},
		{-15 * time.Minute, true},
		{15*time.Minute + time.Second, false},
		{-15*time.Minute - time.Second, false},
	} {
		t.Run(tt.offset.String(), func(t *testing.T) {
			t.Parallel()
			r := received(t, signedRequest(t, http.MethodGet, "http://"+testHost+"/b", "", nil))
			_, err := newVerifier(testTime.Add(tt.offset)).Verify(r)
			if tt.ok {
				if err != nil {
					t.Fatalf("got error %v, want none", err)
				}
				return
			}
			wantCode(t, err, "RequestTimeTooSkewed", 403)
		})
	}
}

func TestVerifier_Verify_DateHeader(t *testing.T) {
	t.Parallel()
	// The SDK always sends x-amz-date, so this one is signed by hand.
	r := readRequest(t, []byte("GET /b HTTP/1.1\r\nHost: "+testHost+"\r\nDate: Fri, 24 May 2013 00:00:00 GMT\r\nx-amz-content-sha256: "+emptySHA256+"\r\n\r\n"))
	c := &claim{
		day: "20130524", region: "us-east-1", service: "s3", payload: emptySHA256, date: testTime,
		signedHeaders: []string{"date", "host", "x-amz-content-sha256"},
	}
	sig := sign(signingKey(testSecret, c.day, c.region, c.service), algorithm+"\n20130524T000000Z\n"+c.scope()+"\n"+sha256Hex(canonicalRequest(r, url.Values{}, c)))
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+testKey+"/"+c.scope()+",SignedHeaders=date;host;x-amz-content-sha256,Signature="+sig)
	if _, err := newVerifier(testTime).Verify(r); err != nil {
		t.Fatalf("got error %v, want none", err)
	}
	r.Header.Set("Date", "Fri, 24 May 2013 00:00:01 GMT")
	_, err := newVerifier(testTime).Verify(r)
	wantCode(t, err, "SignatureDoesNotMatch", 403)
}

func presigned(tb testing.TB, target string, expires int, header map[string]string) *http.Request {
	tb.Helper()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, target, nil)
	if err != nil {
		tb.Fatal(err)
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	q := r.URL.Query()
	q.Set("X-Amz-Expires", fmt.Sprint(expires))
	r.URL.RawQuery = q.Encode()
	signedURL, signedHeader, err := newSDKSigner().PresignHTTP(tb.Context(), credentials(), r, unsignedPayload, "s3", "eu-west-1", testTime)
	if err != nil {
		tb.Fatal(err)
	}
	u, err := url.Parse(signedURL)
	if err != nil {
		tb.Fatal(err)
	}
	r.URL = u
	r.Header = signedHeader
	r.Header.Del("Host")
	return r
}

func TestVerifier_Verify_Presigned(t *testing.T) {
	t.Parallel()
	for _, target := range []string{
		"http://" + testHost + "/bucket/key",
		"http://" + testHost + "/bucket/a%20b%2B%C3%A4//..?versionId=x%2By&response-content-type=text%2Fplain%3B%20charset%3Dutf-8",
	} {
		got, err := newVerifier(testTime.Add(time.Hour)).Verify(received(t, presigned(t, target, 3600, nil)))
		if err != nil {
			t.Fatalf("%s: got error %v, want none", target, err)
		}
		if !got.Presigned || got.Region != "eu-west-1" {
			t.Errorf("got %+v, want a presigned signature for eu-west-1", got)
		}
	}
}

func TestVerifier_Verify_PresignedRefused(t *testing.T) {
	t.Parallel()
	edit := func(from, to string) func(*http.Request) {
		return func(r *http.Request) {
			if !strings.Contains(r.URL.RawQuery, from) {
				panic("the query has no " + from)
			}
			r.URL.RawQuery = strings.Replace(r.URL.RawQuery, from, to, 1)
		}
	}
	tests := []struct {
		name   string
		age    time.Duration
		tamper func(*http.Request)
		code   string
		status int
	}{
		{"expired", 61 * time.Second, nil, "AccessDenied", 403},
		{"from the future", -16 * time.Minute, nil, "AccessDenied", 403},
		{"longer expiry", 61 * time.Second, edit("Expires=60", "Expires=600"), "SignatureDoesNotMatch", 403},
		{"expiry over a week", 0, edit("Expires=60", "Expires=604801"), "AuthorizationQueryParametersError", 400},
		{"expiry negative", 0, edit("Expires=60", "Expires=-1"), "AuthorizationQueryParametersError", 400},
		{"expiry no number", 0, edit("Expires=60", "Expires=6x"), "AuthorizationQueryParametersError", 400},
		{"expiry missing", 0, edit("X-Amz-Expires=60", "x=1"), "AuthorizationQueryParametersError", 400},
		{"signature missing", 0, edit("X-Amz-Signature", "Y"), "AuthorizationQueryParametersError", 400},
		{"date broken", 0, edit("X-Amz-Date=2013", "X-Amz-Date=x013"), "AuthorizationQueryParametersError", 400},
		{"algorithm", 0, edit("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512"), "AuthorizationQueryParametersError", 400},
		{"algorithm sigv4a", 0, edit("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), "NotImplemented", 501},
		{"streaming", 0, func(r *http.Request) { r.URL.RawQuery += "&X-Amz-Content-Sha256=" + streamingUnsignedTrailer }, "AuthorizationQueryParametersError", 400},
		{"method", 0, func(r *http.Request) { r.Method = http.MethodPut }, "SignatureDoesNotMatch", 403},
		{"amz header", 0, func(r *http.Request) { r.Header.Set("X-Amz-Acl", "private") }, "AccessDenied", 403},
		{"parameter", 0, func(r *http.Request) { r.URL.RawQuery += "&versionId=1" }, "SignatureDoesNotMatch", 403},
		{"token", 0, func(r *http.Request) { r.URL.RawQuery += "&X-Amz-Security-Token=t" }, "InvalidToken", 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := received(t, presigned(t, "http://"+testHost+"/bucket/key", 60, nil))
			if tt.tamper != nil {
				tt.tamper(r)
			}
			_, err := newVerifier(testTime.Add(tt.age)).Verify(r)
			wantCode(t, err, tt.code, tt.status)
		})
	}
}

func TestSignature_Body_Hash(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, sent, code string
		length           int64
		status           int
	}{
		{"right", "hello", "", 5, 0},
		{"changed", "hellO", "XAmzContentSHA256Mismatch", 5, 400},
		{"short", "hell", "IncompleteBody", 5, 400},
		{"long", "hello!", "IncompleteBody", 5, 400},
		{"no length", "hello", "MissingContentLength", -1, 411},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := &Signature{payload: sha256Hex("hello")}
			r := &http.Request{Body: io.NopCloser(strings.NewReader(tt.sent)), ContentLength: tt.length}
			body, err := s.Body(r)
			var got []byte
			if err == nil {
				got, err = io.ReadAll(body)
			}
			if tt.code != "" {
				wantCode(t, err, tt.code, tt.status)
				return
			}
			if err != nil || string(got) != tt.sent {
				t.Fatalf("got %q, %v, want %q", got, err, tt.sent)
			}
		})
	}
}

// FuzzVerify feeds the parsers of the header and of the query. Nothing that
// was not signed with the secret may be accepted, and nothing may panic.
func FuzzVerify(f *testing.F) {
	r := signedRequest(f, http.MethodGet, "http://"+testHost+"/bucket/key?a=b", "", nil)
	f.Add(r.Header.Get("Authorization"), "a=b", "20130524T000000Z", "/bucket/key")
	f.Add("", presigned(f, "http://"+testHost+"/bucket/key", 60, nil).URL.RawQuery, "", "/bucket/key")
	f.Add("AWS4-HMAC-SHA256 Credential=a/20130524/r/s3/aws4_request,SignedHeaders=host,Signature="+emptySHA256, "%zz;&=&", "x", "//")
	f.Add("AWS a:b", "Signature=&AWSAccessKeyId=", "", "")
	f.Fuzz(func(t *testing.T, authorization, query, date, path string) {
		r := &http.Request{
			Method: http.MethodGet,
			Host:   testHost,
			URL:    &url.URL{Path: path, RawQuery: query},
			Header: http.Header{"X-Amz-Content-Sha256": {emptySHA256}},
		}
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		if date != "" {
			r.Header.Set("X-Amz-Date", date)
		}
		// The seeds' secret is not the verifier's: no input can be right.
		v := newVerifier(testTime)
		v.Lookup = func(context.Context, string, string) (Key, error) { return Key{Secret: "another secret"}, nil }
		got, err := v.Verify(r)
		if err == nil {
			t.Fatalf("got %+v, want a refusal", got)
		}
		var e *s3model.Error
		if !errors.As(err, &e) || e.Status < 400 || e.Status > 501 {
			t.Fatalf("got error %v, want one with a code and a status", err)
		}
	})
}
