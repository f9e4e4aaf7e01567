package endpoint

import (
	"crypto/md5"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// TestDispatch_NotImplemented makes sure that what is not in the table never reaches an
// operation that is: nothing may answer 200, and nothing may be changed.
func TestDispatch_NotImplemented(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.put(t, "k", "untouched")
	bucket := []string{
		"website", "cors", "replication", "object-lock", "logging", "notification", "accelerate", "inventory", "inventory&id=x",
		"analytics&id=x", "metrics&id=x", "intelligent-tiering&id=x", "requestPayment", "policyStatus", "session", "metadataTable", "abac",
		"unknown", "unknown=value", "versioning2", "Versioning",
	}
	object := []string{
		"torrent", "restore", "select&select-type=2", "retention", "legal-hold", "attributes", "renameObject", "annotation",
		"unknown", "uploadID=x", "versionid=x", "partnumber=1", "append&position=0",
	}
	for _, tt := range []struct {
		target  string
		queries []string
	}{{"/" + testBucket, bucket}, {"/" + testBucket + "/k", object}, {"/", []string{"unknown", "events"}}} {
		for _, query := range tt.queries {
			for _, method := range []string{"GET", "HEAD", "PUT", "POST", "DELETE"} {
				a := f.send(t, request{method: method, target: tt.target + "?" + query, body: map[bool]string{true: "<x/>"}[method == "PUT" || method == "POST"]})
				if a.status != 501 || (method != "HEAD" && a.err.Code != "NotImplemented") || (method == "HEAD" && a.body != "") {
					t.Errorf("%s %s?%s: got %d %q, want 501 NotImplemented", method, tt.target, query, a.status, a.body)
				}
			}
		}
	}
	if got := f.get(t, "k"); got != "untouched" {
		t.Errorf("got %q, want the object untouched", got)
	}
	if buckets, err := f.store.ListBuckets(t.Context()); err != nil || len(buckets) != 1 {
		t.Errorf("got buckets %v, %v, want the one there was", buckets, err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.put(t, "k", "untouched")
	const object = "/" + testBucket + "/k"
	key := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))
	sum := md5.Sum([]byte(strings.Repeat("k", 32)))
	keyMD5 := base64.StdEncoding.EncodeToString(sum[:])
	ssec := func(algorithm, key, sum string) map[string]string {
		h := map[string]string{}
		for name, v := range map[string]string{"Algorithm": algorithm, "Key": key, "Key-MD5": sum} {
			if v != "" {
				h["x-amz-server-side-encryption-customer-"+name] = v
			}
		}
		return h
	}
	one := func(name, value string) map[string]string { return map[string]string{name: value} }
	many := strings.Repeat("<Object><Key>k</Key></Object>", 1001)
	tests := []struct {
		name           string
		method, target string
		header         map[string]string
		body           string
		status         int
		code           string
	}{
		{"method on object", "PATCH", object, nil, "x", 501, "NotImplemented"},
		{"method on service", "PUT", "/", nil, "", 405, "MethodNotAllowed"},
		{"post to bucket", "POST", "/" + testBucket, nil, "x", 501, "NotImplemented"},
		{"post to object", "POST", object, nil, "x", 501, "NotImplemented"},
		{"bucket name", "PUT", "/UPPER", nil, "", 400, "InvalidBucketName"},
		{"bucket name short", "PUT", "/ab", nil, "", 400, "InvalidBucketName"},
		{"bucket name address", "PUT", "/10.0.0.1", nil, "", 400, "InvalidBucketName"},
		{"bucket name dots", "PUT", "/a..b", nil, "", 400, "InvalidBucketName"},
		{"bucket name hyphen", "PUT", "/abc-", nil, "", 400, "InvalidBucketName"},
		{"bucket name reserved", "PUT", "/xn--abc", nil, "", 400, "InvalidBucketName"},
		{"bucket name empty", "GET", "//key", nil, "", 400, "InvalidBucketName"},
		{"key too long", "PUT", "/" + testBucket + "/" + strings.Repeat("k", 1025), nil, "x", 400, "KeyTooLongError"},
		{"key not UTF-8", "PUT", "/" + testBucket + "/%FF", nil, "x", 400, "InvalidURI"},
		{"absent bucket", "PUT", "/other-bucket/k", nil, "x", 404, "NoSuchBucket"},
		{"absent bucket delete", "DELETE", "/other-bucket/k", nil, "", 404, "NoSuchBucket"},
		{"absent version", "GET", object + "?versionId=none", nil, "", 404, "NoSuchVersion"},
		{"part number and range", "GET", object + "?partNumber=1", one("Range", "bytes=0-1"), "", 400, "InvalidRequest"},
		{"part number zero", "GET", object + "?partNumber=0", nil, "", 400, "InvalidArgument"},
		{"override with control character", "GET", object + "?response-content-type=a%00b", nil, "", 400, "InvalidArgument"},
		{"override with line break", "GET", object + "?response-content-disposition=a%0D%0ASet-Cookie:%20b", nil, "", 400, "InvalidArgument"},
		{"part number of plain object", "GET", object + "?partNumber=2", nil, "", 416, "InvalidPartNumber"},

		{"acl", "PUT", object, one("x-amz-acl", "public-read"), "x", 400, "AccessControlListNotSupported"},
		{"grant", "PUT", object, one("x-amz-grant-read", "id=1"), "x", 400, "AccessControlListNotSupported"},
		{"acl of bucket", "PUT", "/new-bucket", one("x-amz-acl", "public-read"), "", 400, "AccessControlListNotSupported"},
		{"acl without anything", "PUT", object + "?acl", nil, "", 400, "MissingSecurityHeader"},
		{"storage class", "PUT", object, one("x-amz-storage-class", "GLACIER"), "x", 400, "InvalidStorageClass"},
		{"object lock", "PUT", object, one("x-amz-object-lock-mode", "COMPLIANCE"), "x", 501, "NotImplemented"},
		{"legal hold", "PUT", object, one("x-amz-object-lock-legal-hold", "ON"), "x", 501, "NotImplemented"},
		{"bucket object lock", "PUT", "/new-bucket", one("x-amz-bucket-object-lock-enabled", "true"), "", 501, "NotImplemented"},
		{"bucket ownership", "PUT", "/new-bucket", one("x-amz-object-ownership", "ObjectWriter"), "", 501, "NotImplemented"},
		{"website redirect", "PUT", object, one("x-amz-website-redirect-location", "/x"), "x", 501, "NotImplemented"},
		{"part of an object", "PUT", object, one("Content-Range", "bytes 0-0/9"), "x", 501, "NotImplemented"},
		{"size of upload empty", "POST", object + "?uploadId=x", one("x-amz-mp-object-size", ""), "", 400, "InvalidArgument"},
		{"source range empty", "PUT", object + "?uploadId=x&partNumber=1", map[string]string{"x-amz-copy-source": testBucket + "/k", "x-amz-copy-source-range": ""}, "", 400, "InvalidArgument"},
		{"trailer without chunks", "PUT", object, one("x-amz-trailer", "x-amz-checksum-crc32"), "x", 400, "InvalidRequest"},
		{"decoded length without chunks", "PUT", object, map[string]string{"Content-Encoding": "aws-chunked", "x-amz-decoded-content-length": "1"}, "1\r\nx\r\n0\r\n\r\n", 400, "InvalidRequest"},
		{"append", "PUT", object, one("x-amz-write-offset-bytes", "0"), "x", 501, "NotImplemented"},
		{"expected owner empty", "GET", object, one("x-amz-expected-bucket-owner", ""), "", 403, "AccessDenied"},
		{"expected owner", "GET", object, one("x-amz-expected-bucket-owner", "123456789012"), "", 403, "AccessDenied"},
		{"metadata too large", "PUT", object, one("x-amz-meta-a", strings.Repeat("x", 2048)), "x", 400, "MetadataTooLarge"},
		{"tagging header", "PUT", object, one("x-amz-tagging", "a=%zz"), "x", 400, "InvalidArgument"},
		{"tagging twice", "PUT", object, one("x-amz-tagging", "a=1&a=2"), "x", 400, "InvalidArgument"},
		{"tagging too many", "PUT", object, one("x-amz-tagging", "a=&b=&c=&d=&e=&f=&g=&h=&i=&j=&k="), "x", 400, "BadRequest"},
		{"tagging reserved", "PUT", object, one("x-amz-tagging", "aws:x=1"), "x", 400, "InvalidTag"},
		{"tagging long", "PUT", object, one("x-amz-tagging", "a="+strings.Repeat("x", 257)), "x", 400, "InvalidTag"},

		{"condition date on put", "PUT", object, one("If-Unmodified-Since", "Fri, 24 May 2013 00:00:00 GMT"), "x", 501, "NotImplemented"},
		{"condition weak", "PUT", object, one("If-Match", `W/"x"`), "x", 501, "NotImplemented"},
		{"condition list", "PUT", object, one("If-Match", `"x", "y"`), "x", 501, "NotImplemented"},
		{"condition on delete", "DELETE", object, one("If-None-Match", "*"), "", 501, "NotImplemented"},
		{"condition by size", "DELETE", object, one("x-amz-if-match-size", "1"), "", 501, "NotImplemented"},
		{"condition by time", "DELETE", object, one("x-amz-if-match-last-modified-time", "x"), "", 501, "NotImplemented"},
		{"condition on tagging", "PUT", object + "?tagging", one("If-Match", `"x"`), "<Tagging><TagSet/></Tagging>", 501, "NotImplemented"},
		{"condition on upload", "POST", object + "?uploads", one("If-None-Match", "*"), "", 501, "NotImplemented"},
		{"condition on part", "PUT", object + "?uploadId=x&partNumber=1", one("If-Match", `"x"`), "x", 501, "NotImplemented"},
		{"condition on source without source", "PUT", object, one("x-amz-copy-source-if-match", `"x"`), "x", 400, "InvalidRequest"},
		{"condition on bucket", "DELETE", "/" + testBucket, one("If-Match", `"x"`), "", 501, "NotImplemented"},

		{"kms", "PUT", object, one("x-amz-server-side-encryption", "aws:kms"), "x", 501, "NotImplemented"},
		{"kms dsse", "PUT", object, one("x-amz-server-side-encryption", "aws:kms:dsse"), "x", 501, "NotImplemented"},
		{"kms upload", "POST", object + "?uploads", one("x-amz-server-side-encryption", "aws:kms"), "", 501, "NotImplemented"},
		{"kms key without kms", "PUT", object, one("x-amz-server-side-encryption-aws-kms-key-id", "k"), "x", 400, "InvalidArgument"},
		{"encryption unknown", "PUT", object, one("x-amz-server-side-encryption", "ROT13"), "x", 400, "InvalidArgument"},
		{"encryption empty", "PUT", object, one("x-amz-server-side-encryption", ""), "x", 400, "InvalidArgument"},
		{"encryption on get", "GET", object, one("x-amz-server-side-encryption", "AES256"), "", 400, "InvalidArgument"},
		{"customer key without algorithm", "PUT", object, ssec("", key, keyMD5), "x", 400, "InvalidArgument"},
		{"customer key without md5", "PUT", object, ssec("AES256", key, ""), "x", 400, "InvalidArgument"},
		{"customer key without key", "GET", object, ssec("AES256", "", keyMD5), "", 400, "InvalidArgument"},
		{"customer key algorithm", "PUT", object, ssec("AES128", key, keyMD5), "x", 400, "InvalidEncryptionAlgorithmError"},
		{"customer key empty", "PUT", object, map[string]string{"x-amz-server-side-encryption-customer-algorithm": "", "x-amz-server-side-encryption-customer-key": ""}, "x", 400, "InvalidArgument"},
		{"customer key short", "PUT", object, ssec("AES256", "c2hvcnQ=", keyMD5), "x", 400, "InvalidArgument"},
		{"customer key md5", "PUT", object, ssec("AES256", key, "AAAAAAAAAAAAAAAAAAAAAA=="), "x", 400, "InvalidArgument"},

		{"location", "PUT", "/new-bucket", nil, "<CreateBucketConfiguration><LocationConstraint>a b</LocationConstraint></CreateBucketConfiguration>", 400, "InvalidLocationConstraint"},
		{"location nonsense", "PUT", "/new-bucket", nil, "<x/>", 400, "MalformedXML"},
		{"bucket tags", "PUT", "/new-bucket", nil, "<CreateBucketConfiguration><Tags/></CreateBucketConfiguration>", 501, "NotImplemented"},
		{"delete without checksum", "POST", "/" + testBucket + "?delete", nil, "<Delete><Object><Key>k</Key></Object></Delete>", 400, "InvalidRequest"},
		{"delete too many", "POST", "/" + testBucket + "?delete", one("Content-MD5", md5Of("<Delete>"+many+"</Delete>")), "<Delete>" + many + "</Delete>", 400, "MalformedXML"},
		{"delete with empty condition", "POST", "/" + testBucket + "?delete", one("Content-MD5", md5Of("<Delete><Object><Key>k</Key><ETag/></Object></Delete>")), "<Delete><Object><Key>k</Key><ETag/></Object></Delete>", 400, "MalformedXML"},
		{"delete by size", "POST", "/" + testBucket + "?delete", one("Content-MD5", md5Of("<Delete><Object><Key>k</Key><Size>1</Size></Object></Delete>")), "<Delete><Object><Key>k</Key><Size>1</Size></Object></Delete>", 501, "NotImplemented"},
		{"document too large", "PUT", "/" + testBucket + "?policy", nil, strings.Repeat(" ", 1<<20+1), 400, "MaxMessageLengthExceeded"},
		{"mfa delete", "PUT", "/" + testBucket + "?versioning", nil, "<VersioningConfiguration><Status>Enabled</Status><MfaDelete>Enabled</MfaDelete></VersioningConfiguration>", 501, "NotImplemented"},
		{"versioning off", "PUT", "/" + testBucket + "?versioning", nil, "<VersioningConfiguration><Status>Disabled</Status></VersioningConfiguration>", 400, "MalformedXML"},
		{"wrong digest of a document", "PUT", "/" + testBucket + "?versioning", one("Content-MD5", md5Of("x")), "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>", 400, "BadDigest"},
	}
	// Not parallel, so that the object can be looked at when all are done.
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f.send(t, request{method: tt.method, target: tt.target, header: tt.header, body: tt.body}).want(t, tt.status, tt.code)
		})
	}
	if got := f.get(t, "k"); got != "untouched" {
		t.Errorf("got %q, want the object untouched", got)
	}
}

