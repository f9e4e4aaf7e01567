package endpoint

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/statelatch/statelatch"
)

const bucketARN = "arn:aws:s3:::" + testBucket

// deny is a policy of one statement.
func deny(rest string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*",` + rest + `}]}`
}

func (f *fixture) setPolicy(t *testing.T, policy string) {
	t.Helper()
	_, err := f.PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: aws.String(testBucket), Policy: &policy})
	wantCode(t, err, "", 0)
}

func TestPolicy_Denies(t *testing.T) {
	t.Parallel()
	b, both := `"Resource":"`+bucketARN+`"`, `"Resource":["`+bucketARN+`","`+bucketARN+`/*"]`
	o := `"Resource":"` + bucketARN + `/*"`
	get := request{method: "GET", target: "/" + testBucket + "/k"}
	put := func(key string, header ...string) request {
		q := request{method: "PUT", target: "/" + testBucket + "/" + key, header: map[string]string{}, body: "x"}
		for i := 0; i < len(header); i += 2 {
			q.header[header[i]] = header[i+1]
		}
		return q
	}
	list := func(query string) request {
		return request{method: "GET", target: "/" + testBucket + "?list-type=2&" + query}
	}
	condition := func(action, operator, key, value string) string {
		return fmt.Sprintf(`"Action":%q,%s,"Condition":{%q:{%q:%s}}`, action, both, operator, key, value)
	}
	for name, tt := range map[string]struct {
		policy          string
		denied, allowed []request
	}{
		"one prefix of a listing": {
			condition("s3:ListBucket", "StringLike", "s3:prefix", `"env:/*"`),
			[]request{list("prefix=env%3A%2F"), list("prefix=env%3A%2Fx")},
			[]request{list("prefix=x"), list(""), get},
		},
		"all prefixes but one": {
			condition("s3:ListBucket", "StringNotLike", "s3:prefix", `"app/*"`), []request{list(""), list("prefix=b")}, []request{list("prefix=app/x")},
		},
		"one prefix, or none": {
			condition("s3:ListBucket", "StringLikeIfExists", "s3:prefix", `"app/*"`), []request{list(""), list("prefix=app/x")}, []request{list("prefix=b")},
		},
		"large pages":    {condition("s3:ListBucket", "NumericGreaterThan", "s3:max-keys", "10"), []request{list("max-keys=11")}, []request{list("max-keys=10")}},
		"writes":         {`"Action":"s3:Put*",` + o, []request{put("k"), put("l")}, []request{get, list("")}},
		"all but reads":  {`"NotAction":["s3:Get*","s3:List*"],` + both, []request{put("k"), {method: "DELETE", target: "/" + testBucket + "/k"}, {method: "DELETE", target: "/" + testBucket}}, []request{get, list("")}},
		"all keys but":   {`"Action":"s3:PutObject","NotResource":"` + bucketARN + `/app/*"`, []request{put("k")}, []request{put("app/k")}},
		"case of action": {`"Action":"S3:getobject",` + o, []request{get, {method: "HEAD", target: "/" + testBucket + "/k"}}, []request{put("k")}},
		"lock objects without a condition": {
			`"Action":"s3:PutObject","Resource":"` + bucketARN + `/*.tflock","Condition":{"Null":{"s3:if-none-match":"true","s3:if-match":"true"},"Bool":{"s3:ObjectCreationOperation":"true"}}`,
			[]request{put("a.tflock")},
			[]request{put("a"), put("b.tflock", "If-None-Match", "*"), {method: "POST", target: "/" + testBucket + "/c.tflock?uploads"}},
		},
		"without encryption":   {condition("s3:PutObject", "Null", "s3:x-amz-server-side-encryption", "true"), []request{put("k")}, []request{put("k", "X-Amz-Server-Side-Encryption", "AES256"), get}},
		"other encryption":     {condition("s3:PutObject", "StringNotEquals", "s3:x-amz-server-side-encryption", `["AES256","aws:kms"]`), []request{put("k")}, []request{put("k", "X-Amz-Server-Side-Encryption", "AES256")}},
		"tags":                 {`"Action":"s3:PutObjectTagging",` + o, []request{put("k", "X-Amz-Tagging", "a=b"), {method: "PUT", target: "/" + testBucket + "/k?tagging", body: "<Tagging><TagSet/></Tagging>"}}, []request{put("k")}},
		"ACLs":                 {`"Action":"s3:PutObjectAcl",` + o, []request{put("k", "X-Amz-Acl", "private")}, []request{put("k")}},
		"an address":           {condition("s3:*", "IpAddress", "aws:SourceIp", `["127.0.0.0/8","::1/128"]`), []request{get, list(""), put("k")}, []request{{method: "GET", target: "/"}}},
		"other addresses":      {condition("s3:*", "NotIpAddress", "aws:SourceIp", `["127.0.0.0/8","::1/128"]`), nil, []request{get}},
		"this principal":       {condition("s3:GetObject", "ArnLike", "aws:PrincipalArn", `"arn:aws:iam::*:root"`), []request{get}, []request{put("k")}},
		"outside of a VPC":     {condition("s3:GetObject", "StringNotEquals", "aws:SourceVpce", `"vpce-1"`), []request{get}, []request{put("k")}},
		"old signatures":       {condition("s3:*", "StringNotEquals", "s3:signatureversion", `"AWS4-HMAC-SHA256"`), nil, []request{get}},
		"without TLS":          {condition("s3:*", "Bool", "aws:SecureTransport", "false"), []request{get, list("")}, nil},
		"old TLS":              {condition("s3:*", "NumericLessThan", "s3:TlsVersion", "1.2"), nil, []request{get}},
		"settings":             {`"Action":"s3:PutLifecycleConfiguration",` + b, []request{{method: "DELETE", target: "/" + testBucket + "?lifecycle"}}, []request{get}},
		"a list of the bucket": {`"Action":"s3:ListBucket",` + b, []request{list(""), {method: "HEAD", target: "/" + testBucket}, {method: "GET", target: "/" + testBucket + "/absent"}}, []request{get}},
		"uploads":              {`"Action":"s3:AbortMultipartUpload",` + o, []request{{method: "DELETE", target: "/" + testBucket + "/k?uploadId=x"}}, []request{put("k")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.put(t, "k", "v")
			f.setPolicy(t, deny(tt.policy))
			for _, q := range tt.denied {
				a := f.send(t, q)
				if q.method == http.MethodHead {
					if a.status != 403 {
						t.Errorf("%s %s: got %d, want 403", q.method, q.target, a.status)
					}
					continue
				}
				a.want(t, 403, "AccessDenied")
				d := (&statelatch.StoreError{Code: a.err.Code, Status: a.status, Message: a.err.Message}).Denial()
				if d.Cause != statelatch.DenialExplicit || d.Policy != statelatch.PolicyResource || !strings.HasPrefix(d.Action, "s3:") ||
					d.Principal != ownerARN || !strings.HasPrefix(d.Resource, bucketARN) {
					t.Errorf("%s %s: got %+v of %q, want an explicit deny of the bucket policy", q.method, q.target, d, a.err.Message)
				}
			}
			for _, q := range tt.allowed {
				if a := f.send(t, q); a.status >= 300 {
					t.Errorf("%s %s: got %d, %+v, want it allowed", q.method, q.target, a.status, a.err)
				}
			}
		})
	}
}

