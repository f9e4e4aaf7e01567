// Package dynamo drives the legacy lock table: the DynamoDB items that terraform and tofu lock and check a
// state's digest with when dynamodb_table is set.
//
// What it guarantees: items, conditions and projections are those of the engines, and the Info attribute is
// [statelatch.LockInfo.Marshal] byte for byte, without which tofu could never release it; every
// write has a condition and is one request on the wire, never re-sent by anything below the caller; no lock and no
// digest is replaced or removed other than the one that the caller has seen; every call ends, because each has a
// deadline; an answer is judged by its code and status alone. What it does not: keep the table in step with the lock
// object or the state. That is for packages lock and state, whose Table and Digests a [Table] is.
package dynamo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/internal/sdkcall"
)

// The attributes of the items. LockID is the table's partition key and its only one.
const (
	attrLockID = "LockID"
	attrInfo   = "Info"
	attrDigest = "Digest"
)

// The engines' expressions, but for the digest's conditions: they write it without.
const (
	ifAbsent      = "attribute_not_exists(LockID)"
	ifInfo        = "Info = :info"
	ifNoDigest    = "attribute_not_exists(Digest)"
	ifDigest      = "Digest = :digest"
	projectInfo   = "LockID, Info"
	projectDigest = "LockID, Digest"
)

// Table is one lock table. Its methods are safe for concurrent use, and send nothing once their context is done.
//
// Their errors wrap a *statelatch.StoreError of exactly one kind, whose Bucket is the table's name and whose Key is the
// item's LockID. An error caused by the context also matches its Err(). A write whose request may have reached the
// table without a clear answer is ErrAmbiguous, and so is one answered with a 5xx; where certainly nothing was sent it
// is ErrBroken. A throttled write is ErrThrottled: DynamoDB refuses with status 400 before it looks at the item. A
// missing table is ErrNotFound to a write, and ErrBroken to a read, whose ErrNotFound means a missing item: a
// misspelt table must not look like a free lock.
type Table struct {
	client *dynamodb.Client
	name   string
	limit  time.Duration // of one call
}

// Open resolves credentials, region, endpoint and proxies exactly as s3bucket.Open does for the bucket, and returns the
// table. The endpoint overrides AWS's; empty: AWS_ENDPOINT_URL_DYNAMODB, AWS_DYNAMODB_ENDPOINT, AWS_ENDPOINT_URL, the
// profile's. It asks nothing of DynamoDB. Errors match [statelatch.ErrInvalid] where cfg or the environment is wrong,
// and [statelatch.ErrDenied] where there are no usable credentials.
func Open(ctx context.Context, cfg s3bucket.Config, table, endpoint string) (*Table, error) {
	if table == "" {
		return nil, fmt.Errorf("%w dynamodb_table %q: it is empty", statelatch.ErrInvalid, table)
	}
	service, err := cfg.Service(ctx, "dynamodb", endpoint)
	if err != nil {
		if se, ok := errors.AsType[*statelatch.StoreError](err); ok {
			se.Bucket = table
			return nil, &tableError{se}
		}
		return nil, err
	}
	client := dynamodb.NewFromConfig(service.AWS, func(o *dynamodb.Options) {
		err = service.Locate(&o.BaseEndpoint, &o.Region)
	})
	if err != nil {
		return nil, err
	}
	return &Table{client: client, name: table, limit: service.Timeouts.Request}, nil
}

// Name is the table's name, or its ARN, as it was opened.
func (t *Table) Name() string { return t.name }

// Lock puts the lock item of ref if there is none. ErrPreconditionFailed: there is one, nothing changed.
func (t *Table) Lock(ctx context.Context, ref statelatch.Ref, info statelatch.LockInfo) error {
	return t.put(ctx, &dynamodb.PutItemInput{
		Item:                item(ref.DynamoDBLockID(), attrInfo, string(info.Marshal())),
		ConditionExpression: aws.String(ifAbsent),
	})
}

// Read returns the Info of the lock item of ref as it is stored, with a consistent read. ErrNotFound: there is no
// item. An item whose Info is missing or not a string is a lock all the same, held by nobody who can be named: its
// raw Info is empty, and Replace and Unlock cannot touch it.
func (t *Table) Read(ctx context.Context, ref statelatch.Ref) (raw string, err error) {
	found, err := t.get(ctx, ref.DynamoDBLockID(), projectInfo)
	if err != nil {
		return "", err
	}
	return text(found[attrInfo]), nil
}

