package dynamo

import (
	"fmt"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/sdkcall"
)

// tableError words a StoreError for a table, which is no s3:// address.
type tableError struct{ store *statelatch.StoreError }

// Error names the operation, the item, the table, the kind, DynamoDB's own words and, when access was denied,
// the missing action.
func (e *tableError) Error() string {
	se := e.store
	var b strings.Builder
	b.WriteString(se.Op)
	if se.Key != "" {
		fmt.Fprintf(&b, " %q in", se.Key)
	}
	fmt.Fprintf(&b, " DynamoDB table %q: %v", se.Bucket, se.Kind)
	if se.Status != 0 {
		fmt.Fprintf(&b, " (%s)", strings.TrimSpace(fmt.Sprintf("HTTP %d %s", se.Status, se.Code)))
	}
	switch {
	case se.Message != "":
		b.WriteString(": " + se.Message)
	case se.Err != nil:
		b.WriteString(": " + se.Err.Error())
	}
	if se.Unexplained() {
		fmt.Fprintf(&b, "; the credentials need %s on this table", se.Action)
	}
	return b.String()
}

// Unwrap gives errors.As the StoreError, and errors.Is its kind and cause.
func (e *tableError) Unwrap() error { return e.store }

// error makes an error of the driver's own finding.
func (t *Table) error(op sdkcall.Op, id string, kind error, message string) error {
	return &tableError{&statelatch.StoreError{Kind: kind, Op: op.Name, Bucket: t.name, Key: id, Message: message}}
}

// result turns whatever the SDK reported into an error of exactly one kind, and a success that cannot be
// believed into one too.
func (c *call) result(err error) error {
	if err == nil && c.foreign == nil {
		return nil
	}
	var se *statelatch.StoreError
	if c.foreign != nil {
		se = &statelatch.StoreError{Kind: statelatch.ErrBroken, Op: c.Op.Name, Err: c.foreign}
		if c.Op.Write {
			se.Kind = statelatch.ErrAmbiguous
		}
	} else {
		se = c.Fail(sdkcall.DynamoDB, err)
	}
	se.Bucket, se.Key = c.table.name, c.id
	switch {
	case se.Code == "ResourceNotFoundException":
		if !c.Op.Write { // to who reads, that would say that there is no item
			se.Kind = statelatch.ErrBroken
		}
		se.Message = fmt.Sprintf("there is no such table in region %q: correct dynamodb_table or the region, or create it, "+
			"with the string LockID as its partition key", c.table.client.Options().Region)
	case se.Code == "ValidationException":
		se.Message += "; the table must have the string LockID as its partition key and no sort key"
	case se.Status/100 == 3:
		se.Message = "the answer is a redirect; is the DynamoDB endpoint right?"
	}
	return &tableError{se}
}
