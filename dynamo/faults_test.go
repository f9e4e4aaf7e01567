package dynamo_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/dynamo"
	"github.com/statelatch/statelatch/internal/dynamotest"
)

const testSum = "d41d8cd98f00b204e9800998ecf8427e"

// calls are all methods that send something.
var calls = []struct {
	name  string
	write bool
	held  bool // it works on a lock that is held
	do    func(context.Context, dynamotest.Store) error
}{
	{"lock", true, false, func(ctx context.Context, s dynamotest.Store) error { return s.Lock(ctx, testRef, testInfo) }},
	{"read", false, true, func(ctx context.Context, s dynamotest.Store) error {
		_, err := s.Read(ctx, testRef)
		return err
	}},
	{"replace", true, true, func(ctx context.Context, s dynamotest.Store) error {
		info := testInfo
		info.ID = "other"
		return s.Replace(ctx, testRef, testRaw, info)
	}},
	{"unlock", true, true, func(ctx context.Context, s dynamotest.Store) error { return s.Unlock(ctx, testRef, testRaw) }},
	{"digest", false, true, func(ctx context.Context, s dynamotest.Store) error {
		_, err := s.Digest(ctx, testRef)
		return err
	}},
	{"swap digest", true, true, func(ctx context.Context, s dynamotest.Store) error {
		return s.SwapDigest(ctx, testRef, testSum, strings.Repeat("0", 32))
	}},
	{"remove digest", true, true, func(ctx context.Context, s dynamotest.Store) error { return s.SwapDigest(ctx, testRef, testSum, "") }},
}

// prepared puts what a call works on.
func prepared(set func(dynamotest.Item), held bool) {
	set(dynamotest.StringItem(testRef.DynamoDBDigestID(), "Digest", testSum))
	if held {
		set(dynamotest.StringItem(testRef.DynamoDBLockID(), "Info", testRaw))
	}
}

// What a table does to a call, over HTTP and in memory: the kind of error is the same, and so is what is stored. A lost
// reply to a conditional write is never sent again: its condition would meet what it did itself (B1).
func TestTable_AllCalls_B1_Faults(t *testing.T) {
	t.Parallel()
	const done, refused = true, false
	for _, tc := range []struct {
		fault       dynamotest.Fault
		write, read error
		executed    bool
	}{
		{dynamotest.LoseReply(), statelatch.ErrAmbiguous, statelatch.ErrBroken, done},
		{dynamotest.LoseRequest(), statelatch.ErrAmbiguous, statelatch.ErrBroken, refused},
		{dynamotest.FailAfter(), statelatch.ErrAmbiguous, statelatch.ErrBroken, done},
		{dynamotest.Fail(), statelatch.ErrAmbiguous, statelatch.ErrBroken, refused},
		{dynamotest.AnswerAfter(503, "ServiceUnavailable"), statelatch.ErrAmbiguous, statelatch.ErrThrottled, done},
		{dynamotest.Throttle(), statelatch.ErrThrottled, statelatch.ErrThrottled, refused},
		{dynamotest.Answer(400, "ThrottlingException"), statelatch.ErrThrottled, statelatch.ErrThrottled, refused},
		{dynamotest.Answer(400, "TransactionConflictException"), statelatch.ErrConflict, statelatch.ErrConflict, refused},
		{dynamotest.Answer(400, "AccessDeniedException"), statelatch.ErrDenied, statelatch.ErrDenied, refused},
		{dynamotest.Answer(400, "ResourceNotFoundException"), statelatch.ErrNotFound, statelatch.ErrBroken, refused},
		{dynamotest.Answer(400, "ValidationException"), statelatch.ErrBroken, statelatch.ErrBroken, refused},
		{dynamotest.Fault{}, nil, nil, done},
	} {
		for _, c := range calls {
			t.Run(tc.fault.String()+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				want := tc.read
				if c.write {
					want = tc.write
				}
				table, server := fake(t)
				memory := dynamotest.NewTable(tableName)
				prepared(func(i dynamotest.Item) { server.SetItem(tableName, i) }, c.held)
				prepared(memory.SetItem, c.held)
				before := items(memory.Item)
				server.Add(dynamotest.Rule{Fault: tc.fault})
				memory.Add(dynamotest.Rule{Fault: tc.fault})

				for where, err := range map[string]error{"http": c.do(t.Context(), table), "memory": c.do(t.Context(), memory)} {
					switch {
					case want != nil:
						checkKind(t, err, want)
					case err != nil:
						t.Errorf("%s: got %v, want nil", where, err)
					}
				}
				if overHTTP, inMemory := server.Count("", ""), memory.Count("", ""); overHTTP != 1 || inMemory != 1 {
					t.Errorf("requests: got %d over HTTP and %d in memory, want 1", overHTTP, inMemory)
				}
				overHTTP := items(func(id string) (dynamotest.Item, bool) { return server.Item(tableName, id) })
				inMemory := items(memory.Item)
				if overHTTP != inMemory {
					t.Errorf("stored: got %s over HTTP, %s in memory", overHTTP, inMemory)
				}
				if changed := inMemory != before; changed != (tc.executed && c.write) {
					t.Errorf("stored: changed %t, want %t", changed, tc.executed && c.write)
				}
			})
		}
	}
}

