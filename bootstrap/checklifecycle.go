package bootstrap

import (
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// lifecycle looks for rules that take states away, and for those that take litter away.
func (c *checker) lifecycle() {
	const idExpires, idArchives, idHistory, idLitter = "lifecycle-expires-states", "lifecycle-archives-states", "lifecycle-short-history", "lifecycle-litter"
	is := c.Bucket.Lifecycle
	if !c.readable(idLifecycle, "lifecycle rules", is.Err) {
		return
	}
	tidy, harmless := false, true
	for _, r := range is.Value.Rules {
		reach := c.reach(r)
		if r.Status != types.ExpirationStatusEnabled || reach == reachNone {
			continue
		}
		// Of a rule for a part of the scope, for tags or for sizes, the keys do not tell whether it meets a state.
		severity := Error
		if reach == reachPart || filterOf(r).tagged {
			severity = Warning
		}
		name, fix := fmt.Sprintf("lifecycle rule %q: %s", aws.ToString(r.ID), describeRule(r)), c.aws("get-bucket-lifecycle-configuration")+", and put it back without that rule"
		if e := r.Expiration; e != nil && (aws.ToInt32(e.Days) > 0 || e.Date != nil) {
			harmless = false
			c.find(idExpires, severity, name, "a state that is not written for that long disappears, and the next apply creates everything a second time", fix)
		}
		for _, t := range r.Transitions {
			if t.StorageClass == types.TransitionStorageClassGlacier || t.StorageClass == types.TransitionStorageClassDeepArchive {
				harmless = false
				c.find(idArchives, severity, name, "a state in an archive cannot be read until it is restored, which takes hours", fix)
			}
		}
		if n := r.NoncurrentVersionExpiration; n != nil {
			tidy = tidy || reach == reachAll && !filterOf(r).tagged && filterOf(r).above < LitterBelow
			if days := aws.ToInt32(n.NoncurrentDays); aws.ToInt32(n.NewerNoncurrentVersions) == 0 && days < shortOfDays {
				c.find(idHistory, Note, name, fmt.Sprintf("nobody can roll back further than %d days", days), c.Command("bucket init"))
			}
		}
	}
	if harmless {
		c.ok(idExpires, "no lifecycle rule touches current objects")
	}
	switch versioned := c.Bucket.Versioning.Value; {
	case tidy:
		c.ok(idLitter, "a lifecycle rule removes the old versions of locks")
	case versioned.Status == "" || versioned.MFADelete: // there is nothing to remove, or nothing that could be done
	default:
		c.find(idLitter, Note, "no lifecycle rule removes the old versions of locks", "each lock leaves one behind, and a delete marker", c.Command("bucket init"))
	}
}

type reach int

// How much of a scope a rule is about.
const (
	reachNone reach = iota
	reachPart
	reachAll
)

func (c *checker) reach(r types.LifecycleRule) reach {
	rule, found := filterOf(r).prefix, reachNone
	for _, prefix := range c.Scope.ListPrefixes(c.WorkspacePrefix) {
		switch {
		case strings.HasPrefix(prefix, rule):
			return reachAll
		case strings.HasPrefix(rule, prefix):
			found = reachPart
		}
	}
	return found
}
