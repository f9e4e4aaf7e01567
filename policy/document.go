package policy

import (
	"bytes"
	"encoding/json"

	"github.com/statelatch/statelatch/internal/safejson"
)

// MaxManaged is how many characters AWS allows in a managed policy, white space not counted. An inline policy of a role
// may have 10,240, one of a user 2,048.
const MaxManaged = 6144

// Document is an IAM policy. It encodes to the same bytes for the same request, always.
type Document struct {
	Version   string      // of the language of policies
	Statement []Statement // IAM allows what one of them allows and none denies
}

// Statement allows, or denies, actions on resources. IAM joins the conditions with "and", the values of each with "or".
type Statement struct {
	Sid       string            `json:",omitempty"` // a name within the document; empty: none
	Effect    string            // "Allow" or "Deny"
	Principal map[string]string `json:",omitempty"` // of a resource's policy alone
	Action    []string          // such as "s3:GetObject"; "*" is a wildcard
	Resource  []string          `json:",omitempty"` // ARNs; "*" is a wildcard
	Condition conditions        `json:",omitempty"` // by operator, then by key: the values
}

func document(statements ...Statement) Document {
	return Document{Version: "2012-10-17", Statement: statements}
}

// JSON is the document, indented, with a line feed at its end.
func (d Document) JSON() []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	_ = enc.Encode(d) // strings alone: it cannot fail
	return safejson.Escape(b.Bytes())
}

// Size is the number of characters that count towards [MaxManaged].
func (d Document) Size() int {
	var b bytes.Buffer
	_ = json.Compact(&b, d.JSON()) // of valid JSON: it cannot fail
	n := 0
	for _, r := range b.String() {
		if r != ' ' {
			n++
		}
	}
	return n
}
