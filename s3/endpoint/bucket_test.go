package endpoint

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func TestBucket_Life(t *testing.T) {
	t.Parallel()
	f := newTLSFixture(t)
	ctx := t.Context()
	name := aws.String("second.bucket-1")
	_, err := f.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: name})
	wantCode(t, err, "NotFound", 404)
	_, err = f.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: name, CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: "eu-west-3"}})
	wantCode(t, err, "", 0)
	_, err = f.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: name})
	wantCode(t, err, "BucketAlreadyOwnedByYou", 409)
	head, err := f.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: name})
	if err != nil || aws.ToString(head.BucketRegion) != "eu-west-3" {
		t.Errorf("got %+v, %v, want region eu-west-3", head, err)
	}
	location, err := f.GetBucketLocation(ctx, &s3.GetBucketLocationInput{Bucket: name})
	if err != nil || location.LocationConstraint != "eu-west-3" {
		t.Errorf("got %+v, %v, want location eu-west-3", location, err)
	}
	location, err = f.GetBucketLocation(ctx, &s3.GetBucketLocationInput{Bucket: aws.String(testBucket)})
	if err != nil || location.LocationConstraint != "" {
		t.Errorf("got %+v, %v, want no location", location, err)
	}
	// Clients index into this element, so it is there even without a bucket in it.
	if a := f.send(t, request{method: "GET", target: "/?prefix=none"}); !strings.Contains(a.body, "<Buckets></Buckets>") {
		t.Errorf("got %s, want an empty list of buckets", a.body)
	}
	var names []string
	pages := s3.NewListBucketsPaginator(f.Client, &s3.ListBucketsInput{MaxBuckets: aws.Int32(1)})
	for pages.HasMorePages() && len(names) < 5 {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range page.Buckets {
			names = append(names, *b.Name+"="+aws.ToString(b.BucketRegion))
		}
	}
	if got := strings.Join(names, " "); got != "second.bucket-1=eu-west-3 the-bucket=us-east-1" {
		t.Errorf("got buckets %q, want both with their regions", got)
	}
	if _, err := f.PutObject(ctx, &s3.PutObjectInput{Bucket: name, Key: aws.String("k"), Body: strings.NewReader("")}); err != nil {
		t.Fatal(err)
	}
	_, err = f.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: name})
	wantCode(t, err, "BucketNotEmpty", 409)
	if _, err := f.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: name, Key: aws.String("k")}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: name, Key: aws.String("k")}); err != nil {
		t.Fatal(err)
	}
	_, err = f.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: name}) // an upload that nobody finished does not keep it
	wantCode(t, err, "", 0)
	_, err = f.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: name})
	wantCode(t, err, "NoSuchBucket", 404)
}

func TestBucket_Versioning(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	get := func() types.BucketVersioningStatus {
		out, err := f.GetBucketVersioning(t.Context(), &s3.GetBucketVersioningInput{Bucket: aws.String(testBucket)})
		if err != nil {
			t.Fatal(err)
		}
		return out.Status
	}
	if got := get(); got != "" {
		t.Errorf("got %q, want no status", got)
	}
	for _, status := range []types.BucketVersioningStatus{"Enabled", "Suspended", "Enabled"} {
		_, err := f.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{
			Bucket: aws.String(testBucket), VersioningConfiguration: &types.VersioningConfiguration{Status: status},
		})
		wantCode(t, err, "", 0)
		if got := get(); got != status {
			t.Errorf("got %q, want %q", got, status)
		}
	}
}