// Whom a statement is about.
func TestPolicy_Principals(t *testing.T) {
	t.Parallel()
	for principal, denied := range map[string]bool{
		`"Principal":"*"`: true, `"Principal":{"AWS":"*"}`: true, `"Principal":{"AWS":["` + ownerAccount + `"]}`: true,
		`"Principal":{"AWS":"` + ownerARN + `"}`: true, `"Principal":{"CanonicalUser":"` + ownerID + `"}`: true,
		`"Principal":{"AWS":"arn:aws:iam::123456789012:root"}`: false, `"Principal":{"AWS":"arn:aws:iam::123456789012:role/ci"}`: false,
		`"Principal":{"Service":"logging.s3.amazonaws.com"}`: false, `"NotPrincipal":{"AWS":"` + ownerARN + `"}`: false,
		`"NotPrincipal":{"AWS":"arn:aws:iam::123456789012:role/ci"}`: true,
	} {
		f := newFixture(t)
		f.setPolicy(t, `{"Statement":{"Effect":"Deny",`+principal+`,"Action":"s3:*","Resource":"`+bucketARN+`/*"}}`)
		want, code := 404, "NoSuchKey"
		if denied {
			want, code = 403, "AccessDenied"
		}
		a := f.send(t, request{method: "GET", target: "/" + testBucket + "/k"})
		if a.status != want || a.err.Code != code {
			t.Errorf("%s: got %d %s, want %d", principal, a.status, a.err.Code, want)
		}
	}
}

