package endpoint

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch/s3/s3model"
)

// spoken is a request as a client that is not Go writes it: nothing is tidied between here and the wire.
type spoken struct {
	line    string   // method, target and version; HTTP/1.1 if the version is left out
	path    string   // as signed; empty: the target's path
	query   string   // as signed
	headers []string // "name: value", signed as they are, in lower case
	plain   []string // "name: value", not signed
	body    string
}

// wire signs and renders the request.
func (q spoken) wire(host string) string {
	method, target, _ := strings.Cut(q.line, " ")
	target, version, versioned := strings.Cut(target, " ")
	if !versioned {
		version = "HTTP/1.1"
	}
	path := q.path
	if path == "" {
		path, _, _ = strings.Cut(target, "?")
	}
	headers := slices.Clone(q.headers)
	values := map[string]string{}
	date := ""
	add := func(line string) {
		name, value, _ := strings.Cut(line, ":")
		name = strings.ToLower(name)
		values[name] = strings.Join(strings.Fields(value), " ")
		if at, err := time.Parse("20060102T150405Z", values[name]); err == nil && name == "x-amz-date" {
			date = at.Format("20060102T150405Z")
		}
		if name == "date" && date == "" {
			date = time.Now().UTC().Format("20060102T150405Z")
			if at, err := time.Parse(time.RFC1123Z, values[name]); err == nil {
				date = at.UTC().Format("20060102T150405Z")
			}
		}
	}
	for _, line := range headers {
		add(line)
	}
	for name, value := range map[string]string{"host": host, "x-amz-content-sha256": "UNSIGNED-PAYLOAD"} {
		if _, given := values[name]; !given {
			headers = append(headers, name+": "+value)
			add(headers[len(headers)-1])
		}
	}
	if date == "" {
		headers = append(headers, "x-amz-date: "+time.Now().UTC().Format("20060102T150405Z"))
		add(headers[len(headers)-1])
	}
	var names []string
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	canonical := method + "\n" + path + "\n" + q.query + "\n"
	for _, name := range names {
		canonical += name + ":" + values[name] + "\n"
	}
	signed := strings.Join(names, ";")
	canonical += "\n" + signed + "\n" + values["x-amz-content-sha256"]
	digest := sha256.Sum256([]byte(canonical))
	scope := date[:8] + "/us-east-1/s3/aws4_request"
	key := []byte("AWS4" + testSecret)
	for _, part := range []string{date[:8], "us-east-1", "s3", "aws4_request", "AWS4-HMAC-SHA256\n" + date + "\n" + scope + "\n" + hex.EncodeToString(digest[:])} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	headers = append(headers, q.plain...)
	headers = append(headers, "authorization: AWS4-HMAC-SHA256 Credential="+testKey+"/"+scope+", SignedHeaders="+signed+", Signature="+hex.EncodeToString(key))
	return method + " " + target + " " + version + "\r\n" + strings.Join(headers, "\r\n") + "\r\n\r\n" + q.body
}

// talk is one connection, over which requests go one after the other.
type talk struct {
	tb   testing.TB
	conn net.Conn
	r    *bufio.Reader
	host string
}

func (f *fixture) talk(tb testing.TB) *talk {
	tb.Helper()
	conn, r := dial(tb, f)
	return &talk{tb, conn, r, f.srv.Listener.Addr().String()}
}

func (k *talk) say(q spoken) {
	k.tb.Helper()
	writeString(k.tb, k.conn, q.wire(k.host))
}

// hear reads the next answer of the connection, the answer to a request of the given method.
func (k *talk) hear(method string) answer {
	k.tb.Helper()
	resp, err := http.ReadResponse(k.r, &http.Request{Method: method})
	if err != nil {
		k.tb.Fatal(err)
	}
	return answer{status: resp.StatusCode, header: resp.Header, body: readAll(k.tb, resp.Body), close: resp.Close}
}

// ask says q and wants the status.
func (k *talk) ask(q spoken, status int) answer {
	k.tb.Helper()
	k.say(q)
	method, _, _ := strings.Cut(q.line, " ")
	a := k.hear(method)
	if a.status != status {
		k.tb.Fatalf("%s: got %d %s, want %d", q.line, a.status, a.body, status)
	}
	return a
}