// TestHeaders_Split: a signature covers a header's values joined by commas, so somebody on the way
// could make two headers of one whose value has a comma. It must not be read in part then.
func TestHeaders_Split(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.put(t, "a", "other")
	f.put(t, "a,b", "meant")
	for name, value := range map[string]string{"X-Amz-Copy-Source": testBucket + "/a,b", "X-Amz-Tagging": "k=v,w"} {
		r := f.signed(t, request{method: "PUT", target: "/" + testBucket + "/dst", header: map[string]string{name: value}})
		r.Header[name] = strings.Split(value, ",")
		f.do(t, r).want(t, 400, "InvalidRequest")
	}
	f.send(t, request{method: "GET", target: "/" + testBucket + "/dst"}).want(t, 404, "NoSuchKey")
	r := f.signed(t, request{method: "PUT", target: "/" + testBucket + "/dst", header: map[string]string{"X-Amz-Meta-A": "1,2"}})
	r.Header["X-Amz-Meta-A"] = []string{"1", "2"}
	f.do(t, r).want(t, 200, "")
}

func md5Of(s string) string {
	sum := md5.Sum([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func TestAuthentication_Refused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, tt := range []struct {
		name   string
		edit   func(*http.Request)
		status int
		code   string
	}{
		{"anonymous", func(r *http.Request) { r.Header.Del("Authorization") }, 403, "AccessDenied"},
		{"sigv2", func(r *http.Request) { r.Header.Set("Authorization", "AWS a:b") }, 400, "InvalidRequest"},
		{"unknown key", func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), testKey, "AKIANOBODY", 1))
		}, 403, "InvalidAccessKeyId"},
		{"changed header", func(r *http.Request) { r.Header.Set("X-Amz-Meta-A", "2") }, 403, "SignatureDoesNotMatch"},
		{"extra header", func(r *http.Request) { r.Header.Set("X-Amz-Meta-B", "2") }, 403, "AccessDenied"},
		{"html form", func(r *http.Request) {
			r.Header.Del("Authorization")
			r.Method = "POST"
			r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
		}, 501, "NotImplemented"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := f.signed(t, request{method: "PUT", target: "/" + testBucket + "/k", header: map[string]string{"X-Amz-Meta-A": "1"}, body: "x"})
			tt.edit(r)
			f.do(t, r).want(t, tt.status, tt.code)
		})
	}
	_, err := f.newClient(func(o *s3.Options) { o.Credentials = aws.AnonymousCredentials{} }).ListBuckets(t.Context(), &s3.ListBucketsInput{})
	wantCode(t, err, "AccessDenied", 403)
}
