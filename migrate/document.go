package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/statelatch/statelatch/backendconf"
	"github.com/statelatch/statelatch/internal/lazyre"
	"github.com/statelatch/statelatch/internal/treefile"
)

// document is what one file says.
type document struct {
	places   []*Place
	others   []other   // backends that are not "s3"
	requires []require // required_version, terraform_version_constraint
	modules  []string  // directories of local modules, relative to the file's
	includes []include // of terragrunt
	readers  []int     // lines of tables in data "terraform_remote_state"
	skipped  []unread
	maker    string // what generated the file
	binary   string // the engine that terragrunt is told to run
}

type (
	other   struct{ kind, at string }
	require struct {
		text string // empty: not static
		line int
	}
	include struct {
		expr hcl.Expression
		line int
	}
	unread struct {
		line int
		why  string
	}
)

// suffixes of configuration files. OpenTofu reads NAME.tofu in place of NAME.tf.
var suffixes = []string{".tofu.json", ".tf.json", ".tofu", ".tf"}

// generatedBy is how programs mark what they write, in the first lines.
var generatedBy = lazyre.New(`(?im)^\s*(?:#|//|/\*|\*|\{?\s*"//"\s*:).*?\b((?:auto-?generated|generated (?:by|automatically))\b.*)`)

// read reads a file. Errors are about its syntax, and only in files that could hold a backend.
func read(kind fileKind, src *source) (document, error) {
	var doc document
	var err error
	if kind == fileTerraform {
		doc, err = readTerraform(src)
	} else {
		flat := false
		if kind == fileBackendConfig || kind == fileMaybe || containsAny(src.data, "bucket", argTable) {
			doc, flat, err = readBackendConfig(src)
		}
		if !flat && err == nil {
			doc, err = readTerragrunt(src)
		}
	}
	if m := generatedBy.FindSubmatch(src.data[:min(len(src.data), 500)]); m != nil && kind != fileTerragrunt {
		doc.maker = strings.Trim(string(m[1]), " \t\r*/\",.;")
	}
	for i, p := range doc.places {
		p.index, p.File, p.source = i, src.rel, src
		switch {
		case doc.maker != "":
			p.manual = "the file says: " + doc.maker + "; change what generates it"
		case src.outside:
			p.manual = "it is a symbolic link to a file outside of the tree"
		}
	}
	return doc, err
}

// parse reads a file's syntax.
func parse(src *source) (hcl.Body, error) {
	var f *hcl.File
	var diags hcl.Diagnostics
	if strings.HasSuffix(src.rel, ".json") {
		f, diags = treefile.ParseJSON(src.data, src.rel)
	} else {
		f, diags = treefile.ParseHCL(src.data, src.rel, hcl.InitialPos)
	}
	if diags.HasErrors() {
		return nil, syntaxError(diags)
	}
	return f.Body, nil
}

// parseError is a mistake in a file, without the text around it, which may hold a secret.
type parseError struct {
	line int
	text string
}

func (e parseError) Error() string { return fmt.Sprintf("line %d: %s", e.line, e.text) }

func syntaxError(diags hcl.Diagnostics) error {
	for _, d := range diags {
		if d.Severity == hcl.DiagError {
			e := parseError{text: d.Summary}
			if d.Subject != nil {
				e.line = d.Subject.Start.Line
			}
			return e
		}
	}
	return nil
}

func lineOf(err error) int {
	var at parseError
	if errors.As(err, &at) {
		return at.line
	}
	return 0
}

var (
	fileSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
		{Type: "terraform"},
		{Type: "module", LabelNames: []string{"name"}},
		{Type: "data", LabelNames: []string{"type", "name"}},
	}}
	terraformSchema = &hcl.BodySchema{
		Attributes: []hcl.AttributeSchema{{Name: "required_version"}},
		Blocks: []hcl.BlockHeaderSchema{
			{Type: "backend", LabelNames: []string{"type"}},
			{Type: "cloud"},
			{Type: "state_store", LabelNames: []string{"type"}},
		},
	}
	readerSchema = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "backend"}, {Name: "config"}}}
	moduleSchema = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "source"}}}
)

// readTerraform reads a configuration file.
func readTerraform(src *source) (document, error) {
	if !bytes.Contains(src.data, []byte("terraform")) && !bytes.Contains(src.data, []byte("module")) {
		return document{}, nil
	}
	body, err := parse(src)
	if err != nil {
		if !bytes.Contains(src.data, []byte("backend")) {
			err = nil // whatever it is, it is the engine's to say
		}
		return document{}, err
	}
	return readBody(src, body, KindBackend), nil
}

// readBody reads the terraform and module blocks of a body.
func readBody(src *source, body hcl.Body, kind string) (doc document) {
	content, _, _ := body.PartialContent(fileSchema)
	for _, block := range content.Blocks {
		if block.Type == "data" {
			if block.Labels[0] == "terraform_remote_state" {
				doc.readers = append(doc.readers, tablesOf(block, src.data)...)
			}
			continue
		}
		if block.Type == "module" {
			inner, _, _ := block.Body.PartialContent(moduleSchema)
			if a := inner.Attributes["source"]; a != nil {
				doc.call(valueOf(a.Expr, src.data))
			}
			continue
		}
		inner, _, _ := block.Body.PartialContent(terraformSchema)
		if a := inner.Attributes["required_version"]; a != nil {
			doc.requires = append(doc.requires, require{valueOf(a.Expr, src.data).Text, a.Range.Start.Line})
		}
		for _, b := range inner.Blocks {
			if b.Type != "backend" || b.Labels[0] != "s3" {
				doc.others = append(doc.others, other{
					kind: strings.Join(append([]string{b.Type}, b.Labels...), " "),
					at:   fmt.Sprintf("%s:%d", src.rel, b.DefRange.Start.Line),
				})
				continue
			}
			doc.places = append(doc.places, blockPlace(src, b, kind))
		}
	}
	return doc
}

