package policy

import (
	"reflect"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
)

// Grant is the policy that allows what was denied, and nothing else. Of the errors given those count that name an action
// that is missing (an expired or wrong credential misses none); without any, ok is false. Region, which may be empty, is
// that of the bucket.
func Grant(region string, denied ...*statelatch.StoreError) (d Document, ok bool) {
	var all []Statement
	for _, e := range denied {
		for _, s := range missing(region, e) {
			if !slices.ContainsFunc(all, func(have Statement) bool { return reflect.DeepEqual(have, s) }) {
				all = append(all, s)
			}
		}
	}
	return document(all...), len(all) > 0
}

// missing are the statements that allow what e says was denied.
func missing(region string, e *statelatch.StoreError) []Statement {
	t := Target{Bucket: e.Bucket, Table: e.Bucket, Region: region}.settled()
	key, actions := escape(e.Key), strings.Split(e.Action, " and ")
	switch {
	case e.Action == "":
		return nil
	case strings.HasPrefix(e.Action, "dynamodb:"):
		s := t.onTable("")
		s[0].Action = actions
		if key != "" {
			s[0].Condition = leadingKeys(key)
		}
		return s
	case t.express():
		return t.sessions()
	case alias(t.Bucket):
		return nil // its access point, which a policy would have to name, is not known
	case key == "":
		return t.onBucket("", actions...)
	case e.Action == "s3:GetObject":
		// S3 refuses to read an object that does not exist, too, unless its name may be listed. The two look the same.
		list := t.onBucket("", "s3:ListBucket")
		list[0].Condition = stringLike("s3:prefix", key)
		return append(t.on("", []string{key}, actions...), list...)
	}
	return t.on("", []string{key}, actions...)
}
