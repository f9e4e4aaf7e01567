package endpoint

import (
	"net/http"
	"slices"
	"strings"

	"github.com/statelatch/statelatch/s3/s3model"
)

// operation is one row of the table by which requests are dispatched. What is not in
// the table is answered with 501, so that an unknown subresource can never be
// taken for the object or bucket itself.
type operation struct {
	name   string
	method string
	// action is what IAM calls it, by which a bucket policy denies it; versionAction is its name where the request
	// names a version, if that is another.
	action, versionAction string
	// selector is the query parameter that chooses this operation; empty is the resource itself.
	selector string
	// params are the other query parameters that the operation understands.
	params []string
	// conditions are the If-* headers that it evaluates (writes only).
	conditions []string
	handle     func(*call) error
}

var (
	listParams     = []string{"prefix", "delimiter", "max-keys", "encoding-type"}
	responseParams = []string{
		"response-content-type", "response-content-language", "response-expires",
		"response-cache-control", "response-content-disposition", "response-content-encoding",
	}
	readParams       = append([]string{"versionId", "partNumber"}, responseParams...)
	sourceConditions = []string{
		"x-amz-copy-source-if-match", "x-amz-copy-source-if-none-match",
		"x-amz-copy-source-if-modified-since", "x-amz-copy-source-if-unmodified-since",
	}
)

var serviceOperations = []operation{
	{
		name: "ListBuckets", method: "GET", action: "s3:ListAllMyBuckets",
		params: []string{"max-buckets", "continuation-token", "prefix", "bucket-region"}, handle: (*call).listBuckets,
	},
}

