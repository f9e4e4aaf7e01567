package endpoint

import (
	"net/http"
	"slices"
	"strings"
)

// operation is one row of the table by which requests are dispatched. What is not in
// the table is answered with 501, so that an unknown subresource can never be
// taken for the object or bucket itself.
type operation struct {
	name   string
	method string
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
	{name: "ListBuckets", method: "GET", params: []string{"max-buckets", "continuation-token", "prefix", "bucket-region"}, handle: (*call).listBuckets},
}

var bucketOperations = []operation{
	{name: "CreateBucket", method: "PUT", handle: (*call).createBucket},
	{name: "DeleteBucket", method: "DELETE", handle: (*call).deleteBucket},
	{name: "HeadBucket", method: "HEAD", handle: (*call).headBucket},
	{name: "GetBucketLocation", method: "GET", selector: "location", handle: (*call).getLocation},

	{name: "ListObjects", method: "GET", params: append([]string{"marker"}, listParams...), handle: (*call).listObjects},
	{name: "ListObjectsV2", method: "GET", selector: "list-type", params: append([]string{"continuation-token", "start-after", "fetch-owner"}, listParams...), handle: (*call).listObjectsV2},
	{name: "ListObjectVersions", method: "GET", selector: "versions", params: append([]string{"key-marker", "version-id-marker"}, listParams...), handle: (*call).listVersions},
	{name: "ListMultipartUploads", method: "GET", selector: "uploads", params: []string{"prefix", "delimiter", "encoding-type", "key-marker", "upload-id-marker", "max-uploads"}, handle: (*call).listUploads},
	{name: "DeleteObjects", method: "POST", selector: "delete", handle: (*call).deleteObjects},

	{name: "GetBucketVersioning", method: "GET", selector: "versioning", handle: (*call).getVersioning},
	{name: "PutBucketVersioning", method: "PUT", selector: "versioning", handle: (*call).putVersioning},
	{name: "GetBucketEncryption", method: "GET", selector: "encryption", handle: (*call).getBucketEncryption},
	{name: "PutBucketEncryption", method: "PUT", selector: "encryption", handle: (*call).putBucketEncryption},
	{name: "DeleteBucketEncryption", method: "DELETE", selector: "encryption", handle: (*call).deleteBucketEncryption},
	{name: "GetPublicAccessBlock", method: "GET", selector: "publicAccessBlock", handle: (*call).getPublicAccessBlock},
	{name: "PutPublicAccessBlock", method: "PUT", selector: "publicAccessBlock", handle: (*call).putPublicAccessBlock},
	{name: "DeletePublicAccessBlock", method: "DELETE", selector: "publicAccessBlock", handle: (*call).deleteConfig},
	{name: "GetBucketPolicy", method: "GET", selector: "policy", handle: (*call).getPolicy},
	{name: "PutBucketPolicy", method: "PUT", selector: "policy", handle: (*call).putPolicy},
	{name: "DeleteBucketPolicy", method: "DELETE", selector: "policy", handle: (*call).deleteConfig},
	{name: "GetBucketTagging", method: "GET", selector: "tagging", handle: (*call).getBucketTagging},
	{name: "PutBucketTagging", method: "PUT", selector: "tagging", handle: (*call).putBucketTagging},
	{name: "DeleteBucketTagging", method: "DELETE", selector: "tagging", handle: (*call).deleteConfig},
	{name: "GetBucketLifecycleConfiguration", method: "GET", selector: "lifecycle", handle: (*call).getLifecycle},
	{name: "PutBucketLifecycleConfiguration", method: "PUT", selector: "lifecycle", handle: (*call).putLifecycle},
	{name: "DeleteBucketLifecycle", method: "DELETE", selector: "lifecycle", handle: (*call).deleteLifecycle},
	{name: "GetBucketOwnershipControls", method: "GET", selector: "ownershipControls", handle: (*call).getOwnership},
	{name: "PutBucketOwnershipControls", method: "PUT", selector: "ownershipControls", handle: (*call).putOwnership},
	{name: "GetBucketAcl", method: "GET", selector: "acl", handle: (*call).getBucketACL},
	{name: "PutBucketAcl", method: "PUT", selector: "acl", handle: (*call).putBucketACL},
}

var objectOperations = []operation{
	{name: "PutObject", method: "PUT", conditions: slices.Concat(writeConditions, sourceConditions), handle: (*call).putOrCopyObject},
	{name: "GetObject", method: "GET", params: readParams, handle: (*call).getObject},
	{name: "HeadObject", method: "HEAD", params: readParams, handle: (*call).getObject},
	{name: "DeleteObject", method: "DELETE", params: []string{"versionId"}, conditions: []string{"if-match"}, handle: (*call).deleteObject},
	{name: "GetObjectTagging", method: "GET", selector: "tagging", params: []string{"versionId"}, handle: (*call).getObjectTagging},
	{name: "PutObjectTagging", method: "PUT", selector: "tagging", params: []string{"versionId"}, handle: (*call).putObjectTagging},
	{name: "DeleteObjectTagging", method: "DELETE", selector: "tagging", params: []string{"versionId"}, handle: (*call).deleteObjectTagging},
	{name: "GetObjectAcl", method: "GET", selector: "acl", params: []string{"versionId"}, handle: (*call).getObjectACL},
	{name: "PutObjectAcl", method: "PUT", selector: "acl", params: []string{"versionId"}, handle: (*call).putObjectACL},

	{name: "CreateMultipartUpload", method: "POST", selector: "uploads", handle: (*call).createUpload},
	{name: "UploadPart", method: "PUT", selector: "uploadId", params: []string{"partNumber"}, conditions: sourceConditions, handle: (*call).uploadOrCopyPart},
	{name: "ListParts", method: "GET", selector: "uploadId", params: []string{"max-parts", "part-number-marker", "encoding-type"}, handle: (*call).listParts},
	{name: "CompleteMultipartUpload", method: "POST", selector: "uploadId", conditions: writeConditions, handle: (*call).completeUpload},
	{name: "AbortMultipartUpload", method: "DELETE", selector: "uploadId", handle: (*call).abortUpload},
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
	if err := c.checkHeaders(op.conditions); err != nil {
		return err
	}
	return op.handle(c)
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
				return nil, invalidArgument("The parameters " + chosen.selector + " and " + op.selector + " cannot be used together.")
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
		return nil, refuse("MethodNotAllowed", http.StatusMethodNotAllowed, "The specified method is not allowed against this resource.")
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
