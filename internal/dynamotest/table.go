package dynamotest

import (
	"context"
	"errors"
	"net/http"

	"github.com/statelatch/statelatch"
)

// errLost is the cause of the errors for lost requests and replies. The caller cannot
// tell the two apart, so it is one for both.
var errLost = errors.New("connection lost")

// Table is a lock table in memory, with the methods of dynamo.Table and its errors. It repeats nothing by itself, reads
// included. Create it with [NewTable].
type Table struct {
	Control
	name string
}

// NewTable makes an empty table. The name is only reported, never checked.
func NewTable(name string) *Table {
	t := &Table{name: name}
	t.addTable(name)
	return t
}

// Name is the table's name.
func (t *Table) Name() string { return t.name }

// Item returns what is stored under a LockID, without a request.
func (t *Table) Item(lockID string) (Item, bool) { return t.item(t.name, lockID) }

// SetItem stores an item of any content, without a request.
func (t *Table) SetItem(i Item) { t.setItem(t.name, i) }

// Lock is dynamo.Table's.
func (t *Table) Lock(ctx context.Context, ref statelatch.Ref, info statelatch.LockInfo) error {
	id := ref.DynamoDBLockID()
	_, err := t.call(ctx, command{
		op: OpPutItem, id: id, condition: ifAbsent,
		item: StringItem(id, "Info", string(info.Marshal())),
	})
	return err
}

// Read is dynamo.Table's.
func (t *Table) Read(ctx context.Context, ref statelatch.Ref) (raw string, err error) {
	found, err := t.call(ctx, command{op: OpGetItem, id: ref.DynamoDBLockID()})
	if err != nil {
		return "", err
	}
	raw, _ = found["Info"]["S"].(string)
	return raw, nil
}

// Replace is dynamo.Table's.
func (t *Table) Replace(ctx context.Context, ref statelatch.Ref, oldRaw string, info statelatch.LockInfo) error {
	id := ref.DynamoDBLockID()
	if oldRaw == "" {
		return t.error(command{op: OpPutItem, id: id}, statelatch.ErrUnsupported, nil)
	}
	_, err := t.call(ctx, command{
		op: OpPutItem, id: id, condition: ifInfo, value: Attribute{"S": oldRaw},
		item: StringItem(id, "Info", string(info.Marshal())),
	})
	return err
}

// Unlock is dynamo.Table's.
func (t *Table) Unlock(ctx context.Context, ref statelatch.Ref, raw string) error {
	cmd := command{op: OpDeleteItem, id: ref.DynamoDBLockID(), condition: ifInfo, value: Attribute{"S": raw}}
	if raw == "" {
		return t.error(cmd, statelatch.ErrUnsupported, nil)
	}
	_, err := t.call(ctx, cmd)
	return err
}

// Digest is dynamo.Table's.
func (t *Table) Digest(ctx context.Context, ref statelatch.Ref) (stored string, err error) {
	found, err := t.call(ctx, command{op: OpGetItem, id: ref.DynamoDBDigestID()})
	if err != nil {
		return "", err
	}
	stored, _ = found["Digest"]["S"].(string)
	return stored, nil
}

// SwapDigest is dynamo.Table's.
func (t *Table) SwapDigest(ctx context.Context, ref statelatch.Ref, old, next string) error {
	id := ref.DynamoDBDigestID()
	cmd := command{op: OpPutItem, id: id, condition: ifNoDigest, item: StringItem(id, "Digest", next)}
	if old != "" {
		cmd.condition, cmd.value = ifDigest, Attribute{"S": old}
	}
	if next == "" {
		cmd.op = OpDeleteItem
	}
	_, err := t.call(ctx, cmd)
	return err
}

// call makes one request and words what became of it.
func (t *Table) call(ctx context.Context, cmd command) (Item, error) {
	cmd.table = t.name
	if err := ctx.Err(); err != nil {
		return nil, t.error(cmd, statelatch.ErrBroken, err)
	}
	r := t.do(ctx, cmd, "")
	switch {
	case r.lost:
		cause := errLost
		if r.err != nil {
			cause = r.err
		}
		if cmd.op == OpGetItem {
			return nil, t.error(cmd, statelatch.ErrBroken, cause)
		}
		return nil, t.error(cmd, statelatch.ErrAmbiguous, cause)
	case r.status != 0:
		err := t.error(cmd, kindOf(cmd.op, r.status, r.code), nil)
		err.Status, err.Code, err.Message = r.status, r.code, r.message
		return nil, err
	case cmd.op == OpGetItem && r.item == nil:
		return nil, t.error(cmd, statelatch.ErrNotFound, nil)
	}
	return r.item, nil
}

func (t *Table) error(cmd command, kind, cause error) *statelatch.StoreError {
	name := map[string]string{OpGetItem: "get item", OpPutItem: "put item", OpDeleteItem: "delete item"}[cmd.op]
	return &statelatch.StoreError{Kind: kind, Op: name, Bucket: t.name, Key: cmd.id, Err: cause}
}

// kindOf is what dynamo.Table makes of an answer.
func kindOf(op string, status int, code string) error {
	write := op != OpGetItem
	switch {
	case write && status >= http.StatusInternalServerError:
		return statelatch.ErrAmbiguous
	case code == "ConditionalCheckFailedException":
		return statelatch.ErrPreconditionFailed
	case code == "ResourceNotFoundException" && write:
		return statelatch.ErrNotFound
	case code == "TransactionConflictException":
		return statelatch.ErrConflict
	case code == "AccessDeniedException":
		return statelatch.ErrDenied
	case code == "ProvisionedThroughputExceededException" || code == "ThrottlingException" ||
		status == http.StatusServiceUnavailable:
		return statelatch.ErrThrottled
	}
	return statelatch.ErrBroken
}
