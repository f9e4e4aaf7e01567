package dynamotest

import (
	"fmt"
	"hash/crc32"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func post(s *Server, op, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	r.Header.Set("X-Amz-Target", targetPrefix+op)
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AK/20261121/us-east-1/dynamodb/aws4_request, Signature=x")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func TestServer_PutThenGet(t *testing.T) {
	t.Parallel()
	s := NewServer("locks")
	if w := post(s, "PutItem", `{"TableName":"locks","Item":{"LockID":{"S":"a/b"},"Info":{"S":"x"},"Digest":{"S":"y"}}}`); w.Code != 200 {
		t.Fatalf("PutItem: %d %s", w.Code, w.Body)
	}
	w := post(s, "GetItem", `{"TableName":"locks","Key":{"LockID":{"S":"a/b"}},"ConsistentRead":true,"ProjectionExpression":"LockID, Info"}`)
	if got, want := w.Body.String(), `{"Item":{"Info":{"S":"x"},"LockID":{"S":"a/b"}}}`; w.Code != 200 || got != want {
		t.Errorf("GetItem: got %d %s, want %s", w.Code, got, want)
	}
	if got, want := w.Header().Get("X-Amz-Crc32"), fmt.Sprint(crc32.ChecksumIEEE(w.Body.Bytes())); got != want {
		t.Errorf("X-Amz-Crc32: got %q, want %q", got, want)
	}
	if got, want := w.Header().Get("Content-Type"), "application/x-amz-json-1.0"; got != want {
		t.Errorf("Content-Type: got %q, want %q", got, want)
	}
	if w := post(s, "GetItem", `{"TableName":"locks","Key":{"LockID":{"S":"none"}},"ConsistentRead":true,"ProjectionExpression":"LockID"}`); w.Body.String() != "{}" {
		t.Errorf("GetItem of nothing: got %s, want {}", w.Body)
	}
}

func TestServer_CreateAndDescribeTable(t *testing.T) {
	t.Parallel()
	s := NewServer()
	const table = `{"TableName":"t","KeySchema":[{"AttributeName":"LockID","KeyType":"HASH"}],"AttributeDefinitions":[{"AttributeName":"LockID","AttributeType":"S"}],"BillingMode":"PAY_PER_REQUEST"}`
	for _, step := range []struct{ op, body, want string }{
		{"DescribeTable", `{"TableName":"t"}`, "ResourceNotFoundException"},
		{"CreateTable", strings.Replace(table, "HASH", "RANGE", 1), "ValidationException"},
		{"CreateTable", table, `"ACTIVE"`},
		{"CreateTable", table, "ResourceInUseException"},
		{"DescribeTable", `{"TableName":"t"}`, `"ACTIVE"`},
	} {
		if w := post(s, step.op, step.body); !strings.Contains(w.Body.String(), step.want) {
			t.Errorf("%s %s: got %d %s, want %s", step.op, step.body, w.Code, w.Body, step.want)
		}
	}
}

// What no engine sends is refused, and changes nothing.
func TestServer_Refuses(t *testing.T) {
	t.Parallel()
	const key = `"TableName":"locks","Key":{"LockID":{"S":"a/b"}}`
	const item = `"TableName":"locks","Item":{"LockID":{"S":"a/b"},"Info":{"S":"new"}}`
	for _, tc := range []struct{ op, body, want string }{
		{"Query", `{}`, "UnknownOperationException"},
		{"Scan", `{"TableName":"t","ConsistentRead":true}`, "ValidationException"},
		{"GetItem", `not json`, "ValidationException"},
		{"GetItem", `{` + key + `,"ProjectionExpression":"LockID"}`, "ValidationException"},
		{"GetItem", `{` + key + `,"ConsistentRead":true}`, "ValidationException"},
		{"GetItem", `{` + key + `,"ConsistentRead":true,"ProjectionExpression":"a.b"}`, "ValidationException"},
		{"GetItem", `{"TableName":"none","Key":{"LockID":{"S":"a/b"}},"ConsistentRead":true,"ProjectionExpression":"LockID"}`, "ResourceNotFoundException"},
		{"PutItem", `{` + item + `,"ConditionExpression":"attribute_exists(LockID)"}`, "ValidationException"},
		{"PutItem", `{` + item + `,"ConditionExpression":"Info = :info"}`, "ValidationException"},
		{"PutItem", `{` + item + `,"ExpressionAttributeValues":{":info":{"S":"old"}}}`, "ValidationException"},
		{"PutItem", `{` + item + `,"ConditionExpression":"Info = :info","ExpressionAttributeValues":{":x":{"S":"old"}}}`, "ValidationException"},
		{"PutItem", `{` + item + `,"ReturnValues":"ALL_OLD"}`, "ValidationException"},
		{"PutItem", `{"TableName":"locks","Item":{"Info":{"S":"new"}}}`, "ValidationException"},
		{"PutItem", `{"TableName":"locks","Item":{"LockID":{"N":"1"}}}`, "ValidationException"},
		{"PutItem", `{` + item + `,"ConditionExpression":"attribute_not_exists(LockID)"}`, "ConditionalCheckFailedException"},
		{"PutItem", `{` + item + `,"ConditionExpression":"Digest = :digest","ExpressionAttributeValues":{":info":{"S":"old"}}}`, "ValidationException"},
		{"PutItem", `{` + item + `,"ConditionExpression":"Digest = :digest","ExpressionAttributeValues":{":digest":{"S":"old"}}}`, "ConditionalCheckFailedException"},
		{"DeleteItem", `{"TableName":"locks","Key":{"LockID":{"S":"a/b"},"Range":{"S":"x"}}}`, "ValidationException"},
		{"DeleteItem", `{` + key + `,"ConditionExpression":"Info = :info","ExpressionAttributeValues":{":info":{"N":"1"}}}`, "ConditionalCheckFailedException"},
	} {
		s := NewServer("locks")
		s.SetItem("locks", StringItem("a/b", "Info", "old"))
		if w := post(s, tc.op, tc.body); w.Code != 400 || !strings.Contains(w.Body.String(), "#"+tc.want) {
			t.Errorf("%s %s: got %d %s, want %s", tc.op, tc.body, w.Code, w.Body, tc.want)
		}
		if i, _ := s.Item("locks", "a/b"); i["Info"]["S"] != "old" {
			t.Errorf("%s %s: the item is now %v", tc.op, tc.body, i)
		}
	}
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("{}"))
	r.Header.Set("X-Amz-Target", targetPrefix+"GetItem")
	w := httptest.NewRecorder()
	NewServer("locks").ServeHTTP(w, r)
	if !strings.Contains(w.Body.String(), "MissingAuthenticationTokenException") {
		t.Errorf("unsigned: got %d %s", w.Code, w.Body)
	}
}
