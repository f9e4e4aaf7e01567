package statelatch_test

import (
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/statelatch/statelatch"
)

// The states are real ones of terraform 1.11.4 and tofu 1.12.6, the last with state encryption.
func TestReadStateHeader_GoldenStates(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]statelatch.StateHeader{
		"terraform-1.11.4.tfstate": {
			Version: 4, TerraformVersion: "1.11.4", Serial: 3, Lineage: "fd4894af-3051-4adb-f56e-337bef107596",
		},
		"tofu-1.12.6.tfstate": {
			Version: 4, TerraformVersion: "1.12.6", Serial: 1, Lineage: "b3e725ed-d120-6a64-4c5d-d10567ae1fb9",
		},
		"tofu-1.12.6-encrypted.tfstate": {
			Serial: 2, Lineage: "b3e725ed-d120-6a64-4c5d-d10567ae1fb9", EncryptionVersion: "v0",
		},
	} {
		f, err := os.Open("testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		got, err := statelatch.ReadStateHeader(iotest.OneByteReader(f))
		_ = f.Close()
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v; want %+v", file, got, err, want)
		}
		if got.Encrypted() != (want.EncryptionVersion != "") {
			t.Errorf("%s: Encrypted() = %v", file, got.Encrypted())
		}
	}
}

func TestReadStateHeader_AnyOrderAndSpacing(t *testing.T) {
	t.Parallel()
	body := `
	{"outputs":{"a":[{"b":"}\"]"},[],{}],"n":-1.5e3,"t":true,"z":null},"lineage":"l\u00e9","serial":18446744073709551615,
	 "terraform_version":"1.0","resources":[[]],"version":4} ` + "\t\n"
	want := statelatch.StateHeader{Version: 4, TerraformVersion: "1.0", Serial: 1<<64 - 1, Lineage: "lé"}
	if got, err := statelatch.ReadStateHeader(strings.NewReader(body)); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestReadStateHeader_EmptyObject(t *testing.T) {
	t.Parallel()
	got, err := statelatch.ReadStateHeader(strings.NewReader(""))
	if err != nil || !got.Empty {
		t.Errorf("got %+v, %v; want Empty", got, err)
	}
}

func TestReadStateHeader_Refused(t *testing.T) {
	t.Parallel()
	for body, names := range map[string]string{
		" ":                            "too early",
		"null":                         "not a JSON object",
		"[]":                           "not a JSON object",
		"{}":                           "not a state",
		`{"serial":1}`:                 "not a state",
		`{"version":4`:                 "too early",
		`{"version":4 "serial":1}`:     "comma",
		`{"version" 4}`:                "colon",
		`{"version":"4"}`:              "malformed",
		`{"version":-4}`:               "whole number",
		`{"version":4.5}`:              "whole number",
		`{"version":4,"version":4}`:    "twice",
		`{"serial":1e3,"version":4}`:   "whole number",
		`{"lineage":7,"version":4}`:    "not a string",
		`{"lineage":"\x","version":4}`: "malformed",
		`{"a":[}`:                      "brackets",
		`{"a":}`:                       "brackets",
		`{"a":,"version":4}`:           "missing",
		`{,}`:                          "key is missing",
		`{"version":4,}`:               "key is missing",
		`{"lineage":"` + strings.Repeat("x", 2000) + `"}`: "too long",
		`{"a":` + strings.Repeat("[", 20_000):             "too deeply",
	} {
		_, err := statelatch.ReadStateHeader(strings.NewReader(body))
		if !errors.Is(err, statelatch.ErrInvalid) || !strings.Contains(err.Error(), names) {
			t.Errorf("ReadStateHeader(%.40q): got %v, want ErrInvalid naming %q", body, err, names)
		}
	}
}

func TestReadStateHeader_ReaderErrorIsKept(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	_, err := statelatch.ReadStateHeader(io.MultiReader(strings.NewReader(`{"version":4,`), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || errors.Is(err, statelatch.ErrInvalid) {
		t.Errorf("got %v, want the reader's own error", err)
	}
}

// endless is a state whose serial stands behind one string of n bytes.
func endless(n int64) io.Reader {
	return io.MultiReader(
		strings.NewReader(`{"lineage":"l","encrypted_data":"`),
		io.LimitReader(iotest.DataErrReader(repeat('A')), n),
		strings.NewReader(`","serial":9,"encryption_version":"v0"}`),
	)
}

type repeat byte

func (r repeat) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r)
	}
	return len(p), nil
}

// Not parallel: it measures the heap.
func TestReadStateHeader_MemoryDoesNotGrow(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	h, err := statelatch.ReadStateHeader(endless(64 << 20))
	runtime.ReadMemStats(&after)
	if err != nil || h.Serial != 9 || !h.Encrypted() {
		t.Fatalf("got %+v, %v", h, err)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
		t.Errorf("reading a 64 MiB state allocated %d bytes, want less than 1 MiB", grown)
	}
}

func FuzzReadStateHeader(f *testing.F) {
	for _, s := range []string{
		`{"version":4,"terraform_version":"1.11.4","serial":3,"lineage":"x","outputs":{},"resources":[],"check_results":null}`,
		`{"serial":1,"lineage":"x","meta":{"k":"v"},"encrypted_data":"AA==","encryption_version":"v0"}`,
		`{"a":[{"b":"\""}]}`, ``, `{`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		whole, err := statelatch.ReadStateHeader(strings.NewReader(string(body)))
		slow, slowErr := statelatch.ReadStateHeader(iotest.OneByteReader(strings.NewReader(string(body))))
		if whole != slow || (err == nil) != (slowErr == nil) {
			t.Fatalf("chunking changes the answer: %+v, %v; %+v, %v", whole, err, slow, slowErr)
		}
		if err != nil && !errors.Is(err, statelatch.ErrInvalid) {
			t.Fatalf("%v does not match ErrInvalid", err)
		}
	})
}