// items is everything stored, for comparison.
func items(item func(string) (dynamotest.Item, bool)) string {
	var b strings.Builder
	for _, id := range []string{testRef.DynamoDBLockID(), testRef.DynamoDBDigestID()} {
		i, _ := item(id)
		for _, name := range []string{"Info", "Digest"} {
			value, _ := i[name]["S"].(string)
			b.WriteString(value + ";")
		}
	}
	return b.String()
}

// patient is a fake whose table tries reads twice.
func patient(t *testing.T) (*dynamo.Table, *dynamotest.Server) {
	t.Helper()
	server := dynamotest.NewServer(tableName)
	cfg := config()
	cfg.MaxRetries = 2
	table, err := dynamo.Open(t.Context(), cfg, tableName, web(t, server))
	if err != nil {
		t.Fatal(err)
	}
	prepared(func(i dynamotest.Item) { server.SetItem(tableName, i) }, true)
	return table, server
}

// Reads get over a failure that passes; a write is never sent again (B1).
func TestTable_AllCalls_B1_Retries(t *testing.T) {
	t.Parallel()
	for _, c := range calls {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			table, server := patient(t)
			server.Add(dynamotest.Rule{Limit: 1, Fault: dynamotest.LoseReply()})
			err, attempts := c.do(t.Context(), table), 2
			if c.write {
				checkKind(t, err, statelatch.ErrAmbiguous)
				attempts = 1
			} else if err != nil {
				t.Errorf("got %v, want nil", err)
			}
			if got := server.Count("", ""); got != attempts {
				t.Errorf("requests: got %d, want %d", got, attempts)
			}
		})
	}
}

func TestTable_AllCalls_NothingSent(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range calls {
		checkKind(t, c.do(t.Context(), open(t, url)), statelatch.ErrBroken)
	}
}

func TestTable_AllCalls_ContextEndsOnTheWay(t *testing.T) {
	t.Parallel()
	for _, c := range calls {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			table, server := fake(t)
			ctx, cancel := context.WithCancel(t.Context())
			release := make(chan struct{})
			defer close(release)
			server.Add(dynamotest.Rule{
				Match: func(dynamotest.Request) bool { cancel(); return true },
				Fault: dynamotest.Hold(release),
			})
			err := c.do(ctx, table)
			want := statelatch.ErrBroken
			if c.write {
				want = statelatch.ErrAmbiguous
			}
			checkKind(t, err, want)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("error %v does not match context.Canceled", err)
			}
		})
	}
}

// A silent table ends a call by our own limits, which do not look like the end of the caller's context.
func TestTable_Timeout(t *testing.T) {
	t.Parallel()
	for want, limits := range map[string]s3bucket.Timeouts{
		"no complete answer within 1s": {Request: time.Second}, // long enough for a connection to be made
		"timeout awaiting response":    {ResponseHeader: time.Second},
	} {
		for _, c := range calls[:2] { // a write and a read
			t.Run(want+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				server := dynamotest.NewServer(tableName)
				cfg := config()
				cfg.Timeouts = limits
				table, err := dynamo.Open(t.Context(), cfg, tableName, web(t, server))
				if err != nil {
					t.Fatal(err)
				}
				release := make(chan struct{})
				defer close(release)
				server.Add(dynamotest.Rule{Fault: dynamotest.Hold(release)})
				err = c.do(t.Context(), table)
				checkKind(t, err, kindIf(c.write))
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error: got %v, want %q in it", err, want)
				}
				if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
					t.Errorf("error %v looks like the end of the caller's context", err)
				}
			})
		}
	}
}

