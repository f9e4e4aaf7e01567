package sigv4

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/statelatch/statelatch/s3/s3model"
)

func readRequest(tb testing.TB, wire []byte) *http.Request {
	tb.Helper()
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(wire)))
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// The requests and signatures of AWS's documentation, "Signature Calculations for the
// Authorization Header: Transferring Payload in Multiple Chunks", without and with a trailer.
const (
	docSeed        = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
	docTrailerSeed = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
)

func docSigned() string {
	return "10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n" +
		strings.Repeat("a", 65536) + "\r\n" +
		"400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n" +
		strings.Repeat("a", 1024) + "\r\n" +
		"0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n"
}

func docTrailer() string {
	return "10000;chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n" +
		strings.Repeat("a", 65536) + "\r\n" +
		"400;chunk-signature=1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n" +
		strings.Repeat("a", 1024) + "\r\n" +
		"0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n" +
		"x-amz-checksum-crc32c:sOO8/Q==\r\n" +
		"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
}

func docRequest(path, payload, extra, signedHeaders, seed string, body string) []byte {
	return fmt.Appendf(nil, "PUT %s HTTP/1.1\r\nHost: s3.amazonaws.com\r\nx-amz-date: 20130524T000000Z\r\n"+
		"x-amz-storage-class: REDUCED_REDUNDANCY\r\nAuthorization: AWS4-HMAC-SHA256 "+
		"Credential=%s/20130524/us-east-1/s3/aws4_request,SignedHeaders=%s,Signature=%s\r\n"+
		"x-amz-content-sha256: %s\r\nContent-Encoding: aws-chunked\r\nx-amz-decoded-content-length: 66560\r\n%sContent-Length: %d\r\n\r\n%s",
		path, testKey, signedHeaders, seed, payload, extra, len(body), body)
}

func TestSignature_Body_AWSDocumentation(t *testing.T) {
	t.Parallel()
	const signed = "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class"
	r := readRequest(t, docRequest("/examplebucket/chunkObject.txt", streamingSigned, "", signed, docSeed, docSigned()))
	s, err := newVerifier(testTime).Verify(r)
	if err != nil {
		t.Fatalf("got error %v, want the documented request accepted", err)
	}
	body, err := s.Body(r)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(iotest.OneByteReader(body))
	if err != nil || string(got) != strings.Repeat("a", 66560) {
		t.Fatalf("got %d bytes, %v, want 66560 times a", len(got), err)
	}
}

func signature(payload, seed string) *Signature {
	return &Signature{payload: payload, chunks: chunkSigner{
		key:  signingKey(testSecret, "20130524", "us-east-1", "s3"),
		date: "20130524T000000Z", scope: "20130524/us-east-1/s3/aws4_request", previous: seed,
	}}
}

func chunkedRequest(wire, decoded, trailer string) *http.Request {
	r := &http.Request{Header: http.Header{}, Body: io.NopCloser(strings.NewReader(wire)), ContentLength: int64(len(wire))}
	r.Header.Set("X-Amz-Decoded-Content-Length", decoded)
	if trailer != "" {
		r.Header.Set("X-Amz-Trailer", trailer)
	}
	return r
}

func TestSignature_Body_SignedTrailer(t *testing.T) {
	t.Parallel()
	for name, wire := range map[string]string{
		"as clients send it": docTrailer(),
		"as documented":      strings.Replace(docTrailer(), "sOO8/Q==\r\n", "sOO8/Q==\n\r\n", 1),
		"no last line end":   strings.TrimSuffix(docTrailer(), "\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := signature(streamingSignedTrailer, docTrailerSeed).Body(chunkedRequest(wire, "66560", "x-amz-checksum-crc32c"))
			if err != nil {
				t.Fatal(err)
			}
			if !body.Announces("x-amz-checksum-crc32c") || body.Len() != 66560 {
				t.Errorf("got length %d and announced %v, want 66560 and the checksum", body.Len(), body.Announced())
			}
			got, err := io.ReadAll(body)
			if err != nil || len(got) != 66560 {
				t.Fatalf("got %d bytes, %v, want 66560", len(got), err)
			}
			if got := body.Trailer("x-amz-checksum-crc32c"); got != "sOO8/Q==" {
				t.Errorf("got trailer %q, want sOO8/Q==", got)
			}
		})
	}
}

