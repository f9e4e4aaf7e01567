package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// event is a line of go test -json.
type event struct {
	Action, Package, Test, Output string
	ImportPath                    string  // of a build, instead of Package
	Elapsed                       float64 // seconds
}

// slowest is how many tests are named.
const slowest = 5

// summary shows what go test would, and collects the rest.
type summary struct {
	out     io.Writer
	output  map[string][]string // of a package, or of a test in it, until that has ended
	skipped map[string]int      // tests by the reason
	took    map[string]float64
}

func newSummary(out io.Writer) *summary {
	return &summary{out: out, output: map[string][]string{}, skipped: map[string]int{}, took: map[string]float64{}}
}

// reason is what t.Skip prints: a place and the words.
var reason = regexp.MustCompile(`^\s+\S+\.go:\d+: (.*)\n$`)

func (s *summary) add(e event) {
	of := cmp.Or(e.Package, e.ImportPath) + "\x00" + e.Test
	switch e.Action {
	case "output", "build-output":
		s.output[of] = append(s.output[of], e.Output)
	case "skip":
		if e.Test != "" {
			s.skipped[s.why(of)]++
		}
		delete(s.output, of)
	case "pass":
		if e.Test == "" {
			s.show(of, func(line string) bool { return strings.HasPrefix(line, "ok ") })
		} else if !strings.Contains(e.Test, "/") {
			s.took[e.Test] = e.Elapsed
		}
		delete(s.output, of)
	case "fail", "build-fail":
		s.show(of, func(string) bool { return true })
		delete(s.output, of)
	}
}

func (s *summary) show(of string, shown func(string) bool) {
	for _, line := range s.output[of] {
		if shown(line) {
			fmt.Fprint(s.out, line)
		}
	}
}

func (s *summary) why(of string) string {
	for _, line := range slices.Backward(s.output[of]) {
		if m := reason.FindStringSubmatch(line); m != nil {
			return m[1]
		}
	}
	return "no reason given"
}

// end tells what was collected.
func (s *summary) end() {
	for _, left := range s.output { // of a build that failed, or a process that was killed
		for _, line := range left {
			fmt.Fprint(s.out, line)
		}
	}
	if len(s.took) > 0 {
		names := slices.SortedFunc(maps.Keys(s.took), func(a, b string) int { return cmp.Compare(s.took[b], s.took[a]) })
		for i, name := range names {
			names[i] = fmt.Sprintf("%s %v", name, time.Duration(s.took[name]*float64(time.Second)).Round(time.Second))
		}
		fmt.Fprintf(s.out, "Slowest: %s\n", strings.Join(names[:min(slowest, len(names))], ", "))
	}
	total, reasons := 0, slices.Sorted(maps.Keys(s.skipped))
	for i, why := range reasons {
		total += s.skipped[why]
		reasons[i] = fmt.Sprintf("%s (%d)", why, s.skipped[why])
	}
	if total == 0 {
		fmt.Fprintln(s.out, "Nothing was skipped.")
		return
	}
	fmt.Fprintf(s.out, "Skipped: %d, because: %s\n", total, strings.Join(reasons, "; "))
}
