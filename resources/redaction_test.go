package resources_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/resources"
)

const token = "gh" + "p_16C7e42F292c6912E7710c838347Ae178B4a"

// A secret that for_each made a key is no more shown than one in an attribute, and still names its instance.
func TestParse_SecretKeys(t *testing.T) {
	t.Parallel()
	body := state("", strings.Join([]string{
		`{"mode":"managed","type":"t","name":"a","provider":"p","instances":[{"index_key":"` + token + `","attributes":{"id":"1"}},{"index_key":"plain","attributes":{"id":"2"}}]}`,
		`{"mode":"managed","type":"t","name":"b","provider":"p","instances":[{"index_key":"hunter2","attributes":{"password":"hunter2"}}]}`,
		`{"mode":"managed","type":"t","name":"c","provider":"p","instances":[{"index_key":"hunter3","attributes":{"a":"hunter3"},"sensitive_attributes":[[{"type":"get_attr","value":"a"}]]}]}`,
		`{"module":"module.m[\"` + token + `\"].module.n[\"x\"]","mode":"managed","type":"t","name":"d","provider":"p","instances":[{"attributes":{"tags":{"` + token + `":"x"}}}]}`,
		`{"module":"module.m[\"hunter4\"]","mode":"managed","type":"t","name":"e","provider":"p","instances":[{"index_key":"u-hunter4","attributes":{"password":"hunter4"}}]}`,
	}, ","))
	f := parse(t, body)
	want := []string{`t.a["(sensitive)"]`, `t.a["plain"]`, `t.b["(sensitive)"]`, `t.c["(sensitive)"]`, `module.m["(sensitive)"].module.n["x"].t.d`, `module.m["(sensitive)"].t.e["(sensitive)"]`}
	var got, revealed []string
	for _, o := range f.Objects {
		got = append(got, o.Label())
		revealed = append(revealed, o.Revealed().Label())
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if text := fmt.Sprint(revealed); strings.Count(text, token) != 2 || !strings.Contains(text, "hunter2") {
		t.Errorf("got %s revealed, want the keys", text)
	}
	if shown := fmt.Sprintf("%v %s", f.Objects[4].Attributes, resources.Text(f.Objects[4].Attributes, 0)); strings.Contains(shown, token) {
		t.Errorf("a key of a map is shown: %s", shown)
	}
	if !f.Objects[0].Below(`t.a["` + token + `"]`) {
		t.Error("the object is not found by its key")
	}
	now := parse(t, state("", `{"mode":"managed","type":"t","name":"a","provider":"p","instances":[{"index_key":"`+token+`","attributes":{"id":"9"}},{"index_key":"`+token+`x","attributes":{"id":"2"}}]}`))
	d := resources.Compare(f, now)
	if text := say(d); strings.Contains(text, token) || !strings.Contains(text, `replaced t.a["(sensitive)"]`) || !strings.Contains(text, `moved t.a["(sensitive)"] from t.a["plain"]`) {
		t.Errorf("got %s", text)
	}
	if text := say(d.Revealed()); !strings.Contains(text, token) {
		t.Errorf("got %s revealed", text)
	}
}

// A path to an attribute that is not there hides nothing, one that cannot be read hides everything.
func TestParse_SensitivePathToNothing(t *testing.T) {
	t.Parallel()
	for path, hidden := range map[string]bool{
		`[{"type":"get_attr","value":"gone"}]`:                             false,
		`[{"type":"get_attr","value":"gone"},{"type":"index","value":{}}]`: false,
		`[{"type":"new","value":"a"}]`:                                     true,
		`[{"type":"get_attr","value":7}]`:                                  true,
		`[]`:                                                               true,
		`"?"`:                                                              true,
	} {
		f := parse(t, state("", one("t", "n", `"attributes":{"a":"VALUE"},"sensitive_attributes":[`+path+`]`)))
		if got := !strings.Contains(resources.Text(f.Objects[0].Attributes, 0), "VALUE"); got != hidden {
			t.Errorf("%s: got hidden %t, want %t", path, got, hidden)
		}
	}
	flat := parse(t, state("", one("t", "n", `"attributes_flat":{"a.#":"1","a.0":"VALUE","b":"x"},"sensitive_attributes":[[{"type":"get_attr","value":"a"}]]`)))
	if got, want := resources.Text(flat.Objects[0].Attributes, 0), `{"a.#":"(sensitive)","a.0":"(sensitive)","b":"x"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// What is secret in a state is found in the forms that attributes have it in, and a setting of security can be read.
func TestParse_SecretForms(t *testing.T) {
	t.Parallel()
	script := "#!/bin/sh\nexport DB_PASS=VALUE\n"
	for _, tc := range []struct {
		attributes string
		hidden     bool
	}{
		{`"user_data":"` + base64.StdEncoding.EncodeToString([]byte(script)) + `"`, true},
		{`"content_base64":"` + base64.StdEncoding.EncodeToString([]byte(`{"token":"VALUE"}`)) + `"`, true},
		{`"values":["db:\n  password: |\n    VALUE\n"]`, true},
		{`"headers":{"Authorization":"Bearer VALUE"}`, true},
		{`"environment":[{"variables":{"DB_PASS":"VALUE"}}]`, true},
		{`"url":"https://h/?sig=VALUE"`, true},
		{`"http_tokens":"VALUE"`, false},
		{`"private_key_type":"VALUE"`, false},
		{`"public_key_pem":"VALUE"`, false},
		{`"secret_arn":"VALUE"`, false},
		{`"db_secret_name":"VALUE"`, false},
		{`"token_ttl":"VALUE"`, false},
		{`"kms_key_id":"VALUE"`, false},
		{`"key_id":"VALUE"`, false},
		{`"encryption_key":"arn:aws:kms:eu-central-1:123456789012:key/VALUE"`, false},
		{`"policy":"{\"Condition\":{\"StringLike\":{\"token.actions.githubusercontent.com:sub\":\"repo:acme/VALUE:*\"}}}"`, false},
	} {
		f := parse(t, state("", one("t", "n", attrs(tc.attributes))))
		encoded, err := json.Marshal(f.Objects[0].Attributes)
		if err != nil {
			t.Fatal(err)
		}
		text := string(encoded)
		if hidden := strings.Contains(text, resources.Redacted); hidden != tc.hidden {
			t.Errorf("%s: got hidden %t, want %t", tc.attributes, hidden, tc.hidden)
		}
	}
}

// Who sorted the keys of a state, as jq -S does, put the instances before what they are of.
func TestParse_SortedKeys(t *testing.T) {
	t.Parallel()
	f := parse(t, `{"lineage":"l","outputs":{},"resources":[{"instances":[{"attributes":{"id":"1"},"index_key":0}],"mode":"managed","module":"module.m","name":"n","provider":"p","type":"t"}],"serial":1,"terraform_version":"1.0.0","version":4}`)
	if len(f.Objects) != 1 || f.Objects[0].Label() != "module.m.t.n[0]" || f.Objects[0].ID() != "1" {
		t.Errorf("got %+v", f.Objects)
	}
}

// source is a state of n instances that is never in memory as a whole.
type source struct {
	n    int
	at   int64
	rest io.Reader
}

func (s *source) Seek(offset int64, whence int) (int64, error) {
	if whence == io.SeekEnd {
		s.at, s.rest = 0, strings.NewReader("")
		return 1 << 30, nil
	}
	if whence == io.SeekCurrent {
		return s.at, nil
	}
	one := `{"index_key":%d,"attributes":{"id":"i","text":"` + strings.Repeat("harmless ", 1000) + `"}}`
	all := []io.Reader{strings.NewReader(`{"version":4,"terraform_version":"1.13.0","serial":7,"lineage":"l","outputs":{},"resources":[{"mode":"managed","type":"t","name":"n","provider":"p","instances":[`)}
	for i := range s.n {
		comma := ","
		if i == s.n-1 {
			comma = "]}]}"
		}
		all = append(all, &lazy{text: func() string { return fmt.Sprintf(one, i) + comma }})
	}
	s.at, s.rest = offset, io.MultiReader(all...)
	return offset, nil
}

func (s *source) Read(p []byte) (int, error) {
	if s.rest == nil {
		if _, err := s.Seek(0, io.SeekStart); err != nil {
			return 0, err
		}
	}
	return s.rest.Read(p)
}

type lazy struct {
	text func() string
	r    *strings.Reader
}

func (l *lazy) Read(p []byte) (int, error) {
	if l.r == nil {
		l.r = strings.NewReader(l.text())
	}
	return l.r.Read(p)
}

// Of what is not asked for no attribute stays: what is held does not grow with the attributes.
func TestParseSome_KeepsWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	const n = 300
	f, err := resources.ParseSome(&source{n: n}, func(o resources.Object) bool { return o.Below("t.n[7]") })
	if err != nil {
		t.Fatal(err)
	}
	kept := 0
	for _, o := range f.Objects {
		if o.Attributes != nil {
			kept++
		}
	}
	if len(f.Objects) != n || kept != 1 {
		t.Errorf("got %d objects, %d with attributes, want %d and 1", len(f.Objects), kept, n)
	}
}
