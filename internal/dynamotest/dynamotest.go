// Package dynamotest stands in for DynamoDB in tests, in two forms over one model of what it does with
// the lock table of the engines:
//
//   - [Server] is an http.Handler that speaks DynamoDB's JSON protocol, for package dynamo, terraform, tofu and aws.
//   - [Table] is the same without HTTP, with the methods that packages lock and state ask of a
//     table. It starts no goroutine, reads no clock and holds no lock while it waits, so that it works in a
//     testing/synctest bubble.
//
// Both misbehave on demand ([Rule], [Fault]) and keep a log of the requests made ([Request]). [Run] is the
// conformance suite for everything that has a Table's methods.
//
// What it guarantees: every request is one atomic step, as DynamoDB's are; what no engine sends is
// refused with a ValidationException, never passed over. What it does not: check signatures, limit throughput, or
// give reads that are only eventually consistent.
package dynamotest

import (
	"context"
	"math/rand/v2"
	"sync"

	"github.com/statelatch/statelatch/internal/fault"
)

// The operations, spelled as in the X-Amz-Target header.
const (
	OpGetItem    = "GetItem"    // reads an item
	OpPutItem    = "PutItem"    // writes an item, perhaps on a condition
	OpDeleteItem = "DeleteItem" // removes an item, perhaps on a condition
)

// Attribute is a value under its type, such as {"S": "text"}.
type Attribute map[string]any

// Item is an item by the names of its attributes. Items are never changed once stored.
type Item map[string]Attribute

// StringItem makes the item that the engines write: LockID and one more string.
func StringItem(lockID, attribute, value string) Item {
	return Item{"LockID": {"S": lockID}, attribute: {"S": value}}
}

// Request is one line of the log.
type Request struct {
	Op        string // one of the Op constants
	LockID    string // of the item
	Condition string // the condition expression, empty if there is none
	Body      string // as received; empty in a Table
	Fault     string // the name of the fault it met, empty if none
	// Late marks a copy that the network delivered behind the caller's back. It is not a call.
	Late bool
	// Done tells that the request was answered, Code with which error code: to the caller, or if Late to nobody.
	// An empty code is success, or a lost request or reply.
	Done bool
	Code string // see Done
}

// Rule selects requests for a fault. Empty fields select everything. Of several
// rules the first that fires decides; each counts for itself.
type Rule struct {
	Op     string             // one of the Op constants
	LockID string             // the exact one; a digest's ends in "-md5"
	Match  func(Request) bool // anything else; called while the table is locked, must not call it

	Nth    int     // only the n-th request selected by the fields above, from 1
	Chance float64 // with this probability, decided by Control.SetRand; 0 means always
	Limit  int     // at most this often; 0 means no limit

	Fault Fault // the zero Fault shields a request from the rules behind
}

// Control holds the items of a [Server] or a [Table], decides about faults and keeps the log. Its methods are safe
// for concurrent use.
type Control struct {
	mu      sync.Mutex
	tables  map[string]map[string]Item // by table and LockID
	network fault.Network[Request, Fault, *lateCopy]
}

// lateCopy is a request that the network still holds.
type lateCopy struct {
	after   int
	request *Request
	command command
}

// command is one request for an item, understood.
type command struct {
	op, table, id string
	condition     string
	item          Item      // to put
	value         Attribute // what the condition compares with
}

// reply is what became of a command.
type reply struct {
	item    Item // what GetItem found, nil if nothing
	status  int  // of an error, else 0
	code    string
	message string
	lost    bool  // no reply reaches the caller
	err     error // why the caller got none, if its context ended
}

// SetRand decides [Rule.Chance]. The default is a generator with a fixed seed, so that runs repeat.
// It is used under a lock of its own.
func (c *Control) SetRand(r *rand.Rand) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.network.Rand = r
}

// Add appends rules. They count from now on.
func (c *Control) Add(rules ...Rule) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range rules {
		c.network.Add(r.selects, fault.When{Nth: r.Nth, Chance: r.Chance, Limit: r.Limit}, r.Fault)
	}
}

// Heal removes all rules. What the network still holds stays there.
func (c *Control) Heal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.network.Heal()
}

// Requests returns the log in the order in which requests were made or delivered.
func (c *Control) Requests() []Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.network.Requests()
}

// Count returns how many requests of op were made for lockID; empty means any. Late copies do not count.
func (c *Control) Count(op, lockID string) int {
	n := 0
	for _, r := range c.Requests() {
		if !r.Late && (op == "" || r.Op == op) && (lockID == "" || r.LockID == lockID) {
			n++
		}
	}
	return n
}

// Deliver lets every request that the network still holds reach the table, in the order
// in which they were sent, and returns how many there were.
func (c *Control) Deliver() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	due := c.network.TakeLate()
	c.deliver(due)
	return len(due)
}

func (c *Control) addTable(name string) bool {
	if c.tables == nil {
		c.tables = map[string]map[string]Item{}
	}
	if c.tables[name] != nil {
		return false
	}
	c.tables[name] = map[string]Item{}
	return true
}

func (c *Control) item(table, id string) (Item, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, ok := c.tables[table][id]
	return i, ok
}

// setItem stores an item behind everybody's back, by its LockID.
func (c *Control) setItem(table string, i Item) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id, ok := i["LockID"]["S"].(string)
	if !ok || c.tables[table] == nil {
		panic("dynamotest: the item has no string LockID, or there is no such table")
	}
	c.tables[table][id] = i
}

// do logs a request and lets it meet its fault.
func (c *Control) do(ctx context.Context, cmd command, body string) reply {
	request, met := c.admit(Request{Op: cmd.op, LockID: cmd.id, Condition: cmd.condition, Body: body})
	s := &sending{control: c, ctx: ctx, command: cmd}
	var r reply
	if met.play == nil {
		r = s.execute()
	} else {
		r = met.play(s)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	request.Done, request.Code = true, r.code
	c.deliver(c.network.Answered())
	for _, l := range s.late {
		l.request = request
		c.network.Keep(l.after, l)
	}
	return r
}

// admit logs a request and finds its fault.
func (c *Control) admit(r Request) (*Request, Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	request, met := c.network.Admit(r)
	request.Fault = met.name
	return request, met
}

func (r Rule) selects(q Request) bool {
	return (r.Op == "" || r.Op == q.Op) && (r.LockID == "" || r.LockID == q.LockID) && (r.Match == nil || r.Match(q))
}

// deliver runs late copies. What the table answers reaches only the log.
func (c *Control) deliver(due []*lateCopy) {
	for _, l := range due {
		line := *l.request
		line.Late, line.Done, line.Code = true, true, c.apply(l.command).code
		c.network.Log(line)
	}
}