// interim wants the next line to be a bare 100.
func (k *talk) interim() {
	k.tb.Helper()
	for _, want := range []string{"HTTP/1.1 100 Continue\r\n", "\r\n"} {
		if line, err := k.r.ReadString('\n'); err != nil || line != want {
			k.tb.Fatalf("got %q, %v, want %q", line, err, want)
		}
	}
}

// silent wants that nothing more was sent.
func (k *talk) silent() {
	k.tb.Helper()
	if n := k.r.Buffered(); n > 0 {
		rest, _ := k.r.Peek(n)
		k.tb.Errorf("%q follows the answer", rest)
	}
}

func TestWire_ExpectWithoutBody(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	k := f.talk(t)
	expect := []string{"Expect: 100-continue"}
	empty := append([]string{"Content-Length: 0"}, expect...)
	for range 2 { // botocore's next PUT on the connection is the one that fails
		k.say(spoken{line: "PUT /" + testBucket + "/empty", plain: empty})
		k.interim()
		if a := k.hear("PUT"); a.status != 200 {
			t.Fatalf("got %+v, want 200", a)
		}
		k.say(spoken{line: "PUT /" + testBucket + "/full", plain: append([]string{"Content-Length: 5"}, expect...)})
		k.interim()
		writeString(t, k.conn, "hello")
		if a := k.hear("PUT"); a.status != 200 {
			t.Fatalf("got %+v, want 200", a)
		}
	}
	k.say(spoken{line: "PUT /no-such-bucket/empty", plain: empty})
	k.interim()
	if a := k.hear("PUT"); a.status != 404 {
		t.Errorf("got %+v, want 404", a)
	}
	k.say(spoken{line: "DELETE /" + testBucket + "/empty", plain: expect})
	k.interim()
	if a := k.hear("DELETE"); a.status != 204 {
		t.Errorf("got %+v, want 204", a)
	}
	k.ask(spoken{line: "GET /" + testBucket + "/full"}, 200)

	// A client of HTTP/1.0 does not know of interim answers.
	k = f.talk(t)
	k.ask(spoken{line: "PUT /" + testBucket + "/empty HTTP/1.0", plain: empty}, 200)
}

func TestWire_ExpectChunked(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	k := f.talk(t)
	k.say(spoken{
		line:    "PUT /" + testBucket + "/k",
		headers: []string{"x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-decoded-content-length: 5", "x-amz-trailer: x-amz-checksum-crc32"},
		plain:   []string{"Transfer-Encoding: chunked", "Expect: 100-Continue"},
	})
	k.interim()
	const payload = "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"
	writeString(t, k.conn, fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(payload), payload))
	if a := k.hear("PUT"); a.status != 200 {
		t.Fatalf("got %+v, want 200", a)
	}
	if a := k.ask(spoken{line: "GET /" + testBucket + "/k"}, 200); a.body != "hello" {
		t.Errorf("got %q, want hello", a.body)
	}
	// A refusal before the 100: the client does not send its body, and the connection ends.
	k.say(spoken{line: "PUT /no-such-bucket/k", plain: []string{"Content-Length: 5", "Expect: 100-continue"}})
	if a := k.hear("PUT"); a.status != 404 || !a.close {
		t.Errorf("got %+v, want 404 and the connection closed", a)
	}
}

func TestWire_AnswersWithoutBody(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	put := f.put(t, "k", "hello")
	k := f.talk(t)
	for _, q := range []struct {
		spoken
		status int
	}{
		{spoken{line: "HEAD /" + testBucket + "/none"}, 404},
		{spoken{line: "HEAD /" + testBucket + "/k"}, 200},
		{spoken{line: "HEAD /" + testBucket + "/k", plain: []string{`If-Match: "x"`}}, 412},
		{spoken{line: "HEAD /" + testBucket + "/k", plain: []string{"If-None-Match: " + *put.ETag}}, 304},
		{spoken{line: "GET /" + testBucket + "/k", plain: []string{"if-none-match: " + *put.ETag}}, 304},
		{spoken{line: "DELETE /" + testBucket + "/none"}, 204},
	} {
		k.ask(q.spoken, q.status)
		k.silent() // a body here would be taken for the next answer
	}
	if a := k.ask(spoken{line: "GET /" + testBucket + "/k", plain: []string{`IF-MATCH: "x"`}}, 412); !strings.Contains(a.body, "<Code>PreconditionFailed</Code>") {
		t.Errorf("got %q, want a document", a.body)
	}
	if a := k.ask(spoken{line: "DELETE /" + testBucket + "/none"}, 204); a.header.Get("Content-Length") != "" {
		t.Errorf("got a Content-Length with 204: %v", a.header)
	}
	if a := k.ask(spoken{line: "GET /" + testBucket + "/k", plain: []string{"Connection: close"}}, 200); a.body != "hello" {
		t.Errorf("got %q, want hello", a.body)
	}
	if _, err := k.r.ReadByte(); err == nil {
		t.Error("the connection is open, although the client asked to close it")
	}
}

