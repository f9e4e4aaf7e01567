package audit

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/membucket"
)

// tamper is what somebody does to a log of five events, whatever it is stored in: to the list of its events and to its head.
// In a bucket an event stays under the number of its place unless it is removed with nil.
type tamper struct {
	do   func(events [][]byte, head *[]byte) [][]byte
	want string // the first finding
	// wantInFile is that of a file, where it is another: there a line has no number but its event's.
	wantInFile string
}

func edit(event []byte) []byte { return bytes.Replace(event, []byte("tester"), []byte("nobody"), 1) }

// other is an event of another log, with a number.
func other(seq uint64) []byte {
	raw, _ := Head{Chain: "deadbeef", Seq: seq - 1, Hash: zeroHash}.next(event("other"))
	return raw
}

var tampers = map[string]tamper{
	"nothing":       {do: func(e [][]byte, _ *[]byte) [][]byte { return e }, want: ""},
	"edited first":  {do: func(e [][]byte, _ *[]byte) [][]byte { e[0] = edit(e[0]); return e }, want: "1 edited"},
	"edited middle": {do: func(e [][]byte, _ *[]byte) [][]byte { e[2] = edit(e[2]); return e }, want: "3 edited"},
	"edited last":   {do: func(e [][]byte, _ *[]byte) [][]byte { e[4] = edit(e[4]); return e }, want: "5 edited"},
	"one blank more": {do: func(e [][]byte, _ *[]byte) [][]byte {
		e[1] = append(e[1], ' ')
		return e
	}, want: "2 edited"},
	"edited link": {do: func(e [][]byte, _ *[]byte) [][]byte {
		e[2] = bytes.Replace(e[2], []byte(`"prev":"`), []byte(`"prev":"0`), 1)
		return e
	}, want: "3 edited"},
	"edited link of the last": {do: func(e [][]byte, _ *[]byte) [][]byte {
		e[4] = bytes.Replace(e[4], []byte(`"prev":"`), []byte(`"prev":"0`), 1)
		return e
	}, want: "5 edited"},
	"rewritten with the next": {do: func(e [][]byte, _ *[]byte) [][]byte {
		is, _ := Parse(e[2])
		next, _ := Parse(e[3])
		raw, head := Head{is.Chain, 2, is.Prev}.next(event("forged"))
		e[2] = raw
		e[3], _ = head.next(next)
		return e
	}, want: "4 edited"},
	"garbage":        {do: func(e [][]byte, _ *[]byte) [][]byte { e[2] = []byte("{"); return e }, want: "3 edited"},
	"garbage at end": {do: func(e [][]byte, _ *[]byte) [][]byte { e[4] = []byte("x"); return e }, want: "5 edited"},
	"gap":            {do: func(e [][]byte, _ *[]byte) [][]byte { e[2] = nil; return e }, want: "3 gap"},
	"gap at start":   {do: func(e [][]byte, _ *[]byte) [][]byte { e[0] = nil; return e }, want: "1 gap"},
	"gap of two":     {do: func(e [][]byte, _ *[]byte) [][]byte { e[1], e[2] = nil, nil; return e }, want: "2 gap"},
	"cut tail":       {do: func(e [][]byte, _ *[]byte) [][]byte { e[4] = nil; return e }, want: "5 cut tail"},
	"long cut tail":  {do: func(e [][]byte, _ *[]byte) [][]byte { e[2], e[3], e[4] = nil, nil, nil; return e }, want: "3 cut tail"},
	"all cut":        {do: func(e [][]byte, _ *[]byte) [][]byte { return make([][]byte, len(e)) }, want: "1 cut tail"},
	"swapped":        {do: func(e [][]byte, _ *[]byte) [][]byte { e[1], e[2] = e[2], e[1]; return e }, want: "2 reordered"},
	"doubled":        {do: func(e [][]byte, _ *[]byte) [][]byte { e[3] = e[1]; return e }, want: "4 duplicate", wantInFile: "2 duplicate"},
	"of another log": {do: func(e [][]byte, _ *[]byte) [][]byte { e[2] = other(3); return e }, want: "3 chain"},
	"first of another log": {do: func(e [][]byte, _ *[]byte) [][]byte {
		e[0] = other(1)
		return e
	}, want: "1 chain"},
	"no head":      {do: func(e [][]byte, head *[]byte) [][]byte { *head = nil; return e }, want: "0 head"},
	"broken head":  {do: func(e [][]byte, head *[]byte) [][]byte { *head = []byte("{}"); return e }, want: "0 head"},
	"foreign head": {do: func(e [][]byte, head *[]byte) [][]byte { *head = Head{"deadbeef", 5, zeroHash}.marshal(); return e }, want: "0 head"},
	"forged head": {do: func(e [][]byte, head *[]byte) [][]byte {
		is, _ := Parse(e[4])
		*head = Head{is.Chain, 5, zeroHash}.marshal()
		return e
	}, want: "5 edited"},
}

