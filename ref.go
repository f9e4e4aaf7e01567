package statelatch

import (
	"fmt"
	"net/url"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/statelatch/statelatch/internal/lazyre"
)

// Names that are part of the wire format shared with terraform and tofu.
const (
	// DefaultWorkspace is the workspace whose state lives at the configured key itself.
	DefaultWorkspace = "default"
	// DefaultWorkspaceKeyPrefix is the engines' default for workspace_key_prefix.
	DefaultWorkspaceKeyPrefix = "env:"

	// LockKeySuffix ends the key of a lock object, behind the state's.
	LockKeySuffix = ".tflock"
	// DigestIDSuffix ends the LockID of a DynamoDB item that holds a state's MD5, and of no lock.
	DigestIDSuffix = "-md5"

	scheme = "s3://"

	// maxKeyBytes leaves room for the lock suffix within S3's limit of 1,024 bytes a key.
	maxKeyBytes = 1024 - len(LockKeySuffix)
)

// Ref is the address of one state: the bucket and the object key, with the
// workspace rule already applied. The zero Ref is not valid.
type Ref struct {
	Bucket string // its name
	Key    string // of the state object
}

// ParseRef reads "s3://bucket/key", where the bucket may be an access point's ARN. The key is taken as it stands:
// nothing is percent-decoded and nothing is cleaned. Errors match [ErrInvalid].
func ParseRef(s string) (Ref, error) {
	rest, ok := strings.CutPrefix(s, scheme)
	if !ok {
		return Ref{}, fmt.Errorf("%w REF %q: want s3://BUCKET/KEY", ErrInvalid, s)
	}
	bucket, key := cutBucket(rest)
	if key == "" {
		return Ref{}, fmt.Errorf("%w REF %q: the key is missing: want s3://BUCKET/KEY", ErrInvalid, s)
	}
	r := Ref{Bucket: bucket, Key: key}
	if err := r.Validate(); err != nil {
		return Ref{}, err
	}
	return r, nil
}

// WorkspaceRef applies the engines' workspace rule: the default workspace lives
// at key itself, any other at path.Join(prefix, workspace, key). Unlike the
// engines it refuses the names that alias another state ("." and "..",
// W19). Errors match [ErrInvalid].
func WorkspaceRef(bucket, key, prefix, workspace string) (Ref, error) {
	r := Ref{Bucket: bucket, Key: key}
	if err := r.Validate(); err != nil {
		return Ref{}, err
	}
	if err := ValidateWorkspace(workspace); err != nil {
		return Ref{}, err
	}
	if workspace == DefaultWorkspace {
		return r, nil
	}
	if prefix != "" {
		if err := validateKeyShape("workspace_key_prefix", prefix); err != nil {
			return Ref{}, err
		}
	}
	r.Key = path.Join(prefix, workspace, key)
	if err := r.Validate(); err != nil {
		return Ref{}, err
	}
	return r, nil
}

// WorkspaceDir is what the keys of all named workspaces begin with: the prefix as path.Join cleans it, and a slash;
// empty for an empty prefix.
func WorkspaceDir(prefix string) string {
	if prefix = path.Clean(prefix); prefix == "." {
		return ""
	}
	return prefix + "/"
}

// ValidateWorkspace applies the engines' rule for workspace names (equal to its own
// URL path escape) and refuses the empty name, "." and "..". Errors match [ErrInvalid].
func ValidateWorkspace(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w workspace name %q: it is empty", ErrInvalid, name)
	case name == "." || name == "..":
		return fmt.Errorf("%w workspace name %q: it would address another workspace's state", ErrInvalid, name)
	case name != url.PathEscape(name):
		return fmt.Errorf("%w workspace name %q: use only characters that need no escaping in a URL path", ErrInvalid, name)
	}
	return nil
}

// Validate reports the first reason why r cannot address a state. What engines accept is accepted, for they send a key
// as it stands: "./terraform.tfstate", "a//b" and "a/../b" are names like others. Refused is what engines refuse (a
// slash at either end), what S3 does (a key that leads out of the bucket), and what is another object's name to an
// engine. Errors match [ErrInvalid].
func (r Ref) Validate() error {
	if err := validateBucket(r.Bucket); err != nil {
		return err
	}
	if err := validateKeyShape("key", r.Key); err != nil {
		return err
	}
	switch {
	case len(r.Key) > maxKeyBytes:
		return fmt.Errorf("%w key %q: %d bytes, the limit is %d", ErrInvalid, r.Key[:40]+"...", len(r.Key), maxKeyBytes)
	case strings.HasSuffix(r.Key, LockKeySuffix):
		return fmt.Errorf("%w key %q: names ending in %s are lock objects; give the state's key", ErrInvalid, r.Key,
			LockKeySuffix)
	case strings.HasSuffix(r.Key, DigestIDSuffix):
		return fmt.Errorf("%w key %q: names ending in %s collide with another state's DynamoDB digest item", ErrInvalid,
			r.Key, DigestIDSuffix)
	}
	return nil
}