// Nobody locks himself out: what denies everything can be read, replaced and removed.
func TestPolicy_OwnerGetsBackIn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	all := deny(`"Action":"*","Resource":"*"`)
	f.setPolicy(t, all)
	f.send(t, request{method: "PUT", target: "/" + testBucket + "/k", body: "x"}).want(t, 403, "AccessDenied")
	f.send(t, request{method: "GET", target: "/" + testBucket + "?versioning"}).want(t, 403, "AccessDenied")
	if a := f.send(t, request{method: "GET", target: "/" + testBucket + "?policy"}); a.status != 200 || a.body != all {
		t.Errorf("got %d, %q, want the policy", a.status, a.body)
	}
	f.setPolicy(t, all)
	f.send(t, request{method: "DELETE", target: "/" + testBucket + "?policy"}).want(t, 204, "")
	f.put(t, "k", "v")
}

func TestPolicy_CopiesAndBulkDeletes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ctx, bucket := t.Context(), aws.String(testBucket)
	f.enableVersioning(t)
	secret := f.put(t, "secret/a", "v")
	f.put(t, "open/a", "v")
	if _, err := f.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String("tagged"), Body: strings.NewReader("v"), Tagging: aws.String("a=b")}); err != nil {
		t.Fatal(err)
	}
	f.setPolicy(t, `{"Version":"2012-10-17","Statement":[
		{"Effect":"Deny","Principal":"*","Action":["s3:GetObject","s3:GetObjectVersion","s3:DeleteObject*"],"Resource":"`+bucketARN+`/secret/*"},
		{"Effect":"Deny","Principal":"*","Action":"s3:GetObjectTagging","Resource":"`+bucketARN+`/*"}]}`)
	source := func(from string) error {
		_, err := f.CopyObject(ctx, &s3.CopyObjectInput{Bucket: bucket, Key: aws.String("copy"), CopySource: aws.String(testBucket + "/" + from)})
		return err
	}
	wantCode(t, source("secret/a"), "AccessDenied", 403)
	wantCode(t, source("secret/a?versionId="+*secret.VersionId), "AccessDenied", 403)
	wantCode(t, source("open/a"), "", 0)
	wantCode(t, source("tagged"), "AccessDenied", 403)
	up, err := f.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bucket, Key: aws.String("big")})
	wantCode(t, err, "", 0)
	_, err = f.UploadPartCopy(ctx, &s3.UploadPartCopyInput{Bucket: bucket, Key: aws.String("big"), UploadId: up.UploadId, PartNumber: aws.Int32(1), CopySource: aws.String(testBucket + "/secret/a")})
	wantCode(t, err, "AccessDenied", 403)

	out, err := f.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: bucket, Delete: &types.Delete{Objects: []types.ObjectIdentifier{
		{Key: aws.String("open/a")}, {Key: aws.String("secret/a")}, {Key: aws.String("secret/a"), VersionId: secret.VersionId},
	}}})
	if err != nil || len(out.Deleted) != 1 || len(out.Errors) != 2 || *out.Errors[0].Code != "AccessDenied" {
		t.Errorf("got %+v, %v, want open/a deleted and the others denied", out, err)
	}
}

func TestPolicy_SecureTransport(t *testing.T) {
	t.Parallel()
	policy := deny(`"Action":"s3:*","Resource":["` + bucketARN + `","` + bucketARN + `/*"],"Condition":{"Bool":{"aws:SecureTransport":"false"}}`)
	plain, encrypted := newFixture(t), newTLSFixture(t)
	behindProxy := newFixture(t, func(cfg *Config) { cfg.BehindTLS = true })
	for f, denied := range map[*fixture]bool{plain: true, encrypted: false, behindProxy: false} {
		f.setPolicy(t, policy)
		code := ""
		if denied {
			code = "AccessDenied"
		}
		_, err := f.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(testBucket)})
		wantCode(t, err, code, 403)
	}
	encrypted.setPolicy(t, deny(`"Action":"s3:*","Resource":"`+bucketARN+`","Condition":{"NumericEquals":{"s3:TlsVersion":"1.3"}}`))
	_, err := encrypted.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(testBucket)})
	wantCode(t, err, "AccessDenied", 403)
}

