package statelatch_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/statelatch/statelatch"
)

// The golden files are lock objects that the engines wrote during an apply.
func TestLockInfo_Marshal_SameBytesAsEngines(t *testing.T) {
	t.Parallel()
	for file, version := range map[string]string{"terraform-1.11.4.tflock": "1.11.4", "tofu-1.12.6.tflock": "1.12.6"} {
		want, err := os.ReadFile("testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		info, err := statelatch.ParseLockInfo(want)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Marshal(); !bytes.Equal(got, want) {
			t.Errorf("%s: Marshal\n got %s\nwant %s", file, got, want)
		}
		ref := statelatch.Ref{Bucket: "demo", Key: "app/terraform.tfstate"}
		if info.Operation != "OperationTypeApply" || info.Version != version || info.Path != ref.Path() {
			t.Errorf("%s: ParseLockInfo misread it: %+v", file, info)
		}
	}
}

func TestLockInfo_Marshal_EscapesAndTrimsAsGo(t *testing.T) {
	t.Parallel()
	info := statelatch.LockInfo{
		ID: "1", Info: "<a>&\u2028", Who: "u@h", Path: "b/k",
		Created: time.Date(2026, 11, 21, 9, 7, 3, 120_000_000, time.FixedZone("CET", 3600)),
	}
	want := `{"ID":"1","Operation":"","Info":"\u003ca\u003e\u0026\u2028","Who":"u@h","Version":"","Created":"2026-11-21T08:07:03.12Z","Path":"b/k"}`
	if got := string(info.Marshal()); got != want {
		t.Errorf("Marshal\n got %s\nwant %s", got, want)
	}
}

func TestParseLockInfo_Tolerant(t *testing.T) {
	t.Parallel()
	created := time.Date(2026, 11, 21, 8, 7, 3, 0, time.UTC)
	for name, tc := range map[string]struct {
		body string
		want statelatch.LockInfo
	}{
		"any case, extra keys": {
			`{"id":"x","WHO":"u@h","Statelatch":{"nonce":"n"},"Extra":[1]}`, statelatch.LockInfo{ID: "x", Who: "u@h"},
		},
		"other zone":        {`{"ID":"x","Created":"2026-11-21T09:07:03+01:00"}`, statelatch.LockInfo{ID: "x", Created: created}},
		"Created as shown":  {`{"ID":"x","Created":"2026-11-21 08:07:03 +0000 UTC"}`, statelatch.LockInfo{ID: "x", Created: created}},
		"shown elsewhere":   {`{"ID":"x","Created":"2026-11-21 09:07:03 +0100 CET"}`, statelatch.LockInfo{ID: "x", Created: created}},
		"shown in full":     {`{"ID":"x","Created":"2026-11-21 08:07:03.000 +0000 UTC m=+0.0137"}`, statelatch.LockInfo{ID: "x", Created: created}},
		"Created no time":   {`{"ID":"x","Created":"yesterday"}`, statelatch.LockInfo{ID: "x"}},
		"Created no string": {`{"ID":"x","Created":17}`, statelatch.LockInfo{ID: "x"}},
		"white space":       {" \n{\"ID\":\"x\"}\n", statelatch.LockInfo{ID: "x"}},
	} {
		got, err := statelatch.ParseLockInfo([]byte(tc.body))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestParseLockInfo_Refused(t *testing.T) {
	t.Parallel()
	for body, names := range map[string]string{
		"":              "empty",
		"garbage":       "not JSON",
		`{"ID":"x"`:     "not JSON",
		`[]`:            "array",
		`{"ID":1}`:      "ID",
		`{"Who":"u@h"}`: "no ID",
		`{"ID":""}`:     "no ID",
		`{"ID":"x"} {}`: "not JSON",
		strings.Repeat(" ", statelatch.MaxLockInfo) + `{"ID":"x"}`: "larger",
	} {
		_, err := statelatch.ParseLockInfo([]byte(body))
		if !errors.Is(err, statelatch.ErrInvalid) || !strings.Contains(err.Error(), names) {
			t.Errorf("ParseLockInfo(%.40q): got %v, want ErrInvalid naming %q", body, err, names)
		}
	}
}

// The golden text is the block of terraform 1.11.4's own message for the golden lock object.
func TestLockInfo_Block_SameTextAsTerraform(t *testing.T) {
	t.Parallel()
	body, err := os.ReadFile("testdata/terraform-1.11.4.tflock")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/terraform-1.11.4.block.txt")
	if err != nil {
		t.Fatal(err)
	}
	info, err := statelatch.ParseLockInfo(body)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), info.Block()); diff != "" {
		t.Errorf("Block (-want +got):\n%s", diff)
	}
}

func TestLockInfo_Block_EscapesControls(t *testing.T) {
	t.Parallel()
	got := statelatch.LockInfo{ID: "x", Who: "evil\x1b[2J\r\nID: y"}.Block()
	if strings.ContainsAny(got, "\x1b\r") || strings.Count(got, "\n") != 8 {
		t.Errorf("a lock object can drive the terminal: %q", got)
	}
}

func FuzzParseLockInfo(f *testing.F) {
	f.Add([]byte(`{"ID":"6638e010-8fb0-46cf-966d-21e806602f3a","Operation":"OperationTypeApply","Created":"2026-11-21T08:07:03.85Z"}`))
	f.Add([]byte(`{"id":"x","created":1,"Statelatch":{}}`))
	f.Add([]byte(``))
	f.Fuzz(func(t *testing.T, body []byte) {
		info, err := statelatch.ParseLockInfo(body)
		if err != nil {
			if !errors.Is(err, statelatch.ErrInvalid) {
				t.Fatalf("%v does not match ErrInvalid", err)
			}
			return
		}
		again := info.Marshal()
		if !json.Valid(again) {
			t.Fatalf("Marshal wrote %q", again)
		}
		back, err := statelatch.ParseLockInfo(again)
		if err != nil && len(again) <= statelatch.MaxLockInfo || err == nil && !cmp.Equal(info, back) {
			t.Fatalf("round trip of %+v: %+v, %v", info, back, err)
		}
		_ = info.Block()
	})
}
