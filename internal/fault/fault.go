// Package fault is what faultbucket, dynamotest and faultproxy have in common: what a fault is called, which requests
// meet one, and what the network that has them still holds. What a fault does is each one's own.
//
// The same word is the same fault in all three, and each has those that its requests can suffer.
package fault

import (
	"context"
	"fmt"
	"time"
)

// The names of faults, as logs have them.
const (
	LoseRequest     = "lose request"     // the store never sees it
	LoseReply       = "lose reply"       // it is executed, and nobody learns of it
	Late            = "late"             // lost, and executed later
	Duplicate       = "duplicate"        // executed twice, the first reply returned
	Resend          = "resend"           // executed twice, the second reply returned
	Delay           = "delay"            // the store sees it later
	DelayReply      = "delay reply"      // it is executed at once, and its reply comes later
	IgnoreCondition = "ignore condition" // executed without its condition
	CutBody         = "cut body"         // the reply ends too early
	AlterRequest    = "alter request"    // bytes are changed on their way
	AlterReply      = "alter reply"
)

// Answer names an answer in the store's place, which never sees the request.
func Answer(status int) string { return fmt.Sprintf("answer %d", status) }

// AnswerAfter names another answer than that of the store, which has executed the request.
func AnswerAfter(status int) string { return fmt.Sprintf("answer %d after", status) }

// Held is the delay of a request that the network keeps until it is told to deliver it.
const Held = -1

// Sleep waits for d, or returns the context's error if that ends first.
func Sleep(d time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		return until(ctx, timer.C)
	}
}

// Receive waits until release is closed or sends, or returns the context's error if that ends first.
func Receive(release <-chan struct{}) func(context.Context) error {
	return func(ctx context.Context) error { return until(ctx, release) }
}

func until[T any](ctx context.Context, c <-chan T) error {
	select {
	case <-c:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
