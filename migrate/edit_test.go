package migrate

import (
	"fmt"
	"math/rand"
	"path/filepath"
	"strings"
	"testing"
)

// edited runs a phase on one file that stands alone, and returns what becomes of it.
func edited(t *testing.T, name, text string, phase int) (string, error) {
	t.Helper()
	src := &source{rel: name, real: name, target: name, data: []byte(text)}
	var err error
	if src.doc, err = read(kindOfFile(filepath.Base(name)), src); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, text)
	}
	if len(src.doc.places) == 0 {
		t.Fatalf("no place in %s:\n%s", name, text)
	}
	all := map[int]bool{}
	for i := range src.doc.places {
		all[i] = true
	}
	data, err := edit(src, phase, all)
	return string(data), err
}

func TestEdit_Golden(t *testing.T) {
	t.Parallel()
	hcl := func(lines string) string { return "terraform {\n  backend \"s3\" {\n" + lines + "  }\n}\n" }
	grunt := func(config string) string {
		return "remote_state {\n  backend = \"s3\"\n  config = " + config + "\n}\n"
	}
	for _, tc := range []struct{ name, file, before, phase1, phase2 string }{
		{
			"comments", "main.tf",
			hcl("    # lead\n    dynamodb_table = \"t\" # trail\n    bucket         = \"b\"\n"),
			hcl("    # lead\n    dynamodb_table = \"t\" # trail\n    use_lockfile   = true\n    bucket         = \"b\"\n"),
			hcl("    # lead\n    # trail\n    use_lockfile = true\n    bucket       = \"b\"\n"),
		},
		{
			"block comments around", "main.tf",
			hcl("/* a */ dynamodb_table = \"t\" /* b\n c */ /* d */\n  bucket= \"b\"\n"),
			hcl("/* a */ dynamodb_table = \"t\" /* b\n c */ /* d */\nuse_lockfile   = true\n  bucket= \"b\"\n"),
			hcl("/* a */ /* b\n c */ /* d */\nuse_lockfile   = true\n  bucket= \"b\"\n"),
		},
		{
			"one line", "x.tf", "terraform {\n  backend \"s3\" { dynamodb_table = \"t\" }\n}\n",
			"terraform {\n  backend \"s3\" {\n    dynamodb_table = \"t\"\n    use_lockfile   = true\n  }\n}\n",
			"terraform {\n  backend \"s3\" {\n    use_lockfile = true\n  }\n}\n",
		},
		{
			"switched off, endpoint empties", "main.tf",
			hcl("use_lockfile=false\n    endpoints = { dynamodb = \"x\" }\n  dynamodb_table = \"t\"\n"),
			hcl("use_lockfile=true\n    endpoints = { dynamodb = \"x\" }\n  dynamodb_table = \"t\"\n"),
			hcl("use_lockfile=true\n"),
		},
		{
			"object by lines", "terragrunt.hcl",
			grunt("{\n    bucket = \"b\",\n    \"lock_table\" = \"t\", // locks\n    region: \"r\"\n  }"),
			grunt("{\n    bucket = \"b\",\n    \"lock_table\" = \"t\", // locks\n    \"use_lockfile\" = true,\n    region: \"r\"\n  }"),
			grunt("{\n    bucket = \"b\",\n    // locks\n    \"use_lockfile\" = true,\n    region: \"r\"\n  }"),
		},
		{
			"object on a line", "terragrunt.hcl",
			grunt("{ bucket = \"b\", dynamodb_table = \"t\" }"),
			grunt("{ bucket = \"b\", dynamodb_table = \"t\", use_lockfile = true }"),
			grunt("{ bucket = \"b\", use_lockfile = true }"),
		},
		{
			"object with colons", "terragrunt.hcl",
			grunt("{ dynamodb_table: \"t\"}"), grunt("{ dynamodb_table: \"t\", use_lockfile: true}"), grunt("{ use_lockfile: true}"),
		},
		{
			"windows, no end", "b.tfbackend",
			"bucket=\"b\"\r\ndynamodb_table=\"t\"", "bucket=\"b\"\r\ndynamodb_table=\"t\"\r\nuse_lockfile  =true", "bucket=\"b\"\r\nuse_lockfile  =true",
		},
		{
			"byte order mark", "b.tfbackend",
			"\ufeffdynamodb_table = \"t\"\nbucket = \"é\"\n", "\ufeffdynamodb_table = \"t\"\nuse_lockfile   = true\nbucket = \"é\"\n", "\ufeffuse_lockfile   = true\nbucket = \"é\"\n",
		},
		{
			"JSON, first", "b.tf.json",
			`{"terraform":{"backend":{"s3":{ "dynamodb_table" : "t" , "bucket":"b"}}}}`,
			`{"terraform":{"backend":{"s3":{ "dynamodb_table" : "t", "use_lockfile" : true , "bucket":"b"}}}}`,
			`{"terraform":{"backend":{"s3":{ "use_lockfile" : true , "bucket":"b"}}}}`,
		},
		{
			"JSON, last but one of three that go", "b.tf.json",
			"{\"terraform\":{\"backend\":{\"s3\":{\r\n\t\"use_lockfile\": true,\r\n\t\"endpoints\": {\"s3\": \"é\\u00e9\", \"dynamodb\": \"d\"},\r\n\t\"dynamodb_table\": \"t\",\r\n\t\"dynamodb_endpoint\": \"e\"\r\n}}}}",
			"{\"terraform\":{\"backend\":{\"s3\":{\r\n\t\"use_lockfile\": true,\r\n\t\"endpoints\": {\"s3\": \"é\\u00e9\", \"dynamodb\": \"d\"},\r\n\t\"dynamodb_table\": \"t\",\r\n\t\"dynamodb_endpoint\": \"e\"\r\n}}}}",
			"{\"terraform\":{\"backend\":{\"s3\":{\r\n\t\"use_lockfile\": true,\r\n\t\"endpoints\": {\"s3\": \"é\\u00e9\"}\r\n}}}}",
		},
	} {
		got, err := edited(t, tc.file, tc.before, 1)
		if err != nil || got != tc.phase1 {
			t.Errorf("%s, phase 1: got (%v)\n%q\nwant\n%q", tc.name, err, got, tc.phase1)
			continue
		}
		if got, err = edited(t, tc.file, got, 2); err != nil || got != tc.phase2 {
			t.Errorf("%s, phase 2: got (%v)\n%q\nwant\n%q", tc.name, err, got, tc.phase2)
		}
		if again, err := edited(t, tc.file, got, 2); err != nil || again != got {
			t.Errorf("%s, phase 2 again: got (%v)\n%q", tc.name, err, again)
		}
	}
}

