package history_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/history"
)

// What a rollback would do, and what is refused before anything is done.
func TestPlanRollback(t *testing.T) {
	t.Parallel()
	const encrypted = `{"serial":3,"lineage":"` + lineage + `","meta":{},"encrypted_data":"aGk=","encryption_version":"v0"}`
	one, nine, two := body(1, lineage, "a"), body(9, lineage, "b"), body(2, lineage, "c")
	other := body(1, "99999999-2222-3333-4444-555555555555", "a")
	for name, tc := range map[string]struct {
		versions  []string // oldest first
		opts      history.RollbackOptions
		kind      error
		says      string
		serial    uint64
		unchanged bool
	}{
		"the one before":         {[]string{one, two}, history.RollbackOptions{Selector: "previous"}, nil, "", 3, false},
		"above every serial":     {[]string{one, nine, two}, history.RollbackOptions{Selector: "1"}, nil, "", 10, false},
		"the same":               {[]string{one, two}, history.RollbackOptions{Selector: "2"}, nil, "", 0, true},
		"no such version":        {[]string{one, two}, history.RollbackOptions{Selector: "7"}, statelatch.ErrNotFound, "", 0, false},
		"another lineage":        {[]string{other, two}, history.RollbackOptions{Selector: "1"}, statelatch.ErrInvalid, "-force", 0, false},
		"another lineage, meant": {[]string{other, two}, history.RollbackOptions{Selector: "1", Force: true}, nil, "", 3, false},
		"zero bytes":             {[]string{"", two}, history.RollbackOptions{Selector: "the oldest"}, statelatch.ErrInvalid, "zero bytes", 0, false},
		"no state":               {[]string{"oops", two}, history.RollbackOptions{Selector: "the oldest"}, statelatch.ErrInvalid, "it is no state", 0, false},
		"encrypted":              {[]string{encrypted, two}, history.RollbackOptions{Selector: "previous"}, statelatch.ErrInvalid, "-keep-serial", 0, false},
		"encrypted, kept":        {[]string{encrypted, two}, history.RollbackOptions{Selector: "previous", KeepSerial: true, Force: true}, nil, "", 3, false},
		"a serial to keep":       {[]string{one, two}, history.RollbackOptions{Selector: "1", KeepSerial: true}, statelatch.ErrInvalid, "encrypted versions alone", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, true)
			for _, v := range tc.versions {
				r.later(5, v)
			}
			entries := r.list(0)
			if tc.opts.Selector == "the oldest" {
				tc.opts.Selector = entries[len(entries)-1].VersionID
			}
			p, content, err := history.PlanRollback(t.Context(), r.Store, ref, entries, true, tc.opts)
			if !errors.Is(err, tc.kind) || tc.kind == nil && err != nil || tc.kind != nil && !strings.Contains(err.Error(), tc.says) {
				t.Fatalf("got %v, want %v that says %q", err, tc.kind, tc.says)
			}
			if err != nil {
				return
			}
			got, err := io.ReadAll(content)
			if err = errors.Join(err, content.Close()); err != nil || p.Serial != tc.serial || p.Unchanged != tc.unchanged ||
				string(got) != tc.versions[0] && !tc.unchanged {
				t.Errorf("got serial %d, unchanged %v, %q, %v; want %d, %v", p.Serial, p.Unchanged, got, err, tc.serial, tc.unchanged)
			}
		})
	}
	r := newRig(t, true)
	r.later(5, one)
	r.later(5, two)
	entries := r.list(0)
	r.later(5, nine)
	if _, _, err := history.PlanRollback(t.Context(), r.Store, ref, entries, true, history.RollbackOptions{Selector: "previous"}); !errors.Is(err, statelatch.ErrConflict) {
		t.Errorf("written since it was listed: got %v, want %v", err, statelatch.ErrConflict)
	}
}
