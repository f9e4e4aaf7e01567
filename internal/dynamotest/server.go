package dynamotest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

const (
	targetPrefix = "DynamoDB_20120810."
	maxRequest   = 1 << 20
)

// Server is an http.Handler that speaks DynamoDB's JSON protocol: GetItem, PutItem and DeleteItem as the engines send
// them, Scan as package dynamo does, CreateTable and DescribeTable for who sets it up. A lost reply closes the
// connection. Create it with [NewServer].
type Server struct{ Control }

// NewServer makes a server of these tables, which are empty.
func NewServer(tables ...string) *Server {
	s := &Server{}
	for _, t := range tables {
		s.addTable(t)
	}
	return s
}

// Item returns what a table holds under a LockID, without a request.
func (s *Server) Item(table, lockID string) (Item, bool) { return s.item(table, lockID) }

// SetItem stores an item of any content, without a request.
func (s *Server) SetItem(table string, i Item) { s.setItem(table, i) }

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		http.Error(w, "cannot read the request", http.StatusBadRequest)
		return
	}
	op, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), targetPrefix)
	switch {
	case r.Method != http.MethodPost || !ok:
		write(w, refuse("UnknownOperationException", "not a request for DynamoDB"), nil)
		return
	case !strings.Contains(r.Header.Get("Authorization"), "/dynamodb/aws4_request"):
		write(w, refuse("MissingAuthenticationTokenException", "the request is not signed for DynamoDB"), nil)
		return
	}
	switch op {
	case OpGetItem:
		s.getItem(w, r, body)
	case OpPutItem:
		s.putItem(w, r, body)
	case OpDeleteItem:
		s.deleteItem(w, r, body)
	case OpScan:
		s.scan(w, r, body)
	case "CreateTable":
		s.createTable(w, body)
	case "DescribeTable":
		s.describeTable(w, body)
	default:
		write(w, refuse("UnknownOperationException", "dynamotest does not know "+op), nil)
	}
}

// parse reads a request strictly: a parameter that in does not have is refused.
func parse(w http.ResponseWriter, body []byte, in any) bool {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(in); err != nil {
		write(w, invalid("dynamotest does not know this request: %v", err), nil)
		return false
	}
	return true
}

// conditional is what PutItem and DeleteItem have in common.
type conditional struct {
	ConditionExpression       string
	ExpressionAttributeValues map[string]Attribute
}

func (s *Server) getItem(w http.ResponseWriter, r *http.Request, body []byte) {
	var in struct {
		TableName            string
		Key                  Item
		ConsistentRead       bool
		ProjectionExpression string
	}
	if !parse(w, body, &in) {
		return
	}
	names := strings.Split(in.ProjectionExpression, ",")
	for i, name := range names {
		names[i] = strings.TrimSpace(name)
		if names[i] == "" || strings.ContainsAny(names[i], " .[]#:") {
			write(w, invalid("ProjectionExpression %q: want names of attributes", in.ProjectionExpression), nil)
			return
		}
	}
	if !in.ConsistentRead {
		write(w, invalid("want ConsistentRead"), nil)
		return
	}
	s.serve(w, r, body, in.Key, command{op: OpGetItem, table: in.TableName}, conditional{}, names...)
}

func (s *Server) putItem(w http.ResponseWriter, r *http.Request, body []byte) {
	var in struct {
		TableName string
		Item      Item
		conditional
	}
	if parse(w, body, &in) {
		cmd := command{op: OpPutItem, table: in.TableName, item: in.Item}
		s.serve(w, r, body, Item{"LockID": in.Item["LockID"]}, cmd, in.conditional)
	}
}

func (s *Server) deleteItem(w http.ResponseWriter, r *http.Request, body []byte) {
	var in struct {
		TableName string
		Key       Item
		conditional
	}
	if parse(w, body, &in) {
		s.serve(w, r, body, in.Key, command{op: OpDeleteItem, table: in.TableName}, in.conditional)
	}
}