// Names and addresses that clients write in their own ways, all of them valid.
func TestWire_Targets(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	k := f.talk(t)
	for _, tt := range []struct{ name, put, signed, get string }{
		{"plus as it is", "/a+b", "/a%2Bb", "/a%2Bb"},
		{"encoded slash", "/c%2Fd", "/c/d", "/c/d"},
		{"lower-case escapes", "/%c3%a9", "/%C3%A9", "/%C3%A9"},
		{"unreserved, encoded", "/%7Ef", "/~f", "/~f"},
		{"double slash", "//g", "//g", "//g"},
		{"dots", "/h/../i/./j", "/h/../i/./j", "/h/../i/./j"},
		{"blank", "/a%20b", "/a%20b", "/a%20b"},
		{"reserved, as they are", "/a@b:c=d,e&f", "/a%40b%3Ac%3Dd%2Ce%26f", "/a%40b%3Ac%3Dd%2Ce%26f"},
	} {
		k.ask(spoken{line: "PUT /" + testBucket + tt.put, path: "/" + testBucket + tt.signed, plain: []string{"Content-Length: 5"}, body: "hello"}, 200)
		if a := k.ask(spoken{line: "GET /" + testBucket + tt.get, path: "/" + testBucket + tt.get}, 200); a.body != "hello" {
			t.Errorf("%s: got %q", tt.name, a.body)
		}
	}
	if a := k.ask(spoken{line: "GET http://" + k.host + "/" + testBucket + "//g", path: "/" + testBucket + "//g"}, 200); a.body != "hello" {
		t.Errorf("absolute form: got %q", a.body)
	}
	for _, q := range []string{"versions=", "versions", "versions=&prefix=", "versions&prefix=&"} {
		signed := "versions="
		if strings.Contains(q, "prefix") {
			signed = "prefix=&versions="
		}
		a := k.ask(spoken{line: "GET /" + testBucket + "?" + q, path: "/" + testBucket, query: signed}, 200)
		if !strings.Contains(a.body, "<ListVersionsResult") {
			t.Errorf("?%s: got %s, want versions", q, a.body)
		}
	}
	if a := k.ask(spoken{line: "GET /" + testBucket + "/?prefix=a+b&list-type=2", path: "/" + testBucket + "/", query: "list-type=2&prefix=a%20b"}, 200); !strings.Contains(a.body, "<Key>a b</Key>") {
		t.Errorf("plus in a query: got %s, want the key with a blank", a.body)
	}
}

func TestWire_Dates(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.put(t, "k", "hello")
	k := f.talk(t)
	now := time.Now().UTC()
	for _, date := range []string{
		now.Format(http.TimeFormat), now.Format(time.RFC1123Z), now.Format("Mon, 2 Jan 2006 15:04:05 -0700"),
		now.Format("Mon, 02 Jan 2006 15:04:05") + " -0000", now.Format("2 Jan 2006 15:04:05 +0000"),
		now.Format(time.RFC850), now.Format(time.ANSIC), now.Format("20060102T150405Z"),
		now.In(time.FixedZone("", 2*3600)).Format(time.RFC1123Z),
	} {
		k.ask(spoken{line: "GET /" + testBucket + "/k", headers: []string{"Date: " + date}}, 200)
	}
	// Who can set no Date of his own sends x-amz-date, and that counts.
	k.ask(spoken{line: "GET /" + testBucket + "/k", headers: []string{"x-amz-date: " + now.Format("20060102T150405Z"), "Date: Thu, 01 Jan 1970 00:00:00 GMT"}}, 200)
	later := now.Add(time.Hour).Format(time.RFC1123Z)
	k.ask(spoken{line: "GET /" + testBucket + "/k", plain: []string{"If-Modified-Since: " + later}}, 304)
	k.ask(spoken{line: "GET /" + testBucket + "/k", plain: []string{"If-Unmodified-Since: " + now.Add(-time.Hour).Format(time.RFC1123Z)}}, 412)
	k.ask(spoken{line: "GET /" + testBucket + "/k", headers: []string{"Date: yesterday"}}, 403)
}

