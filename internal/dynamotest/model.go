package dynamotest

import (
	"net/http"
	"reflect"
)

// The condition expressions that the engines and package dynamo send.
const (
	ifAbsent = "attribute_not_exists(LockID)"
	ifInfo   = "Info = :info"

	ifNoDigest = "attribute_not_exists(Digest)"
	ifDigest   = "Digest = :digest"
)

// condition is what an expression needs: that the attribute is missing, or has the value of the placeholder.
type condition struct{ attribute, placeholder string }

var conditions = map[string]condition{
	ifAbsent:   {"LockID", ""},
	ifInfo:     {"Info", ":info"},
	ifNoDigest: {"Digest", ""},
	ifDigest:   {"Digest", ":digest"},
}

// apply is what DynamoDB does with a request, in one step. The caller holds c.mu.
func (c *Control) apply(cmd command) reply {
	items, ok := c.tables[cmd.table]
	if !ok {
		return refuse("ResourceNotFoundException", "Requested resource not found")
	}
	stored := items[cmd.id]
	if cond, ok := conditions[cmd.condition]; ok {
		value, exists := stored[cond.attribute]
		// A comparison with an attribute that is missing is false, and so is one between types.
		if exists != (cond.placeholder != "") || exists && !reflect.DeepEqual(value, cmd.value) {
			return refuse("ConditionalCheckFailedException", "The conditional request failed")
		}
	}
	switch cmd.op {
	case OpPutItem:
		items[cmd.id] = cmd.item
	case OpDeleteItem:
		delete(items, cmd.id)
	case OpGetItem:
		return reply{item: stored}
	}
	return reply{}
}

// refuse is an answer of the kind that DynamoDB gives before it changes anything.
func refuse(code, message string) reply {
	return reply{status: http.StatusBadRequest, code: code, message: message}
}