func TestBucket_Encryption(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ctx, bucket := t.Context(), aws.String(testBucket)
	_, err := f.GetBucketEncryption(ctx, &s3.GetBucketEncryptionInput{Bucket: bucket})
	wantCode(t, err, "ServerSideEncryptionConfigurationNotFoundError", 404)
	put := func(algorithm types.ServerSideEncryption) error {
		_, err := f.PutBucketEncryption(ctx, &s3.PutBucketEncryptionInput{Bucket: bucket, ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{
			Rules: []types.ServerSideEncryptionRule{{ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{SSEAlgorithm: algorithm}, BucketKeyEnabled: aws.Bool(true)}},
		}})
		return err
	}
	wantCode(t, put("aws:kms"), "NotImplemented", 501)
	wantCode(t, put("AES256"), "", 0)
	out, err := f.GetBucketEncryption(ctx, &s3.GetBucketEncryptionInput{Bucket: bucket})
	if err != nil || len(out.ServerSideEncryptionConfiguration.Rules) != 1 || out.ServerSideEncryptionConfiguration.Rules[0].ApplyServerSideEncryptionByDefault.SSEAlgorithm != "AES256" {
		t.Errorf("got %+v, %v, want AES256", out, err)
	}
	if got := f.put(t, "k", "x").ServerSideEncryption; got != "AES256" {
		t.Errorf("got encryption %q of a PUT, want the default AES256", got)
	}
	_, err = f.DeleteBucketEncryption(ctx, &s3.DeleteBucketEncryptionInput{Bucket: bucket})
	wantCode(t, err, "", 0)
	if got := f.put(t, "k", "x").ServerSideEncryption; got != "" {
		t.Errorf("got encryption %q of a PUT, want none", got)
	}
}

