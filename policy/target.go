package policy

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/lazyre"
)

// What lies beside a state, as IAM patterns behind its key.
const (
	historySuffix = ".history/*"
	rescueSuffix  = ".rescue/*"
)

var (
	account   = lazyre.New(`^[0-9]{12}$`)
	partition = lazyre.New(`^aws(-[a-z]+)*$`)
	region    = lazyre.New(`^[a-z0-9-]+$`)
	tableName = lazyre.New(`^[A-Za-z0-9_.-]{3,255}$`)
	tableARN  = lazyre.New(`^arn:[a-z-]+:dynamodb:[a-z0-9-]+:[0-9]{12}:table/[A-Za-z0-9_.-]{3,255}$`)
	keyID     = lazyre.New(`^[A-Za-z0-9-]+$`)
	keyAlias  = lazyre.New(`^alias/[A-Za-z0-9/_-]+$`)
	keyARN    = lazyre.New(`^arn:[a-z-]+:kms:([a-z0-9-]+):[0-9]{12}:(key/[A-Za-z0-9-]+|alias/[A-Za-z0-9/_-]+)$`)
)

func (t Target) validate(role Role) error {
	if t.Key != "" {
		if err := (statelatch.Ref{Bucket: t.Bucket, Key: t.Key}).Validate(); err != nil {
			return err
		}
	} else if err := (statelatch.Scope{Bucket: t.Bucket, Prefix: t.Prefix}).Validate(); err != nil {
		return err
	}
	if err := t.validateKind(role); err != nil {
		return err
	}
	if role == Bucket && (t.Key != "" || t.Prefix != "") {
		return fmt.Errorf("%w target: role %q is about a whole bucket, give s3://%s", statelatch.ErrInvalid, role, t.Bucket)
	}
	if role == Gateway && t.Key != "" {
		return fmt.Errorf("%w target: role %q is about all that a gateway serves, give s3://%s or s3://%[3]s/PREFIX",
			statelatch.ErrInvalid, role, t.Bucket)
	}
	if role == Audit && (t.Key != "" || t.Prefix == "") {
		return fmt.Errorf("%w target: role %q is about an audit log, give s3://%s/PREFIX", statelatch.ErrInvalid, role,
			t.Bucket)
	}
	for _, f := range [...]struct {
		name, value, want string
		ok                []lazyre.Regexp
	}{
		{"partition", t.Partition, "such as aws, aws-cn or aws-us-gov", []lazyre.Regexp{partition}},
		{"region", t.Region, "such as eu-central-1", []lazyre.Regexp{region}},
		{"account", t.Account, "its 12 digits", []lazyre.Regexp{account}},
		{"dynamodb_table", t.Table, "the table's name or ARN", []lazyre.Regexp{tableName, tableARN}},
		{"kms_key_id", t.KMSKey, "an ARN, a key ID or alias/NAME", []lazyre.Regexp{keyID, keyAlias, keyARN}},
	} {
		if f.value != "" && !slices.ContainsFunc(f.ok, func(re lazyre.Regexp) bool { return re.MatchString(f.value) }) {
			return fmt.Errorf("%w %s %q: want %s", statelatch.ErrInvalid, f.name, f.value, f.want)
		}
	}
	return nil
}

// settled fills in what other fields tell.
func (t Target) settled() Target {
	if m := keyARN.FindStringSubmatch(t.KMSKey); m != nil && t.Region == "" {
		t.Region = m[1] // S3 uses keys of the bucket's region only
	}
	if ap := strings.Split(t.accessPoint(), ":"); len(ap) > 3 {
		t.Partition, t.Region = cmp.Or(t.Partition, ap[1]), cmp.Or(t.Region, ap[3])
	}
	t.Partition = cmp.Or(t.Partition, partitionOf(t.Region))
	t.Region, t.Account = cmp.Or(t.Region, "*"), cmp.Or(t.Account, "*")
	return t
}

func partitionOf(region string) string {
	for _, p := range [...][2]string{
		{"cn-", "aws-cn"},
		{"us-gov-", "aws-us-gov"},
		{"eusc-", "aws-eusc"},
		{"us-iso-", "aws-iso"},
		{"us-isob-", "aws-iso-b"},
		{"eu-isoe-", "aws-iso-e"},
		{"us-isof-", "aws-iso-f"},
	} {
		if strings.HasPrefix(region, p[0]) {
			return p[1]
		}
	}
	return "aws"
}