// In reports whether r lies in the bucket of that name, for who works in one: what is done there with a Ref to another
// would be reported, and believed, of that. Errors match [ErrInvalid].
func (r Ref) In(bucket string) error { return sameBucket(r.String(), r.Bucket, bucket) }

// ValidateIn is Validate and In.
func (r Ref) ValidateIn(bucket string) error {
	if err := r.Validate(); err != nil {
		return err
	}
	return r.In(bucket)
}

func sameBucket(address, of, bucket string) error {
	if of != bucket {
		return fmt.Errorf("%w address %s: what it was given to works in bucket %q; give it to one that works in %q",
			ErrInvalid, address, bucket, of)
	}
	return nil
}

// accessPoint is the ARN of an access point, or of one for several regions. Those of S3 on Outposts and of Object
// Lambda are no such: they know no conditional writes, and so no locks.
var accessPoint = lazyre.New(`^arn:aws[a-z-]*:s3:[a-z0-9-]*:[0-9]{12}:accesspoint[/:][A-Za-z0-9.-]+`)

// IsAccessPoint reports whether a bucket is the ARN of an access point.
func IsAccessPoint(bucket string) bool {
	return accessPoint.FindString(bucket) == bucket && bucket != ""
}

// cutBucket splits what follows "s3://" into the bucket and the rest behind its slash, which may be empty.
func cutBucket(s string) (bucket, rest string) {
	bucket = accessPoint.FindString(s)
	if after, ok := strings.CutPrefix(s[len(bucket):], "/"); bucket != "" && (ok || after == "") {
		return bucket, after
	}
	bucket, rest, _ = strings.Cut(s, "/")
	return bucket, rest
}

func validateBucket(b string) error {
	bad := func(r rune) bool {
		return r != '.' && r != '-' && r != '_' && (r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r))
	}
	switch {
	case b == "":
		return fmt.Errorf("%w bucket %q: it is empty", ErrInvalid, b)
	case IsAccessPoint(b):
		return nil
	case strings.HasPrefix(b, "arn:"):
		return fmt.Errorf("%w bucket %q: of ARNs only an access point's will do, arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME",
			ErrInvalid, b)
	case b == "." || b == "..":
		return fmt.Errorf("%w bucket %q: not a bucket name", ErrInvalid, b)
	case len(b) > 255 || strings.ContainsFunc(b, bad):
		return fmt.Errorf("%w bucket %q: use letters, digits, '.', '-' and '_'", ErrInvalid, b)
	}
	return nil
}

// validateKeyShape checks what keys and key prefixes have in common.
func validateKeyShape(field, s string) error {
	switch {
	case s == "":
		return fmt.Errorf("%w %s %q: it is empty", ErrInvalid, field, s)
	case !utf8.ValidString(s):
		return fmt.Errorf("%w %s %q: not valid UTF-8", ErrInvalid, field, s)
	case strings.ContainsFunc(s, unicode.IsControl):
		return fmt.Errorf("%w %s %q: it contains a control character", ErrInvalid, field, s)
	case strings.HasPrefix(s, "/") || strings.HasSuffix(s, "/"):
		return fmt.Errorf("%w %s %q: it must not start or end with '/'", ErrInvalid, field, s)
	}
	depth := 0
	for segment := range strings.SplitSeq(s, "/") {
		switch segment {
		case "..":
			depth--
		default:
			depth++
		}
		if depth < 0 {
			return fmt.Errorf("%w %s %q: its %q lead out of the bucket, which S3 refuses", ErrInvalid, field, s, "..")
		}
	}
	return nil
}

// String formats r as ParseRef reads it.
func (r Ref) String() string { return scheme + r.Bucket + "/" + r.Key }

// LockKey is the key of the lock object: the state's key with ".tflock" appended.
func (r Ref) LockKey() string { return r.Key + LockKeySuffix }

// IsLockKey reports whether an object key names a lock object.
func IsLockKey(key string) bool { return strings.HasSuffix(key, LockKeySuffix) }

// StateKey is the key of the state that a lock object belongs to.
func StateKey(lockKey string) string { return strings.TrimSuffix(lockKey, LockKeySuffix) }

// Path is "bucket/key": the Path field of the lock info, for both lock kinds.
func (r Ref) Path() string { return r.Bucket + "/" + r.Key }

// DynamoDBLockID is the LockID of the legacy lock item.
func (r Ref) DynamoDBLockID() string { return r.Path() }

// DynamoDBDigestID is the LockID of the legacy item that holds the state's MD5.
func (r Ref) DynamoDBDigestID() string { return r.Path() + DigestIDSuffix }