// apply tampers with the five events of a fresh log.
func (tc tamper) apply(t *testing.T, l Log) (events [][]byte, head []byte) {
	t.Helper()
	for i := range 5 {
		if err := l.Append(t.Context(), event(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	c, r := read(t, l)
	if len(r.Findings) != 0 || r.Last.Seq != 5 || r.Behind != 0 {
		t.Fatalf("before: %+v", r)
	}
	for _, r := range c.Records {
		events = append(events, bytes.Clone(r.Raw))
	}
	head = c.Head.marshal()
	return tc.do(events, &head), head
}

func (tc tamper) check(t *testing.T, l Log) {
	t.Helper()
	_, r := read(t, l)
	got := ""
	if len(r.Findings) > 0 {
		got = fmt.Sprintf("%d %s", r.Findings[0].Event, r.Findings[0].Kind)
	}
	if got != tc.want && (tc.want == "" || !strings.HasPrefix(got, tc.want)) {
		t.Errorf("got %q first, want %q; all: %v", got, tc.want, r.Findings)
	}
}

func TestVerify_BucketLog(t *testing.T) {
	t.Parallel()
	for name, tc := range tampers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := membucket.New("b", membucket.Options{})
			l := newLog(t, store)
			events, head := tc.apply(t, l)
			for i, raw := range events {
				overwrite(t, store, l.key(uint64(i)+1), raw)
			}
			overwrite(t, store, "audit/head.json", head)
			tc.check(t, l)
		})
	}
}

func TestVerify_FileLog(t *testing.T) {
	t.Parallel()
	for name, tc := range tampers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := NewFileLog(filepath.Join(t.TempDir(), "audit.log"))
			events, head := tc.apply(t, l)
			var content []byte
			for _, raw := range events {
				if raw != nil {
					content = append(append(content, raw...), '\n')
				}
			}
			if err := os.WriteFile(l.path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(l.headPath(), head, 0o600); err != nil {
				t.Fatal(err)
			}
			if head == nil {
				if err := os.Remove(l.headPath()); err != nil {
					t.Fatal(err)
				}
			}
			tc.want = cmp.Or(tc.wantInFile, tc.want)
			tc.check(t, l)
		})
	}
}

func TestVerify_ForeignObjects(t *testing.T) {
	t.Parallel()
	store := membucket.New("b", membucket.Options{})
	l := newLog(t, store)
	(tamper{do: func(e [][]byte, _ *[]byte) [][]byte { return e }}).apply(t, l)
	for _, key := range []string{"audit/notes.txt", "audit/5.json", "audit/00000000000000000006.json.bak", "audit/x/00000000000000000006.json"} {
		overwrite(t, store, key, []byte("x"))
	}
	overwrite(t, store, "audit-other/x", []byte("x"))
	_, r := read(t, l)
	if len(r.Findings) != 4 || r.Findings[0].Kind != Foreign {
		t.Errorf("got %v, want four foreign objects", r.Findings)
	}
}

// A tail that was cut off is not grown over: the next writer goes on behind it.
func TestVerify_CutTailStaysVisible(t *testing.T) {
	t.Parallel()
	nothing := tamper{do: func(e [][]byte, _ *[]byte) [][]byte { return e }}
	store := membucket.New("b", membucket.Options{})
	inBucket := newLog(t, store)
	nothing.apply(t, inBucket)
	overwrite(t, store, inBucket.key(5), nil)
	inFile := NewFileLog(filepath.Join(t.TempDir(), "audit.log"))
	events, _ := nothing.apply(t, inFile)
	if err := os.WriteFile(inFile.path, append(bytes.Join(events[:4], []byte("\n")), '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, l := range []Log{inBucket, inFile} {
		if err := l.Append(t.Context(), event("later")); err != nil {
			t.Fatal(err)
		}
		_, r := read(t, l)
		if len(r.Findings) != 1 || r.Findings[0].Kind != Gap || r.Findings[0].Event != 5 || r.Last.Seq != 6 {
			t.Errorf("%s: got %+v, want event 5 missing before 6", l, r)
		}
	}
}

func TestVerify_TenThousand(t *testing.T) {
	t.Parallel()
	store := membucket.New("b", membucket.Options{})
	l := newLog(t, store)
	var last Head
	for range 10_000 {
		var raw []byte
		raw, last = last.next(event("x"))
		overwrite(t, store, l.key(last.Seq), raw)
	}
	overwrite(t, store, "audit/head.json", last.marshal())
	if _, r := read(t, l); r.Events != 10_000 || len(r.Findings) != 0 || r.Last != last {
		t.Errorf("got %+v, want 10,000 events and nothing found", r)
	}
	overwrite(t, store, l.key(7777), edit([]byte("tester")))
	if _, r := read(t, l); len(r.Findings) != 1 || r.Findings[0].Event != 7777 {
		t.Errorf("got %v, want event 7777 found", r.Findings)
	}
}

// damaged is a log of so many events, of which every one was edited.
func damaged(n int) Contents {
	var c Contents
	var head Head
	for i := range n {
		var raw []byte
		raw, head = head.next(event(fmt.Sprint("edit ", i)))
		c.Records = append(c.Records, Record{Name: fmt.Sprint(i + 1), Number: uint64(i + 1), Raw: edit(raw)})
	}
	c.Head = &head
	return c
}

func BenchmarkVerify_Damaged(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		if testing.Short() {
			n /= 10
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := damaged(n)
			for b.Loop() {
				Verify(c)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/event")
		})
	}
}

// overwrite puts an object as an intruder would, or removes it.
func overwrite(t *testing.T, b bucket.Bucket, key string, body []byte) {
	t.Helper()
	var err error
	if body == nil {
		_, err = b.Delete(t.Context(), key, bucket.DeleteOptions{})
	} else {
		_, err = b.Put(t.Context(), key, bytes.NewReader(body), bucket.PutOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}
