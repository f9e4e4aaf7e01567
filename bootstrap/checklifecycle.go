package bootstrap

import (
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/plural"
)

// lifecycle looks for rules that take states away, and for those that take litter away.
func (c *checker) lifecycle() {
	const idExpires, idArchives, idHistory, idLitter = "lifecycle-expires-states", "lifecycle-archives-states",
		"lifecycle-short-history", "lifecycle-litter"
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
		if f := filterOf(r); reach == reachPart || f.tagged || f.above > 0 || f.below > 0 {
			severity = Warning
		}
		name, fix := fmt.Sprintf("lifecycle rule %q: %s", aws.ToString(r.ID), describeRule(r)),
			c.aws("get-bucket-lifecycle-configuration")+", and put it back without that rule"
		if e := r.Expiration; e != nil && (aws.ToInt32(e.Days) > 0 || e.Date != nil) {
			harmless = false
			c.find(idExpires, severity, name, "a state that is not written for that long disappears, and the next apply "+
				"creates everything a second time", fix)
		}
		for _, t := range r.Transitions {
			if t.StorageClass == types.TransitionStorageClassGlacier ||
				t.StorageClass == types.TransitionStorageClassDeepArchive {
				harmless = false
				c.find(idArchives, severity, name, "a state in an archive cannot be read until it is restored, which takes hours",
					fix)
			}
		}
		if n := r.NoncurrentVersionExpiration; n != nil {
			tidy = tidy || reach == reachAll && meetsLocks(filterOf(r))
			if days := aws.ToInt32(n.NoncurrentDays); aws.ToInt32(n.NewerNoncurrentVersions) == 0 && days < shortOfDays {
				c.find(idHistory, Note, name, "nobody can roll back further than "+plural.Of(days, "day"), c.Command("bucket init"))
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
		c.find(idLitter, Note, "no lifecycle rule removes the old versions of locks",
			"each lock leaves one behind, and a delete marker", c.Command("bucket init"))
	}
}

// meetsLocks reports whether a rule is about whatever has the size of a lock.
func meetsLocks(f ruleFilter) bool {
	return !f.tagged && f.above < LitterBelow && (f.below == 0 || f.below >= LitterBelow)
}

type reach int

// How much of a scope a rule is about.
const (
	reachNone reach = iota
	reachPart
	reachHalf // all that is below the prefix, or all named workspaces
	reachAll
)

func (c *checker) reach(r types.LifecycleRule) reach {
	rule, halves := filterOf(r).prefix, c.Scope.ListPrefixes(c.WorkspacePrefix)
	whole := 0
	for _, half := range halves {
		if strings.HasPrefix(strings.TrimSuffix(half, "/")+"/", rule) {
			whole++
		}
	}
	_, of, named := statelatch.CutWorkspace(rule, c.WorkspacePrefix)
	switch {
	case rule == "" || whole == len(halves):
		return reachAll
	case whole > 0:
		return reachHalf
	case c.Scope.Covers(rule, c.WorkspacePrefix), named && strings.HasPrefix(c.Scope.Prefix, of),
		c.WorkspacePrefix != "" && !named && strings.HasPrefix(rule, c.WorkspacePrefix+"/"):
		return reachPart
	}
	return reachNone
}