// What would not be enforced is refused, and the bucket stays as it was.
func TestPolicy_Refused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	o := `"Resource":"` + bucketARN + `/*"`
	for _, tt := range []struct{ policy, code, names string }{
		{`{}`, "MalformedPolicy", "Statement"},
		{`{"Statement":[]}`, "MalformedPolicy", "Statement"},
		{`{"Version":"2013-01-01","Statement":[]}`, "MalformedPolicy", "Version"},
		{`{"Statement":{"Effect":"Deny","Action":"s3:*",` + o + `}}`, "MalformedPolicy", "Principal"},
		{`{"Statement":{"Effect":"deny","Principal":"*","Action":"s3:*",` + o + `}}`, "MalformedPolicy", "Effect"},
		{`{"Statement":{"Effect":"Deny","Principal":"*","Action":"s3:*",` + o + `,"Conditions":{}}}`, "MalformedPolicy", "Conditions"},
		{`{"Statement":{"Effect":"Deny","Effect":"Allow","Principal":"*","Action":"s3:*",` + o + `}}`, "MalformedPolicy", "twice"},
		{`{"Statement":{"Effect":"Deny","Principal":{"AWS":"arn:aws:iam::` + ownerAccount + `:user/alice"},"Action":"s3:*",` + o + `}}`, "MalformedPolicy", "alice"},
		{`{"Statement":{"Effect":"Deny","Principal":{"AWS":"arn:aws:iam::123456789012:role/*"},"Action":"s3:*",` + o + `}}`, "MalformedPolicy", "role/*"},
		{`{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:GetObject",` + o + `}}`, "NotImplemented", "everybody"},
		{deny(`"Action":"s3:GetObjekt",` + o), "MalformedPolicy", "s3:GetObjekt"},
		{deny(`"Action":"dynamodb:*",` + o), "MalformedPolicy", "dynamodb:*"},
		{deny(`"Action":"s3:*","Resource":"arn:aws:s3:::another/*"`), "MalformedPolicy", "another"},
		{deny(`"Action":"s3:*","Resource":"arn:aws:s3:::` + testBucket + `s"`), "MalformedPolicy", testBucket + "s"},
		{deny(`"Action":"s3:ListBucket",` + o), "MalformedPolicy", "s3:ListBucket"},
		{deny(`"Action":"s3:GetObject","Resource":"` + bucketARN + `"`), "MalformedPolicy", "s3:GetObject"},
		{deny(`"Action":"s3:GetObject",` + o + `,"Condition":{"StringLike":{"s3:prefix":"x"}}`), "MalformedPolicy", "s3:prefix"},
		{deny(`"Action":"s3:*",` + o + `,"Condition":{"StringLike":{"s3:ExistingObjectTag/a":"x"}}`), "NotImplemented", "s3:ExistingObjectTag/a"},
		{deny(`"Action":"s3:*",` + o + `,"Condition":{"StringAlike":{"aws:UserAgent":"x"}}`), "MalformedPolicy", "StringAlike"},
		{deny(`"Action":"s3:*",` + o + `,"Condition":{"BinaryEquals":{"aws:UserAgent":"x"}}`), "NotImplemented", "BinaryEquals"},
		{deny(`"Action":"s3:*",` + o + `,"Condition":{"IpAddress":{"aws:SourceIp":"10.0.0"}}`), "MalformedPolicy", "10.0.0"},
		{deny(`"Action":"s3:*","Resource":"` + bucketARN + `/${aws:username}/*"`), "NotImplemented", "aws:username"},
		{deny(`"Action":"s3:*",`+o) + strings.Repeat(" ", maxPolicy), "MalformedPolicy", "20 KiB"},
	} {
		a := f.send(t, request{method: "PUT", target: "/" + testBucket + "?policy", body: tt.policy})
		if a.err.Code != tt.code || !strings.Contains(a.err.Message, tt.names) {
			t.Errorf("%.200s: got %d %s %q, want %s with %s", tt.policy, a.status, a.err.Code, a.err.Message, tt.code, tt.names)
		}
	}
	f.send(t, request{method: "GET", target: "/" + testBucket + "?policy"}).want(t, 404, "NoSuchBucketPolicy")
}

// A policy that was kept by a version that did not enforce it, and that cannot be evaluated, lets nothing through.
func TestPolicy_StoredBefore(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.put(t, "k", "v")
	if err := f.store.SetBucketConfig(t.Context(), testBucket, "policy", []byte(`{"Statement":[{"Action":"s3:*"}]}`)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time from memory
		a := f.send(t, request{method: "GET", target: "/" + testBucket + "/k"})
		a.want(t, 403, "AccessDenied")
		if !strings.Contains(a.err.Message, "Effect") || !strings.Contains(a.err.Message, "replace or delete") {
			t.Errorf("got %q, want what is wrong and the next step", a.err.Message)
		}
	}
	f.send(t, request{method: "DELETE", target: "/" + testBucket + "?policy"}).want(t, 204, "")
	if got := f.get(t, "k"); got != "v" {
		t.Errorf("got %q, want v", got)
	}
}

// An operation without an action would be one that no policy denies.
func TestOperations_HaveActions(t *testing.T) {
	t.Parallel()
	for _, op := range slices.Concat(serviceOperations, bucketOperations, objectOperations) {
		if !strings.HasPrefix(op.action, "s3:") {
			t.Errorf("%s has the action %q", op.name, op.action)
		}
	}
}