func TestBucket_StoredDocuments(t *testing.T) {
	t.Parallel()
	f := newTLSFixture(t)
	ctx, bucket := t.Context(), aws.String(testBucket)

	_, err := f.GetPublicAccessBlock(ctx, &s3.GetPublicAccessBlockInput{Bucket: bucket})
	wantCode(t, err, "NoSuchPublicAccessBlockConfiguration", 404)
	_, err = f.PutPublicAccessBlock(ctx, &s3.PutPublicAccessBlockInput{Bucket: bucket, PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{
		BlockPublicAcls: aws.Bool(true), RestrictPublicBuckets: aws.Bool(true),
	}})
	wantCode(t, err, "", 0)
	block, err := f.GetPublicAccessBlock(ctx, &s3.GetPublicAccessBlockInput{Bucket: bucket})
	if err != nil || !*block.PublicAccessBlockConfiguration.BlockPublicAcls || *block.PublicAccessBlockConfiguration.IgnorePublicAcls || !*block.PublicAccessBlockConfiguration.RestrictPublicBuckets {
		t.Errorf("got %+v, %v, want what was put", block, err)
	}
	_, err = f.DeletePublicAccessBlock(ctx, &s3.DeletePublicAccessBlockInput{Bucket: bucket})
	wantCode(t, err, "", 0)
	_, err = f.GetPublicAccessBlock(ctx, &s3.GetPublicAccessBlockInput{Bucket: bucket})
	wantCode(t, err, "NoSuchPublicAccessBlockConfiguration", 404)

	_, err = f.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: bucket})
	wantCode(t, err, "NoSuchBucketPolicy", 404)
	const policy = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::the-bucket/*"}]}`
	_, err = f.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: bucket, Policy: aws.String(policy)})
	wantCode(t, err, "", 0)
	got, err := f.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: bucket})
	if err != nil || *got.Policy != policy {
		t.Errorf("got %+v, %v, want the policy as it was", got, err)
	}
	for _, bad := range []string{`{`, `[]`, `null`, `{"Version":"2020-01-01","Statement":[]}`, `{"Version":"2012-10-17"}`, `{"Statement":"x"}`, `{"Statement":["` + strings.Repeat("x", 20<<10) + `"]}`} {
		_, err = f.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: bucket, Policy: aws.String(bad)})
		wantCode(t, err, "MalformedPolicy", 400)
	}
	_, err = f.DeleteBucketPolicy(ctx, &s3.DeleteBucketPolicyInput{Bucket: bucket})
	wantCode(t, err, "", 0)
	_, err = f.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: bucket})
	wantCode(t, err, "NoSuchBucketPolicy", 404)

	_, err = f.GetBucketTagging(ctx, &s3.GetBucketTaggingInput{Bucket: bucket})
	wantCode(t, err, "NoSuchTagSet", 404)
	_, err = f.PutBucketTagging(ctx, &s3.PutBucketTaggingInput{Bucket: bucket, Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String("k"), Value: aws.String("v&")}}}})
	wantCode(t, err, "", 0)
	tags, err := f.GetBucketTagging(ctx, &s3.GetBucketTaggingInput{Bucket: bucket})
	if err != nil || len(tags.TagSet) != 1 || *tags.TagSet[0].Value != "v&" {
		t.Errorf("got %+v, %v, want the tag", tags, err)
	}
	_, err = f.DeleteBucketTagging(ctx, &s3.DeleteBucketTaggingInput{Bucket: bucket})
	wantCode(t, err, "", 0)
	_, err = f.GetBucketTagging(ctx, &s3.GetBucketTaggingInput{Bucket: bucket})
	wantCode(t, err, "NoSuchTagSet", 404)
}

func TestBucket_OwnershipAndACL(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ctx, bucket := t.Context(), aws.String(testBucket)
	f.put(t, "k", "x")
	controls, err := f.GetBucketOwnershipControls(ctx, &s3.GetBucketOwnershipControlsInput{Bucket: bucket})
	if err != nil || controls.OwnershipControls.Rules[0].ObjectOwnership != "BucketOwnerEnforced" {
		t.Errorf("got %+v, %v, want BucketOwnerEnforced", controls, err)
	}
	for ownership, code := range map[types.ObjectOwnership]string{"BucketOwnerEnforced": "", "ObjectWriter": "NotImplemented"} {
		_, err = f.PutBucketOwnershipControls(ctx, &s3.PutBucketOwnershipControlsInput{Bucket: bucket, OwnershipControls: &types.OwnershipControls{Rules: []types.OwnershipControlsRule{{ObjectOwnership: ownership}}}})
		wantCode(t, err, code, 501)
	}
	acl, err := f.GetBucketAcl(ctx, &s3.GetBucketAclInput{Bucket: bucket})
	if err != nil || len(acl.Grants) != 1 || acl.Grants[0].Permission != "FULL_CONTROL" || *acl.Grants[0].Grantee.ID != *acl.Owner.ID || acl.Grants[0].Grantee.Type != "CanonicalUser" {
		t.Fatalf("got %+v, %v, want the owner's full control", acl, err)
	}
	object, err := f.GetObjectAcl(ctx, &s3.GetObjectAclInput{Bucket: bucket, Key: aws.String("k")})
	if err != nil || len(object.Grants) != 1 {
		t.Fatalf("got %+v, %v, want the owner's full control", object, err)
	}
	_, err = f.GetObjectAcl(ctx, &s3.GetObjectAclInput{Bucket: bucket, Key: aws.String("none")})
	wantCode(t, err, "NoSuchKey", 404)
	put := func(in s3.PutObjectAclInput) error {
		in.Bucket, in.Key = bucket, aws.String("k")
		_, err := f.PutObjectAcl(ctx, &in)
		return err
	}
	wantCode(t, put(s3.PutObjectAclInput{ACL: "private"}), "", 0)
	wantCode(t, put(s3.PutObjectAclInput{ACL: "public-read"}), "AccessControlListNotSupported", 400)
	wantCode(t, put(s3.PutObjectAclInput{GrantRead: aws.String("id=1")}), "AccessControlListNotSupported", 400)
	own := &types.AccessControlPolicy{Owner: object.Owner, Grants: object.Grants}
	wantCode(t, put(s3.PutObjectAclInput{AccessControlPolicy: own}), "", 0)
	own.Grants = append(own.Grants, types.Grant{Permission: "READ", Grantee: &types.Grantee{Type: "Group", URI: aws.String("http://acs.amazonaws.com/groups/global/AllUsers")}})
	wantCode(t, put(s3.PutObjectAclInput{AccessControlPolicy: own}), "AccessControlListNotSupported", 400)
	_, err = f.PutBucketAcl(ctx, &s3.PutBucketAclInput{Bucket: bucket, ACL: "private"})
	wantCode(t, err, "", 0)
	_, err = f.PutBucketAcl(ctx, &s3.PutBucketAclInput{Bucket: bucket, ACL: "public-read-write"})
	wantCode(t, err, "AccessControlListNotSupported", 400)
}

func TestBucket_Lifecycle(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ctx, bucket := t.Context(), aws.String(testBucket)
	_, err := f.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: bucket})
	wantCode(t, err, "NoSuchLifecycleConfiguration", 404)
	rules := []types.LifecycleRule{
		{
			ID: aws.String("old states"), Status: "Enabled", Filter: &types.LifecycleRuleFilter{Prefix: aws.String("env:/")},
			NoncurrentVersionExpiration: &types.NoncurrentVersionExpiration{NoncurrentDays: aws.Int32(90), NewerNoncurrentVersions: aws.Int32(10)},
			Expiration:                  &types.LifecycleExpiration{ExpiredObjectDeleteMarker: aws.Bool(true)},
		},
		{
			ID: aws.String("small"), Status: "Disabled",
			Filter: &types.LifecycleRuleFilter{And: &types.LifecycleRuleAndOperator{
				Prefix: aws.String("x"), Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}, ObjectSizeGreaterThan: aws.Int64(0), ObjectSizeLessThan: aws.Int64(4096),
			}},
			Expiration: &types.LifecycleExpiration{Days: aws.Int32(7)},
		},
		{
			ID: aws.String("uploads"), Status: "Enabled", Filter: &types.LifecycleRuleFilter{Prefix: aws.String("")},
			AbortIncompleteMultipartUpload: &types.AbortIncompleteMultipartUpload{DaysAfterInitiation: aws.Int32(3)},
		},
	}
	put := func(rules ...types.LifecycleRule) error {
		_, err := f.PutBucketLifecycleConfiguration(ctx, &s3.PutBucketLifecycleConfigurationInput{Bucket: bucket, LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: rules}})
		return err
	}
	wantCode(t, put(rules...), "", 0)
	out, err := f.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: bucket})
	if err != nil || len(out.Rules) != 3 {
		t.Fatalf("got %+v, %v, want three rules", out, err)
	}
	first, second, third := out.Rules[0], out.Rules[1], out.Rules[2]
	if *first.ID != "old states" || *first.Filter.Prefix != "env:/" || *first.NoncurrentVersionExpiration.NoncurrentDays != 90 ||
		*first.NoncurrentVersionExpiration.NewerNoncurrentVersions != 10 || !*first.Expiration.ExpiredObjectDeleteMarker || first.Expiration.Days != nil {
		t.Errorf("got %+v, want the first rule as it was put", first)
	}
	if and := second.Filter.And; second.Status != "Disabled" || and == nil || *and.Prefix != "x" || *and.Tags[0].Key != "a" || *and.ObjectSizeGreaterThan != 0 || *and.ObjectSizeLessThan != 4096 || *second.Expiration.Days != 7 {
		t.Errorf("got %+v, want the second rule as it was put", second)
	}
	if *third.Filter.Prefix != "" || *third.AbortIncompleteMultipartUpload.DaysAfterInitiation != 3 {
		t.Errorf("got %+v, want the third rule as it was put", third)
	}
	withTransition := rules[2]
	withTransition.Transitions = []types.Transition{{Days: aws.Int32(30), StorageClass: "GLACIER"}}
	wantCode(t, put(withTransition), "NotImplemented", 501)
	wantCode(t, put(rules[0], rules[0]), "InvalidArgument", 400)
	_, err = f.DeleteBucketLifecycle(ctx, &s3.DeleteBucketLifecycleInput{Bucket: bucket})
	wantCode(t, err, "", 0)
	_, err = f.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: bucket})
	wantCode(t, err, "NoSuchLifecycleConfiguration", 404)
}

func TestSettings_OfAbsentBucket(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, subresource := range []string{
		"location", "versioning", "encryption", "publicAccessBlock", "policy", "tagging", "lifecycle", "ownershipControls", "acl", "uploads", "versions", "list-type=2",
	} {
		f.send(t, request{method: "GET", target: "/other-bucket?" + subresource}).want(t, 404, "NoSuchBucket")
	}
	for subresource, body := range map[string]string{
		"versioning":        "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
		"publicAccessBlock": "<PublicAccessBlockConfiguration/>",
		"policy":            `{"Statement":{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::other-bucket"}}`,
		"tagging":           "<Tagging><TagSet/></Tagging>",
	} {
		f.send(t, request{method: "PUT", target: "/other-bucket?" + subresource, body: body}).want(t, 404, "NoSuchBucket")
	}
	a := f.send(t, request{method: "DELETE", target: "/other-bucket?policy"})
	a.want(t, 404, "NoSuchBucket")
	if a.err.BucketName != "other-bucket" || a.err.Resource != "/other-bucket" || a.err.RequestID != a.header.Get("X-Amz-Request-Id") {
		t.Errorf("got %+v, want the bucket, the resource and the request ID", a.err)
	}
}