// tablesOf are the lines of the tables that a data "terraform_remote_state" names.
func tablesOf(block *hcl.Block, data []byte) (lines []int) {
	inner, _, _ := block.Body.PartialContent(readerSchema)
	kind, config := inner.Attributes["backend"], inner.Attributes["config"]
	if kind == nil || config == nil || valueOf(kind.Expr, data).Text != "s3" {
		return nil
	}
	items, _ := itemsOf(config.Expr, data)
	for _, item := range items {
		if item.name == argTable && item.value.Set() {
			lines = append(lines, item.line)
		}
	}
	return lines
}

// call notes the source of a module if it is a directory.
func (d *document) call(source Value) {
	if source.Static && strings.HasPrefix(source.Text, ".") {
		d.modules = append(d.modules, path.Clean(strings.ReplaceAll(source.Text, "//", "/")))
	}
}

func blockPlace(src *source, b *hcl.Block, kind string) *Place {
	attrs, _ := b.Body.JustAttributes()
	p := &Place{Kind: kind, Line: b.DefRange.Start.Line, entries: entriesOf(attrs, src.data), syntax: syntaxJSON}
	if _, native := b.Body.(*hclsyntax.Body); native {
		p.syntax = syntaxBody
		p.head = b.DefRange.End.Byte
		p.body = oneLine(src.data, p.head, p.entries)
	}
	return p
}

// oneLine is the inside of a block that begins after offset at, if it is on one line; such a block has one argument.
func oneLine(data []byte, at int, entries []entry) [2]int {
	if len(entries) != 1 {
		return [2]int{}
	}
	open := at + bytes.IndexByte(data[at:], '{') + 1
	end, _, _ := restOfLine(data, entries[0].val[1])
	if bytes.ContainsRune(data[open:entries[0].key[0]], '\n') || end == len(data) || data[end] != '}' {
		return [2]int{}
	}
	return [2]int{open, end}
}

// readBackendConfig reads a file for -backend-config; false if it is none of backend "s3".
func readBackendConfig(src *source) (doc document, flat bool, err error) {
	sure := strings.Contains(path.Base(src.rel), ".tfbackend")
	body, err := parse(src)
	if err != nil {
		if !sure {
			err = nil
		}
		return document{}, sure, err
	}
	attrs, diags := body.JustAttributes()
	p := &Place{Kind: KindBackendConfig, Line: 1, entries: entriesOf(attrs, src.data), syntax: syntaxBody}
	if strings.HasSuffix(src.rel, ".json") {
		p.syntax = syntaxJSON
	}
	ours := slices.ContainsFunc(p.entries, func(e entry) bool {
		return slices.Contains([]string{
			"bucket", "key", argTable, argLockfile, argEndpoints, "workspace_key_prefix",
			"encrypt",
		}, e.name)
	})
	alien := slices.ContainsFunc(p.entries, func(e entry) bool { return !backendconf.Known(e.name) })
	if diags.HasErrors() || !ours || alien {
		return document{}, false, nil
	}
	p.Line = p.entries[0].line
	return document{places: []*Place{p}}, true, nil
}

// entriesOf are attributes in the order of the file.
func entriesOf(attrs hcl.Attributes, data []byte) []entry {
	entries := make([]entry, 0, len(attrs))
	for name, a := range attrs {
		entries = append(entries, newEntry(name, a.Expr, data, a.NameRange, a.Expr.Range().Start.Byte, a.Range.End.Byte))
	}
	slices.SortFunc(entries, func(a, b entry) int { return a.key[0] - b.key[0] })
	return entries
}

// newEntry keeps the expression only where its items are edited: with it goes the whole file's syntax.
func newEntry(name string, expr hcl.Expression, data []byte, key hcl.Range, from, to int) entry {
	e := entry{
		name: name, line: key.Start.Line, value: valueOf(expr, data),
		key: [2]int{key.Start.Byte, key.End.Byte}, val: [2]int{from, to},
	}
	if name == argEndpoints {
		e.expr = expr
	}
	return e
}

// itemsOf are the items of an object; false if expr is not the literal of one.
func itemsOf(expr hcl.Expression, data []byte) ([]entry, bool) {
	pairs, diags := hcl.ExprMap(expr)
	if diags.HasErrors() {
		return nil, false
	}
	var entries []entry
	for _, pair := range pairs {
		name := hcl.ExprAsKeyword(pair.Key)
		if name == "" {
			name = valueOf(pair.Key, data).Text
		}
		k, v := pair.Key.Range(), pair.Value.Range()
		entries = append(entries, newEntry(name, pair.Value, data, k, v.Start.Byte, v.End.Byte))
	}
	return entries, true
}

// valueOf evaluates a literal. In JSON a string with ${} is none.
func valueOf(expr hcl.Expression, data []byte) Value {
	r := expr.Range()
	v := Value{Source: strings.TrimSpace(string(r.SliceBytes(data)))}
	value, ok := treefile.Literal(expr)
	if !ok {
		return v
	}
	v.Static = true
	if value.IsNull() {
		return v
	}
	v.quoted = value.Type() == cty.String
	if s, err := convert.Convert(value, cty.String); err == nil {
		v.Text = s.AsString()
	} else if text, err := ctyjson.Marshal(value, value.Type()); err == nil {
		v.Text = string(text)
	}
	return v
}
