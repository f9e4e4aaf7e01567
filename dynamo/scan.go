package dynamo

import (
	"context"
	"iter"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/statelatch/statelatch"
)

// What a scan asks for. No engine sends it, and none needs the permission.
const (
	ifPrefix  = "begins_with(LockID, :prefix)"
	projectID = "LockID"
)

// LockIDs yields the LockID of every item, of locks and digests alike, that begins with prefix (empty: all), as many
// requests as it takes and in no order. The table is read whole each time, with consistent reads. It ends with the
// first error; ErrDenied where dynamodb:Scan is not granted, which nothing else needs. Not a snapshot: what is
// written meanwhile may or may not be seen.
func (t *Table) LockIDs(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		in := &dynamodb.ScanInput{
			TableName: &t.name, ConsistentRead: aws.Bool(true), ProjectionExpression: aws.String(projectID),
		}
		if prefix != "" { // no condition may name an empty one
			in.FilterExpression, in.ExpressionAttributeValues = aws.String(ifPrefix), value(":prefix", prefix)
		}
		for {
			out, err := t.scan(ctx, in)
			if err != nil {
				yield("", err)
				return
			}
			for _, i := range out.Items {
				if id := text(i[attrLockID]); id != "" && !yield(id, nil) {
					return
				}
			}
			switch next := text(out.LastEvaluatedKey[attrLockID]); next {
			case "":
				return
			case text(in.ExclusiveStartKey[attrLockID]):
				yield("", t.error(opScan, next, statelatch.ErrBroken, "the same page would come again"))
				return
			default:
				in.ExclusiveStartKey = key(next)
			}
		}
	}
}

// scan reads one page.
func (t *Table) scan(ctx context.Context, in *dynamodb.ScanInput) (*dynamodb.ScanOutput, error) {
	ctx, c := t.begin(ctx, opScan, "")
	defer c.End()
	out, err := t.client.Scan(ctx, in, c.options)
	if err := c.result(err); err != nil {
		return nil, err
	}
	return out, nil
}
