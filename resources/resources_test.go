package resources_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/resources"
)

// state is a body with outputs and resources.
func state(outputs, list string) string {
	return `{"version":4,"terraform_version":"1.13.0","serial":7,"lineage":"l","outputs":{` + outputs + `},"resources":[` + list + `],"check_results":null}` + "\n \t"
}

// one is a resource of one instance.
func one(typ, name, instance string) string {
	return fmt.Sprintf(`{"mode":"managed","type":%q,"name":%q,"provider":"p","instances":[{%s}]}`, typ, name, instance)
}

func parse(t *testing.T, body string) resources.File {
	t.Helper()
	f, err := resources.Parse(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestParse_Addresses(t *testing.T) {
	t.Parallel()
	f := parse(t, state("", strings.Join([]string{
		`{"module":"module.a[\"x\"]","mode":"managed","type":"t","name":"n","provider":"p","instances":[{"attributes":{}}]}`,
		`{"mode":"managed","type":"t","name":"n","provider":"p","instances":[
			{"index_key":10,"attributes":{"id":"ten"}},{"index_key":9,"attributes":{"id":9}},{"index_key":9,"deposed":"ab12","attributes":{}}]}`,
		`{"mode":"managed","type":"t","name":"m","provider":"p","instances":[{"index_key":"a\"b${c}","status":"tainted","provider":"q","attributes":{}}]}`,
		`{"mode":"data","type":"z","name":"n","provider":"p","instances":[{"attributes_flat":{"a":"b"}}]}`,
	}, ",")))
	want := []string{
		`data.z.n`, `t.m["a\"b$${c}"] tainted q`, `t.n[9]`, `t.n[9] (deposed ab12)`, `t.n[10]`, `module.a["x"].t.n`,
	}
	var got []string
	for _, o := range f.Objects {
		s := o.Label()
		if o.Tainted {
			s += " tainted"
		}
		if o.Provider != "p" {
			s += " " + o.Provider
		}
		got = append(got, s)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if id := f.Objects[4].ID(); id != "ten" {
		t.Errorf("got the ID %q, want ten", id)
	}
	for addr, n := range map[string]int{"t.n": 3, "t.n[9]": 2, "t": 4, `module.a["x"]`: 1, "module.a": 1, "module": 1, "t.n[1": 0, "": 0, "data.z.n": 1} {
		below := 0
		for _, o := range f.Objects {
			if o.Below(addr) {
				below++
			}
		}
		if below != n {
			t.Errorf("got %d objects below %q, want %d", below, addr, n)
		}
	}
}

func TestParse_Refusals(t *testing.T) {
	t.Parallel()
	for body, text := range map[string]string{
		`{"version":3,"serial":1,"lineage":"l","terraform_version":"0.11.0","modules":[]}`:                      "format 3, of Terraform before 0.12",
		`{"version":5,"serial":1,"lineage":"l","terraform_version":"9"}`:                                        "format 5",
		`{"version":4,"serial":1,"lineage":"l","terraform_version":"1","resources":"hunter2"}`:                  "resources",
		`{"version":4,"serial":1,"lineage":"l","terraform_version":"1","resources":[{"instances":["hunter2"]}]`: "",
		state("", "") + `{"hunter2":1}`: "behind its end",
		`hunter2`:                       "not a JSON object",
	} {
		_, err := resources.Parse(strings.NewReader(body))
		if !errors.Is(err, statelatch.ErrInvalid) || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want ErrInvalid, %q and nothing of the body", body, err, text)
		}
	}
}

func TestParse_HeaderOnly(t *testing.T) {
	t.Parallel()
	if f := parse(t, ""); !f.Header.Empty || f.Size != 0 {
		t.Errorf("got %+v, want an empty state", f)
	}
	f := parse(t, `{"serial":3,"lineage":"l","meta":{},"encrypted_data":"aGk=","encryption_version":"v0"}`)
	if !f.Header.Encrypted() || f.Header.Serial != 3 || f.Objects != nil {
		t.Errorf("got %+v, want the header of an encrypted state", f)
	}
}

// What is secret is nowhere in any output, and what is not is.
func TestParse_Secrets(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, typ, instance string
		hidden              bool
	}{
		{"declared", "t", `"attributes":{"a":"VALUE"},"sensitive_attributes":[[{"type":"get_attr","value":"a"}]]`, true},
		{"declared number", "t", `"attributes":{"a":4711},"sensitive_attributes":[[{"type":"get_attr","value":"a"}]]`, true},
		{"declared, nested", "t", `"attributes":{"a":[{"b":"VALUE"}]},"sensitive_attributes":[[{"type":"get_attr","value":"a"},{"type":"index","value":{"value":0,"type":"number"}},{"type":"get_attr","value":"b"}]]`, true},
		{"declared, in a map", "t", `"attributes":{"a":{"k":"VALUE"}},"sensitive_attributes":[[{"type":"get_attr","value":"a"},{"type":"index","value":{"value":"k","type":"string"}}]]`, true},
		{"declared, in a set", "t", `"attributes":{"a":["VALUE"]},"sensitive_attributes":[[{"type":"get_attr","value":"a"},{"type":"index","value":{"value":"VALUE","type":"string"}}]]`, true},
		{"declared, index beyond", "t", `"attributes":{"a":["VALUE"]},"sensitive_attributes":[[{"type":"get_attr","value":"a"},{"type":"index","value":{"value":5,"type":"number"}}]]`, true},
		{"declared, unknown step", "t", `"attributes":{"a":["VALUE"]},"sensitive_attributes":[[{"type":"get_attr","value":"a"},{"type":"new","value":1}]]`, true},
		{"declared, unreadable", "t", `"attributes":{"a":"VALUE"},"sensitive_attributes":"?"`, true},
		{"declared, the other one", "t", `"attributes":{"a":"VALUE","b":"x"},"sensitive_attributes":[[{"type":"get_attr","value":"b"}]]`, false},
		{"declared, of any type", "t", `"attributes":{"a":{"value":{"b":"VALUE"},"type":["object",{"b":"string"}]}},"sensitive_attributes":[[{"type":"get_attr","value":"a"},{"type":"get_attr","value":"b"}]]`, true},
		{"declared, of any type, named value", "t", `"attributes":{"a":{"value":{"value":"VALUE"},"type":["object",{"value":"string"}]}},"sensitive_attributes":[[{"type":"get_attr","value":"a"},{"type":"get_attr","value":"value"}]]`, true},
		{"declared, of any type, named type", "t", `"attributes":{"a":{"value":{"type":"VALUE"},"type":["object",{"type":"string"}]}},"sensitive_attributes":[[{"type":"get_attr","value":"a"},{"type":"get_attr","value":"type"}]]`, true},
		{"declared, key is missing", "t", `"attributes":{"a":{"b":"VALUE"}},"sensitive_attributes":[[{"type":"get_attr","value":"a"},{"type":"get_attr","value":"c"}]]`, false},
		{"declared, a key of a list's element is missing", "t", `"attributes":{"a":[{"b":"VALUE"}]},"sensitive_attributes":[[{"type":"get_attr","value":"a"},{"type":"index","value":{"value":0,"type":"number"}},{"type":"get_attr","value":"c"},{"type":"get_attr","value":"d"}]]`, false},
		{"declared, a key of a map is missing", "t", `"attributes":{"a":{"b":"VALUE"}},"sensitive_attributes":[[{"type":"get_attr","value":"a"},{"type":"index","value":{"value":"c","type":"string"}}]]`, false},
		{"declared, below a text", "t", `"attributes":{"a":"VALUE"},"sensitive_attributes":[[{"type":"get_attr","value":"a"},{"type":"get_attr","value":"c"}]]`, true},
		{"declared, elsewhere a key", "t", `"attributes":{"a":"VALUE4711","b":{"c":{"x-VALUE4711":1}}},"sensitive_attributes":[[{"type":"get_attr","value":"a"}]]`, true},
		{"a block of sensitive settings", "t", `"attributes":{"set_sensitive":[{"name":"x","value":"VALUE"}]}`, true},
		{"a value that says that it is sensitive", "t", `"attributes":{"v":[{"key":"x","value":"VALUE","sensitive":true}]}`, true},
		{"a sensitive file", "local_sensitive_file", `"attributes":{"content":"VALUE"}`, true},
		{"what a secret's content is", "azurerm_key_vault_secret", `"attributes":{"content_type":"VALUE","value_version":"VALUE"}`, false},
		{"a schema", "t", `"attributes":{"a":"{\"properties\":{\"password\":{\"type\":\"string\",\"example\":\"VALUE\"}}}"}`, false},
		{"case_sensitive", "t", `"attributes":{"case_sensitive":"VALUE"}`, false},
		{"a copy of a declared one", "t", `"attributes":{"a":{"value":"VALUE","type":"string"},"b":["VALUE"]},"sensitive_attributes":[[{"type":"get_attr","value":"a"}]]`, true},
		{"a number's copy", "t", `"attributes":{"a":4711,"b":{"c":4711}},"sensitive_attributes":[[{"type":"get_attr","value":"a"}]]`, true},
		{"a copy with secret keys", "t", `"attributes":{"a":{"VALUE":1},"b":{"VALUE":1}},"sensitive_attributes":[[{"type":"get_attr","value":"a"}]]`, true},
		{"a copy within a text", "t", `"attributes":{"a":"a VALUE","b":"with a VALUE in it"},"sensitive_attributes":[[{"type":"get_attr","value":"a"}]]`, true},
		{"a copy below a secret name", "t", `"attributes":{"a":{"token":"x","VALUE":1},"b":{"token":"x","VALUE":1}},"sensitive_attributes":[[{"type":"get_attr","value":"a"}]]`, true},
		{"pin", "t", `"attributes":{"db_pin":4711}`, true},
		{"acronym", "t", `"attributes":{"env":{"DBPassword":"VALUE"}}`, true},
		{"one word", "t", `"attributes":{"dbpassword":"VALUE"}`, true},
		{"numbered", "t", `"attributes":{"password2":"VALUE"}`, true},
		{"client key", "t", `"attributes":{"kube":[{"client_key":"VALUE"}]}`, true},
		{"kube config", "t", `"attributes":{"kube_config_raw":"VALUE"}`, true},
		{"script", "t", `"attributes":{"user_data":"#!/bin/sh\nexport DB_PASSWORD='VALUE'\n"}`, true},
		{"YAML", "t", `"attributes":{"values":["db:\n  password: VALUE\n"]}`, true},
		{"connection text", "t", `"attributes":{"a":"Server=h;Uid=u;Password=VALUE;"}`, true},
		{"ARN of a secret", "t", `"attributes":{"a":"arn:aws:secretsmanager:r:1:secret:VALUE"}`, false},
		{"YAML without secrets", "t", `"attributes":{"a":"db:\n  password:\n  host: VALUE"}`, false},
		{"JSON text with a number", "t", `"attributes":{"a":"{\"pin\":4711}"}`, true},
		{"password", "t", `"attributes":{"master_password":"VALUE"}`, true},
		{"camel case", "t", `"attributes":{"adminPassword":"VALUE"}`, true},
		{"environment", "t", `"attributes":{"env":{"DB_TOKEN":"VALUE"}}`, true},
		{"below a name", "t", `"attributes":{"credentials":[{"x":{"y":["VALUE"]}}]}`, true},
		{"private key", "t", `"attributes":{"private_key_openssh":"VALUE"}`, true},
		{"access key", "t", `"attributes":{"primary_access_key":"VALUE"}`, true},
		{"connection string", "t", `"attributes":{"primary_connection_string":"VALUE"}`, true},
		{"pem", "t", `"attributes":{"certificate_pem":"VALUE"}`, true},
		{"name and value", "t", `"attributes":{"e":[{"name":"API_KEY","value":"VALUE"}]}`, true},
		{"PEM text", "t", `"attributes":{"a":"-----BEGIN RSA PRIVATE KEY-----VALUE"}`, true},
		{"URL with a password", "t", `"attributes":{"a":"postgres://u:VALUE@h/db"}`, true},
		{"JSON text", "t", `"attributes":{"a":"[{\"environment\":[{\"name\":\"DB_PASSWORD\",\"value\":\"VALUE\"}]}]"}`, true},
		{"random_password", "random_password", `"attributes":{"result":"VALUE"}`, true},
		{"kubernetes_secret", "kubernetes_secret", `"attributes":{"data":{"k":"VALUE"}}`, true},
		{"a public key", "t", `"attributes":{"public_key":"VALUE"}`, false},
		{"a key's name", "t", `"attributes":{"key_name":"VALUE","kms_key_id":"VALUE"}`, false},
		{"a word within a word", "t", `"attributes":{"tokenizer":"VALUE","secretary":"VALUE"}`, false},
		{"a URL", "t", `"attributes":{"a":"https://h:443/VALUE@x"}`, false},
		{"JSON text without secrets", "t", `"attributes":{"a":"{\"Action\":\"VALUE\"}"}`, false},
		{"a secret's name", "aws_secretsmanager_secret", `"attributes":{"name":"VALUE"}`, false},
	} {
		f := parse(t, state("", one(tc.typ, "n", tc.instance)))
		attributes := f.Objects[0].Attributes
		encoded, err := json.Marshal(attributes)
		if err != nil {
			t.Fatal(err)
		}
		shown := fmt.Sprintf("%s %v %+v %#v %s", encoded, attributes, f, f, resources.Text(attributes, 0))
		for path, v := range resources.Leaves(attributes) {
			shown += path + resources.Text(v, 0)
		}
		hidden := !strings.Contains(shown, "VALUE") && !strings.Contains(shown, "4711")
		if hidden != tc.hidden {
			t.Errorf("%s: got hidden %v, want %v: %s", tc.name, hidden, tc.hidden, encoded)
		}
		revealed := resources.Text(resources.Reveal(attributes), 0)
		if !strings.Contains(revealed, "VALUE") && !strings.Contains(revealed, "4711") {
			t.Errorf("%s: Reveal does not show it: %s", tc.name, revealed)
		}
	}
}

// The type of a value of any type is no secret, also where it is written like one.
func TestParse_DynamicTypeStays(t *testing.T) {
	t.Parallel()
	f := parse(t, state("", one("t", "n",
		`"attributes":{"a":{"value":{"token":"VALUE"},"type":["object",{"token":"string"}]},"b":"string"},`+
			`"sensitive_attributes":[[{"type":"get_attr","value":"a"},{"type":"get_attr","value":"token"}]]`)))
	want := `{"a":{"type":["object",{"token":"string"}],"value":{"token":"(sensitive)"}},"b":"string"}`
	if got := resources.Text(f.Objects[0].Attributes, 0); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Lengths, booleans and what is empty tell no secret.
func TestParse_NoSecrets(t *testing.T) {
	t.Parallel()
	f := parse(t, state(`"db_password":{"value":"VALUE"},"x":{"value":1,"sensitive":true},"y":{"value":"ok"}`,
		one("t", "n", `"attributes":{"password":null,"password_length":12345678901234567890,"password_reset":true,"tokens":[],"secret":"","secrets":{}}`)))
	want := `{"password":null,"password_length":12345678901234567890,"password_reset":true,"secret":"","secrets":{},"tokens":[]}`
	if got := resources.Text(f.Objects[0].Attributes, 0); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	var outputs []string
	for _, o := range f.Outputs {
		outputs = append(outputs, o.Name+"="+resources.Text(o.Value, 0))
	}
	if got, want := strings.Join(outputs, " "), `db_password=(sensitive) x=(sensitive) y="ok"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 100)
	if got, want := resources.Text(long, 11), `"ééééé... (202 bytes)`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := resources.Text("\x1b[31m<\u202e", 0), `"\u001b[31m<\u202e"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	x, y := resources.TextPair(long+"a", long+"b", 12)
	if x == y || len(x) > 40 {
		t.Errorf("got %s and %s, want what differs", x, y)
	}
}
