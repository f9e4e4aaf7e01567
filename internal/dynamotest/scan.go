package dynamotest

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

// OpScan is what package dynamo lists a table with. No engine sends it.
const OpScan = "Scan"

// scanPage is how many items a page looks at, matching or not: few, so that tests meet pages that are empty and not
// the last.
const scanPage = 3

// scan answers one page of a scan for the LockIDs that begin with something.
func (s *Server) scan(w http.ResponseWriter, r *http.Request, body []byte) {
	var in struct {
		TableName                              string
		ConsistentRead                         bool
		ProjectionExpression, FilterExpression string
		ExpressionAttributeValues              map[string]Attribute
		ExclusiveStartKey                      Item
	}
	if !parse(w, body, &in) {
		return
	}
	prefix, ok := in.ExpressionAttributeValues[":prefix"]["S"].(string)
	all := in.FilterExpression == "" && len(in.ExpressionAttributeValues) == 0
	filtered := in.FilterExpression == "begins_with(LockID, :prefix)" && ok && prefix != "" &&
		len(in.ExpressionAttributeValues) == 1
	if !in.ConsistentRead || in.ProjectionExpression != "LockID" || !all && !filtered {
		write(w, invalid("dynamotest knows one scan: consistent, for the LockID, with begins_with(LockID, "+
			":prefix) or for all"), nil)
		return
	}
	rep := s.do(r.Context(), command{op: OpScan, table: in.TableName}, string(body))
	if rep.lost {
		panic(http.ErrAbortHandler) // closes the connection
	}
	s.mu.Lock()
	ids := slices.Sorted(maps.Keys(s.tables[in.TableName]))
	s.mu.Unlock()
	start, _ := in.ExclusiveStartKey["LockID"]["S"].(string)
	ids = slices.DeleteFunc(ids, func(id string) bool { return id <= start })
	items, last := []Item{}, Item(nil)
	for i, id := range ids {
		if i == scanPage {
			break
		}
		last = Item{"LockID": {"S": id}}
		if strings.HasPrefix(id, prefix) {
			items = append(items, last)
		}
	}
	out := map[string]any{"Items": items, "Count": len(items)}
	if len(ids) > scanPage {
		out["LastEvaluatedKey"] = last
	}
	write(w, rep, out)
}
