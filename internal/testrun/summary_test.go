package main

import (
	"strings"
	"testing"
)

func TestSummary(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	s := newSummary(&out)
	for _, e := range []event{
		{Action: "start", Package: "a"},
		{Action: "output", Package: "a", Test: "TestNeedsTofu", Output: "=== RUN   TestNeedsTofu\n"},
		{Action: "output", Package: "a", Test: "TestNeedsTofu", Output: "    x_test.go:7: tofu is not installed\n"},
		{Action: "output", Package: "a", Test: "TestNeedsTofu", Output: "--- SKIP: TestNeedsTofu (0.00s)\n"},
		{Action: "skip", Package: "a", Test: "TestNeedsTofu"},
		{Action: "output", Package: "a", Test: "TestAlso", Output: "    x_test.go:9: tofu is not installed\n"},
		{Action: "skip", Package: "a", Test: "TestAlso"},
		{Action: "skip", Package: "b", Test: "TestSilent"},
		{Action: "output", Package: "a", Test: "TestSlow", Output: "    x_test.go:9: it talks\n"},
		{Action: "pass", Package: "a", Test: "TestSlow", Elapsed: 61.2},
		{Action: "pass", Package: "a", Test: "TestSlow/part", Elapsed: 61},
		{Action: "pass", Package: "a", Test: "TestQuick", Elapsed: 0.1},
		{Action: "output", Package: "a", Output: "PASS\n"},
		{Action: "output", Package: "a", Output: "ok  \ta\t62s\n"},
		{Action: "pass", Package: "a"},
		{Action: "output", Package: "b", Test: "TestBroken", Output: "    y_test.go:1: got 1, want 2\n"},
		{Action: "fail", Package: "b", Test: "TestBroken"},
		{Action: "output", Package: "b", Output: "FAIL\tb\t1s\n"},
		{Action: "fail", Package: "b"},
		{Action: "skip", Package: "c"}, // it has no tests
	} {
		s.add(e)
	}
	s.end()
	want := "ok  \ta\t62s\n" +
		"    y_test.go:1: got 1, want 2\nFAIL\tb\t1s\n" +
		"Slowest: TestSlow 1m1s, TestQuick 0s\n" +
		"Skipped: 3, because: no reason given (1); tofu is not installed (2)\n"
	if got := out.String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
