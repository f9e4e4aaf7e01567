package policy

import (
	"reflect"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/lazyre"
)

// Grant is the policy that allows what was denied, and nothing else. Of the errors given those count that an IAM policy
// of whoever asked can help: where no such policy allows an action, and where no reason was given, which makes it a
// guess (see [Advice]). Without any, ok is false. Region, which may be empty, is that of the bucket.
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

// ResourceGrant is what the policy of the bucket, key, table or role lacks, where that is why e was denied and e says
// who asked.
func ResourceGrant(region string, e *statelatch.StoreError) (d Document, ok bool) {
	why := e.Denial()
	if why.Cause != statelatch.DenialNoAllow || why.Policy != statelatch.PolicyResource ||
		!strings.HasPrefix(why.Principal, "arn:") {
		return Document{}, false
	}
	all := allowing(region, e, why)
	for i := range all {
		all[i].Principal = map[string]string{"AWS": rolePrincipal(why.Principal)}
		switch {
		case strings.HasPrefix(why.Action, "kms:"):
			all[i].Resource = []string{"*"} // a key's policy is about that key alone
		case strings.HasPrefix(why.Action, "sts:"):
			all[i].Resource = nil // so is a role's, which may not even say so
		}
	}
	return document(all...), len(all) > 0
}

var assumedRole = lazyre.New(`^(arn:[a-z-]+):sts::([0-9]+):assumed-role/([^/]+)/`)

// rolePrincipal is the role of a session.
func rolePrincipal(arn string) string {
	if m := assumedRole.FindStringSubmatch(arn); m != nil {
		return m[1] + ":iam::" + m[2] + ":role/" + m[3]
	}
	return arn
}

// missing are the statements that allow what e says was denied.
func missing(region string, e *statelatch.StoreError) []Statement {
	why := e.Denial()
	switch {
	case why.Cause == statelatch.DenialUnknown:
	case why.Cause == statelatch.DenialNoAllow && why.Policy == statelatch.PolicyIdentity:
	default:
		return nil
	}
	return allowing(region, e, why)
}

var foreignResource = lazyre.New(`^arn:[a-z-]+:(kms|iam):[^"*?$]*$`)

// allowing are the statements that allow it.
func allowing(region string, e *statelatch.StoreError, why statelatch.Denial) []Statement {
	t := Target{Bucket: e.Bucket, Table: e.Bucket, Region: region}.settled()
	key, actions, told := escape(e.Key), strings.Split(why.Action, " and "), why.Action != e.Action || why.Resource != ""
	switch {
	case why.Action == "":
		return nil
	case strings.HasPrefix(why.Action, "kms:"), strings.HasPrefix(why.Action, "sts:"):
		if !foreignResource.MatchString(why.Resource) {
			return nil // its name is not known
		}
		return []Statement{{Effect: "Allow", Action: actions, Resource: []string{why.Resource}}}
	case strings.HasPrefix(why.Action, "dynamodb:"):
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
	case strings.HasPrefix(why.Action, "s3:ListBucket"): // that is how S3 says that there is no such object
		list := t.onBucket("", actions...)
		list[0].Condition = stringLike("s3:prefix", key)
		return list
	case why.Action == "s3:GetObject" && !told:
		// S3 refuses to read an object that does not exist, too, unless its name may be listed. The two look the same.
		list := t.onBucket("", "s3:ListBucket")
		list[0].Condition = stringLike("s3:prefix", key)
		return append(t.on("", []string{key}, actions...), list...)
	}
	return t.on("", []string{key}, actions...)
}
