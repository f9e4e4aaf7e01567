package dynamo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/statelatch/statelatch/internal/sdkcall"
)

const (
	contentType = "application/x-amz-json-1.0"
	// maxAnswer is far above what an item of DynamoDB's largest size, 400 KB, takes in JSON.
	maxAnswer = 4 << 20
)

var (
	opGet    = sdkcall.Op{Name: "get item", Action: "dynamodb:GetItem"}
	opPut    = sdkcall.Op{Name: "put item", Action: "dynamodb:PutItem", Write: true}
	opScan   = sdkcall.Op{Name: "scan", Action: "dynamodb:Scan"}
	opDelete = sdkcall.Op{Name: "delete item", Action: "dynamodb:DeleteItem", Write: true}
)

// call is a call on an item of a table.
type call struct {
	*sdkcall.Call
	table   *Table
	id      string // the item's LockID
	foreign error  // why the last answer, though a success, is not DynamoDB's
}

// begin starts the clock of a call, whose requests are made under the context
// returned. The caller must end it.
func (t *Table) begin(parent context.Context, op sdkcall.Op, id string) (context.Context, *call) {
	ctx, c := sdkcall.Begin(parent, t.limit, op)
	return ctx, &call{Call: c, table: t, id: id}
}

// options are the terms on which every request of c is made.
func (c *call) options(o *dynamodb.Options) {
	if c.Op.Write {
		o.Retryer = aws.NopRetryer{} // B1
	}
	o.HTTPClient = c.Track(o.HTTPClient, c.look)
	o.APIOptions = append(o.APIOptions, awsmiddleware.AddUserAgentKey("statelatch"))
}

// look reads an answer whole.
func (c *call) look(resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	_ = resp.Body.Close() // read as far as it will be
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	c.foreign = nil
	if resp.StatusCode/100 == 2 {
		c.foreign = checkAnswer(resp.Header.Get("Content-Type"), body)
	}
	if c.foreign != nil || len(body) > maxAnswer {
		body = nil // nothing in it counts
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// checkAnswer tells the answer of a proxy or of another service from DynamoDB's. The SDK would take
// an empty one for a missing item, which is a free lock.
func checkAnswer(ct string, body []byte) error {
	const next = "; is the DynamoDB endpoint right, and is there a proxy?"
	switch media, _, err := mime.ParseMediaType(ct); {
	case err != nil || media != contentType:
		return fmt.Errorf("the answer is not DynamoDB's: its Content-Type is %q%s", ct, next)
	case len(body) == 0:
		return errors.New("the answer is not DynamoDB's: it is empty" + next)
	case len(body) > maxAnswer:
		return fmt.Errorf("the answer is not DynamoDB's: it is larger than %d bytes%s", maxAnswer, next)
	}
	return nil
}