// kindIf is what an answer that cannot be understood comes to.
func kindIf(write bool) error {
	if write {
		return statelatch.ErrAmbiguous
	}
	return statelatch.ErrBroken
}

// What is not DynamoDB's answer is never taken for one: an empty item would be a free lock.
func TestTable_AllCalls_ForeignAnswers(t *testing.T) {
	t.Parallel()
	const amzJSON = "application/x-amz-json-1.0"
	for name, tc := range map[string]struct {
		status      int
		contentType string
		body        string
		write, read error
		want        string
	}{
		"portal":    {200, "text/html", "<html>log in</html>", statelatch.ErrAmbiguous, statelatch.ErrBroken, `not DynamoDB's: its Content-Type is "text/html"`},
		"no type":   {200, "", "{}", statelatch.ErrAmbiguous, statelatch.ErrBroken, "not DynamoDB's"},
		"json":      {200, "application/json", "{}", statelatch.ErrAmbiguous, statelatch.ErrBroken, "not DynamoDB's"},
		"empty":     {200, amzJSON, "", statelatch.ErrAmbiguous, statelatch.ErrBroken, "it is empty"},
		"large":     {200, amzJSON, `{"a":"` + strings.Repeat("x", 5<<20) + `"}`, statelatch.ErrAmbiguous, statelatch.ErrBroken, "larger than"},
		"not json":  {200, amzJSON, "{", statelatch.ErrAmbiguous, statelatch.ErrBroken, ""},
		"gateway":   {502, "text/html", "<html>", statelatch.ErrAmbiguous, statelatch.ErrBroken, "HTTP 502"},
		"forbidden": {403, "text/html", "<html>", statelatch.ErrDenied, statelatch.ErrDenied, "HTTP 403"},
		"redirect":  {307, "text/html", "", statelatch.ErrBroken, statelatch.ErrBroken, "endpoint"},
	} {
		for _, c := range calls {
			t.Run(name+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				table := open(t, web(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.Header()["Content-Type"] = nil
					if tc.contentType != "" {
						w.Header().Set("Content-Type", tc.contentType)
					}
					w.Header().Set("Location", "http://127.0.0.1:1/")
					w.WriteHeader(tc.status)
					_, _ = io.WriteString(w, tc.body)
				})))
				err := c.do(t.Context(), table)
				want := tc.read
				if c.write {
					want = tc.write
				}
				checkKind(t, err, want)
				if err != nil && !strings.Contains(err.Error(), tc.want) {
					t.Errorf("error: got %q, want %q in it", err, tc.want)
				}
			})
		}
	}
}

func TestTable_Write_AnswerIsCut(t *testing.T) {
	t.Parallel()
	table := open(t, web(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "{")
	})))
	checkKind(t, table.Lock(t.Context(), testRef, testInfo), statelatch.ErrAmbiguous)
	_, err := table.Read(t.Context(), testRef)
	checkKind(t, err, statelatch.ErrBroken)
}

// An item that exists is a lock, whatever is in it.
func TestTable_Read_WithoutInfo(t *testing.T) {
	t.Parallel()
	id := testRef.DynamoDBLockID()
	for name, item := range map[string]dynamotest.Item{
		"missing": {"LockID": {"S": id}},
		"empty":   {"LockID": {"S": id}, "Info": {"S": ""}},
		"number":  {"LockID": {"S": id}, "Info": {"N": "1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			table, server := fake(t)
			memory := dynamotest.NewTable(tableName)
			server.SetItem(tableName, item)
			memory.SetItem(item)
			for _, s := range []dynamotest.Store{table, memory} {
				if raw, err := s.Read(t.Context(), testRef); raw != "" || err != nil {
					t.Errorf("Read: got %q, %v, want an empty Info and no error", raw, err)
				}
				checkKind(t, s.Lock(t.Context(), testRef, testInfo), statelatch.ErrPreconditionFailed)
			}
		})
	}
}

