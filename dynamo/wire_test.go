package dynamo_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/dynamotest"
)

// compareRequests checks that for every request that an engine made, the Table makes the same one. The differences are
// terraform's unconditional delete of a lock (W4), which gets tofu's condition, and the engines'
// unconditional writes of a digest, which get one too.
func compareRequests(t *testing.T, engine []dynamotest.Request) {
	t.Helper()
	seen := map[string]bool{}
	infos := map[string]string{} // by LockID
	for _, theirs := range engine {
		table, server := fake(t)
		var in struct {
			TableName, ProjectionExpression, ConditionExpression string
			Key, Item                                            dynamotest.Item
			ExpressionAttributeValues                            map[string]dynamotest.Attribute
		}
		if err := json.Unmarshal([]byte(theirs.Body), &in); err != nil {
			t.Fatal(err)
		}
		id, _ := in.Key["LockID"]["S"].(string)
		if in.Item != nil {
			id, _ = in.Item["LockID"]["S"].(string)
		}
		bucket, key, _ := strings.Cut(strings.TrimSuffix(id, "-md5"), "/")
		ref := statelatch.Ref{Bucket: bucket, Key: key}
		if in.TableName != tableName || id != ref.DynamoDBLockID() && id != ref.DynamoDBDigestID() {
			t.Errorf("%s: the engine used table %q and LockID %q", theirs.Op, in.TableName, id)
		}

		want, what := theirs.Body, ""
		conditioned := func(expression, name, value string) {
			var body map[string]any
			if err := json.Unmarshal([]byte(theirs.Body), &body); err != nil {
				t.Fatal(err)
			}
			body["ConditionExpression"] = expression
			if name != "" {
				body["ExpressionAttributeValues"] = map[string]any{name: map[string]any{"S": value}}
			}
			encoded, _ := json.Marshal(body)
			want = string(encoded)
		}
		switch {
		case in.Item["Info"] != nil:
			what = "lock"
			raw, _ := in.Item["Info"]["S"].(string)
			info, err := statelatch.ParseLockInfo([]byte(raw))
			if err != nil || info.Path != ref.Path() || string(info.Marshal()) != raw {
				t.Errorf("the engine's Info for %v is not what LockInfo.Marshal makes of it: %v: %s", ref, err, raw)
			}
			infos[id] = raw
			_ = table.Lock(t.Context(), ref, info)
		case in.Item["Digest"] != nil:
			what = "put digest"
			sum, _ := in.Item["Digest"]["S"].(string)
			conditioned("attribute_not_exists(Digest)", "", "")
			_ = table.SwapDigest(t.Context(), ref, "", sum)
		case theirs.Op == dynamotest.OpGetItem && id == ref.DynamoDBLockID():
			what = "read"
			_, _ = table.Read(t.Context(), ref)
		case theirs.Op == dynamotest.OpGetItem:
			what = "digest"
			_, _ = table.Digest(t.Context(), ref)
		case id == ref.DynamoDBDigestID():
			what = "delete digest"
			conditioned("Digest = :digest", ":digest", testSum)
			_ = table.SwapDigest(t.Context(), ref, testSum, "")
		default:
			what = "unlock"
			raw, conditional := in.ExpressionAttributeValues[":info"]["S"].(string)
			if !conditional {
				raw = infos[id]
				conditioned("Info = :info", ":info", raw)
			}
			_ = table.Unlock(t.Context(), ref, raw)
		}
		seen[what] = true
		ours := server.Requests()
		if len(ours) != 1 || ours[0].Op != theirs.Op {
			t.Fatalf("%s: got %+v, want one %s", what, ours, theirs.Op)
		}
		checkJSON(t, what, ours[0].Body, want)
	}
	if len(seen) != 6 {
		t.Errorf("the engine was seen to do %v, want lock, read, unlock, digest, put digest and delete digest", seen)
	}
}

// The requests in testdata were recorded from real engines: apply, a refused plan, force-unlock of an item that a
// Table had put, workspace new, workspace delete.
func TestTable_Wire_SameAsRecordedEngines(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"terraform-1.11.4", "tofu-1.12.6"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := os.Open("testdata/" + name + ".requests.jsonl")
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var requests []dynamotest.Request
			for lines := bufio.NewScanner(f); lines.Scan(); {
				var line struct {
					Op   string
					Body json.RawMessage
				}
				if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
					t.Fatal(err)
				}
				requests = append(requests, dynamotest.Request{Op: line.Op, Body: string(line.Body)})
			}
			compareRequests(t, requests)
		})
	}
}

func TestTable_Replace_OnTheWire(t *testing.T) {
	t.Parallel()
	table, server := fake(t)
	info := testInfo
	info.ID = "other"
	_ = table.Replace(t.Context(), testRef, testRaw, info)
	requests := server.Requests()
	if len(requests) != 1 || requests[0].Op != dynamotest.OpPutItem {
		t.Fatalf("requests: got %+v, want one PutItem", requests)
	}
	want, _ := json.Marshal(map[string]any{
		"TableName": tableName, "ConditionExpression": "Info = :info",
		"Item":                      dynamotest.StringItem("bkt/team/app/terraform.tfstate", "Info", string(info.Marshal())),
		"ExpressionAttributeValues": map[string]any{":info": map[string]any{"S": testRaw}},
	})
	checkJSON(t, "replace", requests[0].Body, string(want))
}

func TestTable_Requests_Headers(t *testing.T) {
	t.Parallel()
	seen := make(chan *http.Request, 1)
	server := dynamotest.NewServer(tableName)
	table := open(t, web(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Clone(r.Context())
		server.ServeHTTP(w, r)
	})))
	if err := table.Lock(t.Context(), testRef, testInfo); err != nil {
		t.Fatal(err)
	}
	r := <-seen
	if got, want := r.Header.Get("X-Amz-Target"), "DynamoDB_20120810.PutItem"; got != want {
		t.Errorf("X-Amz-Target: got %q, want %q", got, want)
	}
	if got, want := r.Header.Get("Authorization"), "/eu-central-1/dynamodb/aws4_request"; !strings.Contains(got, want) {
		t.Errorf("Authorization: got %q, want %q in it", got, want)
	}
	if got, want := r.Header.Get("User-Agent"), "statelatch"; !strings.Contains(got, want) {
		t.Errorf("User-Agent: got %q, want %q in it", got, want)
	}
}