// serve completes a request for an item and answers it, with the attributes named.
func (s *Server) serve(
	w http.ResponseWriter, r *http.Request, body []byte, key Item, cmd command, sent conditional, names ...string,
) {
	cmd.id, _ = key["LockID"]["S"].(string)
	cmd.condition = sent.ConditionExpression
	cond, known := conditions[cmd.condition]
	cmd.value = sent.ExpressionAttributeValues[cond.placeholder]
	values := 0
	if cond.placeholder != "" {
		values = 1
	}
	switch {
	case !known && cmd.condition != "":
		write(w, invalid("ConditionExpression %q: dynamotest knows %q", cmd.condition, slices.Sorted(maps.Keys(conditions))),
			nil)
		return
	case len(key) != 1 || len(key["LockID"]) != 1 || cmd.id == "":
		write(w, invalid("the key is not one string LockID"), nil)
		return
	case len(sent.ExpressionAttributeValues) != values || (cmd.value != nil) != (values == 1):
		write(w, invalid("ExpressionAttributeValues do not fit ConditionExpression %q", cmd.condition), nil)
		return
	}
	rep := s.do(r.Context(), cmd, string(body))
	if rep.lost {
		panic(http.ErrAbortHandler) // closes the connection
	}
	out := map[string]Item{}
	if rep.item != nil {
		out["Item"] = Item{}
		for _, name := range names {
			if value, ok := rep.item[name]; ok {
				out["Item"][name] = value
			}
		}
	}
	write(w, rep, out)
}

type (
	keySchema           struct{ AttributeName, KeyType string }
	attributeDefinition struct{ AttributeName, AttributeType string }
)

func (s *Server) createTable(w http.ResponseWriter, body []byte) {
	var in struct {
		TableName             string
		KeySchema             []keySchema
		AttributeDefinitions  []attributeDefinition
		BillingMode           string
		ProvisionedThroughput map[string]int
	}
	if !parse(w, body, &in) {
		return
	}
	if len(in.KeySchema) != 1 || in.KeySchema[0] != (keySchema{"LockID", "HASH"}) ||
		len(in.AttributeDefinitions) != 1 || in.AttributeDefinitions[0] != (attributeDefinition{"LockID", "S"}) {
		write(w, invalid("the engines need a table with the string LockID as its partition key and no sort key"), nil)
		return
	}
	s.mu.Lock()
	made := s.addTable(in.TableName)
	s.mu.Unlock()
	if !made {
		write(w, refuse("ResourceInUseException", "Table already exists: "+in.TableName), nil)
		return
	}
	write(w, reply{}, map[string]any{"TableDescription": description(in.TableName)})
}

func (s *Server) describeTable(w http.ResponseWriter, body []byte) {
	var in struct{ TableName string }
	if !parse(w, body, &in) {
		return
	}
	s.mu.Lock()
	_, ok := s.tables[in.TableName]
	s.mu.Unlock()
	if !ok {
		write(w, refuse("ResourceNotFoundException", "Requested resource not found: Table: "+in.TableName+" not found"), nil)
		return
	}
	write(w, reply{}, map[string]any{"Table": description(in.TableName)})
}

func description(table string) map[string]any {
	return map[string]any{
		"TableName": table, "TableStatus": "ACTIVE",
		"KeySchema":            []keySchema{{"LockID", "HASH"}},
		"AttributeDefinitions": []attributeDefinition{{"LockID", "S"}},
	}
}

func invalid(format string, args ...any) reply {
	return refuse("ValidationException", fmt.Sprintf(format, args...))
}

// write answers with r's error, or with out, and with the checksum that AWS's libraries check.
func write(w http.ResponseWriter, r reply, out any) {
	status := http.StatusOK
	if r.status != 0 {
		status = r.status
		out = map[string]string{"__type": "com.amazonaws.dynamodb.v20120810#" + r.code, "message": r.message}
	}
	body, err := json.Marshal(out)
	if err != nil {
		panic(fmt.Sprintf("dynamotest: an answer always encodes: %v", err))
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.Header().Set("X-Amz-Crc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE(body)), 10))
	w.Header().Set("X-Amzn-Requestid", "dynamotest")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
