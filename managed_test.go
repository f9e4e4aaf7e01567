package statelatch_test

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/statelatch/statelatch"
)

var managedInfo = statelatch.LockInfo{
	ID: "6638e010-8fb0-46cf-966d-21e806602f3a", Operation: "OperationTypeApply", Info: "<a>&\u2028", Who: "u@h", Version: "1",
	Created: time.Date(2026, 11, 21, 8, 7, 3, 120_000_000, time.UTC), Path: "b/k",
}

var managedFull = statelatch.Managed{
	Nonce: "n1", Seq: 7, TTL: 90 * time.Second, Expires: 2 * time.Hour, Reason: `"why" </script>`, Table: "locks", Client: "host:1",
	Run:    &statelatch.Run{System: "github-actions", Actor: "octo", URL: "https://x/1", ID: "1", Repo: "r", Branch: "main", Commit: "abc"},
	PrevID: "p", PrevETag: `"e"`,
}

// The engines' seven fields come first, byte for byte as they write them; ours is one more key, last.
func TestLockInfo_MarshalManaged_EnginesFieldsFirst(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"terraform-1.11.4.tflock", "tofu-1.12.6.tflock"} {
		golden, err := os.ReadFile("testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		info, err := statelatch.ParseLockInfo(golden)
		if err != nil {
			t.Fatal(err)
		}
		got := info.MarshalManaged(managedFull)
		prefix, found := bytes.CutSuffix(golden, []byte("}"))
		if rest, ok := bytes.CutPrefix(got, prefix); !found || !ok || !bytes.HasPrefix(rest, []byte(`,"Statelatch":{"v":1,`)) || !json.Valid(got) {
			t.Errorf("%s: MarshalManaged\n got %s\nwant %s and one key more", file, got, prefix)
		}
		// What an engine's parser makes of it: the same as of its own.
		var theirs, ours struct {
			ID, Operation, Info, Who, Version, Path string
			Created                                 time.Time
		}
		if err := json.Unmarshal(golden, &theirs); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(got, &ours); err != nil || ours != theirs {
			t.Errorf("%s: an engine reads %+v, %v; want %+v", file, ours, err, theirs)
		}
	}
	want := `{"ID":"1","Operation":"","Info":"","Who":"","Version":"","Created":"0001-01-01T00:00:00Z","Path":"","Statelatch":{"v":1,"nonce":"n","seq":1}}`
	if got := string((statelatch.LockInfo{ID: "1"}).MarshalManaged(statelatch.Managed{Nonce: "n", Seq: 1})); got != want {
		t.Errorf("the least:\n got %s\nwant %s", got, want)
	}
}

func TestParseManaged_RoundTrip(t *testing.T) {
	t.Parallel()
	for _, m := range []statelatch.Managed{
		managedFull,
		{Nonce: "n", Seq: math.MaxUint64},
		{Nonce: "n", TTL: statelatch.MaxPromise, Run: &statelatch.Run{}},
		{Nonce: "n", Expires: time.Second, Reason: strings.Repeat("x", 60_000)},
	} {
		body := managedInfo.MarshalManaged(m)
		if got := statelatch.ParseManaged(body); got == nil || !cmp.Equal(*got, m) {
			t.Errorf("ParseManaged: got %+v, want %+v", got, m)
		}
		if info, err := statelatch.ParseLockInfo(body); err != nil || info != managedInfo {
			t.Errorf("ParseLockInfo: got %+v, %v", info, err)
		}
	}
}

// A holder that keeps its own word keeps the rounded one too.
func TestLockInfo_MarshalManaged_RoundsUp(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]time.Duration{
		0: 0, 1: time.Second, time.Second: time.Second, time.Second + 1: 2 * time.Second, 1500 * time.Millisecond: 2 * time.Second,
	} {
		got := statelatch.ParseManaged(managedInfo.MarshalManaged(statelatch.Managed{Nonce: "n", TTL: d, Expires: d}))
		if got == nil || got.TTL != want || got.Expires != want {
			t.Errorf("%v: got %+v, want %v", d, got, want)
		}
	}
	for _, d := range []time.Duration{-time.Second, math.MinInt64, statelatch.MaxPromise + 1, math.MaxInt64} {
		if got := statelatch.ParseManaged(managedInfo.MarshalManaged(statelatch.Managed{Nonce: "n", TTL: d})); got != nil {
			t.Errorf("%v: got %+v, want a promise that nobody believes", d, got)
		}
	}
}