// The SDK's signer of event streams uses the same chain, so it checks ours for any chunk sizes.
func TestSignature_Body_SDKStreamSigner(t *testing.T) {
	t.Parallel()
	seed, err := hex.DecodeString(docSeed)
	if err != nil {
		t.Fatal(err)
	}
	signer := v4.NewStreamSigner(credentials(), "s3", "us-east-1", seed)
	var wire, data bytes.Buffer
	for _, size := range []int{8192, 1, 70000, 4096, 0} {
		chunk := bytes.Repeat([]byte{byte(size), '\r', '\n'}, size)[:size]
		sig, err := signer.GetSignature(t.Context(), nil, chunk, testTime)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&wire, "%x;chunk-signature=%x\r\n%s\r\n", size, sig, chunk)
		data.Write(chunk)
	}
	body, err := signature(streamingSigned, docSeed).Body(chunkedRequest(wire.String(), fmt.Sprint(data.Len()), ""))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(body)
	if err != nil || !bytes.Equal(got, data.Bytes()) {
		t.Fatalf("got %d bytes, %v, want the %d that were signed", len(got), err, data.Len())
	}
}

func TestSignature_Body_UnsignedTrailer(t *testing.T) {
	t.Parallel()
	body, err := signature(streamingUnsignedTrailer, "").Body(
		chunkedRequest("5\r\nhello\r\n1\r\n!\r\n0\r\nX-Amz-Checksum-Crc32: nR7QLA== \r\n\r\n", "6", "x-amz-checksum-crc32"))
	if err != nil {
		t.Fatal(err)
	}
	if got := body.Trailer("x-amz-checksum-crc32"); got != "" {
		t.Errorf("got trailer %q before the end, want none", got)
	}
	got, err := io.ReadAll(body)
	if err != nil || string(got) != "hello!" {
		t.Fatalf("got %q, %v, want hello!", got, err)
	}
	if got := body.Trailer("x-amz-checksum-crc32"); got != "nR7QLA==" {
		t.Errorf("got trailer %q, want nR7QLA==", got)
	}
}

func before(s, mark string) string {
	head, _, found := strings.Cut(s, mark)
	if !found {
		panic("no " + mark)
	}
	return head
}

func TestSignature_Body_ChunksRefused(t *testing.T) {
	t.Parallel()
	const crc = "x-amz-checksum-crc32"
	replace := func(s, from, to string) string {
		if !strings.Contains(s, from) {
			panic("no " + from)
		}
		return strings.Replace(s, from, to, 1)
	}
	signed, trailer := docSigned(), docTrailer()
	tests := []struct {
		name, payload, wire, decoded, trailer, code string
		status                                      int
	}{
		{"data changed", streamingSigned, replace(signed, "aaaa", "aaab"), "66560", "", "SignatureDoesNotMatch", 403},
		{"last chunk signature", streamingSigned, replace(signed, "b6c6", "b6c7"), "66560", "", "SignatureDoesNotMatch", 403},
		{"last chunk missing", streamingSigned, before(signed, "0;chunk-signature=b6c6"), "66560", "", "IncompleteBody", 400},
		{"cut in data", streamingSigned, signed[:1000], "66560", "", "IncompleteBody", 400},
		{"cut in header", streamingSigned, signed[:10], "66560", "", "IncompleteBody", 400},
		{"empty", streamingSigned, "", "66560", "", "IncompleteBody", 400},
		{"unsigned chunk", streamingSigned, "5\r\nhello\r\n0\r\n\r\n", "5", "", "InvalidRequest", 400},
		{"signature short", streamingSigned, "5;chunk-signature=ab\r\nhello\r\n", "5", "", "InvalidRequest", 400},
		{"decoded length low", streamingSigned, signed, "66559", "", "IncompleteBody", 400},
		{"decoded length high", streamingSigned, signed, "66561", "", "IncompleteBody", 400},
		{"decoded length missing", streamingSigned, signed, "", "", "MissingContentLength", 411},
		{"decoded length negative", streamingSigned, signed, "-1", "", "MissingContentLength", 411},
		{"data behind", streamingSigned, signed + "x", "66560", "", "InvalidRequest", 400},
		{"trailer not announced", streamingSigned, strings.TrimSuffix(signed, "\r\n") + "a:b\r\n\r\n", "66560", "", "InvalidRequest", 400},
		{"trailer changed", streamingSignedTrailer, replace(trailer, "sOO8", "sOO9"), "66560", "x-amz-checksum-crc32c", "SignatureDoesNotMatch", 403},
		{"trailer signature", streamingSignedTrailer, replace(trailer, "d81f", "d81e"), "66560", "x-amz-checksum-crc32c", "SignatureDoesNotMatch", 403},
		{"trailer signature missing", streamingSignedTrailer, before(trailer, "x-amz-trailer") + "\r\n", "66560", "x-amz-checksum-crc32c", "IncompleteBody", 400},
		{"trailer endless", streamingSignedTrailer, before(trailer, "x-amz-trailer") + strings.Repeat("\r\n", 100), "66560", "x-amz-checksum-crc32c", "MalformedTrailerError", 400},
		{"trailer other name", streamingSignedTrailer, trailer, "66560", crc, "MalformedTrailerError", 400},
		{"trailer header missing", streamingUnsignedTrailer, "0\r\n\r\n", "0", "", "InvalidRequest", 400},
		{"trailer missing", streamingUnsignedTrailer, "0\r\n\r\n", "0", crc, "MalformedTrailerError", 400},
		{"trailer twice", streamingUnsignedTrailer, "0\r\n" + crc + ":a\r\n" + crc + ":a\r\n\r\n", "0", crc, "MalformedTrailerError", 400},
		{"trailer malformed", streamingUnsignedTrailer, "0\r\n" + crc + "\r\n\r\n", "0", crc, "MalformedTrailerError", 400},
		{"trailer cut", streamingUnsignedTrailer, "0\r\n" + crc + ":a\r\n", "0", crc, "IncompleteBody", 400},
		{"extension", streamingUnsignedTrailer, "5;x=y\r\nhello\r\n0\r\n" + crc + ":a\r\n\r\n", "5", crc, "InvalidRequest", 400},
		{"size empty", streamingUnsignedTrailer, "\r\nhello\r\n", "5", crc, "InvalidRequest", 400},
		{"size signed", streamingUnsignedTrailer, "+5\r\nhello\r\n", "5", crc, "InvalidRequest", 400},
		{"size negative", streamingUnsignedTrailer, "-5\r\nhello\r\n", "5", crc, "InvalidRequest", 400},
		{"size huge", streamingUnsignedTrailer, "ffffffffffffffffff\r\nhello\r\n", "5", crc, "InvalidRequest", 400},
		{"size over the total", streamingUnsignedTrailer, "7fffffffffffffff\r\nhello\r\n", "5", crc, "IncompleteBody", 400},
		{"chunk longer than said", streamingUnsignedTrailer, "4\r\nhello\r\n", "5", crc, "InvalidRequest", 400},
		{"bare line feed", streamingUnsignedTrailer, "5\nhello\r\n", "5", crc, "InvalidRequest", 400},
		{"line too long", streamingUnsignedTrailer, strings.Repeat("0", 5000) + "5\r\nhello\r\n", "5", crc, "InvalidRequest", 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			seed := docSeed
			if tt.payload == streamingSignedTrailer {
				seed = docTrailerSeed
			}
			body, err := signature(tt.payload, seed).Body(chunkedRequest(tt.wire, tt.decoded, tt.trailer))
			if err == nil {
				_, err = io.Copy(io.Discard, body)
			}
			wantCode(t, err, tt.code, tt.status)
			if body == nil {
				return
			}
			if n, again := body.Read(make([]byte, 1)); n != 0 || !errors.Is(again, err) {
				t.Errorf("got %d, %v from a second read, want the same error", n, again)
			}
		})
	}
}

