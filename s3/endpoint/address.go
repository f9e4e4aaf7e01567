package endpoint

import (
	"net"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/statelatch/statelatch/s3/s3model"
)

const maxKeyLength = 1024 // bytes of UTF-8

// address finds the bucket and the key that the request is for.
func (c *call) address() error {
	path, ok := strings.CutPrefix(c.r.URL.Path, "/")
	if !ok {
		return refuse("InvalidURI", http.StatusBadRequest, "The path of the request does not begin with a slash.")
	}
	if bucket, ok := c.hostBucket(); ok {
		c.bucket, c.key = bucket, path
	} else {
		c.bucket, c.key, _ = strings.Cut(path, "/")
	}
	if c.bucket == "" && c.key != "" {
		return refuse("InvalidBucketName", http.StatusBadRequest, "The name of the bucket is empty.")
	}
	if c.bucket != "" && !s3model.ValidBucketName(c.bucket) {
		return refuse("InvalidBucketName", http.StatusBadRequest, "The specified bucket is not valid.")
	}
	return checkKey(c.key)
}

// hostBucket is the bucket of a virtual-host style request.
func (c *call) hostBucket() (string, bool) {
	if c.Domain == "" {
		return "", false
	}
	bucket, ok := strings.CutSuffix(hostOnly(c.r.Host), "."+c.Domain)
	return bucket, ok
}

// hostHint says what may be wrong with a request that names its bucket in its host, where that is not looked for.
// It is empty for others.
func (c *call) hostHint() string {
	host := hostOnly(c.r.Host)
	if _, served := c.hostBucket(); served || host == c.Domain || !strings.Contains(host, ".") ||
		net.ParseIP(host) != nil {
		return ""
	}
	named := ""
	for i, ch := range host {
		if ch == '.' && s3model.ValidBucketName(host[:i]) {
			if _, err := c.Store.GetBucket(c.ctx, host[:i]); err == nil {
				named = host[:i]
			}
		}
	}
	what := ""
	switch {
	case named != "":
		what = "The host of the request begins with the name of the bucket " + named
	case c.bucket == "":
		what = "If the host of the request was to name a bucket, as in BUCKET.DOMAIN"
	default:
		return ""
	}
	if c.Domain == "" {
		return what + ": this store was started without a domain, so the bucket belongs into the path. " +
			"Use path style (use_path_style = true), or start the store with its domain (statelatch serve -domain DOMAIN)."
	}
	return what + ": the domain of this store is " + c.Domain + ". Send requests to BUCKET." + c.Domain +
		", or use path style (use_path_style = true)."
}

func checkKey(key string) error {
	if len(key) > maxKeyLength {
		return refuse("KeyTooLongError", http.StatusBadRequest, "Your key is too long; it may have 1024 bytes.")
	}
	if !utf8.ValidString(key) {
		return refuse("InvalidURI", http.StatusBadRequest, "The key is not valid UTF-8.")
	}
	return nil
}