func TestEdit_NotSafe(t *testing.T) {
	t.Parallel()
	for name, lines := range map[string]string{
		"computed switch":  "use_lockfile = var.x\n dynamodb_table = \"t\"\n",
		"heredoc":          "dynamodb_table = <<E\nt\nE\n",
		"comment in value": "dynamodb_table = /* why */ \"t\"\n use_lockfile = true\n",
	} {
		text := "terraform {\n backend \"s3\" {\n" + lines + "}\n}\n"
		_, err1 := edited(t, "main.tf", text, 1)
		_, err2 := edited(t, "main.tf", text, 2)
		why1, one := isNotSafe(err1)
		why2, two := isNotSafe(err2)
		if !one && !two {
			t.Errorf("%s: got %v and %v, want a person to do it", name, err1, err2)
		}
		t.Log(name, why1, why2)
	}
}

// TestEdit_RandomFormatting writes a block in many ways and compares all bytes outside of the edit.
func TestEdit_RandomFormatting(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewSource(1))
	pick := func(all ...string) string { return all[rnd.Intn(len(all))] }
	blank := func() string { return pick("", " ", "   ", "\t") }
	for i := range 400 {
		nl := pick("\n", "\r\n")
		object := rnd.Intn(2) == 0
		line := func(name, value string) string {
			comma, sign := "", "="
			if object {
				comma, sign = pick("", blank()+","), pick("=", ":")
			}
			return blank() + name + blank() + sign + blank() + value + comma + blank() + pick("", "", "# c"+fmt.Sprint(rnd.Int()), "// dynamodb_table = 1", "/* x */") + nl
		}
		filler := func() string {
			var b strings.Builder
			for range rnd.Intn(4) {
				b.WriteString(pick(nl, blank()+"# dynamodb_table = \"no\""+nl, line(fmt.Sprintf("a%d", rnd.Int()), pick(`"v"`, "1", `"${x}"`, `"é, {"`))))
			}
			return b.String()
		}
		head, tail, name := "terraform {"+nl+"backend \"s3\" {"+nl, "}"+nl+"}"+nl, "main.tf"
		if object {
			head, tail, name = "remote_state {"+nl+"backend = \"s3\""+nl+"config = {"+nl, "}"+nl+"}", "terragrunt.hcl"
		}
		table := line("dynamodb_table", `"t"`)
		before, after := head+pick("", "/* one */"+nl)+filler(), filler()+tail
		text := before + table + after

		one, err := edited(t, name, text, 1)
		if err != nil {
			t.Fatalf("%d: %v\n%s", i, err, text)
		}
		added, ok := strings.CutPrefix(one, before+strings.TrimSuffix(table, nl))
		added, ok2 := strings.CutSuffix(added, after)
		if !ok || !ok2 || strings.Count(added, "use_lockfile") != 1 || strings.Count(added, "\n") != 2 {
			t.Fatalf("%d: phase 1 made %q of\n%q\nnamely\n%q", i, added, text, one)
		}
		two, err := edited(t, name, one, 2)
		if err != nil {
			t.Fatalf("%d: %v\n%s", i, err, one)
		}
		_, rest, _ := strings.Cut(table, `"t"`)
		comment := strings.TrimLeft(rest, " \t,")
		left := strings.TrimPrefix(added, nl)
		want := before + table[:len(table)-len(strings.TrimLeft(table, " \t"))] + comment + left + after
		if strings.TrimSpace(comment) == "" {
			want = before + left + after
		}
		if two != want {
			t.Fatalf("%d: phase 2 made of\n%q\ngot\n%q\nwant\n%q", i, one, two, want)
		}
	}
}
