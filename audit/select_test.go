package audit_test

import (
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch/audit"
)

func TestFilter_Has(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	e := audit.Event{Ref: "s3://b/prod/k", Action: audit.Unlock, Who: "Ann@host", Holder: "Bob@host", Time: at}
	for name, tc := range map[string]struct {
		only audit.Filter
		want bool
	}{
		"all":             {audit.Filter{}, true},
		"its ref":         {audit.Filter{Ref: "s3://b/prod/k"}, true},
		"above":           {audit.Filter{Ref: "s3://b/prod/"}, true},
		"above, no slash": {audit.Filter{Ref: "s3://b/prod"}, false},
		"beside":          {audit.Filter{Ref: "s3://b/pro/"}, false},
		"action":          {audit.Filter{Action: audit.Unlock}, true},
		"another action":  {audit.Filter{Action: audit.Lock}, false},
		"who":             {audit.Filter{Who: "ANN"}, true},
		"holder":          {audit.Filter{Who: "bob"}, true},
		"nobody":          {audit.Filter{Who: "carl"}, false},
		"since then":      {audit.Filter{Since: at}, true},
		"since later":     {audit.Filter{Since: at.Add(1)}, false},
	} {
		if got := tc.only.Has(e); got != tc.want {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
	}
}

func TestParseHead(t *testing.T) {
	t.Parallel()
	hash := strings.Repeat("aB", 32)
	if h, err := audit.ParseHead("7:" + hash); err != nil || h.Seq != 7 || h.Hash != strings.ToLower(hash) {
		t.Errorf("got %+v, %v", h, err)
	}
	for _, bad := range []string{"", "7", "0:" + hash, "-1:" + hash, "7:" + hash[2:], "7:" + hash[:62] + "zz", hash + ":7"} {
		if h, err := audit.ParseHead(bad); err == nil {
			t.Errorf("%q: got %+v", bad, h)
		}
	}
}