// states are the patterns of the states' keys.
func (t Target) states() []string {
	key := escape(t.Key)
	switch {
	case t.Key != "" && !t.Workspaces:
		return []string{key}
	case t.Key != "":
		return []string{key, t.inWorkspaces(escape(path.Clean(t.Key)))}
	case t.Prefix == "":
		return []string{"*"}
	case t.aroundWorkspaces() || t.amongWorkspaces():
		return []string{t.below()}
	}
	return []string{t.below(), t.inWorkspaces(t.below())}
}

// workspaceStates are the states of named workspaces alone: those that deleting a workspace deletes.
func (t Target) workspaceStates() []string {
	_, _, named := statelatch.CutWorkspace(t.Key, t.WorkspacePrefix)
	switch {
	case t.Key != "" && !t.Workspaces && !named:
		return nil
	case named:
		return []string{escape(t.Key)}
	case t.Key != "":
		return []string{t.inWorkspaces(escape(path.Clean(t.Key)))}
	case t.Prefix == "" || t.aroundWorkspaces():
		return []string{t.inWorkspaces("*")}
	case t.amongWorkspaces():
		return []string{t.below()}
	}
	return []string{t.inWorkspaces(t.below())}
}

// below is everything below the prefix.
func (t Target) below() string { return escape(t.Prefix) + "/*" }

// aroundWorkspaces reports whether all named workspaces lie below the prefix; amongWorkspaces, whether nothing else
// does.
func (t Target) aroundWorkspaces() bool {
	return strings.HasPrefix(t.workspaceDir(), t.Prefix+"/")
}

func (t Target) amongWorkspaces() bool {
	return t.WorkspacePrefix != "" && strings.HasPrefix(t.Prefix, t.workspaceDir())
}

// inWorkspaces is where the named workspaces keep what the default one keeps at pattern.
func (t Target) inWorkspaces(pattern string) string { return escape(t.workspaceDir()) + "*/" + pattern }

// workspaceDir is what the keys of all named workspaces begin with.
func (t Target) workspaceDir() string { return statelatch.WorkspaceDir(t.WorkspacePrefix) }

// beside are the patterns of what lies beside states.
func beside(states []string, suffix string) []string {
	patterns := make([]string, len(states))
	for i, s := range states {
		patterns[i] = s + suffix
	}
	return patterns
}

// objects are the patterns of the states (suffix "") and of what lies beside them. Everything below a prefix needs no
// suffixes.
func (t Target) objects(suffixes ...string) []string {
	if t.Key == "" {
		return t.states()
	}
	var patterns []string
	for _, suffix := range suffixes {
		patterns = append(patterns, beside(t.states(), suffix)...)
	}
	return patterns
}

// listed are the values of s3:prefix, nil for any. To the question whether an object exists S3 answers with 403 instead
// of 404 unless its key could be listed, so the keys themselves are among them.
func (t Target) listed(suffixes ...string) []string {
	if t.Key == "" && t.Prefix == "" || t.WorkspacePrefix == "" {
		// then the engines list the bucket to find the workspaces
		return nil
	}
	patterns := t.objects(suffixes...)
	if t.Key == "" {
		patterns = append([]string{escape(t.Prefix)}, patterns...)
	}
	if asked := t.WorkspacePrefix + "/"; asked != t.workspaceDir() {
		patterns = append(patterns, escape(asked)) // engines list what is configured, as it stands
	}
	return append(patterns, escape(t.workspaceDir()))
}

// arn is that of the objects at a pattern, or of the bucket itself.
func (t Target) arn(pattern string) string {
	if ap := t.accessPoint(); ap != "" {
		if pattern != "" {
			ap += "/object/" + pattern
		}
		return ap
	}
	arn := "arn:" + t.Partition + ":s3:::" + t.Bucket
	if pattern != "" {
		arn += "/" + pattern
	}
	return arn
}

func (t Target) arns(patterns []string) []string {
	arns := make([]string, len(patterns))
	for i, p := range patterns {
		arns[i] = t.arn(p)
	}
	return arns
}

// escape makes IAM take s as it stands, in a resource or under StringLike.
func escape(s string) string {
	return strings.NewReplacer("*", "${*}", "?", "${?}", "$", "${$}").Replace(s)
}
