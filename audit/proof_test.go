package audit

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/bucket/membucket"
)

var testKeys = Keys{[]byte("0123456789abcdef"), []byte("fedcba9876543210")}

// forge writes the log anew from an event on, with all hashes and the head fitting: what whoever may PUT can do.
func forge(t *testing.T, store bucket.Bucket, l *BucketLog, from int, keys ...[]byte) {
	t.Helper()
	c, err := l.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	last, _ := headOf(c.Records[from-2].Raw)
	for _, r := range c.Records[from-1:] {
		e, err := Parse(r.Raw)
		if err != nil {
			t.Fatal(err)
		}
		if e.Seq == uint64(from) {
			e.Who = "nobody"
		}
		var raw []byte
		raw, last = last.next(e, keys...)
		overwrite(t, store, r.Name, raw)
	}
	overwrite(t, store, "audit/head.json", last.marshal())
}

func filled(t *testing.T, store bucket.Bucket, keys Keys) *BucketLog {
	t.Helper()
	l := newLog(t, store)
	l.Keys = keys
	for i := range 5 {
		if err := l.Append(t.Context(), event(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func findings(r Report) string {
	var all []string
	for _, f := range r.Findings {
		all = append(all, fmt.Sprintf("%d %s", f.Event, f.Kind))
	}
	return strings.Join(all, ", ")
}

// tampering is with a log of five events.
type tampering struct {
	*testing.T
	store bucket.Bucket
	log   *BucketLog
}

func TestVerify_OlderVersions(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		do   func(t tampering)
		want string
	}{
		"nothing":       {func(tampering) {}, ""},
		"written anew":  {func(t tampering) { forge(t.T, t.store, t.log, 3) }, "3 rewritten, 4 rewritten, 5 rewritten"},
		"the last anew": {func(t tampering) { forge(t.T, t.store, t.log, 5) }, "5 rewritten"},
		"the same again": {func(t tampering) {
			overwrite(t.T, t.store, t.log.key(2), mustRead(t.T, t.log, 2))
		}, ""},
		"the end deleted": {func(t tampering) {
			head, _ := headOf(mustRead(t.T, t.log, 4))
			overwrite(t.T, t.store, t.log.key(5), nil)
			overwrite(t.T, t.store, "audit/head.json", head.marshal())
		}, "5 deleted, 5 cut tail"},
		"one deleted": {func(t tampering) { overwrite(t.T, t.store, t.log.key(3), nil) }, "3 gap, 3 deleted"},
		"deleted and anew": {func(t tampering) {
			overwrite(t.T, t.store, t.log.key(5), nil)
			forge(t.T, t.store, t.log, 4)
			raw, head := mustHead(t.T, t.log, 4).next(event("forged"))
			overwrite(t.T, t.store, t.log.key(5), raw)
			overwrite(t.T, t.store, "audit/head.json", head.marshal())
		}, "4 rewritten, 5 deleted, 5 cut tail"},
		"head deleted": {func(t tampering) { overwrite(t.T, t.store, "audit/head.json", nil) }, "0 head, 0 deleted"},
		"head moved back": {func(t tampering) {
			overwrite(t.T, t.store, "audit/head.json", mustHead(t.T, t.log, 3).marshal())
		}, "5 cut tail"},
		"versions of events removed": {func(t tampering) { // the head's are enough
			forge(t.T, t.store, t.log, 4)
			for obj, err := range t.store.ListVersions(t.Context(), bucket.ListOptions{Prefix: "audit/0"}) {
				if err != nil {
					t.Fatal(err)
				}
				if obj.IsLatest {
					continue
				}
				if _, err := t.store.Delete(t.Context(), obj.Key, bucket.DeleteOptions{VersionID: obj.VersionID}); err != nil {
					t.Fatal(err)
				}
			}
		}, "4 rewritten, 5 rewritten"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := membucket.New("b", membucket.Options{Versioned: true})
			l := filled(t, store, nil)
			tc.do(tampering{t, store, l})
			_, r := read(t, l)
			if got := findings(r); got != tc.want || r.NotCompared != nil {
				t.Errorf("got %q, want %q; %+v", got, tc.want, r)
			}
			if r.Compared < 4 {
				t.Errorf("got %d versions compared, want those of the head at least", r.Compared)
			}
		})
	}
}

func mustRead(t *testing.T, l *BucketLog, seq uint64) []byte {
	t.Helper()
	_, raw, err := bucket.ReadAll(t.Context(), l.bucket, l.key(seq), MaxEvent)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func mustHead(t *testing.T, l *BucketLog, seq uint64) Head {
	t.Helper()
	h, err := headOf(mustRead(t, l, seq))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// Where nothing older can be seen the report says so, and does not call the log broken.
func TestVerify_NothingOlder(t *testing.T) {
	t.Parallel()
	plain := filled(t, membucket.New("b", membucket.Options{}), nil)
	if _, r := read(t, plain); !errors.Is(r.NotCompared, statelatch.ErrUnsupported) || len(r.Findings) != 0 {
		t.Errorf("without versions: got %+v", r)
	}
	denied := faultbucket.New(membucket.New("b", membucket.Options{Versioned: true}), faultbucket.Options{})
	l := filled(t, denied, nil)
	denied.Add(faultbucket.Rule{Op: faultbucket.OpListVersions, Limit: 10, Fault: faultbucket.Answer(http.StatusForbidden)})
	if _, r := read(t, l); !errors.Is(r.NotCompared, statelatch.ErrDenied) || len(r.Findings) != 0 {
		t.Errorf("denied: got %+v", r)
	}
}

// A key tells what was written by who has it.
func TestCheck_Keys(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		do   func(t tampering)
		want string
	}{
		"nothing":                {func(tampering) {}, ""},
		"written anew, unsigned": {func(t tampering) { forge(t.T, t.store, t.log, 3) }, "3 unsigned, 4 unsigned, 5 unsigned"},
		"written anew, with another key": {func(t tampering) {
			forge(t.T, t.store, t.log, 3, []byte("another key of sixteen"))
		}, "3 forged, 4 forged, 5 forged"},
		"with an older key": {func(t tampering) {
			t.log.Keys = testKeys[1:]
			if err := t.log.Append(t.Context(), event("x")); err != nil {
				t.Fatal(err)
			}
		}, ""},
		"by a client without the key": {func(t tampering) {
			t.log.Keys = nil
			if err := t.log.Append(t.Context(), event("x")); err != nil {
				t.Fatal(err)
			}
		}, "6 unsigned"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := membucket.New("b", membucket.Options{})
			l := filled(t, store, testKeys)
			tc.do(tampering{t, store, l})
			c, err := l.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := findings(Check{Keys: testKeys}.Verify(c)); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if r := Verify(c); len(r.Findings) != 0 {
				t.Errorf("without the key: got %v: the chain fits", r.Findings)
			}
		})
	}
	// From the first signed event on: a key may come later.
	store := membucket.New("b", membucket.Options{})
	l := filled(t, store, nil)
	c, err := l.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := findings(Check{Keys: testKeys}.Verify(c)); got != "0 unsigned" {
		t.Errorf("nothing is signed: got %q", got)
	}
	l.Keys = testKeys
	if err := l.Append(t.Context(), event("x")); err != nil {
		t.Fatal(err)
	}
	if c, err = l.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := (Check{Keys: testKeys}).Verify(c); findings(r) != "" || r.Signed != 1 || r.Unsigned != 5 {
		t.Errorf("got %+v, want five events before the first signed one, and nothing wrong", r)
	}
}

func TestParseKeys(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"": 0, " ": 0, "0123456789abcdef": 1, "0123456789abcdef, fedcba9876543210": 2} {
		if keys, err := ParseKeys([]byte(text)); err != nil || len(keys) != want {
			t.Errorf("%q: got %d keys, %v; want %d", text, len(keys), err, want)
		}
	}
	for _, text := range []string{"SECRET", "0123456789abcdef,SECRET"} {
		if _, err := ParseKeys([]byte(text)); !errors.Is(err, statelatch.ErrInvalid) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%q: got %v, want ErrInvalid without the key", text, err)
		}
	}
}