// A digest is what is stored, MD5 or not. What has none can be given one; what no condition can name is left alone.
func TestTable_Digest_Odd(t *testing.T) {
	t.Parallel()
	id := testRef.DynamoDBDigestID()
	for name, tc := range map[string]struct {
		item dynamotest.Item
		raw  string
		swap error
	}{
		"no MD5":  {dynamotest.StringItem(id, "Digest", "oops"), "oops", nil},
		"missing": {dynamotest.Item{"LockID": {"S": id}}, "", nil},
		"number":  {dynamotest.Item{"LockID": {"S": id}, "Digest": {"N": "1"}}, "", statelatch.ErrPreconditionFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			table, server := fake(t)
			memory := dynamotest.NewTable(tableName)
			server.SetItem(tableName, tc.item)
			memory.SetItem(tc.item)
			for _, s := range []dynamotest.Store{table, memory} {
				raw, err := s.Digest(t.Context(), testRef)
				if raw != tc.raw || err != nil {
					t.Errorf("Digest: got %q, %v, want %q and no error", raw, err, tc.raw)
				}
				err = s.SwapDigest(t.Context(), testRef, raw, testSum)
				if tc.swap != nil {
					checkKind(t, err, tc.swap)
				} else if raw, _ := s.Digest(t.Context(), testRef); err != nil || raw != testSum {
					t.Errorf("SwapDigest: %v, then %q, want %q", err, raw, testSum)
				}
			}
		})
	}
}

func TestTable_Errors_Text(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault dynamotest.Fault
		call  func(*dynamo.Table) error
		want  string
	}{
		"taken": {
			dynamotest.Answer(400, "ConditionalCheckFailedException"),
			func(s *dynamo.Table) error { return s.Lock(t.Context(), testRef, testInfo) },
			`put item "bkt/team/app/terraform.tfstate" in DynamoDB table "locks": precondition failed (HTTP 400 ConditionalCheckFailedException): injected by dynamotest`,
		},
		"denied": {
			dynamotest.Answer(400, "AccessDeniedException"),
			func(s *dynamo.Table) error { return s.Unlock(t.Context(), testRef, testRaw) },
			`delete item "bkt/team/app/terraform.tfstate" in DynamoDB table "locks": access denied (HTTP 400 AccessDeniedException): injected by dynamotest; the credentials need dynamodb:DeleteItem on this table`,
		},
		"denied digest": {
			dynamotest.Answer(400, "AccessDeniedException"),
			func(s *dynamo.Table) error { _, err := s.Digest(t.Context(), testRef); return err },
			`get item "bkt/team/app/terraform.tfstate-md5" in DynamoDB table "locks": access denied (HTTP 400 AccessDeniedException): injected by dynamotest; the credentials need dynamodb:GetItem on this table`,
		},
		"no table": {
			dynamotest.Answer(400, "ResourceNotFoundException"),
			func(s *dynamo.Table) error { return s.Lock(t.Context(), testRef, testInfo) },
			`put item "bkt/team/app/terraform.tfstate" in DynamoDB table "locks": not found (HTTP 400 ResourceNotFoundException): ` +
				`there is no such table in region "eu-central-1": correct dynamodb_table or the region, or create it, with the string LockID as its partition key`,
		},
		"schema": {
			dynamotest.Answer(400, "ValidationException"),
			func(s *dynamo.Table) error { return s.SwapDigest(t.Context(), testRef, "", testSum) },
			`put item "bkt/team/app/terraform.tfstate-md5" in DynamoDB table "locks": store not usable (HTTP 400 ValidationException): ` +
				`injected by dynamotest; the table must have the string LockID as its partition key and no sort key`,
		},
		"lost": {
			dynamotest.LoseReply(),
			func(s *dynamo.Table) error { return s.Lock(t.Context(), testRef, testInfo) },
			`put item "bkt/team/app/terraform.tfstate" in DynamoDB table "locks": outcome unknown: the connection ended before the answer: unexpected EOF`,
		},
		"no item": {
			dynamotest.Fault{},
			func(s *dynamo.Table) error { _, err := s.Read(t.Context(), testRef); return err },
			`get item "bkt/team/app/terraform.tfstate" in DynamoDB table "locks": not found: there is no such item`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			table, server := fake(t)
			server.Add(dynamotest.Rule{Fault: tc.fault})
			if err := tc.call(table); err == nil || err.Error() != tc.want {
				t.Errorf("error:\n got %v\nwant %s", err, tc.want)
			}
		})
	}
}
