package fault_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/statelatch/statelatch/internal/fault"
)

// TestNetwork_Admit: the first rule that fires decides, and every rule counts all that it selects.
func TestNetwork_Admit(t *testing.T) {
	t.Parallel()
	var n fault.Network[string, int, string]
	put := func(q string) bool { return q == "put" }
	n.Add(put, fault.When{Nth: 2}, 1)
	n.Add(put, fault.When{Limit: 2}, 2)
	n.Add(func(string) bool { return true }, fault.When{Nth: 4}, 3)
	for i, want := range []struct {
		request string
		fault   int
	}{{"put", 2}, {"get", 0}, {"put", 1}, {"put", 2}, {"put", 0}} {
		if _, got := n.Admit(want.request); got != want.fault {
			t.Errorf("request %d, %s: got fault %d, want %d", i, want.request, got, want.fault)
		}
	}
	n.Heal()
	if line, got := n.Admit("put"); got != 0 || *line != "put" {
		t.Errorf("healed: got fault %d for %q, want none", got, *line)
	}
	if got := n.Requests(); !slices.Equal(got, []string{"put", "get", "put", "put", "put", "put"}) {
		t.Errorf("log: got %q", got)
	}
}

func TestNetwork_Late(t *testing.T) {
	t.Parallel()
	var n fault.Network[string, int, string]
	n.Keep(2, "two")
	n.Keep(fault.Held, "held")
	n.Keep(1, "one")
	var due []string
	for range 3 {
		due = append(due, append(n.Answered(), ".")...)
	}
	if !slices.Equal(due, []string{"one", ".", "two", ".", "."}) {
		t.Errorf("due: got %q", due)
	}
	if got := n.TakeLate(); !slices.Equal(got, []string{"held"}) || n.TakeLate() != nil {
		t.Errorf("held: got %q, want it once", got)
	}
}

// TestReceive: who has gone gets nothing, also if it is released at the same moment.
func TestReceive(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	released := make(chan struct{})
	close(released)
	if err := fault.Receive(released)(ctx); err != nil {
		t.Errorf("released: got %v", err)
	}
	cancel()
	for range 50 {
		if err := fault.Receive(released)(ctx); !errors.Is(err, context.Canceled) {
			t.Fatalf("released and gone: got %v, want context.Canceled", err)
		}
	}
}
