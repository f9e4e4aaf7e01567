package policy

import (
	"fmt"
	"strings"

	"github.com/statelatch/statelatch"
)

// Notes says what the policy is for and what it cannot know.
func Notes(role Role, t Target, doc Document) string {
	var b strings.Builder
	place := statelatch.Scope{Bucket: t.Bucket, Prefix: t.Prefix}
	switch {
	case t.Key != "" && t.Workspaces:
		fmt.Fprintf(&b, "For role %s on s3://%s/%s and its workspaces.\n", role, t.Bucket, t.Key)
	case t.Key != "":
		fmt.Fprintf(&b, "For role %s on the one state s3://%s/%[3]s. Its workspaces: -workspaces. The states below a "+
			"prefix: s3://%[2]s/%[3]s/\n", role, t.Bucket, t.Key)
	case role == Bucket, role == Audit:
		fmt.Fprintf(&b, "For role %s on %s.\n", role, place)
	default:
		fmt.Fprintf(&b, "For role %s on every state in %s, with workspaces.\n", role, place)
	}
	b.WriteString(t.Note())
	for _, s := range doc.Statement {
		if strings.Contains(s.Resource[0], ":*:") {
			fmt.Fprintf(&b, "%s is for any account or region: -account and -region narrow it.\n", s.Sid)
		}
	}
	if n := doc.Size(); n > MaxManaged {
		fmt.Fprintf(&b, "It has %d characters without white space; AWS allows %d in a managed policy. Split it, or use an "+
			"inline policy of a role (10240).\n", n, MaxManaged)
	}
	return b.String()
}