// endless is a chunk that does not end.
type endless struct{ n int64 }

func (e *endless) Read(p []byte) (int, error) {
	e.n += int64(len(p))
	return len(p), nil
}

func TestSignature_Body_BoundedMemory(t *testing.T) {
	// Not parallel: AllocsPerRun counts what the whole process allocates.
	body, err := signature(streamingSigned, docSeed).Body(&http.Request{
		Header: http.Header{"X-Amz-Decoded-Content-Length": {"1099511627776"}},
		Body:   io.NopCloser(io.MultiReader(strings.NewReader("10000000000;chunk-signature="+docSeed+"\r\n"), &endless{})),
	})
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	if got := testing.AllocsPerRun(100, func() {
		if _, err := body.Read(buf); err != nil {
			t.Fatal(err)
		}
	}); got > 0 {
		t.Errorf("got %v allocations for a read inside a chunk, want none", got)
	}
}

// FuzzChunkedReader checks that no input makes the decoder panic, hand out more than was announced,
// or accept a signed payload that the key did not sign.
func FuzzChunkedReader(f *testing.F) {
	f.Add(docSigned(), int64(66560), byte(0))
	f.Add(docTrailer(), int64(66560), byte(1))
	f.Add("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:a\r\n\r\n", int64(5), byte(2))
	f.Add("5;a=b\nhello\r\n00\r\n\n", int64(5), byte(2))
	f.Fuzz(func(t *testing.T, wire string, length int64, kind byte) {
		payload := []string{streamingSigned, streamingSignedTrailer, streamingUnsignedTrailer}[kind%3]
		body, err := signature(payload, "a seed that signed nothing").Body(
			chunkedRequest(wire, fmt.Sprint(length), "x-amz-checksum-crc32"))
		if err != nil {
			return
		}
		n, err := io.Copy(io.Discard, body)
		var e *s3model.Error
		switch {
		case err == nil && payload != streamingUnsignedTrailer:
			t.Fatal("got a payload accepted that the key did not sign")
		case err == nil && n != length:
			t.Fatalf("got %d bytes, want the %d announced", n, length)
		case err != nil && !errors.As(err, &e):
			t.Fatalf("got error %v, want one with a code", err)
		}
	})
}
