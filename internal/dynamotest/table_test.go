package dynamotest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/statelatch/statelatch"
)

func TestTable_Conformance(t *testing.T) {
	t.Parallel()
	Run(t, NewTable("locks"))
}

func TestTable_Requests_LogAndCount(t *testing.T) {
	t.Parallel()
	p := newProbe(NewTable("locks"))
	table := p.Store.(*Table)
	table.Add(Rule{Op: OpPutItem, Match: func(r Request) bool { return r.Condition == ifInfo }, Fault: LoseReply()})
	_ = p.Lock(t.Context(), p.ref, p.info(1))
	_ = p.Lock(t.Context(), p.ref, p.info(2))
	_ = p.Replace(t.Context(), p.ref, p.raw(1), p.info(2))
	_, _ = p.Read(t.Context(), p.ref)
	_ = p.SwapDigest(t.Context(), p.ref, "", sum1)
	_ = p.SwapDigest(t.Context(), p.ref, sum1, "")
	_ = p.Unlock(t.Context(), p.ref, p.raw(2))
	lock, digest := p.ref.DynamoDBLockID(), p.ref.DynamoDBDigestID()
	want := []Request{
		{Op: OpPutItem, LockID: lock, Condition: ifAbsent, Done: true},
		{Op: OpPutItem, LockID: lock, Condition: ifAbsent, Done: true, Code: "ConditionalCheckFailedException"},
		{Op: OpPutItem, LockID: lock, Condition: ifInfo, Done: true, Fault: "lose reply"},
		{Op: OpGetItem, LockID: lock, Done: true},
		{Op: OpPutItem, LockID: digest, Condition: ifNoDigest, Done: true},
		{Op: OpDeleteItem, LockID: digest, Condition: ifDigest, Done: true},
		{Op: OpDeleteItem, LockID: lock, Condition: ifInfo, Done: true},
	}
	if got := table.Requests(); !slices.Equal(got, want) {
		t.Errorf("log:\n got %+v\nwant %+v", got, want)
	}
	if got := table.Count(OpPutItem, lock); got != 3 {
		t.Errorf("Count: got %d, want 3", got)
	}
}

func TestTable_Rule_NthLimitChanceHeal(t *testing.T) {
	t.Parallel()
	p := newProbe(NewTable("locks"))
	table := p.Store.(*Table)
	failures := func(n int) (failed []int) {
		for i := range n {
			if errors.Is(p.SwapDigest(t.Context(), p.ref, "", sum1), statelatch.ErrThrottled) {
				failed = append(failed, i+1)
			}
		}
		return failed
	}
	for _, tc := range []struct {
		rules []Rule
		want  []int
	}{
		{[]Rule{{Nth: 2, Fault: Throttle()}}, []int{2}},
		{[]Rule{{Limit: 2, Fault: Throttle()}}, []int{1, 2}},
		{[]Rule{{Op: OpGetItem, Fault: Throttle()}, {LockID: "other", Fault: Throttle()}}, nil},
		{[]Rule{{Nth: 1}, {Limit: 2, Fault: Throttle()}}, []int{2, 3}}, // the first is shielded
	} {
		table.Add(tc.rules...)
		if got := failures(5); !slices.Equal(got, tc.want) {
			t.Errorf("rules %+v: failed %v, want %v", tc.rules, got, tc.want)
		}
		table.Heal()
	}
	table.Add(Rule{Chance: 0.5, Fault: Throttle()})
	if got := len(failures(100)); got < 20 || got > 80 { // the seed is fixed
		t.Errorf("Chance 0.5: %d of 100 failed", got)
	}
}

// A late request arrives after others, under its own condition.
func TestTable_Late(t *testing.T) {
	t.Parallel()
	p := newProbe(NewTable("locks"))
	table := p.Store.(*Table)
	table.Add(Rule{Nth: 1, Fault: Late(2)})
	err := steps(
		func() error { return isKind(p.Lock(t.Context(), p.ref, p.info(1)), statelatch.ErrAmbiguous) },
		func() error { return p.holds(t.Context(), "") },
		func() error { return p.holds(t.Context(), "") }, // the second answer after it lets it through
		func() error { return p.holds(t.Context(), p.raw(1)) },
	)
	if err != nil {
		t.Error(err)
	}
	table.Heal()
	table.Add(Rule{Limit: 1, Fault: Late(Held)})
	err = steps(
		func() error {
			return isKind(p.Unlock(t.Context(), p.ref, p.raw(1)), statelatch.ErrAmbiguous)
		},
		func() error { return p.Replace(t.Context(), p.ref, p.raw(1), p.info(2)) },
	)
	if err != nil {
		t.Error(err)
	}
	if got := table.Deliver(); got != 1 {
		t.Errorf("Deliver: got %d, want 1", got)
	}
	if err := p.holds(t.Context(), p.raw(2)); err != nil {
		t.Errorf("after a late unlock of what is gone: %v", err)
	}
	last := table.Requests()[len(table.Requests())-2]
	if !last.Late || last.Op != OpDeleteItem || last.Code != "ConditionalCheckFailedException" {
		t.Errorf("log of the late request: got %+v", last)
	}
}

func TestTable_DelayAndHold_InABubble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newProbe(NewTable("locks"))
		table := p.Store.(*Table)
		start := time.Now()

		table.Add(Rule{Limit: 1, Fault: Delay(time.Minute)})
		if err := p.Lock(t.Context(), p.ref, p.info(1)); err != nil {
			t.Error(err)
		}
		if got := time.Since(start); got != time.Minute {
			t.Errorf("Delay: got %v, want 1m", got)
		}

		// A reply that is held back: the write is done, and others go on.
		release := make(chan struct{})
		table.Add(Rule{Limit: 1, Fault: HoldReply(release)})
		answered := make(chan error)
		go func() { answered <- p.Replace(t.Context(), p.ref, p.raw(1), p.info(2)) }()
		synctest.Wait()
		if err := p.holds(t.Context(), p.raw(2)); err != nil {
			t.Error(err)
		}
		close(release)
		if err := <-answered; err != nil {
			t.Error(err)
		}

		// A request that is held back when its caller gives up is lost.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		table.Add(Rule{Limit: 1, Fault: Hold(nil)})
		err := p.Unlock(ctx, p.ref, p.raw(2))
		if !errors.Is(err, statelatch.ErrAmbiguous) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Hold: got %v, want ErrAmbiguous and the end of the context", err)
		}
		if err := p.holds(t.Context(), p.raw(2)); err != nil {
			t.Error(err)
		}
	})
}