// Replace puts the lock item of ref if its Info is still oldRaw. ErrPreconditionFailed: it has changed or is gone,
// and nothing changed.
func (t *Table) Replace(ctx context.Context, ref statelatch.Ref, oldRaw string, info statelatch.LockInfo) error {
	if oldRaw == "" {
		return t.noInfo(opPut, ref)
	}
	return t.put(ctx, &dynamodb.PutItemInput{
		Item:                      item(ref.DynamoDBLockID(), attrInfo, string(info.Marshal())),
		ConditionExpression:       aws.String(ifInfo),
		ExpressionAttributeValues: value(":info", oldRaw),
	})
}

// Unlock deletes the lock item of ref if its Info is still raw. ErrPreconditionFailed: it has changed or is gone,
// and nothing changed.
func (t *Table) Unlock(ctx context.Context, ref statelatch.Ref, raw string) error {
	if raw == "" {
		return t.noInfo(opDelete, ref)
	}
	return t.delete(ctx, &dynamodb.DeleteItemInput{
		Key:                       key(ref.DynamoDBLockID()),
		ConditionExpression:       aws.String(ifInfo),
		ExpressionAttributeValues: value(":info", raw),
	})
}

// Digest returns the digest of the state of ref as it is stored, with a consistent read. The engines pass over what
// is no MD5 in hex. ErrNotFound: there is none. A Digest that is empty or not a string reads as empty, and SwapDigest
// cannot replace it.
func (t *Table) Digest(ctx context.Context, ref statelatch.Ref) (stored string, err error) {
	found, err := t.get(ctx, ref.DynamoDBDigestID(), projectDigest)
	if err != nil {
		return "", err
	}
	return text(found[attrDigest]), nil
}

// SwapDigest stores next as the digest of the state of ref if the one stored is still old, as Digest returned it. An
// empty old is none, an empty next removes the item. ErrPreconditionFailed: it is another, or gone, and nothing
// changed.
func (t *Table) SwapDigest(ctx context.Context, ref statelatch.Ref, old, next string) error {
	id, condition, values := ref.DynamoDBDigestID(), aws.String(ifNoDigest), map[string]types.AttributeValue(nil)
	if old != "" {
		condition, values = aws.String(ifDigest), value(":digest", old)
	}
	if next == "" {
		return t.delete(ctx, &dynamodb.DeleteItemInput{
			Key: key(id), ConditionExpression: condition,
			ExpressionAttributeValues: values,
		})
	}
	return t.put(ctx, &dynamodb.PutItemInput{
		Item: item(id, attrDigest, next), ConditionExpression: condition,
		ExpressionAttributeValues: values,
	})
}

func (t *Table) get(ctx context.Context, id, projection string) (map[string]types.AttributeValue, error) {
	ctx, c := t.begin(ctx, opGet, id)
	defer c.End()
	out, err := t.client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: &t.name, Key: key(id), ConsistentRead: aws.Bool(true), ProjectionExpression: &projection,
	}, c.options)
	if err := c.result(err); err != nil {
		return nil, err
	}
	if len(out.Item) == 0 {
		return nil, t.error(opGet, id, statelatch.ErrNotFound, "there is no such item")
	}
	return out.Item, nil
}

func (t *Table) put(ctx context.Context, in *dynamodb.PutItemInput) error {
	id := text(in.Item[attrLockID])
	ctx, c := t.begin(ctx, opPut, id)
	defer c.End()
	in.TableName = &t.name
	_, err := t.client.PutItem(ctx, in, c.options)
	return c.result(err)
}

func (t *Table) delete(ctx context.Context, in *dynamodb.DeleteItemInput) error {
	id := text(in.Key[attrLockID])
	ctx, c := t.begin(ctx, opDelete, id)
	defer c.End()
	in.TableName = &t.name
	_, err := t.client.DeleteItem(ctx, in, c.options)
	return c.result(err)
}

// noInfo refuses to act on an item that no condition can name.
func (t *Table) noInfo(op sdkcall.Op, ref statelatch.Ref) error {
	return t.error(op, ref.DynamoDBLockID(), statelatch.ErrUnsupported,
		"the item has no Info that a condition could name, so it was not written by an engine; look at it and delete it by "+
			"hand, with `aws dynamodb delete-item`")
}

func key(id string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{attrLockID: &types.AttributeValueMemberS{Value: id}}
}

func item(id, attribute, value string) map[string]types.AttributeValue {
	i := key(id)
	i[attribute] = &types.AttributeValueMemberS{Value: value}
	return i
}

// value gives an expression's placeholder its value.
func value(name, is string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{name: &types.AttributeValueMemberS{Value: is}}
}

// text is the value of a string attribute, empty for any other and for none.
func text(v types.AttributeValue) string {
	if s, ok := v.(*types.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}
