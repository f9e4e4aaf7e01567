package bootstrap

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/statelatch/statelatch"
)

// AWS's limits.
const (
	maxTags     = 50
	maxTagKey   = 128
	maxTagValue = 256
)

// ParseTags reads tags as KEY=VALUE, each key once. Errors match [statelatch.ErrInvalid].
func ParseTags(words []string) (map[string]string, error) {
	if len(words) == 0 {
		return nil, nil
	}
	tags := map[string]string{}
	for _, word := range words {
		key, value, ok := strings.Cut(word, "=")
		if _, twice := tags[key]; !ok || twice {
			return nil, fmt.Errorf("-tag %q: want KEY=VALUE, each KEY once", word)
		}
		tags[key] = value
	}
	return tags, nil
}

func (d Desired) validateTags() error {
	for key, value := range d.Tags {
		why := ""
		switch {
		case key == "":
			why = "its key is empty"
		case strings.HasPrefix(strings.ToLower(key), "aws:"):
			why = "keys that begin with aws: are AWS's own"
		case utf8.RuneCountInString(key) > maxTagKey:
			why = fmt.Sprintf("its key is longer than %d characters", maxTagKey)
		case utf8.RuneCountInString(value) > maxTagValue:
			why = fmt.Sprintf("its value is longer than %d characters", maxTagValue)
		case !utf8.ValidString(key + value), strings.ContainsFunc(key+value, unicode.IsControl):
			why = "it has characters that no tag can have"
		}
		if why != "" {
			return fmt.Errorf("%w tag %q: %s", statelatch.ErrInvalid, key+"="+value, why)
		}
	}
	if len(d.Tags) > maxTags {
		return fmt.Errorf("%w tags: %d are wanted, and a bucket has %d at most", statelatch.ErrInvalid, len(d.Tags), maxTags)
	}
	return nil
}

func (p *planner) tags() {
	is := p.Actual.Tags
	if len(p.Desired.Tags) == 0 || !p.readable(idTags, "tags of buckets", true, is.Err) {
		return
	}
	merged := map[string]string{}
	maps.Copy(merged, is.Value)
	var from, to []string
	for _, key := range slices.Sorted(maps.Keys(p.Desired.Tags)) {
		value := p.Desired.Tags[key]
		was, there := is.Value[key]
		if there && was == value {
			continue
		}
		if !there {
			from = append(from, key+": absent")
		} else {
			from = append(from, key+" = "+was)
		}
		to = append(to, key+" = "+value)
		merged[key] = value
	}
	if len(to) == 0 {
		return
	}
	bucket, set := p.Bucket, tagSet(merged)
	p.add(Step{
		ID: idTags, What: "tag the bucket", Why: "so that it is known whose it is and who pays; other tags stay",
		From: strings.Join(from, "\n"), To: strings.Join(to, "\n"), Action: "s3:PutBucketTagging", required: true,
		write: func(ctx context.Context, c *s3.Client) error {
			_, err := c.PutBucketTagging(ctx, &s3.PutBucketTaggingInput{Bucket: &bucket, Tagging: &types.Tagging{TagSet: set}})
			return err
		},
	})
}

// tagSet is tags in the order of their keys.
func tagSet(tags map[string]string) (set []types.Tag) {
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		value := tags[key]
		set = append(set, types.Tag{Key: &key, Value: &value})
	}
	return set
}
