package resources_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/resources"
)

// say writes a diff on one line.
func say(d resources.Diff) string {
	var parts []string
	for _, c := range d.Objects {
		s := c.Kind + " " + c.Address
		if c.From != "" {
			s += " from " + c.From
		}
		if c.Tainted {
			s += " tainted"
		}
		if c.Untainted {
			s += " untainted"
		}
		parts = append(parts, s+values(c.Attributes))
	}
	if len(d.Outputs) > 0 {
		parts = append(parts, "outputs"+values(d.Outputs))
	}
	return strings.Join(parts, "; ")
}

func values(list []resources.ValueChange) string {
	s := ""
	for _, v := range list {
		switch {
		case v.Added:
			s += fmt.Sprintf(" +%s=%s", v.Path, resources.Text(v.New, 0))
		case v.Removed:
			s += fmt.Sprintf(" -%s=%s", v.Path, resources.Text(v.Old, 0))
		default:
			s += fmt.Sprintf(" %s:%s>%s", v.Path, resources.Text(v.Old, 0), resources.Text(v.New, 0))
		}
	}
	return s
}

func attrs(s string) string { return `"attributes":{` + s + `}` }

func TestCompare(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, old, now, want string }{
		{"equal", one("t", "a", attrs(`"x":1`)), one("t", "a", attrs(`"x":1`)), ""},
		{"added", "", one("t", "a", attrs(`"id":"1"`)), "added t.a"},
		{"removed", one("t", "a", attrs(`"id":"1"`)), "", "removed t.a"},
		{"changed", one("t", "a", attrs(`"id":"1","x":1,"y":"s"`)), one("t", "a", attrs(`"id":"1","x":2,"z":null`)), `changed t.a x:1>2 -y="s" +z=null`},
		{"replaced", one("t", "a", attrs(`"id":"1"`)), one("t", "a", attrs(`"id":"2"`)), `replaced t.a id:"1">"2"`},
		{"moved", one("t", "a", attrs(`"id":"1","x":1`)), one("t", "b", attrs(`"id":"1","x":1`)), "moved t.b from t.a"},
		{"moved and changed", one("t", "a", attrs(`"id":"1","x":1`)), one("t", "b", attrs(`"id":"1","x":2`)), "removed t.a; added t.b"},
		{"moved to two places", one("t", "a", attrs(`"id":"1"`)), one("t", "b", attrs(`"id":"1"`)) + "," + one("t", "c", attrs(`"id":"1"`)), "removed t.a; added t.b; added t.c"},
		{"moved from two places", one("t", "b", attrs(`"id":"1"`)) + "," + one("t", "c", attrs(`"id":"1"`)), one("t", "a", attrs(`"id":"1"`)), "added t.a; removed t.b; removed t.c"},
		{"without id", one("t", "a", attrs("")), one("t", "b", attrs("")), "removed t.a; added t.b"},
		{"tainted", one("t", "a", attrs("")), one("t", "a", `"status":"tainted",`+attrs("")), "changed t.a tainted"},
		{"untainted", one("t", "a", `"status":"tainted",`+attrs("")), one("t", "a", attrs("")), "changed t.a untainted"},
		{"deposed", one("t", "a", attrs("")), one("t", "a", attrs("")+`},{"deposed":"d1",`+attrs("")), "added t.a (deposed d1)"},
		{"provider", one("t", "a", attrs("")), one("t", "a", `"provider":"q",`+attrs("")), `changed t.a (provider):"p">"q"`},
		{"nested", one("t", "a", attrs(`"x":{"a b":[1,{"c":2}]}`)), one("t", "a", attrs(`"x":{"a b":[1,{"c":3}]}`)), `changed t.a x["a b"][1].c:2>3`},
		{"one more in a list", one("t", "a", attrs(`"x":["a","c"]`)), one("t", "a", attrs(`"x":["a","b","c"]`)), `changed t.a +x[1]="b"`},
		{"one less in a list", one("t", "a", attrs(`"x":["a","b","c"]`)), one("t", "a", attrs(`"x":["b","c"]`)), `changed t.a -x[0]="a"`},
		{"another kind", one("t", "a", attrs(`"x":[1]`)), one("t", "a", attrs(`"x":{"a":1}`)), `changed t.a x:[1]>{"a":1}`},
		{"a secret", one("t", "a", attrs(`"password":"A"`)), one("t", "a", attrs(`"password":"B"`)), "changed t.a password:(sensitive)>(sensitive)"},
		{"the same secret", one("t", "a", attrs(`"password":"A"`)), one("t", "a", attrs(`"password":"A"`)), ""},
		{
			"secret on one side", one("t", "a", attrs(`"x":"A"`)),
			one("t", "a", attrs(`"x":"B"`)+`,"sensitive_attributes":[[{"type":"get_attr","value":"x"}]]`), "changed t.a x:(sensitive)>(sensitive)",
		},
		{"a new secret", one("t", "a", attrs("")), one("t", "a", attrs(`"token":"A"`)), "changed t.a +token=(sensitive)"},
	} {
		a, b := parse(t, state("", tc.old)), parse(t, state("", tc.now))
		d := resources.Compare(a, b)
		if got := say(d); got != tc.want || d.Equal() != (tc.want == "") {
			t.Errorf("%s: got %q, equal %v; want %q", tc.name, got, d.Equal(), tc.want)
		}
		for how, body := range map[string]func(string) string{"as it is": func(s string) string { return s }, "sorted": sorted} {
			d, err := index(t, body(state("", tc.old))).Compare(index(t, body(state("", tc.now))))
			if got := say(d); err != nil || got != tc.want {
				t.Errorf("%s, in its body, %s: got %q, %v; want %q", tc.name, how, got, err, tc.want)
			}
		}
	}
}