var bucketOperations = []operation{
	{name: "CreateBucket", method: "PUT", action: "s3:CreateBucket", handle: (*call).createBucket},
	{name: "DeleteBucket", method: "DELETE", action: "s3:DeleteBucket", handle: (*call).deleteBucket},
	{name: "HeadBucket", method: "HEAD", action: "s3:ListBucket", handle: (*call).headBucket},
	{
		name: "GetBucketLocation", method: "GET", action: "s3:GetBucketLocation", selector: "location",
		handle: (*call).getLocation,
	},

	{
		name: "ListObjects", method: "GET", action: "s3:ListBucket", params: append([]string{"marker"}, listParams...),
		handle: (*call).listObjects,
	},
	{
		name: "ListObjectsV2", method: "GET", action: "s3:ListBucket", selector: "list-type",
		params: append([]string{"continuation-token", "start-after", "fetch-owner"}, listParams...),
		handle: (*call).listObjectsV2,
	},
	{
		name: "ListObjectVersions", method: "GET", action: "s3:ListBucketVersions", selector: "versions",
		params: append([]string{"key-marker", "version-id-marker"}, listParams...), handle: (*call).listVersions,
	},
	{
		name: "ListMultipartUploads", method: "GET", action: "s3:ListBucketMultipartUploads", selector: "uploads",
		params: []string{"prefix", "delimiter", "encoding-type", "key-marker", "upload-id-marker", "max-uploads"},
		handle: (*call).listUploads,
	},
	{name: "DeleteObjects", method: "POST", action: "s3:DeleteObject", selector: "delete", handle: (*call).deleteObjects},

	{
		name: "GetBucketVersioning", method: "GET", action: "s3:GetBucketVersioning", selector: "versioning",
		handle: (*call).getVersioning,
	},
	{
		name: "PutBucketVersioning", method: "PUT", action: "s3:PutBucketVersioning", selector: "versioning",
		handle: (*call).putVersioning,
	},
	{
		name: "GetBucketEncryption", method: "GET", action: "s3:GetEncryptionConfiguration", selector: "encryption",
		handle: (*call).getBucketEncryption,
	},
	{
		name: "PutBucketEncryption", method: "PUT", action: "s3:PutEncryptionConfiguration", selector: "encryption",
		handle: (*call).putBucketEncryption,
	},
	{
		name: "DeleteBucketEncryption", method: "DELETE", action: "s3:PutEncryptionConfiguration", selector: "encryption",
		handle: (*call).deleteBucketEncryption,
	},
	{
		name: "GetPublicAccessBlock", method: "GET", action: "s3:GetBucketPublicAccessBlock", selector: "publicAccessBlock",
		handle: (*call).getPublicAccessBlock,
	},
	{
		name: "PutPublicAccessBlock", method: "PUT", action: "s3:PutBucketPublicAccessBlock", selector: "publicAccessBlock",
		handle: (*call).putPublicAccessBlock,
	},
	{
		name: "DeletePublicAccessBlock", method: "DELETE", action: "s3:PutBucketPublicAccessBlock",
		selector: "publicAccessBlock", handle: (*call).deleteConfig,
	},
	{name: "GetBucketPolicy", method: "GET", action: "s3:GetBucketPolicy", selector: "policy", handle: (*call).getPolicy},
	{name: "PutBucketPolicy", method: "PUT", action: "s3:PutBucketPolicy", selector: "policy", handle: (*call).putPolicy},
	{
		name: "DeleteBucketPolicy", method: "DELETE", action: "s3:DeleteBucketPolicy", selector: "policy",
		handle: (*call).deleteConfig,
	},
	{
		name: "GetBucketTagging", method: "GET", action: "s3:GetBucketTagging", selector: "tagging",
		handle: (*call).getBucketTagging,
	},
	{
		name: "PutBucketTagging", method: "PUT", action: "s3:PutBucketTagging", selector: "tagging",
		handle: (*call).putBucketTagging,
	},
	{
		name: "DeleteBucketTagging", method: "DELETE", action: "s3:PutBucketTagging", selector: "tagging",
		handle: (*call).deleteConfig,
	},
	{
		name: "GetBucketLifecycleConfiguration", method: "GET", action: "s3:GetLifecycleConfiguration", selector: "lifecycle",
		handle: (*call).getLifecycle,
	},
	{
		name: "PutBucketLifecycleConfiguration", method: "PUT", action: "s3:PutLifecycleConfiguration", selector: "lifecycle",
		handle: (*call).putLifecycle,
	},
	{
		name: "DeleteBucketLifecycle", method: "DELETE", action: "s3:PutLifecycleConfiguration", selector: "lifecycle",
		handle: (*call).deleteLifecycle,
	},
	{
		name: "GetBucketOwnershipControls", method: "GET", action: "s3:GetBucketOwnershipControls",
		selector: "ownershipControls", handle: (*call).getOwnership,
	},
	{
		name: "PutBucketOwnershipControls", method: "PUT", action: "s3:PutBucketOwnershipControls",
		selector: "ownershipControls", handle: (*call).putOwnership,
	},
	{name: "GetBucketAcl", method: "GET", action: "s3:GetBucketAcl", selector: "acl", handle: (*call).getBucketACL},
	{name: "PutBucketAcl", method: "PUT", action: "s3:PutBucketAcl", selector: "acl", handle: (*call).putBucketACL},
}

