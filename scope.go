package statelatch

import (
	"fmt"
	"strings"
)

// ProbePrefix is where probes of a store put their objects. Nothing else lives below it.
const ProbePrefix = ".statelatch-probe/"

const (
	rescueInfix  = ".rescue/"
	historyInfix = ".history/"
)

// Scope is a whole bucket, or the part of it at and below a key prefix. The zero Scope is not valid.
type Scope struct {
	Bucket string // its name
	Prefix string // without a slash at either end; empty: the whole bucket
}

// ParseScope reads "s3://bucket" or "s3://bucket/prefix", each with or without a slash at the end. The prefix is
// taken as it stands, as in [ParseRef]. Errors match [ErrInvalid].
func ParseScope(s string) (Scope, error) {
	rest, ok := strings.CutPrefix(s, scheme)
	if !ok {
		return Scope{}, fmt.Errorf("%w %q: want s3://BUCKET or s3://BUCKET/PREFIX", ErrInvalid, s)
	}
	bucket, prefix := cutBucket(rest)
	scope := Scope{Bucket: bucket, Prefix: strings.TrimSuffix(prefix, "/")}
	return scope, scope.Validate()
}

// Validate reports why s can name no part of a bucket. Errors match [ErrInvalid].
func (s Scope) Validate() error {
	if err := validateBucket(s.Bucket); err != nil || s.Prefix == "" {
		return err
	}
	return validateKeyShape("prefix", s.Prefix)
}

// ValidateIn is Validate, and refuses a scope of another bucket than that, as [Ref.In] does.
func (s Scope) ValidateIn(bucket string) error {
	if err := s.Validate(); err != nil {
		return err
	}
	return sameBucket(s.String(), s.Bucket, bucket)
}

// String formats s as ParseScope reads it.
func (s Scope) String() string {
	if s.Prefix == "" {
		return scheme + s.Bucket
	}
	return scheme + s.Bucket + "/" + s.Prefix
}

// Covers reports whether key lies in s: at the prefix or, whole segments only, below it. A key of a
// named workspace ("env:/staging/team-a/x", with "env:" for workspacePrefix) lies where its default workspace's
// key does, too. Lock objects and the like lie where their states do.
func (s Scope) Covers(key, workspacePrefix string) bool {
	if s.below(key) {
		return true
	}
	_, of, ok := CutWorkspace(key, workspacePrefix)
	return ok && s.below(of)
}

// below reports whether key is the prefix, the prefix's lock and the like, or under it.
func (s Scope) below(key string) bool {
	if s.Prefix == "" {
		return true
	}
	rest, ok := strings.CutPrefix(key, s.Prefix)
	return ok && (rest == "" || rest[0] == '/' || rest == LockKeySuffix ||
		strings.HasPrefix(rest, rescueInfix) || strings.HasPrefix(rest, historyInfix))
}

// ListPrefixes are the key prefixes to list for everything that s covers, and more: filter with Covers.
func (s Scope) ListPrefixes(workspacePrefix string) []string {
	if s.Prefix == "" || workspacePrefix == "" || strings.HasPrefix(workspacePrefix+"/", s.Prefix) {
		return []string{s.Prefix}
	}
	if strings.HasPrefix(s.Prefix, workspacePrefix+"/") {
		return []string{s.Prefix}
	}
	return []string{s.Prefix, workspacePrefix + "/"}
}

// CutWorkspace splits the key of a named workspace, PREFIX/WORKSPACE/KEY, into its workspace and the default
// workspace's key. That is the configured one as path.Clean has it.
func CutWorkspace(key, workspacePrefix string) (workspace, of string, ok bool) {
	dir := WorkspaceDir(workspacePrefix)
	rest, ok := strings.CutPrefix(key, dir)
	if !ok || dir == "" {
		return "", "", false
	}
	workspace, of, ok = strings.Cut(rest, "/")
	return workspace, of, ok && workspace != "" && of != ""
}

// KeyKind is what an object is, as far as its key tells.
type KeyKind int

// The kinds of keys.
const (
	KeyOther    KeyKind = iota // a state, or anything
	KeyLock                    // "<key>.tflock"
	KeyRescue                  // "<key>.rescue/...": a state that could not be written
	KeySnapshot                // "<key>.history/...": an older version, where the bucket keeps none
	KeyProbe                   // below [ProbePrefix]
)

// ClassifyKey tells what an object is, and for all kinds but KeyOther and KeyProbe the key of the state it belongs to.
func ClassifyKey(key string) (kind KeyKind, state string) {
	if strings.HasPrefix(key, ProbePrefix) {
		return KeyProbe, ""
	}
	for infix, kind := range map[string]KeyKind{rescueInfix: KeyRescue, historyInfix: KeySnapshot} {
		if i := strings.LastIndex(key, infix); i > 0 && !strings.Contains(key[i+len(infix):], "/") {
			return kind, key[:i]
		}
	}
	if IsLockKey(key) && key != LockKeySuffix {
		return KeyLock, StateKey(key)
	}
	return KeyOther, ""
}

// RescuePrefix is what the keys of the rescued states of r begin with.
func (r Ref) RescuePrefix() string { return r.Key + rescueInfix }

// HistoryPrefix is what the keys of the snapshots of r begin with, where the bucket keeps no versions.
func (r Ref) HistoryPrefix() string { return r.Key + historyInfix }