func TestWire_Headers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	k := f.talk(t)
	k.ask(spoken{
		line:    "PUT /" + testBucket + "/k",
		headers: []string{"x-amz-meta-CamelCase: one", "X-AMZ-META-LOUD:   two   words  ", "x-amz-meta-under_score: 3", "content-md5:XUFAKrxLKna5cZ2REBfFkg=="},
		plain:   []string{"content-length:5", "CONTENT-TYPE: text/x"}, body: "hello",
	}, 200)
	k.say(spoken{line: "GET /" + testBucket + "/k"})
	var lines []string
	for {
		line, err := k.r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			break
		}
		lines = append(lines, line)
	}
	for _, want := range []string{
		"x-amz-meta-camelcase: one", "x-amz-meta-loud: two   words", "x-amz-meta-under_score: 3", `ETag: "5d41402abc4b2a76b9719d911017c592"`, "Content-Type: text/x",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("got %q, want %q among them", lines, want)
		}
	}
	for _, line := range lines {
		if name, _, _ := strings.Cut(line, ":"); strings.HasPrefix(name, "X-Amz") || name == "Etag" {
			t.Errorf("got the header %q, which S3 does not spell so", name)
		}
	}
	k = f.talk(t)
	k.ask(spoken{line: "PUT /" + testBucket + "/k", headers: []string{"content-md5: XUFAKrxLKna5cZ2REBfFkg=="}, plain: []string{"Content-Length: 5"}, body: "other"}, 400)
	k = f.talk(t)
	k.ask(spoken{line: "PUT /" + testBucket + "/k", plain: []string{"Transfer-Encoding: chunked"}, body: "5\r\nhello\r\n0\r\n\r\n"}, 411)
	k = f.talk(t)
	k.ask(spoken{line: "PUT /" + testBucket + "/k", headers: []string{"x-amz-meta-a: 1\r\n  folded"}, plain: []string{"Content-Length: 5"}, body: "hello"}, 200)
	if a := k.ask(spoken{line: "HEAD /" + testBucket + "/k"}, 200); a.header.Get("X-Amz-Meta-A") != "1 folded" {
		t.Errorf("got %v, want the folded header in one line", a.header)
	}
}

func TestWire_TrailerEndedTwice(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for end, status := range map[string]int{"\r\n": 200, "\r\n\r\n": 200, "\r\n\r\n\r\n": 400, "\r\nx": 400, "\r\n\r\nx\r\n": 400} {
		body := "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n" + end
		k := f.talk(t)
		k.ask(spoken{
			line:    "PUT /" + testBucket + "/k",
			headers: []string{"x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-decoded-content-length: 5", "x-amz-trailer: x-amz-checksum-crc32"},
			plain:   []string{fmt.Sprintf("Content-Length: %d", len(body))}, body: body,
		}, status)
		if status != 200 {
			continue
		}
		if a := k.ask(spoken{line: "GET /" + testBucket + "/k"}, 200); a.body != "hello" {
			t.Errorf("end %q: got %q, want hello", end, a.body)
		}
	}
}

func TestWire_KeepAliveAfterARefusal(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.put(t, "k", "hello")
	k := f.talk(t)
	for _, q := range []spoken{
		{line: "PUT /no-such-bucket/k", plain: []string{"Content-Length: 5"}, body: "hello"},
		{line: "PUT /" + testBucket + "/k", plain: []string{"Content-Length: 5", `If-Match: "x"`}, body: "hello"},
		{line: "POST /" + testBucket + "?delete", path: "/" + testBucket, query: "delete=", plain: []string{"Content-Length: 5"}, body: "hello"},
		{line: "PUT /" + testBucket + "?encryption", path: "/" + testBucket, query: "encryption=", plain: []string{"Content-Length: 5"}, body: "hello"},
		{line: "PUT /" + testBucket + "?logging", path: "/" + testBucket, query: "logging=", plain: []string{"Content-Length: 5"}, body: "hello"},
	} {
		k.say(q)
		if a := k.hear("PUT"); a.status < 400 {
			t.Errorf("%s: got %d, want a refusal", q.line, a.status)
		}
		if a := k.ask(spoken{line: "GET /" + testBucket + "/k"}, 200); a.body != "hello" {
			t.Errorf("after %s: got %q, want hello", q.line, a.body)
		}
	}
}

