package statelatch

import (
	"errors"
	"slices"
	"testing"
)

func TestParseScope(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Scope{
		"s3://acme":          {"acme", ""},
		"s3://acme/":         {"acme", ""},
		"s3://acme/team-a":   {"acme", "team-a"},
		"s3://acme/team-a/":  {"acme", "team-a"},
		"s3://acme/env:/a/b": {"acme", "env:/a/b"},
		"s3://acme/a//b/./":  {"acme", "a//b/."},
		"s3://arn:aws:s3:us-east-1:123456789012:accesspoint/x":       {"arn:aws:s3:us-east-1:123456789012:accesspoint/x", ""},
		"s3://arn:aws:s3:us-east-1:123456789012:accesspoint/x/team/": {"arn:aws:s3:us-east-1:123456789012:accesspoint/x", "team"},
	} {
		got, err := ParseScope(in)
		if err != nil || got != want {
			t.Errorf("ParseScope(%q): got %+v, %v, want %+v", in, got, err, want)
		}
		again, err := ParseScope(got.String())
		if err != nil || again != got {
			t.Errorf("ParseScope(%q): got %+v, %v, want %+v again", got, again, err, got)
		}
	}
	for _, in := range []string{"", "acme", "s3://", "s3:///a", "s3://acme//a", "s3://acme/../a", "s3://acme/a\n", "s3://ac me"} {
		if got, err := ParseScope(in); !errors.Is(err, ErrInvalid) {
			t.Errorf("ParseScope(%q): got %+v, %v, want ErrInvalid", in, got, err)
		}
	}
}

func TestScope_Covers(t *testing.T) {
	t.Parallel()
	team := Scope{"acme", "team-a"}
	for key, want := range map[string]bool{
		"team-a":                      true,
		"team-a.tflock":               true,
		"team-a.history/1":            true,
		"team-a.rescue/1":             true,
		"team-a/x.tfstate":            true,
		"team-ab/x.tfstate":           false,
		"team-a.bak":                  false,
		"env:/dev/team-a/x.tfstate":   true,
		"env:/dev/team-ab/x":          false,
		"env:/team-a/other/x.tfstate": false,
		"other":                       false,
	} {
		if got := team.Covers(key, "env:"); got != want {
			t.Errorf("%s covers %q: got %v, want %v", team, key, got, want)
		}
	}
	if team.Covers("env:/dev/team-a/x.tfstate", "ws") {
		t.Error("another workspace prefix: got covered, want not")
	}
	if got := team.ListPrefixes("env:"); !slices.Equal(got, []string{"team-a", "env:/"}) {
		t.Errorf("ListPrefixes: got %q", got)
	}
	for _, prefix := range []string{"", "env:", "env:/dev", "e"} {
		if got := (Scope{"acme", prefix}).ListPrefixes("env:"); !slices.Equal(got, []string{prefix}) {
			t.Errorf("ListPrefixes of %q: got %q, want it alone", prefix, got)
		}
	}
}

func TestClassifyKey(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]struct {
		kind  KeyKind
		state string
	}{
		"a/b.tfstate":                  {KeyOther, ""},
		"a/b.tfstate.tflock":           {KeyLock, "a/b.tfstate"},
		".tflock":                      {KeyOther, ""},
		"a/b.tfstate.rescue/id":        {KeyRescue, "a/b.tfstate"},
		"a/b.history/0001":             {KeySnapshot, "a/b"},
		"a/b.history/c/x.tfstate":      {KeyOther, ""},
		".statelatch-probe/x/y.tflock": {KeyProbe, ""},
		"a.history/b.rescue/c":         {KeyRescue, "a.history/b"},
	} {
		if kind, state := ClassifyKey(key); kind != want.kind || state != want.state {
			t.Errorf("ClassifyKey(%q): got %v of %q, want %v of %q", key, kind, state, want.kind, want.state)
		}
	}
}