// sorted is a body whose keys are in their order, as jq leaves them: instances come before what they are of.
func sorted(body string) string {
	var all any
	d := json.NewDecoder(strings.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&all); err != nil {
		return body
	}
	text, _ := json.MarshalIndent(all, "", "  ")
	return string(text)
}

func index(t *testing.T, body string) *resources.Contents {
	t.Helper()
	r := strings.NewReader("behind a start" + body)
	if _, err := r.Seek(int64(len("behind a start")), io.SeekStart); err != nil {
		t.Fatal(err)
	}
	c, err := resources.Index(r)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// large is a state of so many objects of 4 KiB, of which each thousandth has another value.
func large(objects int, value string) string {
	var all []string
	for i := range objects {
		v := "same"
		if i%1000 == 7 {
			v = value
		}
		all = append(all, one("t", fmt.Sprintf("n%d", i), attrs(fmt.Sprintf(`"id":"%d","v":%q,"text":%q`, i, v, strings.Repeat("x", 4<<10)))))
	}
	return state("", strings.Join(all, ","))
}

// What two large states differ in is found with their attributes where they are, and no more than what differs is read
// for it.
func TestContents_Compare_Memory(t *testing.T) { // not parallel: it looks at the heap
	const objects = 4000
	old, now := large(objects, "a"), large(objects, "b")
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	counted := &reads{Reader: strings.NewReader(now)}
	a, oldErr := resources.Index(strings.NewReader(old))
	b, err := resources.Index(counted)
	if err = errors.Join(oldErr, err); err != nil {
		t.Fatal(err)
	}
	counted.n = 0
	d, err := a.Compare(b)
	if err != nil || d.Count[resources.Changed] != 4 || len(d.Objects) != 4 {
		t.Errorf("got %+v, %v, want 4 changes", d.Count, err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if kept := int64(after.HeapAlloc) - int64(before.HeapAlloc); kept > 2*objects*1000 {
		t.Errorf("%d bytes are kept of two states of %d, want at most 1,000 of each object", kept, len(old))
	}
	if counted.n > 4*5<<10 {
		t.Errorf("%d bytes were read again for 4 objects", counted.n)
	}
	runtime.KeepAlive(a)
	runtime.KeepAlive(b)
}

// reads counts what is read.
type reads struct {
	*strings.Reader
	n int
}

func (r *reads) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.n += n
	return n, err
}

func TestCompare_Outputs(t *testing.T) {
	t.Parallel()
	a := parse(t, state(`"a":{"value":1},"b":{"value":"S","sensitive":true},"c":{"value":[1]}`, ""))
	b := parse(t, state(`"b":{"value":"T","sensitive":true},"c":{"value":[2]},"d":{"value":true}`, ""))
	if got, want := say(resources.Compare(a, b)), `outputs -a=1 b:(sensitive)>(sensitive) c[0]:1>2 +d=true`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A module of thousands of objects that are alike is moved in no time: data sources of one account have one id.
func TestCompare_ManyAlike(t *testing.T) {
	t.Parallel()
	const n = 3000
	list := func(module string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,{"module":"module.%s[%d]","mode":"data","type":"t","name":"n","provider":"p","instances":[{%s}]}`, module, i, attrs(`"id":"1","tags":{"a":["b","c"]}`))
		}
		return b.String()[1:]
	}
	d := resources.Compare(parse(t, state("", list("a"))), parse(t, state("", list("b"))))
	if d.Count[resources.Added] != n || d.Count[resources.Removed] != n {
		t.Errorf("got %v, want %d added and removed", d.Count, n)
	}
}

// The order is that of addresses, whatever the order in the files.
func TestCompare_Order(t *testing.T) {
	t.Parallel()
	old := strings.Join([]string{one("t", "c", attrs(`"x":1`)), one("t", "a", attrs("")), one("s", "z", attrs(""))}, ",")
	now := strings.Join([]string{one("t", "d", attrs("")), one("t", "c", attrs(`"x":2`)), one("s", "y", attrs(""))}, ",")
	want := "added s.y; removed s.z; removed t.a; changed t.c x:1>2; added t.d"
	d := resources.Compare(parse(t, state("", old)), parse(t, state("", now)))
	if got := say(d); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if d.Count[resources.Added] != 2 || d.Count[resources.Removed] != 2 || d.Count[resources.Changed] != 1 {
		t.Errorf("got %v, want 2 added, 2 removed, 1 changed", d.Count)
	}
}
