package probe

import (
	"errors"
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

func TestRound_Judge(t *testing.T) {
	t.Parallel()
	won := error(nil)
	lost, gone := statelatch.ErrPreconditionFailed, statelatch.ErrNotFound
	unknown, conflict := statelatch.ErrAmbiguous, statelatch.ErrConflict
	writers, halves := []string{"a", "b", "c"}, []string{"a", "", "c", ""}
	for _, tc := range []struct {
		name           string
		content        []string
		errs           []error
		initial, final string
		handover       bool
		violation      string // in the evidence; empty: none
		open           error  // the round is undecided
	}{
		{name: "one wins", content: writers, errs: []error{lost, won, lost}, final: "b"},
		{name: "two win", content: writers, errs: []error{won, won, lost}, final: "b", violation: "2 of 3 clients were told that they won"},
		{name: "the winner's write is not there", content: writers, errs: []error{lost, won, lost}, final: "c", violation: "one of 3 clients was told that it won"},
		{name: "the winner's object is gone", content: writers, errs: []error{lost, won, unknown}, violation: "nothing was left"},
		{name: "one that does not know won", content: writers, errs: []error{lost, unknown, lost}, final: "b"},
		{name: "B1 one whose request was sent twice won", content: writers, errs: []error{lost, lost, lost}, final: "b"},
		{name: "all refused for nothing", content: writers, errs: []error{lost, gone, lost}, violation: "3 of 3 clients were refused although nobody won"},
		{name: "refused for nothing beside a lost reply", content: writers, errs: []error{lost, unknown, lost}, initial: "x", final: "x", violation: "2 of 3 clients"},
		{name: "nobody knows", content: writers, errs: []error{unknown, unknown, unknown}, open: unknown},
		{name: "conflicts alone", content: writers, errs: []error{conflict, conflict, conflict}, open: conflict},
		{name: "a stranger's write", content: writers, errs: []error{lost, lost, lost}, final: "x", violation: "none of 3 clients wrote"},
		{name: "a delete wins", content: halves, errs: []error{lost, won, lost, gone}, initial: "x"},
		{name: "a delete won, but the object is there", content: halves, errs: []error{lost, won, lost, gone}, initial: "x", final: "x", violation: "was told that it won"},
		{name: "a swap won, but a delete removed it", content: halves, errs: []error{won, gone, lost, lost}, initial: "x", violation: "nothing was left"},

		{name: "handover", handover: true, content: halves, errs: []error{lost, won, won, gone}, initial: "x", final: "c"},
		{name: "handover, nobody creates", handover: true, content: halves, errs: []error{lost, won, lost, gone}, initial: "x"},
		{name: "handover by a lost delete", handover: true, content: halves, errs: []error{won, unknown, lost, lost}, initial: "x", final: "a"},
		{name: "handover, two creates", handover: true, content: halves, errs: []error{won, won, won, gone}, initial: "x", final: "c", violation: "2 of 2 creators"},
		{name: "handover, two deletes", handover: true, content: halves, errs: []error{won, won, lost, won}, initial: "x", final: "a", violation: "2 of 2 deleters"},
		{name: "handover, two deletes and no create", handover: true, content: halves, errs: []error{lost, won, lost, won}, initial: "x", violation: "2 of 2 deleters"},
		{name: "handover, the new object is gone", handover: true, content: halves, errs: []error{won, won, lost, lost}, initial: "x", violation: "a delete on another ETag removed it"},
		{name: "handover, another's object", handover: true, content: halves, errs: []error{won, won, lost, lost}, initial: "x", final: "c", violation: "one of 2 creators"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := &round{race: race{who: "clients", handover: tc.handover}, content: tc.content, errs: tc.errs, initial: tc.initial, final: tc.final}
			err := r.judge()
			f, failed := errors.AsType[failure](err)
			if failed != (tc.violation != "") || failed && !strings.Contains(f.evidence, tc.violation) {
				t.Errorf("got %v, want the violation %q", err, tc.violation)
			}
			if !failed && !errors.Is(err, tc.open) {
				t.Errorf("got %v, want %v", err, tc.open)
			}
		})
	}
}

func TestSightings_Add(t *testing.T) {
	t.Parallel()
	one, two := strings.Repeat("00000001", tornWords+1), strings.Repeat("00000002", tornWords+2)
	for name, tc := range map[string]struct {
		etag, content string
		ok            bool
	}{
		"the same again":     {`"1"`, one, true},
		"another":            {`"2"`, two, true},
		"two under one ETag": {`"1"`, two, false},
		"cut":                {`"3"`, two[:len(two)-8], false},
		"mixed":              {`"3"`, one[:len(one)/2] + two[len(one)/2:], false},
		"empty":              {`"3"`, "", false},
	} {
		seen := sightings{bodies: map[string]string{`"1"`: one[:tornWord]}}
		if err := seen.add(bucket.Object{ETag: tc.etag}, tc.content); (err == nil) != tc.ok {
			t.Errorf("%s: got %v, want it accepted: %v", name, err, tc.ok)
		}
	}
}