func TestWire_VirtualHost(t *testing.T) {
	t.Parallel()
	with, without := newFixture(t, func(c *Config) { c.Domain = "S3.example.com." }), newFixture(t)
	if err := with.store.CreateBucket(t.Context(), "dotted.bucket", ""); err != nil {
		t.Fatal(err)
	}
	at := func(host string) []string { return []string{"Host: " + host} }
	k := with.talk(t)
	k.ask(spoken{line: "PUT /dir/k", headers: at(testBucket + ".s3.example.com:9820"), plain: []string{"Content-Length: 5"}, body: "hello"}, 200)
	k.ask(spoken{line: "GET /dir/k", headers: at(strings.ToUpper(testBucket) + ".S3.EXAMPLE.COM")}, 200)
	k.ask(spoken{line: "GET /" + testBucket + "/dir/k", headers: at("s3.example.com")}, 200)
	k.ask(spoken{line: "GET /" + testBucket + "/dir/k", headers: at("other.example.com")}, 200)
	k.ask(spoken{line: "PUT /", headers: at("fresh.s3.example.com"), plain: []string{"Content-Length: 0"}}, 200)
	k.ask(spoken{line: "GET /?list-type=2", path: "/", query: "list-type=2", headers: at("dotted.bucket.s3.example.com")}, 200)
	if a := k.ask(spoken{line: "GET /k", headers: at(testBucket + ".other.example.com")}, 400); !strings.Contains(a.body, "BUCKET.s3.example.com") {
		t.Errorf("got %s, want the domain of the store named", a.body)
	}

	k = without.talk(t)
	for _, q := range []struct {
		spoken
		status int
	}{
		{spoken{line: "GET /dir/k", headers: at(testBucket + ".localhost:9820")}, 404},
		{spoken{line: "GET /k", headers: at(testBucket + ".example.com")}, 400},
		{spoken{line: "GET /?list-type=2", path: "/", query: "list-type=2", headers: at(testBucket + ".example.com")}, 501},
		{spoken{line: "PUT /", headers: at("fresh.example.com"), plain: []string{"Content-Length: 0"}}, 405},
	} {
		if a := k.ask(q.spoken, q.status); !strings.Contains(a.body, "-domain") || !strings.Contains(a.body, "use_path_style") {
			t.Errorf("%s of %s: got %s, want advice", q.line, q.headers, a.body)
		}
	}
	for _, q := range []spoken{
		{line: "GET /nothing/k", headers: at("127.0.0.1:9820")}, {line: "GET /nothing/k", headers: at("localhost")}, {line: "GET /nothing/k", headers: at("s3.example.com")},
	} {
		if a := k.ask(q, 404); strings.Contains(a.body, "-domain") {
			t.Errorf("%s of %s: got %s, want no advice: the address is right", q.line, q.headers, a.body)
		}
	}
}

func TestWire_CreateBucketAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if err := f.store.CreateBucket(t.Context(), "elsewhere", "eu-west-1"); err != nil {
		t.Fatal(err)
	}
	f.enableVersioning(t)
	k := f.talk(t)
	nothing := []string{"Content-Length: 0"}
	k.ask(spoken{line: "PUT /" + testBucket, plain: nothing}, 200)
	k.ask(spoken{line: "PUT /" + testBucket + "/", plain: nothing}, 200)
	if b, err := f.store.GetBucket(t.Context(), testBucket); err != nil || b.Settings.Versioning != s3model.Enabled {
		t.Errorf("got %+v, %v, want the bucket as it was", b, err)
	}
	k.ask(spoken{line: "PUT /elsewhere", plain: nothing}, 409)
	const there = "<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>"
	for _, bucket := range []string{"elsewhere", testBucket} {
		if a := k.ask(spoken{line: "PUT /" + bucket, plain: []string{fmt.Sprintf("Content-Length: %d", len(there))}, body: there}, 409); !strings.Contains(a.body, "BucketAlreadyOwnedByYou") {
			t.Errorf("%s: got %s", bucket, a.body)
		}
	}
}
