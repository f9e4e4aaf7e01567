package bootstrap

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/statelatch/statelatch/internal/plural"
)

// Our two lifecycle rules. A filter can name a prefix, a tag or a size, but not the suffix ".tflock",
// and Terraform tags nothing; so locks are told by their size. The rule therefore meets tiny states, too: of a state
// below 2 KiB, which is one of hardly any resources, the versions that are older than LitterDays go, except for the
// newest ten. Current versions are never touched. A state that grows beyond that size keeps everything from then on.
const (
	// LitterBelow is the size in bytes below which old versions are taken for locks: a lock of ours with everything in
	// it has about 1.5 KiB.
	LitterBelow = 2048
	// LitterKeep is how many old versions of a key are kept, however old they are.
	LitterKeep = 10
	// AbortUploadsDays is for how many days an upload in parts may stay unfinished.
	AbortUploadsDays = 7

	ruleLitter = "statelatch-lock-litter"
	ruleTidyUp = "statelatch-tidy-up"
)

func lifecycleRules(litterDays int) []types.LifecycleRule {
	return []types.LifecycleRule{
		{
			ID: aws.String(ruleLitter), Status: types.ExpirationStatusEnabled,
			Filter: &types.LifecycleRuleFilter{ObjectSizeLessThan: aws.Int64(LitterBelow)},
			NoncurrentVersionExpiration: &types.NoncurrentVersionExpiration{
				NoncurrentDays: aws.Int32(int32(litterDays)), NewerNoncurrentVersions: aws.Int32(LitterKeep),
			},
		},
		{ // a rule of its own: neither action goes with a size
			ID: aws.String(ruleTidyUp), Status: types.ExpirationStatusEnabled,
			Filter:     &types.LifecycleRuleFilter{Prefix: aws.String("")},
			Expiration: &types.LifecycleExpiration{ExpiredObjectDeleteMarker: aws.Bool(true)},
			AbortIncompleteMultipartUpload: &types.AbortIncompleteMultipartUpload{
				DaysAfterInitiation: aws.Int32(AbortUploadsDays),
			},
		},
	}
}

// with returns the configuration with our rules in the places of those that have their IDs, else at the end. Rules in
// the form of before filters existed are given the filter that means the same: S3 refuses the two forms together.
func (l Lifecycle) with(ours []types.LifecycleRule) Lifecycle {
	l.Rules = slices.Clone(l.Rules)
	for i := range l.Rules {
		if r := &l.Rules[i]; r.Filter == nil {
			r.Filter, r.Prefix = &types.LifecycleRuleFilter{Prefix: aws.String(aws.ToString(r.Prefix))}, nil //nolint:staticcheck // it may well be there
		}
	}
	for _, rule := range ours {
		if i := l.index(*rule.ID); i >= 0 {
			l.Rules[i] = rule
		} else {
			l.Rules = append(l.Rules, rule)
		}
	}
	return l
}

func (l Lifecycle) index(id string) int {
	return slices.IndexFunc(l.Rules, func(r types.LifecycleRule) bool { return aws.ToString(r.ID) == id })
}

// garbles reports whether l has one of our rules neither as it is wanted nor as it was before.
func (l Lifecycle) garbles(wanted []types.LifecycleRule, before Lifecycle) bool {
	return slices.ContainsFunc(wanted, func(rule types.LifecycleRule) bool {
		i, was := l.index(*rule.ID), before.index(*rule.ID)
		return i >= 0 && !sameRule(l.Rules[i], rule) && (was < 0 || !sameRule(l.Rules[i], before.Rules[was]))
	})
}

func (l Lifecycle) write(ctx context.Context, c *s3.Client, bucket string) error {
	_, err := c.PutBucketLifecycleConfiguration(ctx, &s3.PutBucketLifecycleConfigurationInput{
		Bucket: &bucket, TransitionDefaultMinimumObjectSize: l.minimumSize,
		LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: l.Rules},
	})
	return err
}

// sameRule compares what two rules mean: a store may spell out what is not set.
func sameRule(a, b types.LifecycleRule) bool { return meaning(a) == meaning(b) }

func meaning(r types.LifecycleRule) string {
	var v any
	_ = json.Unmarshal([]byte(encode(r)), &v) // it was just encoded
	return encode(pruned(v))
}

// pruned leaves out what is empty; nil if nothing is left.
func pruned(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			if value = pruned(value); value == nil {
				delete(v, name)
			} else {
				v[name] = value
			}
		}
		if len(v) == 0 {
			return nil
		}
	case []any:
		if len(v) == 0 {
			return nil
		}
	case string:
		if v == "" {
			return nil
		}
	case float64:
		if v == 0 {
			return nil
		}
	case bool:
		if !v {
			return nil
		}
	}
	return v
}

// describeRule is what a rule does, for people.
func describeRule(r types.LifecycleRule) string {
	var does []string
	if e := r.Expiration; e != nil {
		switch {
		case aws.ToInt32(e.Days) > 0:
			does = append(does, "delete current objects after "+plural.Of(*e.Days, "day"))
		case e.Date != nil:
			does = append(does, "delete current objects from "+e.Date.Format("2006-01-02"))
		case aws.ToBool(e.ExpiredObjectDeleteMarker):
			does = append(does, "remove delete markers with nothing below them")
		}
	}
	if n := r.NoncurrentVersionExpiration; n != nil {
		s := "delete old versions after " + plural.Of(aws.ToInt32(n.NoncurrentDays), "day")
		if keep := aws.ToInt32(n.NewerNoncurrentVersions); keep > 0 {
			s += fmt.Sprintf(", except the newest %d", keep)
		}
		does = append(does, s)
	}
	if len(r.Transitions) > 0 {
		does = append(does, "move current objects to "+string(r.Transitions[0].StorageClass))
	}
	if a := r.AbortIncompleteMultipartUpload; a != nil {
		does = append(does, "abort uploads after "+plural.Of(aws.ToInt32(a.DaysAfterInitiation), "day"))
	}
	f := filterOf(r)
	var of []string
	if f.prefix != "" {
		of = append(of, fmt.Sprintf("below %q", f.prefix))
	}
	if f.tagged {
		of = append(of, "with certain tags")
	}
	if f.below > 0 {
		of = append(of, fmt.Sprintf("smaller than %d bytes", f.below))
	}
	if f.above > 0 {
		of = append(of, fmt.Sprintf("larger than %d bytes", f.above))
	}
	s := strings.Join(does, "; ")
	if len(of) > 0 {
		s += " (objects " + strings.Join(of, ", ") + ")"
	}
	if r.Status != types.ExpirationStatusEnabled {
		s += " (disabled)"
	}
	return s
}

// ruleFilter is which objects a rule is about.
type ruleFilter struct {
	prefix       string
	tagged       bool
	above, below int64 // 0: any size
}

func filterOf(r types.LifecycleRule) ruleFilter {
	f := ruleFilter{prefix: aws.ToString(r.Prefix)} //nolint:staticcheck // it may well be there
	if r.Filter == nil {
		return f
	}
	f.prefix, f.tagged = aws.ToString(r.Filter.Prefix), r.Filter.Tag != nil
	f.above, f.below = aws.ToInt64(r.Filter.ObjectSizeGreaterThan), aws.ToInt64(r.Filter.ObjectSizeLessThan)
	if and := r.Filter.And; and != nil {
		f = ruleFilter{
			aws.ToString(and.Prefix), len(and.Tags) > 0, aws.ToInt64(and.ObjectSizeGreaterThan),
			aws.ToInt64(and.ObjectSizeLessThan),
		}
	}
	return f
}
