package endpoint

import (
	"crypto/tls"
	"net"
	"strconv"
	"strings"
	"time"
)

// conditionKey is a key that a policy's condition can be about.
type conditionKey struct {
	// value is what a request has there; false: the key is not in it.
	value func(*call, ask) (string, bool)
	// actions, if any, are those whose requests can have it. A statement about none of them is refused.
	actions []string
}

func findConditionKey(name string) (conditionKey, bool) {
	key, ok := conditionKeys[strings.ToLower(name)]
	return key, ok
}

// conditionContext is what policies can ask of the request.
func (c *call) conditionContext(a ask) map[string][]string {
	all := map[string][]string{}
	for name, key := range conditionKeys {
		if v, ok := key.value(c, a); ok {
			all[name] = []string{v}
		}
	}
	return all
}

var (
	listActions  = []string{listBucket, "s3:ListBucketVersions", "s3:ListBucketMultipartUploads"}
	writeActions = []string{"s3:PutObject"}
)

// conditionKeys are the keys that are known, in lower case. A policy with another is refused.
var conditionKeys = map[string]conditionKey{
	"aws:securetransport": {value: always(func(c *call, _ ask) string {
		return strconv.FormatBool(c.r.TLS != nil || c.BehindTLS)
	})},
	"aws:sourceip": {value: func(c *call, _ ask) (string, bool) {
		host, _, err := net.SplitHostPort(c.r.RemoteAddr)
		return host, err == nil
	}},
	"aws:currenttime": {value: always(func(c *call,
		_ ask,
	) string {
		return c.Clock().UTC().Format(time.RFC3339)
	})},
	"aws:epochtime": {value: always(func(c *call,
		_ ask,
	) string {
		return strconv.FormatInt(c.Clock().Unix(), 10)
	})},
	"aws:useragent":             {value: header("User-Agent")},
	"aws:referer":               {value: header("Referer")},
	"aws:requestedregion":       {value: always(func(c *call, _ ask) string { return c.sig.Region })},
	"aws:principalarn":          {value: constant(ownerARN)},
	"aws:principalaccount":      {value: constant(ownerAccount)},
	"aws:principaltype":         {value: constant("Account")},
	"aws:userid":                {value: constant(ownerAccount)},
	"aws:resourceaccount":       {value: constant(ownerAccount)},
	"s3:resourceaccount":        {value: constant(ownerAccount)},
	"aws:principalisawsservice": {value: constant("false")},
	"aws:viaawsservice":         {value: constant("false")},

	"s3:authtype": {value: always(func(c *call, _ ask) string {
		if c.sig.Presigned {
			return "REST-QUERY-STRING"
		}
		return "REST-HEADER"
	})},
	"s3:signatureversion":     {value: constant("AWS4-HMAC-SHA256")},
	"s3:x-amz-content-sha256": {value: header("X-Amz-Content-Sha256")},
	"s3:tlsversion": {value: func(c *call, _ ask) (string, bool) {
		if c.r.TLS == nil {
			return "", false
		}
		return map[uint16]string{
			tls.VersionTLS10: "1.0", tls.VersionTLS11: "1.1", tls.VersionTLS12: "1.2",
			tls.VersionTLS13: "1.3",
		}[c.r.TLS.Version], true
	}},

	"s3:prefix":    {query("prefix"), listActions},
	"s3:delimiter": {query("delimiter"), listActions},
	"s3:max-keys":  {query("max-keys"), listActions},
	"s3:versionid": {value: func(_ *call, a ask) (string, bool) { return a.version, a.version != "" }},

	"s3:if-match":      {value: func(_ *call, a ask) (string, bool) { return a.ifMatch, a.ifMatch != "" }},
	"s3:if-none-match": {value: header("If-None-Match")},
	"s3:objectcreationoperation": {func(c *call, a ask) (string, bool) {
		switch c.op {
		case "PutObject", "CopyObject", "CompleteMultipartUpload":
			return "true", a.action == writeActions[0]
		case "CreateMultipartUpload", "UploadPart", "UploadPartCopy":
			return "false", a.action == writeActions[0]
		}
		return "", false
	}, writeActions},
	"s3:x-amz-acl":                                       {value: header("X-Amz-Acl")},
	"s3:x-amz-storage-class":                             {header("X-Amz-Storage-Class"), writeActions},
	"s3:x-amz-copy-source":                               {header("X-Amz-Copy-Source"), writeActions},
	"s3:x-amz-metadata-directive":                        {header("X-Amz-Metadata-Directive"), writeActions},
	"s3:x-amz-server-side-encryption":                    {header(headerSSE), writeActions},
	"s3:x-amz-server-side-encryption-aws-kms-key-id":     {header(headerSSE + "-Aws-Kms-Key-Id"), writeActions},
	"s3:x-amz-server-side-encryption-customer-algorithm": {value: header(headerSSEC + "Algorithm")},

	// In no request to this store: it has no grants, roles, sessions, organizations, VPCs and access points.
	"s3:x-amz-grant-read":         {value: never},
	"s3:x-amz-grant-write":        {value: never},
	"s3:x-amz-grant-read-acp":     {value: never},
	"s3:x-amz-grant-write-acp":    {value: never},
	"s3:x-amz-grant-full-control": {value: never},
	"s3:dataaccesspointarn":       {value: never},
	"s3:dataaccesspointaccount":   {value: never},
	"s3:accesspointnetworkorigin": {value: never},
	"aws:sourcevpc":               {value: never},
	"aws:sourcevpce":              {value: never},
	"aws:vpcsourceip":             {value: never},
	"aws:sourcearn":               {value: never},
	"aws:sourceaccount":           {value: never},
	"aws:sourceorgid":             {value: never},
	"aws:principalorgid":          {value: never},
	"aws:principalorgpaths":       {value: never},
	"aws:resourceorgid":           {value: never},
	"aws:calledvia":               {value: never},
	"aws:username":                {value: never},
	"aws:federatedprovider":       {value: never},
	"aws:tokenissuetime":          {value: never},
	"aws:multifactorauthpresent":  {value: never},
	"aws:multifactorauthage":      {value: never},
}

func always(value func(*call, ask) string) func(*call, ask) (string, bool) {
	return func(c *call, a ask) (string, bool) { return value(c, a), true }
}

func constant(value string) func(*call, ask) (string, bool) {
	return func(*call, ask) (string, bool) { return value, true }
}

func never(*call, ask) (string, bool) { return "", false }

func header(name string) func(*call, ask) (string, bool) {
	return func(c *call, _ ask) (string, bool) { return c.r.Header.Get(name), len(c.r.Header.Values(name)) > 0 }
}

func query(name string) func(*call, ask) (string, bool) {
	return func(c *call, _ ask) (string, bool) { return c.query.Get(name), c.query.Has(name) }
}