// R11: what is not exactly understood promises nothing.
func TestParseManaged_PlainUnlessUnderstood(t *testing.T) {
	t.Parallel()
	const seven = `{"ID":"x","Created":"2026-11-21T08:07:03Z"`
	for name, body := range map[string]string{
		"plain":               seven + `}`,
		"empty":               ``,
		"not JSON":            `x`,
		"not an object":       `[1]`,
		"null":                `null`,
		"cut off":             seven + `,"Statelatch":{"v":1,"nonce":"n"`,
		"extension null":      seven + `,"Statelatch":null}`,
		"extension a string":  seven + `,"Statelatch":"v1"}`,
		"extension an array":  seven + `,"Statelatch":[{"v":1,"nonce":"n"}]}`,
		"extension empty":     seven + `,"Statelatch":{}}`,
		"no version":          seven + `,"Statelatch":{"nonce":"n","ttl_s":1}}`,
		"later version":       seven + `,"Statelatch":{"v":2,"nonce":"n","ttl_s":1}}`,
		"version a string":    seven + `,"Statelatch":{"v":"1","nonce":"n","ttl_s":1}}`,
		"no nonce":            seven + `,"Statelatch":{"v":1,"ttl_s":1}}`,
		"nonce a number":      seven + `,"Statelatch":{"v":1,"nonce":1}}`,
		"negative lease":      seven + `,"Statelatch":{"v":1,"nonce":"n","ttl_s":-1}}`,
		"negative expiry":     seven + `,"Statelatch":{"v":1,"nonce":"n","expires_s":-1}}`,
		"huge lease":          seven + `,"Statelatch":{"v":1,"nonce":"n","ttl_s":315360001}}`,
		"lease beyond int64":  seven + `,"Statelatch":{"v":1,"nonce":"n","ttl_s":9223372036854775808}}`,
		"lease overflows":     seven + `,"Statelatch":{"v":1,"nonce":"n","ttl_s":9223372036854775807}}`,
		"lease a fraction":    seven + `,"Statelatch":{"v":1,"nonce":"n","ttl_s":0.5}}`,
		"negative sequence":   seven + `,"Statelatch":{"v":1,"nonce":"n","seq":-1}}`,
		"run a string":        seven + `,"Statelatch":{"v":1,"nonce":"n","run":"x"}}`,
		"other spelling":      seven + `,"statelatch":{"v":1,"nonce":"n","ttl_s":1}}`,
		"spelled by folding":  seven + ",\"\u017ftatelatch\":{\"v\":1,\"nonce\":\"n\",\"ttl_s\":1}}",
		"the last is nothing": seven + `,"Statelatch":{"v":1,"nonce":"n","ttl_s":1},"Statelatch":null}`,
		"in a string":         `{"ID":"x","Info":"\",\"Statelatch\":{\"v\":1,\"nonce\":\"n\",\"ttl_s\":1}"}`,
		"deeper down":         `{"ID":"x","Other":{"Statelatch":{"v":1,"nonce":"n","ttl_s":1}}}`,
		"too large":           seven + `,"Statelatch":{"v":1,"nonce":"n"},"x":"` + strings.Repeat("x", statelatch.MaxLockInfo) + `"}`,
		"more behind it":      seven + `,"Statelatch":{"v":1,"nonce":"n","ttl_s":1}}{}`,
	} {
		if got := statelatch.ParseManaged([]byte(body)); got != nil {
			t.Errorf("%s: got %+v, want nil", name, got)
		}
	}
}

// Of several extensions the last counts, as a whole: a lease is never made of two.
func TestParseManaged_NeverAMixture(t *testing.T) {
	t.Parallel()
	const lease, none = `"Statelatch":{"v":1,"nonce":"a","ttl_s":60,"table":"t"}`, `"Statelatch":{"v":1,"nonce":"b"}`
	for body, want := range map[string]statelatch.Managed{
		`{` + lease + `,` + none + `}`:                                       {Nonce: "b"},
		`{` + none + `,` + lease + `}`:                                       {Nonce: "a", TTL: time.Minute, Table: "t"},
		`{` + none + `,"statelatch":{"ttl_s":60},"STATELATCH":{"ttl_s":60}}`: {Nonce: "b"},
	} {
		if got := statelatch.ParseManaged([]byte(body)); got == nil || !cmp.Equal(*got, want) {
			t.Errorf("%s: got %+v, want %+v", body, got, want)
		}
	}
	// Fields that a later version of this format adds are passed over.
	if got := statelatch.ParseManaged([]byte(`{"Statelatch":{"v":1,"nonce":"b","new":[1]}}`)); got == nil || got.Nonce != "b" {
		t.Errorf("with a field that is not known: %+v", got)
	}
}

func FuzzParseManaged(f *testing.F) {
	f.Add([]byte(`{"ID":"x","Statelatch":{"v":1,"nonce":"n","ttl_s":60}}`))
	f.Add([]byte(`{"Statelatch":{"v":1,"nonce":"n","expires_s":1,"run":{"system":"s"}}}`))
	f.Add(managedInfo.MarshalManaged(managedFull))
	f.Fuzz(func(t *testing.T, body []byte) {
		m := statelatch.ParseManaged(body)
		if m == nil {
			return
		}
		if m.Nonce == "" || m.TTL < 0 || m.TTL > statelatch.MaxPromise || m.Expires < 0 || m.Expires > statelatch.MaxPromise {
			t.Errorf("%q: it promises %+v", body, m)
		}
		if !bytes.Contains(body, []byte("tatelatch")) && !bytes.Contains(body, []byte(`\u`)) {
			t.Errorf("%q: there is no extension in it", body)
		}
		again := managedInfo.MarshalManaged(*m)
		if got := statelatch.ParseManaged(again); len(again) <= statelatch.MaxLockInfo && (got == nil || !cmp.Equal(*got, *m)) {
			t.Errorf("%q: read as %+v, and after writing as %+v", body, m, got)
		}
	})
}