var objectOperations = []operation{
	{
		name: "PutObject", method: "PUT", action: "s3:PutObject",
		conditions: slices.Concat(writeConditions, sourceConditions), handle: (*call).putOrCopyObject,
	},
	{
		name: "GetObject", method: "GET", action: "s3:GetObject", versionAction: "s3:GetObjectVersion", params: readParams,
		handle: (*call).getObject,
	},
	{
		name: "HeadObject", method: "HEAD", action: "s3:GetObject", versionAction: "s3:GetObjectVersion", params: readParams,
		handle: (*call).getObject,
	},
	{
		name: "DeleteObject", method: "DELETE", action: "s3:DeleteObject", versionAction: "s3:DeleteObjectVersion",
		params: []string{"versionId"}, conditions: []string{"if-match"}, handle: (*call).deleteObject,
	},
	{
		name: "GetObjectTagging", method: "GET", action: "s3:GetObjectTagging", versionAction: "s3:GetObjectVersionTagging",
		selector: "tagging", params: []string{"versionId"}, handle: (*call).getObjectTagging,
	},
	{
		name: "PutObjectTagging", method: "PUT", action: "s3:PutObjectTagging", versionAction: "s3:PutObjectVersionTagging",
		selector: "tagging", params: []string{"versionId"}, handle: (*call).putObjectTagging,
	},
	{
		name: "DeleteObjectTagging", method: "DELETE", action: "s3:DeleteObjectTagging",
		versionAction: "s3:DeleteObjectVersionTagging", selector: "tagging", params: []string{"versionId"},
		handle: (*call).deleteObjectTagging,
	},
	{
		name: "GetObjectAcl", method: "GET", action: "s3:GetObjectAcl", versionAction: "s3:GetObjectVersionAcl",
		selector: "acl", params: []string{"versionId"}, handle: (*call).getObjectACL,
	},
	{
		name: "PutObjectAcl", method: "PUT", action: "s3:PutObjectAcl", versionAction: "s3:PutObjectVersionAcl",
		selector: "acl", params: []string{"versionId"}, handle: (*call).putObjectACL,
	},

	{
		name: "CreateMultipartUpload", method: "POST", action: "s3:PutObject", selector: "uploads",
		handle: (*call).createUpload,
	},
	{
		name: "UploadPart", method: "PUT", action: "s3:PutObject", selector: "uploadId", params: []string{"partNumber"},
		conditions: sourceConditions, handle: (*call).uploadOrCopyPart,
	},
	{
		name: "ListParts", method: "GET", action: "s3:ListMultipartUploadParts", selector: "uploadId",
		params: []string{"max-parts", "part-number-marker", "encoding-type"}, handle: (*call).listParts,
	},
	{
		name: "CompleteMultipartUpload", method: "POST", action: "s3:PutObject", selector: "uploadId",
		conditions: writeConditions, handle: (*call).completeUpload,
	},
	{
		name: "AbortMultipartUpload", method: "DELETE", action: "s3:AbortMultipartUpload", selector: "uploadId",
		handle: (*call).abortUpload,
	},
}

// dispatch finds the operation of the request and runs it.
func (c *call) dispatch() error {
	table := objectOperations
	switch {
	case c.bucket == "":
		table = serviceOperations
	case c.key == "":
		table = bucketOperations
	}
	op, err := c.choose(table)
	if err != nil {
		return err
	}
	c.op = op.name
	if err := c.served(); err != nil {
		return err
	}
	if err := c.checkRegion(op); err != nil {
		return err
	}
	if err := c.checkHeaders(op.conditions); err != nil {
		return err
	}
	if err := c.authorize(op); err != nil {
		return err
	}
	return c.hideAbsence(op, op.handle(c))
}

// served refuses what the store does not serve.
func (c *call) served() error {
	if store, ok := c.Store.(s3model.Selective); ok {
		return store.Serves(c.op)
	}
	return nil
}

func (c *call) choose(table []operation) (*operation, error) {
	var plain, chosen *operation
	methodKnown := false
	for i := range table {
		op := &table[i]
		if op.method != c.r.Method {
			continue
		}
		methodKnown = true
		switch {
		case op.selector == "":
			plain = op
		case c.query.Has(op.selector):
			if chosen != nil {
				return nil, invalidArgument("The parameters " + chosen.selector + " and " + op.selector +
					" cannot be used together.")
			}
			chosen = op
		}
	}
	if chosen == nil {
		chosen = plain
	}
	for name, values := range c.query {
		switch {
		case chosen != nil && (name == chosen.selector || slices.Contains(chosen.params, name)):
			if len(values) > 1 {
				return nil, invalidArgument("The parameter " + name + " is repeated.")
			}
		case name == "x-id": // the SDKs name the operation with it
		default:
			return nil, notImplemented("A parameter you provided implies functionality that is not implemented: " + name)
		}
	}
	if chosen == nil {
		switch {
		case methodKnown, c.r.Method == http.MethodPost, c.r.Method == http.MethodOptions, c.r.Method == http.MethodPatch:
			return nil, notImplemented("This operation is not implemented: " + c.r.Method + " on this resource.")
		}
		c.w.Header().Set("Allow", allowed(table))
		return nil, refuse("MethodNotAllowed", http.StatusMethodNotAllowed,
			"The specified method is not allowed against this resource.")
	}
	return chosen, nil
}

// allowed lists the methods of a table.
func allowed(table []operation) string {
	var methods []string
	for i := range table {
		if !slices.Contains(methods, table[i].method) {
			methods = append(methods, table[i].method)
		}
	}
	return strings.Join(methods, ", ")
}
